//! What init reads: the kernel's command line and its texts, the board's description, the disk's
//! table of partitions, what roles print, what somebody types at the console; and the machine
//! that keeps the roles alive.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_ipc::init::LogLine;
use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_roles::init::cmdline::KernelCommandLine;
use lintel_roles::init::logs::{LINES_MAX, Lines, Logs, TEXT_BYTES_MAX};
use lintel_roles::init::supervise::{Input, Output, RESTART_PAUSE_MAX, Supervisor};
use lintel_roles::init::{gpt, prompt};
use lintel_rt::logger::LINE_BYTES_MAX;
use lintel_rt::proc_text;

use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

/// The command line, the board's description, numbers in the kernel's texts, words at the
/// console: text in, and nothing but parts of it out.
pub fn boot_text(data: &[u8]) -> Tally {
    let text = String::from_utf8_lossy(data);
    let line = KernelCommandLine::parse(&text);
    for value in [&line.data, &line.wan].into_iter().flatten() {
        assert!(text.contains(&**value) && !value.contains(char::is_whitespace));
    }
    let mut accepted = line != KernelCommandLine::default();
    if let Ok(board) = toml::from_str::<BoardSpec>(&text) {
        accepted = true;
        let written = toml::to_string(&board).expect("a board is TOML");
        assert_eq!(toml::from_str::<BoardSpec>(&written).as_ref(), Ok(&board));
    }
    for label in ["MemTotal:", "Pss:", "oom_kill ", "MemAvailable:"] {
        if let Some(number) = proc_text::number(&text, label) {
            accepted = true;
            assert!(text.contains(label) && text.contains(&number.to_string()));
        }
    }
    let words = prompt::words(&text);
    let letters: usize = words.iter().map(String::len).sum();
    assert!(letters <= text.len() && words.len() <= text.len());
    Tally::one(accepted)
}

/// A table of partitions that we make larger stays inside its disk, is found good, and cannot be
/// made larger once more; its backup is the same table.
pub fn gpt(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let disk_sectors = match below(&mut u, 3) {
        0 => any(&mut u),
        1 => u64::from(number(&mut u)),
        _ => 1 << 21,
    };
    let partition = below(&mut u, 4) as u32;
    let mut head = vec![0; HEAD];
    let table = table(&mut u);
    head[SECTOR..SECTOR + table.len()].copy_from_slice(&table);
    if any(&mut u) {
        seal(&mut head);
    }
    let rest = u.take_rest();
    if once_in(&mut Unstructured::new(rest), 4) {
        head.truncate(rest.len() * 128);
    }
    let Some(grown) = gpt::grow(&head, partition, disk_sectors) else {
        return Tally::REFUSED;
    };
    assert!(grown.first <= grown.last && grown.last < grown.backup_sector);
    assert_eq!((grown.head.len(), grown.backup.len()), (HEAD, 33 * SECTOR));
    assert_eq!(grown.backup_sector + 33, disk_sectors);
    assert_eq!(grown.backup[..32 * SECTOR], grown.head[2 * SECTOR..]);
    assert!(gpt::grow(&grown.head, partition, disk_sectors).is_none());
    Tally::ACCEPTED
}

const SECTOR: usize = 512;
const HEAD: usize = 34 * SECTOR;

/// A header and the first entries of its array, mostly right but for the checksums.
fn table(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut table = vec![0; SECTOR + 4 * 128];
    let mut put = |at: usize, value: &[u8]| table[at..at + value.len()].copy_from_slice(value);
    put(0, b"EFI PART");
    put(12, &92_u32.to_le_bytes());
    put(24, &1_u64.to_le_bytes());
    put(72, &2_u64.to_le_bytes());
    put(80, &128_u32.to_le_bytes());
    put(84, &128_u32.to_le_bytes());
    let mut at = 2048_u64;
    for entry in 0..below(u, 4) {
        let end = if once_in(u, 8) {
            any(u)
        } else {
            at + u64::from(number(u) % 70_000)
        };
        put(SECTOR + entry * 128 + 32, &at.to_le_bytes());
        put(SECTOR + entry * 128 + 40, &end.to_le_bytes());
        at = end.saturating_add(1);
    }
    if once_in(u, 4) {
        let wrong = below(u, 96);
        put(wrong, &[any(u)]);
    }
    table
}

/// Both checksums, as UEFI has them.
fn seal(head: &mut [u8]) {
    // Nothing but zeros stands behind the fourth entry.
    let array = !after_zeros(crc32_state(&head[2 * SECTOR..3 * SECTOR]));
    head[SECTOR + 88..SECTOR + 92].copy_from_slice(&array.to_le_bytes());
    head[SECTOR + 16..SECTOR + 20].fill(0);
    let header = crc32(&head[SECTOR..SECTOR + 92]);
    head[SECTOR + 16..SECTOR + 20].copy_from_slice(&header.to_le_bytes());
}

fn crc32(octets: &[u8]) -> u32 {
    !crc32_state(octets)
}

