//! One QEMU, its serial line and its disk.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use netns_tests::{Workdir, until_some};

use crate::keyboard::Keyboard;
use crate::write_log;

/// What init prints first of all.
pub const STARTED: &str = "lintel: init started";
/// What init prints when every role is ready.
pub const READY: &str = "lintel: ready";

/// The log of the guest's writes, below the work directory.
pub const WRITE_LOG: &str = "writes.log";

/// What QEMU itself says, below the work directory.
const ERRORS: &str = "qemu.log";

/// QEMU's monitor, below the work directory.
const MONITOR: &str = "monitor";

/// What a machine boots.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// The first root file system.
    pub initramfs: PathBuf,
    /// The disk image; the machine gets a copy.
    pub image: Option<PathBuf>,
    /// `kvm` where it works, else `tcg`.
    pub accel: String,
    /// Words for the kernel command line besides the console.
    pub append: String,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Size of the disk in MiB; the image's partitions are smaller.
    pub disk_mib: u64,
    /// Note the guest's writes and flushes in `writes.log`, for [`crate::write_log`].
    pub write_log: bool,
    /// Socket of the [`crate::sick_disk::SickDisk`] that stands for the disk.
    pub disk_socket: Option<PathBuf>,
    /// What the battery-backed clock says when QEMU starts (`2025-01-01T00:00:00`), when it is
    /// not to be right.
    pub rtc: Option<String>,
    /// Let UEFI start the disk, instead of starting kernel and initramfs directly.
    pub uefi: bool,
}

impl Boot {
    /// What `tests/run` built: `LINTEL_KERNEL`, `LINTEL_INITRAMFS`, `LINTEL_IMAGE` and
    /// `LINTEL_ACCEL`, else what lies in `target/image`.
    pub fn from_env() -> Self {
        let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/image");
        let named = |name: &str, default: PathBuf| env::var_os(name).map_or(default, PathBuf::from);
        Self {
            kernel: named("LINTEL_KERNEL", built.join("x86_64/kernel")),
            initramfs: named("LINTEL_INITRAMFS", built.join("x86_64/initramfs.cpio.zst")),
            image: Some(named("LINTEL_IMAGE", built.join("x86_64/lintel.img"))),
            accel: env::var("LINTEL_ACCEL").unwrap_or_else(|_| "tcg".to_owned()),
            append: "lintel.test=1".to_owned(),
            memory_mib: 128,
            disk_mib: 1024,
            write_log: false,
            disk_socket: None,
            rtc: None,
            uefi: false,
        }
    }
}

/// A line that came over the serial port, and when.
type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A running QEMU. Dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
    launched: Instant,
    log: PathBuf,
    monitor: PathBuf,
}

