//! Prompts on the box's consoles. Who stands at the box has the rights of root: the prompt is
//! a process of its own that speaks to controld over the control socket, as the CLI does.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use embassy_time::{Duration, Instant};

/// Between the end of a prompt and the next one.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// The prompts.
#[derive(Debug)]
pub struct Consoles {
    exe: PathBuf,
    seats: Vec<Seat>,
}

#[derive(Debug)]
struct Seat {
    device: PathBuf,
    pid: Option<u32>,
    start_at: Instant,
}

impl Consoles {
    /// A prompt for every console that the kernel names as active (`tty0 ttyS0`).
    pub fn new(exe: PathBuf, active: &str, now: Instant) -> Self {
        let seats = active
            .split_whitespace()
            .map(|name| Seat {
                // tty0 is whichever screen is in front; the first one is.
                device: PathBuf::from("/dev").join(if name == "tty0" { "tty1" } else { name }),
                pid: None,
                start_at: now,
            })
            .collect();
        Self { exe, seats }
    }

    /// When [`Self::run`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        let waiting = |seat: &&Seat| seat.pid.is_none();
        self.seats
            .iter()
            .filter(waiting)
            .map(|seat| seat.start_at)
            .min()
    }

    /// Starts what shall run and does not.
    pub fn run(&mut self, now: Instant) {
        for seat in &mut self.seats {
            if seat.pid.is_some() || seat.start_at > now {
                continue;
            }
            seat.start_at = now + RESTART_PAUSE;
            match prompt(&self.exe, &seat.device) {
                Ok(pid) => seat.pid = Some(pid),
                Err(error) => {
                    log::debug!("no prompt on {}: {error}", seat.device.display());
                    // It will not come into being by waiting two seconds.
                    seat.start_at = now + RESTART_PAUSE * 30;
                }
            }
        }
    }

    /// Whether the process was a prompt; the next one starts after a pause.
    pub fn on_exit(&mut self, pid: u32, now: Instant) -> bool {
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.pid == Some(pid)) else {
            return false;
        };
        seat.pid = None;
        seat.start_at = now + RESTART_PAUSE;
        true
    }
}

fn prompt(exe: &Path, device: &Path) -> std::io::Result<u32> {
    use std::os::unix::fs::OpenOptionsExt;
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        // A serial line without carrier must not hold PID 1; the prompt switches it back.
        .custom_flags(nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK)
        .open(device)?;
    let mut command = Command::new(exe);
    command
        .arg0("lintel")
        .arg("console")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(tty.try_clone()?))
        .stdout(Stdio::from(tty.try_clone()?))
        .stderr(Stdio::from(tty));
    Ok(command.spawn()?.id())
}
