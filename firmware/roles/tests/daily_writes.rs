//! What a day of a household writes to the flash: the state machine, the store and init's files
//! over a real ext4, a day of virtual time, and the sectors that reached the block device.
//!
//! Time that passes between two things that happen is worth what it is worth on a box: when it is
//! longer than ext4's interval between commits, everything is written back. Needs a loop device.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "makes a disk, reads its counters"
)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use embassy_time::Instant;
use lintel_ipc::call::{Call, Caller, Origin};
use lintel_ipc::dhcpd::FromDhcpd;
use lintel_ipc::init::{InitReply, InitRequest, LogLine, Start};
use lintel_ipc::netd::{FromNetd, ToNetd};
use lintel_ipc::timed::FromTimed;
use lintel_ipc::wand::FromWand;
use lintel_model::board::BoardSpec;
use lintel_model::lease::{Binding, BindingState, WanLease};
use lintel_model::observed::ObservedState;
use lintel_model::{MacAddr, RoleName};
use lintel_plan::fake::{FakeKernel, port};
use lintel_proto::rng::Rng;
use lintel_roles::controld::core::{Core, Input, Now, Output, Via};
use lintel_roles::init::data;
use lintel_roles::init::log_files::LogFiles;
use lintel_store::Store;

/// What a day may write.
const BYTES_MAX: u64 = 2_000_000;
/// ext4's interval between commits, as init mounts it.
const COMMIT_S: u64 = 30;
const UNIX_S: u64 = 1_700_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const LEASE_S: u64 = 12 * HOUR;
/// Devices that stay, and devices that come and go.
const SETTLED: u8 = 20;
const ROAMING: u8 = 10;
const PASSWORD: &str = "a good pass phrase";

/// An ext4 on a loop device, as the image has it, away with this value.
struct Disk {
    dir: PathBuf,
    device: String,
}

impl Disk {
    fn new() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("lintel-day-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let image = dir.with_extension("img");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(256 << 20).unwrap();
        run(Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4"])
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image))?;
        let device = run(Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&image));
        let device = device.inspect_err(|_| {
            let _ = std::fs::remove_file(&image);
        })?;
        let disk = Self {
            dir,
            device: device.trim().to_owned(),
        };
        run(Command::new("mount")
            .args(["-o", "noatime,errors=remount-ro,commit=30"])
            .args([disk.device.as_str()])
            .arg(&disk.dir))?;
        Ok(disk)
    }

    /// Everything that waits reaches the disk, as it does when nothing happens for a while.
    fn settle(&self) {
        run(Command::new("sync").arg("-f").arg(&self.dir)).unwrap();
    }

    /// Octets that were written so far.
    fn written(&self) -> u64 {
        let name = Path::new(&self.device).file_name().unwrap();
        let stat = Path::new("/sys/block").join(name).join("stat");
        let text = std::fs::read_to_string(stat).unwrap();
        let sectors = text.split_whitespace().nth(6).unwrap();
        sectors.parse::<u64>().unwrap() * 512
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.dir));
        let _ = run(Command::new("losetup").args(["--detach", &self.device]));
        let _ = std::fs::remove_file(self.dir.with_extension("img"));
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}

/// Lines that controld logs, for init's files.
struct Lines(Mutex<Vec<(String, String)>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = record.level().as_str().to_ascii_lowercase();
        let line = (level, record.args().to_string());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

struct Counting(u64);

impl Rng for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            self.0 += 1;
            part.copy_from_slice(&self.0.to_le_bytes()[..part.len()]);
        }
    }
}

/// What happens, in the order in which it does.
#[derive(Debug, Clone)]
enum Event {
    /// A device renews, comes back or comes new.
    Lease(u8),
    /// A device leaves and says so.
    Release(u8),
    /// The provider renews the WAN's lease.
    Wan,
    /// timed tells of the frequency it found.
    Drift(i64),
    /// Somebody logs in.
    Login,
    /// Somebody changes the configuration.
    Config(u8),
    /// A role has something to say.
    Line(RoleName, &'static str, String),
}

/// The box, all but its kernel and its network.
struct House<'a> {
    disk: &'a Disk,
    core: Core,
    kernel: FakeKernel,
    sysctls: Vec<String>,
    logs: LogFiles,
    lines: &'static Lines,
    calls: u64,
    at_s: u64,
    keep_clock_at: u64,
    settled_at: u64,
    /// Written-back periods in which something was.
    commits: u32,
    /// Tell of each.
    each: bool,
}

