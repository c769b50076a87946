//! `lintel run` with toy roles in real processes: start, crash, hang, storm, stop.
//!
//! The test is its own binary for the supervisor and for the roles, so it has no libtest
//! harness. What a toy does beside serving stands in the file `DATA/toys/ROLE`.
#![allow(clippy::unwrap_used, clippy::panic)] // a test
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // of real processes

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use lintel_ipc::init::{ChannelKind, InitReply, InitRequest};
use lintel_model::RoleName;
use lintel_roles::init::{RunArgs, run};
use lintel_rt::channel::{Channel, ChannelError};
use lintel_rt::poller::Interest;
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext};
use lintel_rt::{logger, sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A loaded machine of two cores does nothing in less.
const DEADLINE: Duration = Duration::from_secs(20);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("role") => toy(args.get(2).unwrap().parse().unwrap()),
        Some("supervise") => supervise(Path::new(args.get(2).unwrap())),
        _ => all_tests(args.iter().skip(1).filter(|arg| !arg.starts_with('-'))),
    }
}

fn all_tests<'a>(filters: impl Iterator<Item = &'a String>) {
    let filters: Vec<&String> = filters.collect();
    let tests: [(&str, fn()); 10] = [
        (
            "every_role_serves_and_every_pair_talks",
            every_role_serves_and_every_pair_talks,
        ),
        (
            "a_killed_role_comes_back_in_new_sessions",
            a_killed_role_comes_back_in_new_sessions,
        ),
        (
            "controld_comes_back_and_all_talk_to_it_again",
            controld_comes_back_and_all_talk_to_it_again,
        ),
        (
            "a_storm_is_slowed_down_and_hurts_nobody",
            a_storm_is_slowed_down_and_hurts_nobody,
        ),
        (
            "a_role_that_hangs_is_replaced",
            a_role_that_hangs_is_replaced,
        ),
        (
            "a_role_that_never_serves_is_replaced",
            a_role_that_never_serves_is_replaced,
        ),
        ("a_refused_call_is_told", a_refused_call_is_told),
        (
            "a_flood_of_lines_holds_nobody",
            a_flood_of_lines_holds_nobody,
        ),
        (
            "roles_die_with_a_killed_supervisor",
            roles_die_with_a_killed_supervisor,
        ),
        ("a_wrong_file_is_told_whole", a_wrong_file_is_told_whole),
    ];
    let threads: Vec<_> = tests
        .into_iter()
        .filter(|(name, _)| {
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
        })
        .map(|(name, test)| (name, std::thread::spawn(test)))
        .collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, thread) in threads {
        let ok = thread.join().is_ok();
        *(if ok { &mut passed } else { &mut failed }) += 1;
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
    assert!(failed == 0, "a test failed");
}

fn every_role_serves_and_every_pair_talks() {
    let mut router = Router::start("serve", &[]);
    router.wait("init info ready");
    for role in ["netd", "wand", "dhcpd", "dnsd", "timed", "webd"] {
        router.wait(&format!("{role} info heard hello of controld"));
        router.wait(&format!("controld info heard hello of {role}"));
    }
    for role in ["wand", "dhcpd"] {
        router.wait(&format!("{role} info heard hand-over of netd"));
    }
    router.wait("controld info services: 7 with memory");
    router.stop();
}

fn a_killed_role_comes_back_in_new_sessions() {
    let mut router = Router::start("killed", &[]);
    router.wait("init info ready");
    let pid = router.pid("wand");
    router.wait("controld info heard hello of wand");
    router.wait("wand info heard hand-over of netd");
    kill(pid, Signal::SIGKILL).unwrap();
    router.wait("init error wand (process");
    router.wait("init info wand is ready");
    router.wait("controld info heard hello of wand");
    router.wait("wand info heard hand-over of netd");
    assert_ne!(router.pid("wand"), pid);
    assert_eq!(router.count(" info toy "), 8);
    router.stop();
}

fn controld_comes_back_and_all_talk_to_it_again() {
    let mut router = Router::start("controld", &[]);
    router.wait("init info ready");
    for role in ["netd", "wand", "dhcpd", "dnsd", "timed", "webd"] {
        router.wait(&format!("controld info heard hello of {role}"));
    }
    kill(router.pid("controld"), Signal::SIGQUIT).unwrap();
    router.wait("ended: killed by SIGQUIT");
    for role in ["netd", "wand", "dhcpd", "dnsd", "timed", "webd"] {
        router.wait(&format!("controld info heard hello of {role}"));
    }
    // Nobody else was started anew: their loops go on through it.
    assert_eq!(router.count(" info toy "), 8);
    router.stop();
}

