//! Real processes: each role of the table is spawned as on a box (its own uid and
//! capabilities), closes its sandbox and tries to get out. Needs root. The build host proves
//! less than the same probes inside QEMU, where our kernel answers; it fails sooner.
//!
//! The test is its own role binary, so it has no libtest harness.
#![allow(clippy::unwrap_used, clippy::panic)] // a test
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // of real processes

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use embassy_time::Duration;
use lintel_ipc::init::{FromInit, Start, ToInit};
use lintel_model::RoleName;
use lintel_model::facts::DataState;
use lintel_rt::channel::{Channel, pair};
use lintel_rt::clock::Clock;
use lintel_rt::poller::{Interest, Poller};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext};
use lintel_rt::spawn::{Isolation, Pace, log_pipe, reserve_init_fd, spawn};
use lintel_rt::table::{ROLES, RolePolicy};
use lintel_rt::{escape, logger, sandbox};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "role") {
        toy();
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: taking another uid needs root");
        return;
    }
    let dir = std::env::temp_dir().join(format!("lintel-sandbox-{}", std::process::id()));
    for made in ["state", "log", "run"] {
        std::fs::create_dir_all(dir.join(made)).unwrap();
    }
    for file in ["state/lintel.db", "log/lintel.log", "seed"] {
        std::fs::write(dir.join(file), "secret").unwrap();
    }
    open_to_all(&dir);
    let _control = std::os::unix::net::UnixListener::bind(dir.join("run/control.sock")).unwrap();
    set_mode(&dir.join("run/control.sock"), 0o600);
    reserve_init_fd().unwrap();
    for policy in &ROLES {
        probe_role(policy, &dir);
        println!("{} cannot get out ... ok", policy.role);
    }
    a_refused_call_leaves_a_record(&dir);
    println!("a refused call leaves a record ... ok");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Readable and writable by every uid, so that only the sandbox stands in the way.
fn open_to_all(dir: &Path) {
    set_mode(dir, 0o777);
    for name in ["state", "log", "state/lintel.db", "log/lintel.log", "seed"] {
        set_mode(&dir.join(name), 0o777);
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn probe_role(policy: &'static RolePolicy, dir: &Path) {
    let mut child = Child::start(policy, dir, true);
    child.wait_for(|message| *message == ToInit::Ready);
    child.channel.send(&FromInit::Probe).unwrap();
    let mut results = BTreeMap::new();
    child.wait_for(|message| {
        let ToInit::Probed { probe, allowed } = message else {
            return false;
        };
        results.insert(probe.clone(), *allowed);
        probe == escape::DONE
    });
    assert!(results.len() > 40, "{}: {results:?}", policy.role);
    for (probe, allowed) in &results {
        let by_design = policy.escapes_allowed.contains(&probe.as_str());
        // netd may write to the kernel of this namespace; whether it does here is the host's.
        if !by_design {
            assert!(!allowed, "{} was allowed {probe}", policy.role);
        } else if probe == "open-state" || probe == "clock-adjust" || probe.starts_with("socket") {
            assert!(
                allowed,
                "{} was refused {probe}, which it needs",
                policy.role
            );
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let kept = policy
        .capabilities
        .iter()
        .fold(0_u64, |set, capability| set | 1 << (*capability as u32));
    let uid = policy.uid.to_string();
    assert_eq!(field("Uid:").split_whitespace().last().unwrap(), uid);
    assert_eq!(field("Gid:").split_whitespace().last().unwrap(), uid);
    assert_eq!(field("Groups:"), "");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), kept, "{set}");
    }
    child.channel.send(&FromInit::Stop).unwrap();
    assert_eq!(
        child.wait(),
        nix::sys::wait::WaitStatus::Exited(child.id(), 0)
    );
}

fn a_refused_call_leaves_a_record(dir: &Path) {
    let wand = ROLES
        .iter()
        .find(|policy| policy.role == RoleName::Wand)
        .unwrap();
    let mut child = Child::start(wand, dir, false);
    child.wait_for(|message| *message == ToInit::Ready);
    // The toy makes a socket when it hears this.
    child
        .channel
        .send(&FromInit::Data(DataState::Good))
        .unwrap();
    let status = child.wait();
    let expected = nix::sys::wait::WaitStatus::Exited(child.id(), sandbox::REFUSED_CALL_EXIT);
    assert_eq!(status, expected);
    let log = child.log();
    let number = nix::libc::SYS_socket.to_string();
    assert!(
        log.contains("the sandbox refused system call") && log.contains(&number),
        "{log}"
    );
}

/// A role's process and our end of its channel.
struct Child {
    pid: u32,
    channel: Channel<FromInit, ToInit>,
    poller: Poller,
    log: std::fs::File,
}

impl Child {
    fn start(policy: &'static RolePolicy, dir: &Path, test: bool) -> Self {
        let (ours, theirs) = pair().unwrap();
        let (log_write, log_read) = log_pipe().unwrap();
        let exe = PathBuf::from("/proc/self/exe");
        let pid = spawn(
            &exe,
            policy,
            Isolation::Boot,
            Pace::Usual,
            theirs,
            log_write,
        )
        .unwrap();
        let mut channel = Channel::new(ours).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&channel, 0, Interest::READ).unwrap();
        let start = Start {
            data_dir: dir.to_owned(),
            run_dir: dir.join("run"),
            test,
            ..Start::of(policy.role)
        };
        channel.send(&FromInit::Start(Box::new(start))).unwrap();
        Self {
            pid,
            channel,
            poller,
            log: log_read.into(),
        }
    }

    fn id(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.pid as i32)
    }

    fn wait_for(&mut self, mut wanted: impl FnMut(&ToInit) -> bool) {
        let deadline = Clock.now() + Duration::from_secs(10);
        let mut events = Vec::new();
        loop {
            while let Some((message, _)) = match self.channel.recv() {
                Ok(message) => message,
                Err(error) => panic!("{error}; log: {}", self.log()),
            } {
                if wanted(&message) {
                    return;
                }
            }
            assert!(Clock.now() < deadline, "no answer; log: {}", self.log());
            self.poller.wait(Some(deadline), &mut events).unwrap();
        }
    }

    fn wait(&mut self) -> nix::sys::wait::WaitStatus {
        nix::sys::wait::waitpid(self.id(), None).unwrap()
    }

    fn log(&mut self) -> String {
        let mut octets = Vec::new();
        // Non-blocking: what stands there now.
        let _ = self.log.read_to_end(&mut octets);
        String::from_utf8_lossy(&octets).into_owned()
    }
}

