//! dnsd on loopback, judged by dig and kdig, with unbound, dnsmasq and scripted servers upstream.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests run programs and wait
#![allow(clippy::unwrap_used, clippy::panic)] // outside #[test] functions clippy asks for it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::{ChannelKind, FromInit, RunStart, SocketName, Start, ToInit};
use lintel_model::RoleName;
use lintel_model::resolver::DnsCounters;
use lintel_model::services::{DnsSpec, HostRecord};
use lintel_rt::channel::{Channel, pair};
use lintel_rt::role::RoleContext;
use lintel_rt::sockets::{Addresses, open};
use lintel_wire::dns::{Class, Flags, Name, Packet, Rcode, Rdata, RecordRepr, Repr};

/// Set for the process that is the role.
const ROLE_PROCESS: &str = "LINTEL_TEST_ROLE_PROCESS";

/// Longer than any wait below takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// dnsd in a process with its sandbox closed, with this test as its init and its controld.
struct Dnsd {
    port: u16,
    init: Channel<FromInit, ToInit>,
    controld: Channel<ToDnsd, FromDnsd>,
    last: DnsCounters,
    child: Child,
}

impl Dnsd {
    fn start(spec: &DnsSpec) -> Self {
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
            role: RoleName::Dnsd,
            run: Some(RunStart {
                config: String::new(),
                sandbox: true,
            }),
            data_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            data: Default::default(),
            board: Default::default(),
            factory_config: String::new(),
            version: String::new(),
            boot_id: String::new(),
            sockets: vec![SocketName::DnsUdp, SocketName::DnsTcp],
            test: false,
            reset: None,
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

    fn statistics(&mut self) -> &DnsCounters {
        while let Some((FromDnsd::Statistics(statistics), _)) = self.controld.recv().unwrap() {
            self.last = statistics;
        }
        &self.last
    }

    fn dropped(&mut self, reason: &str) -> u64 {
        let dropped = &self.statistics().dropped;
        dropped
            .iter()
            .find(|(name, _)| name == reason)
            .map_or(0, |(_, count)| *count)
    }

    /// Runs dig or kdig against it.
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command
            .args(["@127.0.0.1", "-p", &self.port.to_string()])
            .args(arguments);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn dig(&self, arguments: &[&str]) -> String {
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

/// Not a test: the process that [`Dnsd::start`] runs.
#[test]
#[ignore = "what the tests run as dnsd"]
fn role_process() {
    // Without a parent that put a channel there, descriptor 3 is somebody else's.
    if std::env::var_os(ROLE_PROCESS).is_none() {
        return;
    }
    lintel_roles::dnsd::main(RoleContext::from_init().unwrap()).unwrap();
}

/// UDP and TCP on one free port.
fn sockets() -> (OwnedFd, OwnedFd, u16) {
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

fn free_port() -> u16 {
    let (_, _, port) = sockets();
    port
}

fn spec(upstreams: &[SocketAddr]) -> DnsSpec {
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

fn host(name: &str, address: &str) -> HostRecord {
    HostRecord {
        name: name.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

fn until(sentence: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {sentence}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A foreign server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
    _dir: Dir,
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lintel-dnsd-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str], dir: Dir, port: u16) -> Server {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        _dir: dir,
    };
    until("the foreign server listens", || {
        TcpStream::connect(server.address).is_ok()
    });
    server
}

/// unbound with a zone of its own, as an ISP's resolver.
fn unbound() -> Server {
    let (dir, port) = (Dir::new(), free_port());
    let long = "x".repeat(250);
    let config = format!(
        r#"server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  directory: "{dir}"
  pidfile: ""
  num-threads: 1
  module-config: "iterator"
  local-zone: "example.net." static
  local-data: "example.net. 3600 IN SOA ns.example.net. host.example.net. 1 3600 600 86400 30"
  local-data: "www.example.net. 300 IN A 203.0.113.80"
  local-data: "www.example.net. 300 IN AAAA 2001:db8::80"
  local-data: "private.example.net. 300 IN A 192.168.1.1"
  local-data: 'long.example.net. 300 IN TXT "1{long}"'
  local-data: 'long.example.net. 300 IN TXT "2{long}"'
  local-data: 'long.example.net. 300 IN TXT "3{long}"'
  local-data: 'long.example.net. 300 IN TXT "4{long}"'
  local-data: 'long.example.net. 300 IN TXT "5{long}"'
  local-data: 'long.example.net. 300 IN TXT "6{long}"'
remote-control:
  control-enable: no
"#,
        dir = dir.0.display()
    );
    let path = dir.0.join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    run("unbound", &["-d", "-c", path_text(&path)], dir, port)
}

fn dnsmasq() -> Server {
    let (dir, port) = (Dir::new(), free_port());
    let port_text = format!("--port={port}");
    let arguments = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--pid-file=",
        "--local-ttl=60",
        "--host-record=mail.example.net,203.0.113.25",
        "--local=/example.net/",
        &port_text,
    ];
    run("dnsmasq", &arguments, dir, port)
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn unbound_upstream_judged_by_dig_and_kdig() {
    let unbound = unbound();
    let mut dnsd = Dnsd::start(&spec(&[unbound.address]));
    let first = dnsd.dig(&["+noall", "+answer", "+comments", "WWW.example.net", "A"]);
    assert!(
        first.contains("status: NOERROR") && first.contains("203.0.113.80"),
        "{first}"
    );
    assert!(
        first.contains("EDNS: version: 0, flags:; udp: 1232"),
        "{first}"
    );
    assert!(!first.contains("WARNING"), "{first}");
    let aaaa = dnsd.ask("kdig", &["+tcp", "+short", "www.example.net", "AAAA"]);
    assert_eq!(aaaa.trim(), "2001:db8::80");

    // From the cache, and its TTL runs down.
    until("the TTL runs down", || {
        let answer = dnsd.dig(&["+noall", "+answer", "www.example.net", "A"]);
        let ttl: u32 = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(ttl <= 300);
        ttl < 300
    });

    // Longer than what UDP may carry: truncated, then whole over TCP, on both sides of us.
    let cut = dnsd.dig(&["+ignore", "long.example.net", "TXT"]);
    assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
    let long = dnsd.dig(&["+short", "long.example.net", "TXT"]);
    assert_eq!(
        long.lines().filter(|line| line.len() > 250).count(),
        6,
        "{long}"
    );

    let missing = dnsd.dig(&["nothing.example.net", "A"]);
    assert!(
        missing.contains("status: NXDOMAIN") && missing.contains("SOA"),
        "{missing}"
    );
    let none = dnsd.dig(&["www.example.net", "MX"]);
    assert!(
        none.contains("status: NOERROR") && none.contains("ANSWER: 0"),
        "{none}"
    );
    let any = dnsd.dig(&["+noall", "+answer", "www.example.net", "ANY"]);
    assert!(any.contains("HINFO") && any.contains("RFC8482"), "{any}");
    let private = dnsd.dig(&["+short", "private.example.net", "A"]);
    assert_eq!(private, "");
    until("the rebinding is counted", || {
        dnsd.dropped("reply-rebind") == 1
    });

    // Without EDNS, with DO, with an unknown version, with another class.
    let plain = dnsd.dig(&["+noedns", "www.example.net", "A"]);
    assert!(
        plain.contains("203.0.113.80") && !plain.contains("EDNS:"),
        "{plain}"
    );
    let dnssec = dnsd.dig(&["+dnssec", "www.example.net", "A"]);
    assert!(
        dnssec.contains("203.0.113.80") && dnssec.contains("flags: do"),
        "{dnssec}"
    );
    let version = dnsd.dig(&["+edns=7", "+noednsnegotiation", "www.example.net", "A"]);
    assert!(version.contains("status: BADVERS"), "{version}");
    let chaos = dnsd.dig(&["version.bind", "CH", "TXT"]);
    assert!(chaos.contains("status: REFUSED"), "{chaos}");
    let statistics = dnsd.statistics().clone();
    assert!(
        statistics.cache_hits > 0 && statistics.cache_entries > 0,
        "{statistics:?}"
    );
    assert_eq!(statistics.upstreams[0].1, "good");
}

#[test]
fn local_names_judged_by_dig() {
    let dnsd = Dnsd::start(&spec(&[]));
    assert_eq!(dnsd.dig(&["+short", "lintel.lan"]).trim(), "192.168.1.1");
    assert_eq!(dnsd.dig(&["+short", "laptop"]).trim(), "192.168.1.20");
    assert_eq!(
        dnsd.dig(&["+short", "-x", "192.168.1.20"]).trim(),
        "laptop.lan."
    );
    let unknown = dnsd.dig(&["nobody.lan"]);
    assert!(
        unknown.contains("status: NXDOMAIN") && unknown.contains(" aa "),
        "{unknown}"
    );
    let private = dnsd.dig(&["-x", "10.1.2.3"]);
    assert!(
        private.contains("status: NXDOMAIN") && private.contains("10.in-addr.arpa."),
        "{private}"
    );
    let public = dnsd.dig(&["www.example.net"]);
    assert!(public.contains("status: SERVFAIL"), "no upstream: {public}");
}

#[test]
fn dnsmasq_takes_over_when_unbound_dies() {
    let (unbound, dnsmasq) = (unbound(), dnsmasq());
    let dnsd = Dnsd::start(&spec(&[unbound.address, dnsmasq.address]));
    drop(unbound);
    for _ in 0..3 {
        let answer = dnsd.dig(&["+short", "mail.example.net"]);
        assert_eq!(answer.trim(), "203.0.113.25");
    }
}

/// A server in a thread that answers as a closure says.
struct Scripted {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Scripted {
    /// `on_datagram` gets the socket, the sender and the query; `on_stream` the query.
    fn start(
        on_datagram: impl Fn(&UdpSocket, SocketAddr, Repr) + Send + 'static,
        on_stream: impl Fn(Repr) -> Repr + Send + 'static,
    ) -> Self {
        let (udp, tcp, port) = sockets();
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        let tick = Some(Duration::from_millis(20));
        udp.set_nonblocking(false).unwrap();
        udp.set_read_timeout(tick).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stop_udp, stop_tcp) = (stop.clone(), stop.clone());
        let datagrams = std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stop_udp.load(Ordering::Relaxed) {
                if let Ok((len, from)) = udp.recv_from(&mut buffer) {
                    on_datagram(&udp, from, read(&buffer[..len]));
                }
            }
        });
        let streams = std::thread::spawn(move || {
            while !stop_tcp.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    std::thread::park_timeout(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let query = receive(&mut stream);
                let reply = on_stream(read(&query)).to_vec().unwrap();
                send(&mut stream, &reply);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            address,
            stop,
            threads: vec![datagrams, streams],
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn read(bytes: &[u8]) -> Repr {
    Repr::parse(&Packet::new_checked(bytes).unwrap()).unwrap()
}

fn send(stream: &mut TcpStream, message: &[u8]) {
    stream
        .write_all(&(message.len() as u16).to_be_bytes())
        .unwrap();
    stream.write_all(message).unwrap();
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn answer(query: &Repr, last_octet: u8) -> Repr {
    let owner = query.question.clone().unwrap().name;
    let rdata = Rdata::A([203, 0, 113, last_octet].into());
    Repr {
        flags: Flags {
            response: true,
            recursion_available: true,
            ..Flags::QUERY
        },
        answers: vec![RecordRepr {
            name: owner,
            class: Class::IN,
            ttl: 60,
            rdata,
        }],
        ..query.clone()
    }
}

#[test]
fn a_silent_upstream_that_returns() {
    let awake = Arc::new(AtomicBool::new(false));
    let heard = awake.clone();
    let upstream = Scripted::start(
        move |socket, from, query| {
            if heard.load(Ordering::Relaxed) {
                socket
                    .send_to(&answer(&query, 7).to_vec().unwrap(), from)
                    .unwrap();
            }
        },
        |query| answer(&query, 7),
    );
    let mut dnsd = Dnsd::start(&spec(&[upstream.address]));
    let asked = Instant::now();
    let failed = dnsd.dig(&["www.example.net"]);
    assert!(failed.contains("status: SERVFAIL"), "{failed}");
    assert!(
        asked.elapsed() < Duration::from_millis(6_500),
        "{:?}",
        asked.elapsed()
    );
    until("the upstream is told to fail", || {
        dnsd.statistics().upstreams[0].1 == "failing"
    });
    awake.store(true, Ordering::Relaxed);
    assert_eq!(
        dnsd.dig(&["+short", "mail.example.net"]).trim(),
        "203.0.113.7"
    );
    // The failure of the other name is not believed any more either.
    assert_eq!(
        dnsd.dig(&["+short", "www.example.net"]).trim(),
        "203.0.113.7"
    );
    until("the upstream is told to be good", || {
        dnsd.statistics().upstreams[0].1 == "good"
    });
}

#[test]
fn an_upstream_that_truncates_everything() {
    let upstream = Scripted::start(
        |socket, from, query| {
            let mut cut = answer(&query, 66);
            cut.answers.clear();
            cut.flags.truncated = true;
            socket.send_to(&cut.to_vec().unwrap(), from).unwrap();
        },
        |query| answer(&query, 7),
    );
    let dnsd = Dnsd::start(&spec(&[upstream.address]));
    assert_eq!(
        dnsd.dig(&["+short", "www.example.net"]).trim(),
        "203.0.113.7"
    );
}

#[test]
fn forged_replies_do_not_get_in() {
    let upstream = Scripted::start(
        |socket, from, query| {
            // From another socket, to the very port: the kernel drops it.
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            let bytes = answer(&query, 66).to_vec().unwrap();
            let _ = other.send_to(&bytes, from);
            // From the right one, but a bit is wrong.
            let mut forged = answer(&query, 66);
            forged.id ^= 0x0100;
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            let mut forged = answer(&query, 66);
            forged.question.as_mut().unwrap().name = Name::from_text("evil.example").unwrap();
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            let mut forged = answer(&query, 66);
            forged.flags.response = false;
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            socket.send_to(&[0xff; 40], from).unwrap();
            socket
                .send_to(&answer(&query, 7).to_vec().unwrap(), from)
                .unwrap();
        },
        |query| answer(&query, 66),
    );
    let mut dnsd = Dnsd::start(&spec(&[upstream.address]));
    for n in 0..10 {
        let name = format!("n{n}.example.net");
        assert_eq!(dnsd.dig(&["+short", &name]).trim(), "203.0.113.7");
    }
    let reasons = ["reply-id", "reply-question", "reply-malformed"];
    until("each of the forged ones is counted", || {
        reasons
            .iter()
            .map(|reason| dnsd.dropped(reason))
            .sum::<u64>()
            == 40
    });
}

#[test]
fn a_server_that_folds_letters_is_asked_over_tcp_once() {
    let datagrams = Arc::new(AtomicU32::new(0));
    let streams = Arc::new(AtomicU32::new(0));
    let (count_datagrams, count_streams) = (datagrams.clone(), streams.clone());
    let fold = |mut reply: Repr| {
        let question = reply.question.as_mut().unwrap();
        question.name = question.name.to_lowercase();
        reply
    };
    let upstream = Scripted::start(
        move |socket, from, query| {
            count_datagrams.fetch_add(1, Ordering::Relaxed);
            socket
                .send_to(&fold(answer(&query, 7)).to_vec().unwrap(), from)
                .unwrap();
        },
        move |query| {
            count_streams.fetch_add(1, Ordering::Relaxed);
            fold(answer(&query, 7))
        },
    );
    let dnsd = Dnsd::start(&spec(&[upstream.address]));
    for name in [
        "some-quite-long-name.example.net",
        "another-long-name.example.net",
    ] {
        assert_eq!(dnsd.dig(&["+short", name]).trim(), "203.0.113.7");
    }
    assert_eq!(datagrams.load(Ordering::Relaxed), 2);
    assert_eq!(streams.load(Ordering::Relaxed), 1);
}

#[test]
fn tcp_clients_are_bounded_and_pipelines_answered() {
    let mut dnsd = Dnsd::start(&spec(&[]));
    let query = |id, text: &str| {
        let name = Name::from_text(text).unwrap();
        Repr::query(id, name, lintel_wire::dns::RrType::A)
            .to_vec()
            .unwrap()
    };
    let address = ("127.0.0.1", dnsd.port);
    // Two questions in one write, cut in an odd place.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    for (id, name) in [(1, "lintel.lan"), (2, "nobody.lan")] {
        let query = query(id, name);
        bytes.extend((query.len() as u16).to_be_bytes());
        bytes.extend(query);
    }
    stream.write_all(&bytes[..15]).unwrap();
    stream.write_all(&bytes[15..]).unwrap();
    let first = read(&receive(&mut stream));
    assert_eq!((first.id, first.answers.len()), (1, 1));
    let second = read(&receive(&mut stream));
    assert_eq!((second.id, second.rcode), (2, Rcode::NXDOMAIN));
    // Half a question is no reason to wait for ever, nor to keep others out.
    let idle: Vec<_> = (0..60)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    until("those over the limit are refused", || {
        dnsd.dropped("tcp-over-limit") == 29
    });
    assert_eq!(dnsd.dig(&["+short", "lintel.lan"]).trim(), "192.168.1.1");
    // Idle ones are closed; then there is room again.
    let mut oldest = &idle[0];
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(oldest.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(
        dnsd.dig(&["+tcp", "+short", "lintel.lan"]).trim(),
        "192.168.1.1"
    );
}

/// Not a test but a first figure: `cargo test --profile fast -p lintel-roles --test dnsd -- \
/// --ignored --exact cached_answers_a_second --nocapture` prints what dnsperf gets from each, all on one machine.
#[test]
#[ignore = "a measurement"]
fn cached_answers_a_second() {
    let (unbound, dnsmasq) = (unbound(), dnsmasq());
    let dnsd = Dnsd::start(&spec(&[unbound.address]));
    let dir = Dir::new();
    let queries = dir.0.join("queries");
    for (name, pid, port, query) in [
        (
            "unbound",
            unbound.child.id(),
            unbound.address.port(),
            "www.example.net A\n",
        ),
        (
            "dnsmasq",
            dnsmasq.child.id(),
            dnsmasq.address.port(),
            "mail.example.net A\n",
        ),
        ("dnsd", dnsd.child.id(), dnsd.port, "www.example.net A\n"),
    ] {
        std::fs::write(&queries, query).unwrap();
        let port = port.to_string();
        let arguments = [
            "-s",
            "127.0.0.1",
            "-p",
            &port,
            "-l",
            "5",
            "-q",
            "500",
            "-c",
            "8",
            "-d",
        ];
        let before = cpu_ticks(pid);
        let output = Command::new("dnsperf")
            .args(arguments)
            .arg(&queries)
            .output()
            .unwrap();
        // A hundred ticks are a second on every Linux that we run on.
        let cpu_s = (cpu_ticks(pid) - before) as f64 / 100.0;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |what: &str| -> f64 {
            let line = text.lines().find(|line| line.contains(what)).unwrap();
            line.split_whitespace()
                .find_map(|word| word.parse().ok())
                .unwrap()
        };
        let (rate, done) = (number("Queries per second"), number("Queries completed"));
        println!(
            "{name}: {rate:.0} answers a second, {:.0} a second of its CPU",
            done / cpu_s
        );
    }
}

/// Time that a process has computed, itself and for it in the kernel.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
