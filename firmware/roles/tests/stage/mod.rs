//! A role in a network namespace of its own, with the test as its init, controld and netd.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use lintel_ipc::init::{ChannelKind, FromInit, RunStart, SocketName, Start, ToInit};
use lintel_ipc::netd::HandOver;
use lintel_model::desired::{SocketKind, SocketSpec};
use lintel_model::{LinkName, MacAddr, RoleName};
use lintel_rt::channel::{Channel, pair};
use lintel_rt::role::RoleContext;
use netns_tests::{Namespace, until};
use nix::sched::{CloneFlags, setns};

/// Longer than any wait of these tests takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A role in a thread.
pub(crate) struct Stage {
    init: Channel<FromInit, ToInit>,
    hand_over: Channel<HandOver, ()>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Starts the role and gives it its session's other end and its hand-over channel.
    pub(crate) fn start(
        ns: &Namespace,
        role: RoleName,
        sockets: Vec<(SocketName, OwnedFd)>,
        session: OwnedFd,
    ) -> Self {
        let (ours, theirs) = pair().unwrap();
        let ns_file = ns_file(ns);
        let thread = std::thread::spawn(move || {
            setns(ns_file, CloneFlags::CLONE_NEWNET).unwrap();
            let ctx = RoleContext::from_channel(theirs).unwrap();
            lintel_roles::run(role, ctx).unwrap();
        });
        let mut init: Channel<FromInit, ToInit> = Channel::new(ours).unwrap();
        let (names, fds): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
        let start = Start {
            run: Some(RunStart {
                config: String::new(),
                sandbox: false,
            }),
            sockets: names,
            ..Start::of(role)
        };
        init.send_with(&FromInit::Start(Box::new(start)), fds)
            .unwrap();
        until("the role is ready", PATIENCE, || {
            matches!(init.recv().unwrap(), Some((ToInit::Ready, _)))
        });
        let (ours, theirs) = pair().unwrap();
        for (with, kind, fd) in [
            (RoleName::Controld, ChannelKind::Session, session),
            (RoleName::Netd, ChannelKind::HandOver, theirs),
        ] {
            init.send_with(&FromInit::Channel { with, kind }, vec![fd])
                .unwrap();
        }
        Self {
            init,
            hand_over: Channel::new(ours).unwrap(),
            thread: Some(thread),
        }
    }

    /// Hands over a packet socket on a link, as netd would.
    pub(crate) fn hand_over(&mut self, ns: &Namespace, link: &str, kind: SocketKind) {
        let index = index(ns, link);
        let fd = inside(ns, move || {
            lintel_netlink::packet::open(kind, index).unwrap()
        });
        let spec = SocketSpec {
            link: link.parse().unwrap(),
            kind,
        };
        self.hand_over
            .send_with(&HandOver::Socket { spec, index }, vec![fd])
            .unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.init.send(&FromInit::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Runs a closure in a thread inside the namespace.
pub(crate) fn inside<T: Send + 'static>(
    ns: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let file = ns_file(ns);
    std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// Kernel index of a link.
pub(crate) fn index(ns: &Namespace, link: &str) -> u32 {
    let links = ns.json(["ip", "-j", "link", "show", "dev", link]);
    u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap()
}

/// Hardware address of a link.
pub(crate) fn mac(ns: &Namespace, link: &str) -> MacAddr {
    let links = ns.json(["ip", "-j", "link", "show", "dev", link]);
    links[0]["address"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn name(link: &str) -> LinkName {
    link.parse().unwrap()
}

fn ns_file(ns: &Namespace) -> File {
    File::open(format!("/proc/{}/ns/net", ns.pid())).unwrap()
}
