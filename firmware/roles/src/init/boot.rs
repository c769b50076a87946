//! PID 1: from the kernel's first exec to the loop, and from its end to reboot(2).
//!
//! Every step may fail and none may end the process: a panic here is a kernel panic. The box
//! comes up with what works, and says the rest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use embassy_time::Duration;
use lintel_ipc::init::Start;
use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_model::facts::DataState;
use lintel_model::reset::{Reset, ResetBy, ResetKind};
use lintel_rt::clock::Clock;
use lintel_rt::device::{Watchdog, raise_loopback};
use lintel_rt::logger;
use lintel_rt::proc_text;
use lintel_rt::sockets::Addresses;
use lintel_rt::spawn::Isolation;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::button::{Button, KEY_RESTART};
use super::chores::{Chores, Screen};
use super::cmdline::KernelCommandLine;
use super::console::Consoles;
use super::data;
use super::groups::{self, Groups};
use super::log_files::LogFiles;
use super::presence;
use super::shell::{End, Setup, Shell, chain};

const DATA_DIR: &str = "/data";
const RUN_DIR: &str = "/run/lintel";
const FACTORY_CONFIG: &str = "/etc/lintel/config.toml";
const BOARD: &str = "/etc/lintel/board.toml";
/// Disks on slow buses come up after init; a box with a disk has it by then.
const DATA_WAIT_MAX: Duration = Duration::from_secs(5);
const DATA_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);
/// When nothing works at all, the box tries again after this long.
const LAST_RESORT_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs the box. Does not return: there is nothing to return to.
pub fn boot() -> ! {
    let mut console = early_console();
    say(&mut console, "init started");
    logger::install_for_init(log::LevelFilter::Info);
    mount_early();
    console = open_console().or(console);
    let watchdog = arm_watchdog();
    mount_rest();
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let line = KernelCommandLine::parse(&line);
    if line.test {
        log::set_max_level(log::LevelFilter::Debug);
    }
    set_sysctls();
    if let Err(error) = raise_loopback() {
        // timed would find no servers by name.
        log::error!("lo stays down: {error}");
    }
    let mut setup = setup(&line);
    setup.button = Some(Button::new(line.button.unwrap_or(KEY_RESTART)));
    setup.chores.watchdog = watchdog;
    setup.chores.screen = Screen::Console(console);
    let end = match Shell::new(setup) {
        Ok(mut shell) => {
            for error in shell.open_sockets() {
                log::error!("{}", chain(&error));
            }
            shell.begin();
            let good = use_data(&mut shell, &line);
            let end = shell.run();
            (end, shell.into_watchdog(), good)
        }
        Err(error) => {
            // Without signals or epoll there is no supervising: start over.
            let mut console = open_console();
            say(&mut console, &format!("init cannot run: {error}"));
            std::thread::sleep(LAST_RESORT_PAUSE);
            (End::Reboot, None, false)
        }
    };
    end_box(end.0, end.1, end.2, &line)
}

/// What the kernel gave as standard error: /dev/console of the initramfs.
fn early_console() -> Option<File> {
    use std::os::fd::AsFd;
    io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .ok()
        .map(File::from)
}

/// Non-blocking, so that a serial line that takes nothing holds nobody.
fn open_console() -> Option<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open("/dev/console")
        .ok()
}

fn say(console: &mut Option<File>, text: &str) {
    if let Some(console) = console {
        let _ = write!(console, "lintel: {text}\r\n");
    }
}

/// What the watchdog needs: devices and their classes.
fn mount_early() {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_one("devtmpfs", "/dev", flags, "mode=0755");
    mount_one("proc", "/proc", flags | MsFlags::MS_NODEV, "");
    mount_one("sysfs", "/sys", flags | MsFlags::MS_NODEV, "");
}

fn mount_rest() {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_one("tmpfs", "/run", flags, "mode=0755,size=8m");
    mount_one("tmpfs", "/tmp", flags, "mode=1777,size=8m");
    mount_one("cgroup2", "/sys/fs/cgroup", flags, "");
    if let Err(error) = fs::create_dir_all(RUN_DIR) {
        log::error!("{RUN_DIR} could not be made: {error}");
    }
}

fn mount_one(kind: &str, place: &str, flags: MsFlags, options: &str) {
    let _ = nix::unistd::mkdir(place, Mode::from_bits_truncate(0o755));
    match mount(Some(kind), place, Some(kind), flags, Some(options)) {
        // EBUSY: the kernel has mounted it already.
        Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
        Err(errno) => log::error!("mounting {place} failed: {errno}"),
    }
}

/// Before anything that can hang.
fn arm_watchdog() -> Option<Watchdog> {
    match Watchdog::arm_best() {
        Ok(Some(watchdog)) => {
            log::info!("watchdog: {}", watchdog.identity);
            Some(watchdog)
        }
        Ok(None) => {
            log::warn!("this machine has no watchdog");
            None
        }
        Err(error) => {
            log::warn!("no watchdog: {error}");
            None
        }
    }
}