impl<'a> House<'a> {
    fn new(disk: &'a Disk, lines: &'static Lines) -> Self {
        data::lay_out(&disk.dir, false).unwrap();
        let start = Start {
            data_dir: disk.dir.clone(),
            board: BoardSpec {
                name: "test".to_owned(),
                title: "Test".to_owned(),
                wan_path: Some("pci-0000:00:03.0".to_owned()),
            },
            version: "0".to_owned(),
            boot_id: "0".to_owned(),
            ..Start::of(RoleName::Controld)
        };
        let store = Store::open_or_restore(&disk.dir, UNIX_S);
        let ports = [("eth0", 2), ("eth1", 3)];
        let links = ports.map(|(name, index)| port(name.parse().unwrap(), index));
        let core = Core::new(moment(10), start, store, Box::new(Counting(0))).unwrap();
        let mut house = Self {
            disk,
            core,
            kernel: FakeKernel::new(ObservedState {
                links: links.into(),
                ..ObservedState::default()
            }),
            sysctls: Vec::new(),
            logs: LogFiles::new(&disk.dir),
            lines,
            calls: 0,
            at_s: 10,
            keep_clock_at: HOUR,
            settled_at: 0,
            commits: 0,
            each: std::env::var_os("LINTEL_DAY_EACH").is_some(),
        };
        for role in RoleName::SPAWNED {
            if role != RoleName::Controld {
                house.input(Input::Session(role));
            }
        }
        data::load_seed(&disk.dir)
            .unwrap_or_else(|_| data::save_seed(&disk.dir).map(|()| false).unwrap());
        house
    }

    fn input(&mut self, input: Input) {
        self.core.handle(moment(self.at_s), input);
        self.drain();
    }

    fn drain(&mut self) {
        let now = moment(self.at_s);
        while let Some(output) = self.core.poll() {
            match output {
                Output::Netd(ToNetd::Observe { sysctls }) => {
                    self.sysctls = sysctls;
                    let look = self.look();
                    self.core.handle(now, Input::Netd(FromNetd::Observed(look)));
                }
                Output::Netd(ToNetd::Apply { id, plan }) => {
                    self.kernel.apply(&plan).unwrap();
                    let done = u32::try_from(plan.steps.len()).unwrap();
                    let applied = FromNetd::Applied {
                        id,
                        done,
                        error: None,
                        kernel_writes: u64::from(done),
                    };
                    self.core.handle(now, Input::Netd(applied));
                    let look = self.look();
                    self.core.handle(now, Input::Netd(FromNetd::Observed(look)));
                }
                Output::Init { id, request } => {
                    let reply = match request {
                        InitRequest::Services => InitReply::Services(Vec::new()),
                        _ => InitReply::Done,
                    };
                    self.core.handle(now, Input::Init { id, reply });
                }
                Output::Restart => panic!("the storage is given up"),
                _ => {}
            }
        }
        let said = std::mem::take(&mut *self.lines.0.lock().unwrap());
        for (level, text) in said {
            self.line(RoleName::Controld, &level, text);
        }
    }

    fn look(&self) -> Box<ObservedState> {
        Box::new(self.kernel.looked_at(&self.sysctls))
    }

    fn line(&mut self, role: RoleName, level: &str, text: String) {
        let line = LogLine {
            seq: 0,
            uptime_ms: self.at_s * 1000,
            unix_ms: (UNIX_S + self.at_s) * 1000,
            role,
            level: level.to_owned(),
            text,
        };
        self.logs.push(Instant::from_secs(self.at_s), &line);
    }

