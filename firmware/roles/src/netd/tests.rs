//! netd in a namespace of its own, with the test in the places of init, controld and wand.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread::JoinHandle;

use lintel_ipc::init::{FromInit, Start, ToInit};
use lintel_ipc::netd::HandOver;
use lintel_model::desired::{AddressSpec, SocketKind, SocketSpec};
use lintel_model::features::Feature;
use lintel_model::nft::{BaseChain, Chain, ChainKind, Hook, Policy};
use lintel_model::step::{Action, Hazard, Step};
use lintel_rt::channel::pair;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

use lintel_model::nft::Table;

use super::*;

/// Far above what any answer takes: only a broken test waits so long.
const DEADLINE_MS: u16 = 10_000;

type Session = Channel<ToNetd, FromNetd>;

struct Bench {
    init: Channel<FromInit, ToInit>,
    netd: JoinHandle<()>,
}

/// Runs `test` in a namespace with a link `wan0`; passes with a printed line where the host does
/// not allow a namespace.
fn with_netd(name: &str, test: impl FnOnce(Bench) + Send + 'static) {
    let joined = std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            return false;
        }
        run("ip link add wan0 type veth peer name far0");
        let (ours, theirs) = pair().unwrap();
        let mut init = Channel::new(ours).unwrap();
        init.send(&FromInit::Start(Box::new(start()))).unwrap();
        let netd = std::thread::spawn(move || {
            let ctx = RoleContext::from_channel(theirs).unwrap();
            Netd::open(ctx).unwrap().serve().unwrap();
        });
        let mut bench = Bench { init, netd };
        assert_eq!(next(&mut bench.init).0, ToInit::Ready);
        test(bench);
        true
    })
    .join();
    match joined {
        Ok(true) => {}
        Ok(false) => println!("SKIPPED {name}: needs root or `unshare -Ur`"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Bench {
    fn channel(&mut self, with: RoleName, kind: ChannelKind) -> OwnedFd {
        let (ours, theirs) = pair().unwrap();
        self.init
            .send_with(&FromInit::Channel { with, kind }, vec![theirs])
            .unwrap();
        ours
    }

    fn session(&mut self) -> Session {
        Channel::new(self.channel(RoleName::Controld, ChannelKind::Session)).unwrap()
    }

    fn wand(&mut self) -> Channel<(), HandOver> {
        Channel::new(self.channel(RoleName::Wand, ChannelKind::HandOver)).unwrap()
    }

    fn stop(mut self) {
        self.init.send(&FromInit::Stop).unwrap();
        self.netd.join().unwrap();
    }
}

fn start() -> Start {
    Start {
        data_dir: "/nonexistent".into(),
        run_dir: "/nonexistent".into(),
        test: true,
        ..Start::of(RoleName::Netd)
    }
}

/// The next message, waited for with a deadline.
fn next<Tx, Rx>(channel: &mut Channel<Tx, Rx>) -> (Rx, Vec<OwnedFd>)
where
    Tx: serde::Serialize,
    Rx: serde::de::DeserializeOwned,
{
    loop {
        if let Some(message) = channel.recv().unwrap() {
            return message;
        }
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(channel),
            PollFlags::POLLIN,
        )];
        let ready = poll(&mut fds, PollTimeout::from(DEADLINE_MS)).unwrap();
        assert_eq!(ready, 1, "no message in {DEADLINE_MS} ms");
    }
}

fn observed(session: &mut Session) -> ObservedState {
    match next(session).0 {
        FromNetd::Observed(observed) => *observed,
        other => panic!("{other:?}"),
    }
}