impl Machine {
    /// Makes the disk that `launch` boots with; it outlives the machine, as a disk does.
    pub fn disk(boot: &Boot, dir: &Workdir) -> Option<PathBuf> {
        let image = boot.image.as_ref()?;
        let disk = dir.path("disk.img");
        let status = Command::new("cp")
            .args(["--sparse=always", "--"])
            .args([image, &disk])
            .status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "copying {}",
            image.display()
        );
        let file = File::options()
            .write(true)
            .open(&disk)
            .expect("just copied");
        file.set_len(boot.disk_mib << 20)
            .expect("holes cost nothing");
        Some(disk)
    }

    /// Starts QEMU by `command`, which runs it where its taps are to be (a plain
    /// `Command::new("qemu-system-x86_64")` or one inside a namespace); `ports` are more
    /// arguments, one `-netdev` and `-device` each.
    pub fn launch(
        mut command: Command,
        boot: &Boot,
        disk: Option<&Path>,
        dir: &Workdir,
        ports: &[String],
    ) -> Self {
        let memory = boot.memory_mib.to_string();
        command.args(["-M", "q35", "-accel", &boot.accel, "-m", &memory]);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
        // The ports' places on the bus are given; what follows takes what is free.
        command.args(ports);
        command.args(["-no-reboot", "-device", "virtio-rng-pci"]);
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        let monitor = dir.path(MONITOR);
        let _ = fs::remove_file(&monitor);
        let monitor_at = format!("unix:{},server=on,wait=off", monitor.display());
        command.args(["-qmp", &monitor_at]);
        if let Some(rtc) = &boot.rtc {
            command.args(["-rtc", &format!("base={rtc}")]);
        }
        if boot.accel == "kvm" {
            command.args(["-cpu", "host"]);
        }
        if let Some(socket) = &boot.disk_socket {
            let node = "driver=nbd,node-name=disk,server.type=unix,server.path=";
            command.args(["-blockdev", &format!("{node}{}", socket.display())]);
            // Without these QEMU stops the machine for some errors.
            let device = "virtio-blk-pci,drive=disk,werror=report,rerror=report";
            command.args(["-device", device]);
        } else if let (Some(disk), true) = (disk, boot.write_log) {
            let log = dir.path(WRITE_LOG);
            write_log::create(&log);
            // The host stays up: its own flushes would only slow the guest down.
            let file = |node: &str, path: &Path| {
                let path = path.display();
                format!("driver=file,node-name={node},filename={path},cache.no-flush=on")
            };
            command.args(["-blockdev", &file("kept", disk)]);
            command.args(["-blockdev", &file("log", &log)]);
            let logged = "driver=blklogwrites,node-name=disk,file=kept,log=log";
            command.args(["-blockdev", logged]);
            // QEMU 7.2 may log a request to write zeros in two places.
            let device = "virtio-blk-pci,drive=disk,write-zeroes=off,discard=off,physical_block_size=4096,werror=report";
            command.args(["-device", device]);
        } else if let Some(disk) = disk {
            let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
            // Where the disk starts nothing, UEFI would try the network for minutes.
            let first = if boot.uefi { ",bootindex=0" } else { "" };
            let device = format!("virtio-blk-pci,drive=disk{first}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        if boot.uefi {
            let vars = dir.path("vars.fd");
            if !vars.exists() {
                fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).expect("the package ovmf");
            }
            let code = "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
            let vars = format!("if=pflash,format=raw,file={}", vars.display());
            command.args(["-drive", code, "-drive", &vars]);
            // A PC has a screen, without which it has no prompt beside the serial line's.
            command.args(["-device", "VGA"]);
        } else {
            // Without KVM a busy host is late with the ticks by which the kernel tests its timer,
            // and it gives up («IO-APIC + timer doesn't work»).
            let append = format!("console=ttyS0 quiet no_timer_check {}", boot.append);
            command.arg("-kernel").arg(&boot.kernel);
            command.arg("-initrd").arg(&boot.initramfs);
            command.args(["-append", &append]);
        }
        let log = dir.path("serial.log");
        let errors = File::create(dir.path(ERRORS)).expect("the work directory is writable");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);

        let launched = Instant::now();
        let mut child = command.spawn().expect("QEMU starts");
        let lines = Lines::default();
        let stdout = child.stdout.take().expect("piped above");
        let (into, copy) = (lines.clone(), log.clone());
        thread::spawn(move || read_lines(stdout, &into, &copy));
        Self {
            input: child.stdin.take(),
            child,
            lines,
            launched,
            log,
            monitor,
        }
    }

    /// The machine's keyboard.
    pub fn keyboard(&self) -> Keyboard {
        Keyboard::of(&self.monitor)
    }

    /// When QEMU was started.
    pub fn launched(&self) -> Instant {
        self.launched
    }

    /// Processor time that QEMU has taken since its launch, seconds: what a boot costs, whatever
    /// else the test machine does.
    pub fn cpu_s(&self) -> f64 {
        /// `USER_HZ`, the same on every Linux.
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("our own child, not yet reaped");
        let (_, rest) = stat.rsplit_once(')').expect("proc(5)");
        let mut words = rest.split_whitespace();
        // utime and stime are the fields 14 and 15 of all, 12 and 13 after the name.
        let user: f64 = words.nth(11).and_then(|t| t.parse().ok()).expect("proc(5)");
        let system: f64 = words.next().and_then(|t| t.parse().ok()).expect("proc(5)");
        (user + system) / TICKS_A_SECOND
    }

    /// Waits for a line that contains `text`; returns how long after the launch it came.
    pub fn line(&mut self, text: &str, within: Duration) -> Duration {
        let at = until_some(&format!("the serial line says {text:?}"), within, || {
            let found = self.find(text);
            assert!(
                found.is_some() || self.runs(),
                "QEMU ended before it said {text:?}:\n{}",
                self.printed()
            );
            found
        });
        at - self.launched
    }

    /// When a line that contains `text` came, if one did.
    pub fn find(&self, text: &str) -> Option<Instant> {
        let lines = self.lines.lock().expect("no reader panics");
        lines
            .iter()
            .find(|(_, line)| line.contains(text))
            .map(|(at, _)| *at)
    }

    /// Forgets what was printed so far, so that `line` waits for what comes.
    pub fn forget(&self) {
        self.lines.lock().expect("no reader panics").clear();
    }

    /// All that came over the serial port since the launch or `forget`.
    pub fn printed(&self) -> String {
        let lines = self.lines.lock().expect("no reader panics");
        lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// The same with the time since the launch before each line.
    pub fn timeline(&self) -> String {
        let lines = self.lines.lock().expect("no reader panics");
        let stamped = |(at, line): &(Instant, String)| {
            format!("{:7.3}  {line}\n", (*at - self.launched).as_secs_f64())
        };
        lines.iter().map(stamped).collect()
    }

    /// Types a line at the serial console.
    pub fn type_line(&mut self, text: &str) {
        let input = self.input.as_mut().expect("piped at launch");
        input
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| input.flush())
            .expect("QEMU reads its console");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until QEMU ends by itself (the guest powered off or, with `-no-reboot`, rebooted).
    pub fn wait(&mut self, within: Duration) {
        until_some("the machine switches itself off", within, || {
            (!self.runs()).then_some(())
        });
    }

    /// Pulls the plug.
    pub fn cut_power(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
        if thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.printed());
            let errors = self.log.with_file_name(ERRORS);
            let said = fs::read_to_string(&errors).unwrap_or_default();
            eprintln!("--- {} ---\n{said}", errors.display());
        }
    }
}

fn read_lines(stdout: impl std::io::Read, into: &Lines, copy: &Path) {
    let mut copy = File::create(copy).expect("the work directory is writable");
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let now = Instant::now();
        let _ = copy.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        into.lock()
            .expect("nobody panics holding it")
            .push((now, text));
        line.clear();
    }
}