fn crc32_state(octets: &[u8]) -> u32 {
    octets.iter().fold(u32::MAX, |crc, octet| step(crc, *octet))
}

fn step(crc: u32, octet: u8) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    (0..8).fold(crc ^ u32::from(octet), bit)
}

/// A checksum's state behind the rest of the array. It is linear: what becomes of each bit is
/// computed once, and an input costs a hundredth.
fn after_zeros(state: u32) -> u32 {
    static BITS: LazyLock<[u32; 32]> = LazyLock::new(|| {
        std::array::from_fn(|at| (0..31 * SECTOR).fold(1 << at, |crc, _| step(crc, 0)))
    });
    (0..32)
        .filter(|at| state & (1 << at) != 0)
        .fold(0, |crc, at| crc ^ BITS[at])
}

/// What a role prints, however it is cut into reads: the same lines, no control characters, none
/// longer than the bound; the ring of them keeps its own.
pub fn role_output(data: &[u8]) -> Tally {
    let mut whole = Lines::default();
    let mut lines = whole.feed(data);
    lines.extend(whole.finish());
    let mut cut = Lines::default();
    let mut again = Vec::new();
    let mut ring = Logs::default();
    for piece in data.chunks(1 + data.len() % 7) {
        again.extend(cut.feed(piece));
    }
    again.extend(cut.finish());
    assert_eq!(lines, again);
    for (level, text) in &lines {
        assert!(["error", "warn", "info", "debug"].contains(level));
        assert!(!text.contains(char::is_control));
        // What is no UTF-8 becomes three octets for one.
        assert!(text.len() <= 3 * LINE_BYTES_MAX);
        ring.push(LogLine {
            seq: 0,
            uptime_ms: 0,
            unix_ms: 0,
            role: RoleName::Dnsd,
            level: (*level).to_owned(),
            text: text.clone(),
        });
    }
    let kept = ring.newest(None, usize::MAX);
    let octets: usize = kept.iter().map(|line| line.text.len()).sum();
    assert!(kept.len() <= LINES_MAX && octets <= TEXT_BYTES_MAX);
    Tally::one(!lines.is_empty())
}

const ROLES: [RoleName; 4] = [
    RoleName::Netd,
    RoleName::Controld,
    RoleName::Dhcpd,
    RoleName::Webd,
];

/// Processes that start, answer, hang up, hang, die and are wanted anew in any order: a role has
/// one process at most, only that one is killed, a deadline that has passed was met, and when
/// everything is well for long enough every role serves again, or all have ended.
pub fn supervise(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let mut house = House {
        now: Instant::from_secs(5),
        supervisor: Supervisor::new(Instant::from_secs(5), &ROLES),
        processes: Vec::new(),
        wanted: Vec::new(),
        pids: 100,
        stopped: false,
    };
    if once_in(&mut u, 4) {
        house.supervisor.hold(ROLES[1]);
    }
    let mut stopping = false;
    while !u.is_empty() {
        tally.inputs += 1;
        let role = pick(&mut u, &ROLES);
        let pid = house
            .processes
            .iter()
            .find(|(of, _)| *of == role)
            .map(|(_, pid)| *pid);
        let input = match below(&mut u, 20) {
            0..=3 => house.answer_spawn(!once_in(&mut u, 4)),
            4..=6 => pid.map(|_| Input::Ready(role)),
            7 => pid.map(|_| Input::Pong {
                role,
                n: if any(&mut u) { 1 } else { any(&mut u) },
            }),
            8 => pid.map(|_| Input::HungUp(role)),
            9 => pid.map(|_| Input::Unreachable {
                role,
                why: "full".to_owned(),
            }),
            10 | 11 => house.die(&mut u),
            // An orphan of somebody.
            12 => Some(Input::Exited {
                pid: 7,
                how: "exit 0".to_owned(),
            }),
            13 => Some(Input::Restart(role)),
            14 if once_in(&mut u, 16) => {
                stopping = true;
                Some(Input::StopAll)
            }
            15 => {
                for role in ROLES {
                    house.supervisor.release(house.now, role);
                }
                None
            }
            16 => {
                house.now = house
                    .supervisor
                    .timeout()
                    .unwrap_or(house.now)
                    .max(house.now);
                None
            }
            _ => {
                house.now += Duration::from_millis(pick(&mut u, &[1, 60, 700, 3_000, 26_000]));
                None
            }
        };
        if let Some(input) = input {
            tally.accepted += 1;
            house.supervisor.handle_input(house.now, input);
        }
        house.turn();
    }
    // From here on every process starts, serves and ends when it is asked to.
    for role in ROLES {
        house.supervisor.release(house.now, role);
    }
    for _ in 0..40 {
        while let Some(input) = house.answer_spawn(true) {
            house.supervisor.handle_input(house.now, input);
            house.turn();
        }
        for (role, _) in house.processes.clone() {
            house.supervisor.handle_input(house.now, Input::Ready(role));
            house
                .supervisor
                .handle_input(house.now, Input::Pong { role, n: 0 });
        }
        house.turn();
        let step = house
            .supervisor
            .timeout()
            .unwrap_or(house.now)
            .max(house.now);
        house.now = step.min(house.now + RESTART_PAUSE_MAX);
        house.turn();
    }
    let lives = house.supervisor.lives();
    if stopping {
        assert!(house.stopped && house.processes.is_empty(), "{lives:?}");
    } else {
        assert!(lives.iter().all(|life| life.pid().is_some()), "{lives:?}");
        assert_eq!(house.processes.len(), ROLES.len());
    }
    tally
}

