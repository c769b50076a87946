//! dnsd in a process of its own, and what it is told to serve.

use super::*;

/// dnsd in a process with its sandbox closed, with this test as its init and its controld.
pub(super) struct Dnsd {
    pub(super) port: u16,
    pub(super) init: Channel<FromInit, ToInit>,
    pub(super) controld: Channel<ToDnsd, FromDnsd>,
    pub(super) last: DnsCounters,
    pub(super) child: Child,
}

impl Dnsd {
    pub(super) fn start(spec: &DnsSpec) -> Self {
        let (udp, tcp, port) = sockets();
        let (ours, theirs) = pair().unwrap();
        // init's channel is descriptor 3; a shell puts it there.
        let child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 0</dev/null"#])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "role_process", "--nocapture"])
            .env(ROLE_PROCESS, "1")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut init: Channel<FromInit, ToInit> = Channel::new(ours).unwrap();
        let start = Start {
            run: Some(RunStart {
                config: String::new(),
                sandbox: true,
            }),
            sockets: vec![SocketName::DnsUdp, SocketName::DnsTcp],
            ..Start::of(RoleName::Dnsd)
        };
        init.send_with(&FromInit::Start(Box::new(start)), vec![udp, tcp])
            .unwrap();
        until("dnsd is ready", || {
            matches!(init.recv().unwrap(), Some((ToInit::Ready, _)))
        });
        let (ours, theirs) = pair().unwrap();
        let session = FromInit::Channel {
            with: RoleName::Controld,
            kind: ChannelKind::Session,
        };
        init.send_with(&session, vec![theirs]).unwrap();
        let mut controld: Channel<ToDnsd, FromDnsd> = Channel::new(ours).unwrap();
        controld.send(&ToDnsd::Spec(spec.clone())).unwrap();
        let mut dnsd = Self {
            port,
            init,
            controld,
            last: DnsCounters::default(),
            child,
        };
        // The upstreams of the snapshot show that it was taken.
        let want = spec.upstreams.len();
        until("dnsd has its snapshot", || {
            dnsd.statistics().upstreams.len() == want
        });
        dnsd
    }

    pub(super) fn statistics(&mut self) -> &DnsCounters {
        while let Some((FromDnsd::Statistics(statistics), _)) = self.controld.recv().unwrap() {
            self.last = statistics;
        }
        &self.last
    }

    pub(super) fn dropped(&mut self, reason: &str) -> u64 {
        let dropped = &self.statistics().dropped;
        dropped
            .iter()
            .find(|(name, _)| name == reason)
            .map_or(0, |(_, count)| *count)
    }

    /// Runs dig or kdig against it.
    pub(super) fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command
            .args(["@127.0.0.1", "-p", &self.port.to_string()])
            .args(arguments);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(super) fn dig(&self, arguments: &[&str]) -> String {
        self.ask("dig", &[&["+tries=1", "+time=8"], arguments].concat())
    }
}

impl Drop for Dnsd {
    fn drop(&mut self) {
        let _ = self.init.send(&FromInit::Stop);
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "dnsd ended with {status}");
        }
    }
}

/// UDP and TCP on one free port.
pub(super) fn sockets() -> (OwnedFd, OwnedFd, u16) {
    for _ in 0..100 {
        let mut addresses = Addresses {
            address: [127, 0, 0, 1].into(),
            dns_port: 0,
            dhcp_port: 0,
            http_port: 0,
            https_port: 0,
            ntp_port: 123,
            run_dir: PathBuf::new(),
        };
        let udp = open(SocketName::DnsUdp, &addresses).unwrap();
        let port = UdpSocket::from(udp.try_clone().unwrap())
            .local_addr()
            .unwrap()
            .port();
        addresses.dns_port = port;
        if let Ok(tcp) = open(SocketName::DnsTcp, &addresses) {
            return (udp, tcp, port);
        }
    }
    panic!("no free port");
}

pub(super) fn free_port() -> u16 {
    let (_, _, port) = sockets();
    port
}

pub(super) fn spec(upstreams: &[SocketAddr]) -> DnsSpec {
    DnsSpec {
        upstreams: upstreams.to_vec(),
        rebind_private: true,
        domain: Some("lan".parse().unwrap()),
        own: vec![host("lintel", "192.168.1.1")],
        hosts: vec![host("laptop", "192.168.1.20")],
        networks: vec!["192.168.1.0/24".parse().unwrap()],
        cache_bytes_max: 1 << 20,
        ..DnsSpec::default()
    }
}

pub(super) fn host(name: &str, address: &str) -> HostRecord {
    HostRecord {
        name: name.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

pub(super) fn until(sentence: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {sentence}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