/// Until netd's first batch is in, nothing is forwarded and no advertisement is believed.
fn set_sysctls() {
    for (name, value) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv4/conf/default/accept_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/accept_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/default/arp_ignore", "1"),
        ("net/ipv4/conf/default/arp_announce", "2"),
        ("kernel/kptr_restrict", "2"),
        ("kernel/dmesg_restrict", "1"),
        ("kernel/panic", "5"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/hostname", "lintel"),
    ] {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
            log::warn!("{name} could not be set: {error}");
        }
    }
    size_conntrack();
}

/// The kernel sizes the table of connections by its RAM for a host: 1,024 entries with 128 MiB,
/// which one busy page fills. When it is full, every new connection of the household is dropped.
fn size_conntrack() {
    let entries = conntrack_entries_max(ram_kib());
    for (path, value) in [
        // Two entries a bucket, each of which stands in the table by two tuples.
        ("/sys/module/nf_conntrack/parameters/hashsize", entries / 2),
        ("/proc/sys/net/netfilter/nf_conntrack_max", entries),
    ] {
        if let Err(error) = fs::write(path, value.to_string()) {
            log::warn!("{path} could not be set: {error}");
        }
    }
}

/// An entry takes some 320 octets: a full table is a twelfth of the RAM, and 5 MiB at least.
fn conntrack_entries_max(total_kib: u64) -> u64 {
    (total_kib / 4).clamp(16_384, 262_144)
}

/// Opens /data, and says whether it is good.
fn use_data(shell: &mut Shell, line: &KernelCommandLine) -> bool {
    let mut data = open_data(line);
    shell.reset(resets(&mut data, line));
    let dir = data.is_ok().then(|| PathBuf::from(DATA_DIR));
    set_clock_floor(dir.as_deref());
    let state = match &data {
        Ok(()) => DataState::Good,
        Err(error) => DataState::Failed {
            reason: chain(error),
        },
    };
    shell.data_opened(state, dir.as_deref().map(LogFiles::new), dir);
    data.is_ok()
}

/// What somebody at the box wants to be reset, or had reset before this boot. Everything is
/// removed here, where nobody has /data open yet; also when it does not mount.
fn resets(data: &mut Result<(), data::DataError>, line: &KernelCommandLine) -> Option<Reset> {
    let dir = Path::new(DATA_DIR);
    let mark = data.is_ok().then(|| presence::mark(dir)).flatten();
    let by = |kind, by| Some(Reset { kind, by });
    match line.reset {
        Some(ResetKind::Factory) if mark == Some(ResetBy::Argument) => {}
        Some(ResetKind::Factory) => {
            log::warn!("lintel.reset=factory: everything that is stored is removed");
            if data.is_ok()
                && let Err(errno) = umount2(dir, MntFlags::empty())
            {
                log::error!("/data cannot be made anew, since it stays mounted: {errno}");
                return None;
            }
            let done = reset_data(line);
            *data = open_data(line);
            let kept = done.and_then(|()| presence::leave_mark(dir, ResetBy::Argument));
            if let Err(error) = kept {
                log::error!("/data could not be made anew: {error}");
                return None;
            }
        }
        Some(ResetKind::Password) | None => presence::clear_mark(dir),
    }
    match (line.reset, mark) {
        (Some(kind), _) => by(kind, ResetBy::Argument),
        (None, Some(ResetBy::Button)) => by(ResetKind::Factory, ResetBy::Button),
        (None, _) => None,
    }
}

fn open_data(line: &KernelCommandLine) -> Result<(), data::DataError> {
    let result = match line.data.as_deref() {
        Some("none") => Err(data::DataError::NotFound),
        Some(device) => data::mount_device(Path::new(device), Path::new(DATA_DIR)),
        None => match wait_for_device() {
            Some(device) => data::mount_device(&device, Path::new(DATA_DIR)),
            None => Err(data::DataError::NotFound),
        },
    };
    match &result {
        Ok(()) => match data::load_seed(Path::new(DATA_DIR)) {
            Ok(true) => {}
            Ok(false) => log::info!("no seed of an earlier boot"),
            Err(error) => log::warn!("the seed was not loaded: {error}"),
        },
        Err(error) => log::error!("/data: {}", chain(error)),
    }
    result
}

fn wait_for_device() -> Option<PathBuf> {
    let end = Clock.now() + DATA_WAIT_MAX;
    loop {
        if let Some(device) = data::find_device() {
            return Some(device);
        }
        if Clock.now() >= end {
            return None;
        }
        std::thread::sleep(DATA_LOOK_EVERY);
    }
}

/// The clock is never before the source was written, nor before it was last kept.
fn set_clock_floor(data_dir: Option<&Path>) {
    let source: u64 = option_env!("LINTEL_SOURCE_TIME")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let kept = data_dir.and_then(data::kept_clock).unwrap_or(0);
    let floor = source.max(kept);
    if Clock.unix_s() >= floor {
        return;
    }
    let Ok(seconds) = floor.try_into() else {
        return;
    };
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)) {
        Ok(()) => log::info!("the clock was behind its floor and stands at {floor} now"),
        Err(errno) => log::warn!("the clock could not be set: {errno}"),
    }
}