/// The role: does what every role does at its start, then a bit of everything that a role
/// needs afterwards.
fn toy() {
    logger::install(log::LevelFilter::Debug);
    let mut ctx = RoleContext::from_init().unwrap();
    sandbox::enter(&ctx).unwrap();
    everyday_life(&ctx);
    ctx.ready().unwrap();
    let mut events = Vec::new();
    loop {
        ctx.poller.wait(None, &mut events).unwrap();
        assert!(events.iter().all(|event| event.token == INIT_TOKEN));
        while let Some(event) = ctx.on_init().unwrap() {
            match event {
                InitEvent::Stop => return,
                InitEvent::Data(_) => {
                    let _ = std::net::UdpSocket::bind("127.0.0.1:0");
                }
                _ => {}
            }
        }
    }
}

/// Memory, time, randomness, messages long and short, threads where they are allowed, files
/// where they are.
fn everyday_life(ctx: &RoleContext) {
    let now = ctx.clock.now();
    assert!(ctx.clock.now() >= now);
    let (a, b) = pair().unwrap();
    let mut a: Channel<String, String> = Channel::new(a).unwrap();
    let mut b: Channel<String, String> = Channel::new(b).unwrap();
    a.send(&"x".repeat(200_000)).unwrap();
    assert_eq!(b.recv().unwrap().unwrap().0.len(), 200_000);
    let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
    a.send_with(&String::new(), vec![OwnedFd::from(left)])
        .unwrap();
    assert_eq!(b.recv().unwrap().unwrap().1.len(), 1);
    drop(right);
    let mut random = [0; 32];
    lintel_rt::device::random(&mut random).unwrap();
    drop(vec![1_u8; 4 << 20]);
    let _ = std::thread::available_parallelism();
    let role = ctx.start.role;
    if matches!(role, RoleName::Webd | RoleName::Dnsd | RoleName::Controld) {
        let made = std::thread::Builder::new().spawn(|| 7).unwrap();
        assert_eq!(made.join().unwrap(), 7);
    }
    if role == RoleName::Dnsd {
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    }
    if role == RoleName::Controld {
        let kept = ctx.start.data_dir.join("state/kept");
        std::fs::write(&kept, "1").unwrap();
        std::fs::rename(&kept, kept.with_extension("2")).unwrap();
        std::fs::remove_file(kept.with_extension("2")).unwrap();
        std::fs::read_to_string("/proc/meminfo").unwrap();
    }
    if role == RoleName::Netd {
        std::fs::read_dir("/sys/class/net").unwrap().count();
    }
}