fn apply(session: &mut Session, actions: Vec<Action>) -> (u32, Option<StepError>, u64) {
    let steps = actions
        .into_iter()
        .map(|action| Step {
            action,
            hazard: Hazard::None,
            reason: "a test".into(),
        })
        .collect();
    let plan = Plan { steps };
    session.send(&ToNetd::Apply { id: 7, plan }).unwrap();
    loop {
        match next(session).0 {
            FromNetd::Applied {
                id: 7,
                done,
                error,
                kernel_writes,
            } => return (done, error, kernel_writes),
            // Told of a change that came before.
            FromNetd::Observed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}");
}

fn up(name: &str) -> Action {
    Action::SetLink {
        name: name.parse().unwrap(),
        up: Some(true),
        master: None,
        mtu: None,
        mac: None,
    }
}

fn address(text: &str) -> AddressSpec {
    AddressSpec {
        link: "wan0".parse().unwrap(),
        address: text.parse().unwrap(),
    }
}

#[test]
fn the_box_is_closed_before_anybody_asks_and_a_session_begins_with_a_look() {
    with_netd("the_box_is_closed_before_anybody_asks", |mut bench| {
        run("nft list chain inet lintel forward");
        let mut session = bench.session();
        let first = observed(&mut session);
        assert!(first.nft.is_some());
        assert!(first.links.iter().any(|l| l.name.as_str() == "wan0"));
        // The old session ends with a new one, which begins the same way.
        let mut again = bench.session();
        assert_eq!(observed(&mut again), first);
        assert!(matches!(session.recv(), Err(ChannelError::Closed)));
        bench.stop();
    });
}

#[test]
fn a_plan_is_done_up_to_the_step_that_fails() {
    with_netd("a_plan_is_done_up_to_the_step_that_fails", |mut bench| {
        let mut session = bench.session();
        observed(&mut session);
        let good = address("192.0.2.1/24");
        let (done, error, writes) = apply(
            &mut session,
            vec![
                up("wan0"),
                Action::AddAddress(good.clone()),
                up("nowhere0"),
                Action::AddAddress(address("192.0.2.2/24")),
            ],
        );
        assert_eq!((done, writes), (2, 3));
        let error = error.unwrap();
        assert_eq!(error.step, 2);
        assert!(
            error.text.contains("nowhere0: No such device (ENODEV)"),
            "{}",
            error.text
        );
        assert_eq!(observed(&mut session).addresses, [good]);
        bench.stop();
    });
}

#[test]
fn foreign_changes_are_told_once_and_our_own_not_twice() {
    with_netd("foreign_changes_are_told", |mut bench| {
        let mut session = bench.session();
        observed(&mut session);
        session
            .send(&ToNetd::Observe {
                sysctls: vec!["net/ipv4/ip_forward".into()],
            })
            .unwrap();
        assert_eq!(observed(&mut session).sysctls.len(), 1);
        run("ip link set far0 up");
        run("ip link add foreign0 type bridge");
        // One look for the burst, or two when it fell between; then it is complete.
        while !observed(&mut session)
            .links
            .iter()
            .any(|l| l.name.as_str() == "foreign0")
        {}
        // A sysctl that somebody wrote is heard of, too.
        std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1").unwrap();
        while observed(&mut session).sysctls[0].value != "1" {}
        bench.stop();
    });
}

#[test]
fn sockets_are_handed_over_again_and_die_with_their_link() {
    with_netd("sockets_are_handed_over_again", |mut bench| {
        let mut session = bench.session();
        observed(&mut session);
        let spec = SocketSpec {
            link: "wan0".parse().unwrap(),
            kind: SocketKind::DhcpClient,
        };
        let mut early = bench.wand();
        let (done, error, writes) = apply(
            &mut session,
            vec![up("wan0"), Action::OpenSocket(spec.clone())],
        );
        assert_eq!((done, error, writes), (2, None, 1));
        assert_eq!(observed(&mut session).sockets, std::slice::from_ref(&spec));
        let (first, fds) = next(&mut early);
        assert!(matches!(&first, HandOver::Socket { spec: s, .. } if *s == spec));
        assert_eq!(fds.len(), 1);
        // wand was restarted: the same again.
        let mut late = bench.wand();
        let (second, fds) = next(&mut late);
        assert_eq!(second, first);
        assert_eq!(fds.len(), 1);
        run("ip link del wan0");
        assert_eq!(next(&mut late).0, HandOver::Gone { spec });
        while !observed(&mut session).sockets.is_empty() {}
        bench.stop();
    });
}

#[test]
fn what_the_kernel_lacks_is_named_by_what_asks_for_it() {
    with_netd("what_the_kernel_lacks", |mut bench| {
        let mut session = bench.session();
        let table = observed(&mut session).nft.unwrap();
        let lacks = |session: &mut Session, table: &Table| {
            let table = table.clone();
            session.send(&ToNetd::Probe { table }).unwrap();
            match next(session).0 {
                FromNetd::Lacks(lacks) => lacks,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(lacks(&mut session, &table), []);
        // Where no kernel translates addresses: as one that cannot at all.
        let mut impossible = table.clone();
        impossible.chains.push(Chain {
            name: "srcnat".to_owned(),
            base: Some(BaseChain {
                kind: ChainKind::Nat,
                hook: Hook::Forward,
                priority: 100,
                policy: Policy::Accept,
            }),
            rules: Vec::new(),
        });
        let found = lacks(&mut session, &impossible);
        let features: Vec<Feature> = found.iter().map(|lack| lack.feature).collect();
        assert_eq!(features, [Feature::Nat], "{found:?}");
        // nft sees what was there, and nothing of what was tried.
        run("nft list chain inet lintel forward");
        let mut judge = Command::new("nft");
        judge.args(["list", "chain", "inet", "lintel", "srcnat"]);
        assert!(!judge.output().unwrap().status.success());
        bench.stop();
    });
}