/// What is known before /data is.
fn setup(line: &KernelCommandLine) -> Setup {
    let run_dir = PathBuf::from(RUN_DIR);
    let exe = super::exe();
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let start = Start {
        role: RoleName::Init,
        run: None,
        data: DataState::Failed {
            reason: "/data is not open yet".to_owned(),
        },
        board: board(line),
        factory_config: read_or_say(FACTORY_CONFIG),
        version: super::version(),
        boot_id: super::boot_id(),
        sockets: Vec::new(),
        test: line.test,
        reset: None,
        data_dir: PathBuf::from(DATA_DIR),
        run_dir: run_dir.clone(),
    };
    let mut chores = Chores::default();
    chores.consoles = Some(Consoles::new(exe.clone(), &active, Clock.now()));
    Setup {
        roles: RoleName::SPAWNED.to_vec(),
        isolation: Isolation::Boot,
        addresses: Addresses {
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            dns_port: 53,
            dhcp_port: 67,
            http_port: 80,
            https_port: 443,
            ntp_port: lintel_model::config::NTP_PORT,
            run_dir,
        },
        files: None,
        escape_test: line.escape_test,
        groups: groups(),
        button: None,
        chores,
        exe,
        start,
    }
}

/// A kernel without the controller leaves the roles to their resource limits.
fn groups() -> Option<Groups> {
    Groups::open(Path::new(groups::ROOT), ram_kib() << 10)
        .inspect_err(|error| log::warn!("no bounds of the roles' memory: {error}"))
        .ok()
}

/// `MemTotal`; 0 when the kernel does not say.
fn ram_kib() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    proc_text::number(&meminfo, "MemTotal:").unwrap_or(0)
}

fn board(line: &KernelCommandLine) -> BoardSpec {
    let mut board: BoardSpec = toml::from_str(&read_or_say(BOARD)).unwrap_or_else(|error| {
        log::warn!("{BOARD}: {error}");
        BoardSpec::default()
    });
    if line.wan.is_some() {
        board.wan_path.clone_from(&line.wan);
    }
    board.wan_path = board.wan_path.map(|path| kernel_path(&path));
    board
}

/// The bus path as the kernel names the parent of the link: a virtio card in a PCI slot hangs
/// on the virtio bus, whose numbers depend on what else is plugged in; people name the slot.
fn kernel_path(path: &str) -> String {
    let virtio = path.strip_prefix("pci-").and_then(|slot| {
        let children = fs::read_dir(Path::new("/sys/bus/pci/devices").join(slot)).ok()?;
        children
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| name.starts_with("virtio"))
    });
    virtio.map_or_else(|| path.to_owned(), |device| format!("virtio-{device}"))
}

fn read_or_say(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| {
        log::warn!("{path}: {error}");
        String::new()
    })
}

/// Makes the device of /data anew.
fn reset_data(line: &KernelCommandLine) -> io::Result<()> {
    let device = match line.data.as_deref() {
        Some("none") => None,
        Some(device) => Some(PathBuf::from(device)),
        None => data::find_device(),
    };
    let device = device.ok_or_else(|| io::Error::other("there is no device for it"))?;
    data::make_anew(&device)
}

/// Everything has stopped: keep what is to be kept, and go.
fn end_box(end: End, watchdog: Option<Watchdog>, data_good: bool, line: &KernelCommandLine) -> ! {
    let data_dir = Path::new(DATA_DIR);
    let mut console = open_console();
    if data_good {
        let _ = data::keep_clock(data_dir, Clock.unix_s());
        let _ = data::save_seed(data_dir);
    }
    nix::unistd::sync();
    // A file system that failed after its mount is still mounted.
    if umount2(data_dir, MntFlags::empty()).is_err() && data_good {
        // Somebody holds it: read-only is as good for the next boot.
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let _ = mount(None::<&str>, data_dir, None::<&str>, flags, None::<&str>);
    }
    if matches!(end, End::ResetData | End::ButtonReset) {
        let done = reset_data(line).and_then(|()| match end {
            // So that the next boot can tell of it.
            End::ButtonReset => open_data(line)
                .map_err(io::Error::other)
                .and_then(|()| presence::leave_mark(data_dir, ResetBy::Button))
                .and_then(|()| Ok(umount2(data_dir, MntFlags::empty())?)),
            _ => Ok(()),
        });
        let text = match done {
            Ok(()) => "/data was made anew".to_owned(),
            Err(error) => format!("/data could not be made anew: {error}"),
        };
        say(&mut console, &text);
    }
    say(&mut console, "ended in order");
    // Armed until here, so that a hang above is a reset.
    if let Some(watchdog) = watchdog {
        let _ = watchdog.disarm();
    }
    let mode = match end {
        End::PowerOff => RebootMode::RB_POWER_OFF,
        End::Stop | End::Reboot | End::ResetData | End::ButtonReset => RebootMode::RB_AUTOBOOT,
    };
    loop {
        let _ = reboot(mode);
        // Not reached while the kernel is well; PID 1 must not return.
        std::thread::sleep(LAST_RESORT_PAUSE);
        let _ = reboot(RebootMode::RB_AUTOBOOT);
    }
}