/// A kernel that runs processes for the supervisor.
struct House {
    now: Instant,
    supervisor: Supervisor,
    processes: Vec<(RoleName, u32)>,
    /// Spawns that were asked for and not answered.
    wanted: Vec<RoleName>,
    pids: u32,
    stopped: bool,
}

impl House {
    /// The clock's part, and what the machine wants.
    fn turn(&mut self) {
        self.supervisor.handle_timeout(self.now);
        let mut gone = Vec::new();
        while let Some(output) = self.supervisor.poll_output() {
            match output {
                Output::Spawn(role) => {
                    assert!(
                        !self.runs(role) && !self.wanted.contains(&role),
                        "{role} twice"
                    );
                    self.wanted.push(role);
                }
                Output::Connect { one, other, .. } => {
                    assert!(self.runs(one) && self.runs(other), "{one} {other}");
                }
                Output::Kill { role, pid, .. } => {
                    assert!(self.processes.contains(&(role, pid)), "kills a stranger");
                    gone.push((pid, "signal 9"));
                }
                Output::Stop(role) => {
                    let process = self.processes.iter().find(|(of, _)| *of == role);
                    gone.push((process.expect("asks nobody to stop").1, "exit 0"));
                }
                Output::Ping { role, .. } => assert!(self.runs(role)),
                Output::Crashed { pause, .. } => assert!(pause <= RESTART_PAUSE_MAX),
                Output::AllReady => {}
                Output::AllStopped => {
                    assert!(self.processes.is_empty() && !self.stopped);
                    self.stopped = true;
                }
            }
        }
        let late = self.supervisor.timeout().is_some_and(|at| at <= self.now);
        assert!(!late, "a deadline that has passed would be met for ever");
        // Who is killed or asked to stop is reaped now.
        for (pid, how) in gone {
            if self.processes.iter().any(|(_, of)| *of == pid) {
                self.processes.retain(|(_, of)| *of != pid);
                let how = how.to_owned();
                self.supervisor
                    .handle_input(self.now, Input::Exited { pid, how });
                self.turn();
            }
        }
    }

    fn runs(&self, role: RoleName) -> bool {
        self.processes.iter().any(|(of, _)| *of == role)
    }

    fn answer_spawn(&mut self, well: bool) -> Option<Input> {
        let role = self.wanted.pop()?;
        if !well {
            return Some(Input::NotSpawned {
                role,
                why: "no memory".to_owned(),
            });
        }
        self.pids += 1;
        self.processes.push((role, self.pids));
        Some(Input::Spawned {
            role,
            pid: self.pids,
        })
    }

    fn die(&mut self, u: &mut Unstructured<'_>) -> Option<Input> {
        if self.processes.is_empty() {
            return None;
        }
        let at = below(u, self.processes.len());
        let (_, pid) = self.processes.remove(at);
        Some(Input::Exited {
            pid,
            how: "signal 11".to_owned(),
        })
    }
}

/// A command line, a board or what the kernel says.
pub fn text_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let value = text(u, b"pci-0:.3/dev a", 12);
    let words = match below(u, 4) {
        0 => {
            let ours = pick(
                u,
                &["lintel.data", "lintel.wan", "lintel.test", "lintel.escape"],
            );
            format!(
                "console=ttyS0 {ours}={} quiet {value}\n",
                pick(u, &["1", "none", &value])
            )
        }
        1 => {
            let key = pick(u, &["title", "wan_path", "name", "kernel"]);
            format!(
                "name = \"x86_64\"\n{key} = \"{value}\"\n[image]\nsize = {}\n",
                number(u)
            )
        }
        2 => format!(
            "MemTotal: {} kB\nMemAvailable:  {} kB\n",
            number(u),
            number(u)
        ),
        _ => format!("config show '{value}' \"{value}\" {value}"),
    };
    words.into_bytes()
}

/// Lines of a role's log, and what a library might print.
pub fn output_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut printed = Vec::new();
    for _ in 0..below(u, 6) {
        let level = pick(u, &["error ", "info ", "debug ", "warn ", "", "infos "]);
        printed.extend(level.bytes());
        match below(u, 4) {
            0 => printed.extend(octets(u, 30)),
            1 => printed.extend(vec![b'x'; below(u, 3) * LINE_BYTES_MAX]),
            _ => printed.extend(text(u, b"abc \x1b\r", 30).bytes()),
        }
        if !once_in(u, 4) {
            printed.push(b'\n');
        }
    }
    printed
}