    /// Time passes, and everything that was due on its way is done.
    fn pass_to(&mut self, end_s: u64) {
        loop {
            let whole = |at: Instant| at.as_micros().div_ceil(1_000_000);
            let core = self.core.deadline().map_or(u64::MAX, whole);
            let logs = self.logs.timeout().map_or(u64::MAX, whole);
            let next = core.min(logs).min(self.keep_clock_at).min(end_s);
            let next = next.max(self.at_s);
            if next.saturating_sub(self.settled_at) > COMMIT_S {
                let before = self.disk.written();
                self.disk.settle();
                self.settled_at = next;
                let bytes = self.disk.written() - before;
                self.commits += u32::from(bytes > 0);
                if self.each && bytes > 0 {
                    println!("each: before {next} s {} KiB", bytes >> 10);
                }
            }
            self.at_s = next;
            if core <= next {
                self.core.handle_timeout(moment(next));
                self.drain();
            }
            if logs <= next {
                self.logs.flush().unwrap();
            }
            if self.keep_clock_at <= next {
                data::keep_clock(&self.disk.dir, UNIX_S + next).unwrap();
                self.keep_clock_at += HOUR;
            }
            if next == end_s {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Lease(n) => {
                self.bind(n, BindingState::Bound);
            }
            Event::Release(n) => {
                self.bind(n, BindingState::Released);
            }
            Event::Wan => {
                let lease = WanLease {
                    link: "eth1".parse().unwrap(),
                    address: Ipv4Addr::new(198, 51, 100, 7),
                    prefix_len: 24,
                    router: Some(Ipv4Addr::new(198, 51, 100, 1)),
                    dns: vec![Ipv4Addr::new(198, 51, 100, 1)],
                    ntp: Vec::new(),
                    domain: Some("example.net".to_owned()),
                    mtu: None,
                    routes: Vec::new(),
                    server: Ipv4Addr::new(198, 51, 100, 1),
                    bound_unix_s: UNIX_S + self.at_s,
                    lease_s: 3600,
                    renew_s: 1800,
                    rebind_s: 3150,
                };
                self.input(Input::Wand(FromWand::Lease(lease)));
                let text = "eth1 has 198.51.100.7/24 for 1 h 0 min".to_owned();
                self.line(RoleName::Wand, "info", text);
            }
            Event::Drift(drift) => self.input(Input::Timed(FromTimed::Drift(drift))),
            Event::Login => {
                let password = serde_json::json!({ "password": PASSWORD });
                self.call("auth.login", password);
            }
            Event::Config(n) => {
                let toml = format!("[system]\nhostname = \"house-{n}\"\n");
                self.call("config.apply", serde_json::json!({ "toml": toml }));
            }
            Event::Line(role, level, text) => self.line(role, level, text),
        }
    }

    fn bind(&mut self, n: u8, state: BindingState) {
        let now = UNIX_S + self.at_s;
        let binding = Binding {
            address: Ipv4Addr::new(192, 168, 1, 100 + n),
            mac: MacAddr([2, 0, 0, 0, 0, n]),
            client_id: vec![1, 2, 0, 0, 0, 0, n],
            host_name: Some(format!("device-{n}")),
            bound_unix_s: now,
            expires_unix_s: match state {
                BindingState::Bound => now + LEASE_S,
                BindingState::Released | BindingState::Declined => now,
            },
            state,
        };
        self.input(Input::Dhcpd(vec![FromDhcpd::Bind {
            token: 1,
            binding,
            start_unix_s: UNIX_S as i64,
        }]));
    }

    fn call(&mut self, method: &str, params: serde_json::Value) {
        self.calls += 1;
        let call = Call {
            id: self.calls,
            method: method.to_owned(),
            params,
            caller: Caller {
                origin: Origin::Local,
                ..Caller::default()
            },
        };
        let via = Via::Control(1);
        self.input(Input::Call {
            via,
            call,
            memory: None,
        });
    }
}

fn moment(s: u64) -> Now {
    Now {
        mono: Instant::from_secs(s),
        unix_s: UNIX_S + s,
    }
}

/// The day, from midnight to midnight.
fn day() -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    for n in 0..SETTLED {
        // Each at its own minute, every six hours (T1).
        let first = u64::from(n) * 937 % (LEASE_S / 2);
        for k in 0..4 {
            events.push((first + k * LEASE_S / 2, Event::Lease(n)));
        }
    }
    for n in 0..ROAMING {
        // Telephones: from the morning on they sleep, go and come back a dozen times.
        for k in 0..12 {
            let at = 7 * HOUR + u64::from(n) * 311 + k * 4_700 + u64::from(n) * k * 17;
            events.push((at.min(DAY - 1), Event::Lease(SETTLED + n)));
        }
    }
    for guest in 0..2 {
        events.push((19 * HOUR + guest * 60, Event::Lease(60 + guest as u8)));
    }
    events.push((23 * HOUR, Event::Release(60)));
    for k in 0..48 {
        events.push((k * 1800 + 77, Event::Wan));
    }
    for k in 0..24 {
        events.push((k * HOUR + 1800, Event::Drift(100_000 + k as i64 * 37)));
    }
    events.push((20 * HOUR, Event::Login));
    events.push((20 * HOUR + 120, Event::Config(1)));
    events.push((21 * HOUR, Event::Login));
    for k in 0..30 {
        // A resolver that is away for a minute, a wrong password, a device that is odd.
        let level = ["info", "warn"][k as usize % 2];
        let text = format!("the resolver 198.51.100.{k} does not answer");
        events.push((k * 2_869 + 11, Event::Line(RoleName::Dnsd, level, text)));
    }
    events.push((
        15 * HOUR,
        Event::Line(
            RoleName::Netd,
            "error",
            "looking at the kernel failed".to_owned(),
        ),
    ));
    events.sort_by_key(|(at, _)| *at);
    events
}

#[test]
fn a_day_of_a_household_writes_little() {
    static LINES: OnceLock<Arc<Lines>> = OnceLock::new();
    let lines: &'static Lines = LINES.get_or_init(|| Arc::new(Lines(Mutex::default())));
    log::set_logger(lines).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED a_day_of_a_household_writes_little: {why}"),
    };
    let mut house = House::new(&disk, lines);
    // The day before: everybody has a lease, the box is claimed, a snapshot is made.
    let claim = serde_json::json!({ "password": PASSWORD });
    house.call("auth.setup", claim);
    house.happen(Event::Wan);
    for n in 0..SETTLED + ROAMING {
        house.happen(Event::Lease(n));
    }
    let midnight = 2 * DAY;
    for (at, event) in day() {
        house.pass_to(midnight - DAY + at);
        house.happen(event);
    }
    house.pass_to(midnight);
    disk.settle();
    let begun = disk.written();
    house.commits = 0;
    for (at, event) in day() {
        house.pass_to(midnight + at);
        house.happen(event);
    }
    house.pass_to(midnight + DAY);
    disk.settle();
    let bytes = disk.written() - begun;
    println!("day: {} times something was written", house.commits);
    println!(
        "day: {} KB written to /data in a day of {} devices; {} KB is the bound",
        bytes / 1000,
        SETTLED + ROAMING,
        BYTES_MAX / 1000
    );
    assert!(bytes < BYTES_MAX, "{bytes}");
}
