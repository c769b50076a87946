//! Foreign servers, and servers that do as a test says.

use super::*;

/// A foreign server that ends with the test.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    pub(super) _dir: Workdir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn run(program: &str, arguments: &[&str], dir: Workdir, port: u16) -> Server {
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
pub(super) fn unbound() -> Server {
    let (dir, port) = (Workdir::new("dnsd"), free_port());
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
        dir = dir.path("").display()
    );
    let path = dir.write("unbound.conf", &config);
    run("unbound", &["-d", "-c", path_text(&path)], dir, port)
}

pub(super) fn dnsmasq() -> Server {
    let (dir, port) = (Workdir::new("dnsd"), free_port());
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

pub(super) fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server in a thread that answers as a closure says.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Scripted {
    /// `on_datagram` gets the socket, the sender and the query; `on_stream` the query.
    pub(super) fn start(
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

pub(super) fn read(bytes: &[u8]) -> Repr {
    Repr::parse(&Packet::new_checked(bytes).unwrap()).unwrap()
}

pub(super) fn send(stream: &mut TcpStream, message: &[u8]) {
    stream
        .write_all(&(message.len() as u16).to_be_bytes())
        .unwrap();
    stream.write_all(message).unwrap();
}

pub(super) fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

pub(super) fn answer(query: &Repr, last_octet: u8) -> Repr {
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