fn a_storm_is_slowed_down_and_hurts_nobody() {
    let mut router = Router::start("storm", &[("dnsd", "crash")]);
    router.wait("dnsd info toy ");
    let end = Instant::now() + Duration::from_secs(3);
    router.read_until(end);
    // 0, 0, 50, 150, 350, 750, 1550 ms, and the next after three seconds.
    let starts = router.count("dnsd info toy ");
    assert!((3..=8).contains(&starts), "{starts} starts");
    for role in ["netd", "controld", "wand", "dhcpd", "timed", "webd"] {
        assert_eq!(router.count(&format!("{role} info toy ")), 1);
    }
    let crash_dir = router.data.join("crash");
    let records: Vec<PathBuf> = std::fs::read_dir(crash_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(records.len(), 1, "one record a minute: {records:?}");
    let record = std::fs::read_to_string(records.first().unwrap()).unwrap();
    assert!(record.contains("dnsd ended: exit status 1"), "{record}");
    assert!(record.contains("my last words"), "{record}");
    router.stop();
}

fn a_role_that_hangs_is_replaced() {
    let mut router = Router::start("hang", &[("wand", "hang")]);
    router.wait("init info ready");
    router.behave("wand", "");
    router.wait_for("wand is killed: it hangs", Duration::from_secs(60));
    router.wait("init info wand is ready");
    router.stop();
}

fn a_role_that_never_serves_is_replaced() {
    let mut router = Router::start("late", &[("wand", "late")]);
    router.wait("init info webd is ready");
    router.behave("wand", "");
    router.wait_for(
        "wand is killed: it did not become ready",
        Duration::from_secs(60),
    );
    router.wait("init info wand is ready");
    router.wait("init info ready");
    router.stop();
}

fn a_refused_call_is_told() {
    let mut router = Router::start("refused", &[("wand", "socket")]);
    router.wait("wand error the sandbox refused system call");
    router.wait("ended: it made a system call that its sandbox refuses");
    router.stop();
}

fn a_flood_of_lines_holds_nobody() {
    let mut router = Router::start("flood", &[("wand", "flood")]);
    router.wait("init info ready");
    router.wait("wand info flood");
    kill(router.pid("dhcpd"), Signal::SIGKILL).unwrap();
    router.wait("init info dhcpd is ready");
    let log: u64 = std::fs::read_dir(router.data.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(log < 3 << 20);
    router.stop();
}

fn roles_die_with_a_killed_supervisor() {
    let mut router = Router::start("orphans", &[]);
    router.wait("init info ready");
    let pids: Vec<Pid> = RoleName::SPAWNED
        .iter()
        .map(|role| router.pid(role.as_str()))
        .collect();
    router.process.kill().unwrap();
    router.process.wait().unwrap();
    let end = Instant::now() + DEADLINE;
    // They are somebody else's children now; a number that answers may be a zombie.
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(Instant::now() < end, "roles outlive their supervisor");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn a_wrong_file_is_told_whole() {
    let dir = Dir::new("wrong");
    let file = dir.0.join("config.toml");
    std::fs::write(&file, "[dhcp]\nlease_s = \"long\"\n[lan]\naddres = \"x\"\n").unwrap();
    let out = Command::new("/proc/self/exe")
        .args(["supervise".as_ref(), dir.0.as_os_str()])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("config.toml:2:"), "{text}");
    assert!(text.contains("config.toml:4:"), "{text}");
    assert!(text.contains("lan.addres"), "{text}");
}

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("lintel-init-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A loopback address that nobody else has while this process lives, so that ports are free.
fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let address = format!("127.{}.{}.{n}", 1 + pid / 250 % 250, 1 + pid % 250);
    format!(
        "[run]\naddress = \"{address}\"\ndns_port = 5300\ndhcp_port = 6700\nhttp_port = 8000\nhttps_port = 8001\nntp_port = 12300\n"
    )
}

/// A supervisor of toys.
struct Router {
    process: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// Lines before this one were waited for.
    at: usize,
    data: PathBuf,
    _dir: Dir,
}

impl Router {
    fn start(name: &str, toys: &[(&str, &str)]) -> Self {
        let dir = Dir::new(name);
        let data = dir.0.join("data");
        std::fs::create_dir_all(data.join("toys")).unwrap();
        for (role, behaviour) in toys {
            std::fs::write(data.join("toys").join(role), behaviour).unwrap();
        }
        std::fs::write(dir.0.join("config.toml"), own_address()).unwrap();
        // As a shell starts its background jobs, and nohup its command: what they ignore is no
        // matter of the roles.
        let mut process = Command::new("sh")
            .args(["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["supervise".as_ref(), dir.0.as_os_str()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Level and role are in columns: one space is enough here.
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                if send.send(words.join(" ")).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            lines,
            seen: Vec::new(),
            at: 0,
            data,
            _dir: dir,
        }
    }

    fn behave(&self, role: &str, behaviour: &str) {
        std::fs::write(self.data.join("toys").join(role), behaviour).unwrap();
    }

    fn wait(&mut self, part: &str) {
        self.wait_for(part, DEADLINE);
    }

    /// Waits for a line with that part. Pairs come up in any order, so a line that was there
    /// before and was not waited for counts, and counts once.
    fn wait_for(&mut self, part: &str, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let found = self.seen.iter().position(|line| line.contains(part));
            if let Some(at) = found {
                let line = self.seen.get_mut(at).unwrap();
                // Kept for `count` and `pid`, which look at other words.
                *line = format!("waited-for {}", line.replace(' ', "_"));
                self.at += 1;
                return;
            }
            self.read_one(end)
                .unwrap_or_else(|| panic!("no line with {part:?} in:\n{}", self.seen.join("\n")));
        }
    }

    fn read_until(&mut self, end: Instant) {
        while self.read_one(end).is_some() {}
    }

    fn read_one(&mut self, end: Instant) -> Option<()> {
        let left = end.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                // A flood is of no interest beyond its first line.
                if !line.contains("info flood") || !self.seen.iter().any(|l| l.contains("flood")) {
                    self.seen.push(line);
                }
                Some(())
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    fn count(&self, part: &str) -> usize {
        self.seen.iter().filter(|line| line.contains(part)).count()
    }

    /// The newest process of a toy.
    fn pid(&self, role: &str) -> Pid {
        let prefix = format!("{role} info toy ");
        let line = self.seen.iter().rev().find_map(|l| l.strip_prefix(&prefix));
        Pid::from_raw(line.unwrap().parse().unwrap())
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.process.id() as i32);
        kill(pid, Signal::SIGTERM).unwrap();
        let end = Instant::now() + DEADLINE;
        self.read_until(end); // until its standard error closes, with the last of its children
        assert!(self.process.wait().unwrap().success());
        assert!(Instant::now() < end, "it did not stop");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn supervise(dir: &Path) {
    let result = run(&RunArgs {
        config: dir.join("config.toml"),
        data: dir.join("data"),
        run_dir: None,
        exe: None,
        roles: None,
    });
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(error.exit_status().into());
    }
}

/// Serves: greets every new session and says what it hears.
fn toy(role: RoleName) {
    logger::install(log::LevelFilter::Debug);
    let mut ctx = RoleContext::from_init().unwrap();
    log::info!("toy {}", std::process::id());
    let behaviour = std::fs::read_to_string(ctx.start.data_dir.join("toys").join(role.as_str()));
    let behaviour = behaviour.unwrap_or_default();
    sandbox::enter(&ctx).unwrap();
    if behaviour == "crash" {
        log::error!("my last words");
        std::process::exit(1);
    }
    if behaviour == "socket" {
        let _ = std::net::UdpSocket::bind("127.0.0.1:0");
    }
    if behaviour == "late" {
        loop {
            std::thread::park();
        }
    }
    ctx.ready().unwrap();
    if role == RoleName::Controld {
        ctx.request(1, InitRequest::Services).unwrap();
    }
    let mut sessions: Vec<(RoleName, ChannelKind, Channel<String, String>)> = Vec::new();
    let mut events = Vec::new();
    loop {
        match behaviour.as_str() {
            "hang" => loop {
                std::thread::park();
            },
            "flood" => {
                for _ in 0..100 {
                    log::info!("flood {}", "x".repeat(500));
                }
                ctx.poller.wait(Some(ctx.clock.now()), &mut events).unwrap();
            }
            _ => ctx.poller.wait(None, &mut events).unwrap(),
        }
        for event in events.clone() {
            if event.token != INIT_TOKEN {
                hear(&mut sessions, &mut ctx);
                continue;
            }
            while let Some(event) = ctx.on_init().unwrap() {
                match event {
                    InitEvent::Stop => return,
                    InitEvent::Channel { with, kind, fd } => {
                        sessions.retain(|(w, k, _)| (*w, *k) != (with, kind));
                        let mut session = Channel::new(fd).unwrap();
                        let token = ctx.poller.add(&session, 1, Interest::READ);
                        token.unwrap();
                        let word = match kind {
                            ChannelKind::Session => "hello",
                            ChannelKind::HandOver => "hand-over",
                        };
                        let _ = session.send(&format!("{word} of {role}"));
                        sessions.push((with, kind, session));
                    }
                    InitEvent::Reply {
                        reply: InitReply::Services(services),
                        ..
                    } => {
                        let known = services.iter().filter(|s| s.pss_kib.is_some()).count();
                        log::info!("services: {known} with memory");
                    }
                    other => log::warn!("unexpected: {other:?}"),
                }
            }
        }
    }
}

fn hear(sessions: &mut Vec<(RoleName, ChannelKind, Channel<String, String>)>, _: &mut RoleContext) {
    sessions.retain_mut(|(with, _, session)| {
        loop {
            match session.recv() {
                Ok(Some((text, _))) => log::info!("heard {text}"),
                Ok(None) => return true,
                Err(ChannelError::Closed) => {
                    log::info!("session with {with} is over");
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}
