//! webd on a loopback port, with a controld of this test's own behind it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use lintel_api::types::{
    AuthStatus, ClockStatus, ConfigStatus, KernelStatus, LanStatus, Lease, LeaseCounts, Memory,
    Page, PortStatus, Service, Status, SystemInfo, WanStatus,
};
use lintel_ipc::call::{Call, Problem, Reply};
use lintel_ipc::init::{ChannelKind, FromInit, RunStart, SocketName, Start, ToInit};
use lintel_ipc::webd::{FromWebd, Happened, TlsIdentity, ToWebd};
use lintel_model::RoleName;
use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use lintel_model::lease::{BindingState, WanLease};
use lintel_model::services::{DnsLink, WebSpec};
use lintel_rt::channel::{self, Channel};
use lintel_rt::poller::{Interest, Poller};
use lintel_rt::role::RoleContext;
use serde_json::{Value, json};

use crate::wire::curl;

/// What the fake controld knows.
#[derive(Debug, Clone)]
pub(crate) struct Knowledge {
    pub password: Option<String>,
    pub data: DataState,
    pub status: Status,
    pub leases: Vec<Lease>,
    /// Calls as they came.
    pub calls: Vec<Call>,
    /// Take calls and say nothing.
    pub mute: bool,
}

/// webd with its two neighbours.
pub(crate) struct House {
    pub address: SocketAddr,
    /// The same over TLS.
    pub secure_address: SocketAddr,
    /// Certificate of the start, in PEM, for judges.
    pub certificate: PathBuf,
    pub knowledge: Arc<Mutex<Knowledge>>,
    orders: Sender<Order>,
    wake: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

enum Order {
    Event(u64, String, Value),
    Identity(TlsIdentity),
    NewSession,
    LoseSession,
    Stop,
}

pub(crate) const TOKEN: &str = "5e55107a";
/// What this controld says of its certificate.
pub(crate) const FINGERPRINT: &str = "F1:46:E2:94:12:17";

impl House {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let secure = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let secure_address = secure.local_addr().unwrap();
        let identity = identity();
        let certificate = std::env::temp_dir().join(format!(
            "lintel-webd-{}-{}.pem",
            std::process::id(),
            secure_address.port()
        ));
        write_pem(&certificate, &identity);
        let (theirs, ours) = channel::pair().unwrap();
        let knowledge = Arc::new(Mutex::new(knowledge()));
        let (orders, taken) = channel();
        let (wake, woken) = UnixStream::pair().unwrap();
        woken.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&knowledge);
        let neighbours = std::thread::spawn(move || {
            let listeners = vec![listener.into(), secure.into()];
            Neighbours::new(ours, listeners, shared, identity).run(&taken, &woken);
        });
        let role = std::thread::spawn(move || {
            let ctx = RoleContext::from_channel(theirs).unwrap();
            // Its end is ours: init's channel closes with the test.
            let _ = lintel_roles::webd::main(ctx);
        });
        Self {
            address,
            secure_address,
            certificate,
            knowledge,
            orders,
            wake,
            threads: vec![role, neighbours],
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn secure_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.secure_address)
    }

    /// curl, which takes the certificate of the start and no other.
    pub(crate) fn secure_curl(&self, args: &[&str]) -> String {
        let pinned = ["--cacert", self.certificate.to_str().unwrap()];
        curl(&[&pinned, args].concat())
    }

    /// A new certificate, as from controld.
    pub(crate) fn change_identity(&self) {
        let identity = identity();
        write_pem(&self.certificate, &identity);
        self.order(Order::Identity(identity));
    }

    pub(crate) fn event(&self, id: u64, kind: &str, data: Value) {
        self.order(Order::Event(id, kind.to_owned(), data));
    }

    pub(crate) fn new_session(&self) {
        self.order(Order::NewSession);
    }

    pub(crate) fn lose_session(&self) {
        self.order(Order::LoseSession);
    }

    pub(crate) fn know(&self, change: impl FnOnce(&mut Knowledge)) {
        change(&mut self.knowledge.lock().unwrap());
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        std::io::Write::write_all(&mut &self.wake, &[1]).unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.certificate);
        self.order(Order::Stop);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

struct Neighbours {
    poller: Poller,
    init: Channel<FromInit, ToInit>,
    session: Option<Channel<ToWebd, FromWebd>>,
    knowledge: Arc<Mutex<Knowledge>>,
    identity: TlsIdentity,
}

/// A key and a certificate for loopback names.
fn identity() -> TlsIdentity {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    TlsIdentity {
        chain_der: vec![made.cert.der().to_vec()],
        key_der: made.signing_key.serialize_der(),
    }
}

fn write_pem(path: &Path, identity: &TlsIdentity) {
    let mut openssl = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-out"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("openssl is installed (package openssl)");
    let der = &identity.chain_der[0];
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    assert!(openssl.wait().unwrap().success());
}

impl Neighbours {
    fn new(
        init: OwnedFd,
        listeners: Vec<OwnedFd>,
        knowledge: Arc<Mutex<Knowledge>>,
        identity: TlsIdentity,
    ) -> Self {
        let mut init = Channel::new(init).unwrap();
        let start = Start {
            run: Some(RunStart {
                config: String::new(),
                // It would close around the test as well; the appliance tests have it on.
                sandbox: false,
            }),
            data_dir: "/nonexistent".into(),
            run_dir: "/nonexistent".into(),
            version: "0.1.0 (test)".to_owned(),
            boot_id: "b007".to_owned(),
            sockets: vec![SocketName::Http, SocketName::Https],
            test: true,
            ..Start::of(RoleName::Webd)
        };
        init.send_with(&FromInit::Start(Box::new(start)), listeners)
            .unwrap();
        let mut neighbours = Self {
            poller: Poller::new().unwrap(),
            init,
            session: None,
            knowledge,
            identity,
        };
        neighbours.begin_session();
        neighbours
    }

    fn begin_session(&mut self) {
        let (ours, theirs) = channel::pair().unwrap();
        let message = FromInit::Channel {
            with: RoleName::Controld,
            kind: ChannelKind::Session,
        };
        self.init.send_with(&message, vec![theirs]).unwrap();
        let mut session = Channel::new(ours).unwrap();
        let spec = WebSpec {
            links: vec![DnsLink {
                name: "lo".parse().unwrap(),
                index: 1,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            }],
            hosts: vec!["lintel.lan".to_owned()],
        };
        session.send(&ToWebd::Spec(spec)).unwrap();
        let identity = ToWebd::Tls(self.identity.clone());
        session.send(&identity).unwrap();
        self.poller.add(&session, 1, Interest::READ).unwrap();
        self.session = Some(session);
    }

    fn run(mut self, orders: &Receiver<Order>, woken: &UnixStream) {
        self.poller.add(&self.init, 0, Interest::READ).unwrap();
        self.poller.add(woken, 2, Interest::READ).unwrap();
        let mut events = Vec::new();
        loop {
            self.poller.wait(None, &mut events).unwrap();
            let mut bytes = [0; 64];
            let _ = std::io::Read::read(&mut &*woken, &mut bytes);
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Event(id, kind, data) => {
                        let topic = kind;
                        let events = ToWebd::Events(vec![Happened { id, topic, data }]);
                        self.session.as_mut().unwrap().send(&events).unwrap();
                    }
                    Order::Identity(identity) => {
                        let session = self.session.as_mut().unwrap();
                        session.send(&ToWebd::Tls(identity.clone())).unwrap();
                        self.identity = identity;
                    }
                    Order::NewSession => self.begin_session(),
                    Order::LoseSession => self.session = None,
                    Order::Stop => {
                        let _ = self.init.send(&FromInit::Stop);
                        return;
                    }
                }
            }
            while let Ok(Some(_)) = self.init.recv() {}
            while let Some(session) = &mut self.session {
                match session.recv() {
                    Ok(Some((FromWebd::Call(call), _))) => {
                        let reply = answer(&mut self.knowledge.lock().unwrap(), call);
                        if let Some(reply) = reply {
                            session.send(&ToWebd::Reply(reply)).unwrap();
                        }
                    }
                    Ok(Some((FromWebd::Streams(_), _))) => {}
                    Ok(None) => break,
                    Err(_) => self.session = None,
                }
            }
        }
    }
}

fn answer(knowledge: &mut Knowledge, call: Call) -> Option<Reply> {
    knowledge.calls.push(call.clone());
    if knowledge.mute {
        return None;
    }
    let failed = knowledge.data != DataState::Good;
    let logged_in = call.caller.token.as_deref() == Some(TOKEN);
    let password = call.params.get("password").and_then(Value::as_str);
    let mut set_session = None;
    let problem = |status: u16, kind: &str, title: &str| {
        Err(Problem {
            status,
            kind: kind.to_owned(),
            title: title.to_owned(),
            ..Problem::default()
        })
    };
    let result = match call.method.as_str() {
        "auth.status" => Ok(json!(AuthStatus {
            totp: false,
            reset: None,
            claimed: knowledge.password.is_some(),
            logged_in,
            may_claim: knowledge.password.is_none() && !failed,
            data_failed: failed,
            hostname: "lintel".parse().unwrap(),
            tls_sha256: Some(FINGERPRINT.to_owned()),
        })),
        "auth.setup" | "auth.login" if failed => problem(409, "failed", "Not now"),
        "auth.setup" if knowledge.password.is_some() => problem(409, "claimed", "Too late"),
        "auth.setup" => {
            knowledge.password = password.map(str::to_owned);
            set_session = Some(TOKEN.to_owned());
            Ok(json!({}))
        }
        "auth.login" if knowledge.password.as_deref() == password => {
            set_session = Some(TOKEN.to_owned());
            Ok(json!({}))
        }
        "auth.login" => problem(401, "wrong-password", "The password is wrong"),
        "auth.logout" => {
            set_session = Some(String::new());
            Ok(json!({}))
        }
        _ if !logged_in && !failed => problem(401, "not-logged-in", "A session is needed"),
        "config.show" => Ok(json!({
            "revision": 1, "author": "run", "reason": "", "unix_s": 0, "toml": "", "config": {},
        })),
        "status" => {
            let mut status = knowledge.status.clone();
            status.data = knowledge.data.clone();
            status.config.fail_secure = failed;
            Ok(json!(status))
        }
        "dhcp.leases.list" => Ok(json!(Page {
            items: knowledge.leases.clone(),
            next: None,
        })),
        "config.apply" => Ok(json!({ "got": call.params })),
        "system.reboot" | "system.data.reset" | "services.restart" => Ok(json!({})),
        _ => problem(404, "unknown-method", "Unknown method"),
    };
    Some(Reply {
        id: call.id,
        result,
        set_session,
    })
}

const NOW: u64 = 1_795_257_900;

fn knowledge() -> Knowledge {
    let lease = |n: u8, name: Option<&str>, reserved: bool, left: u64| Lease {
        ip: Ipv4Addr::new(192, 168, 1, 100 + n),
        mac: lintel_model::MacAddr([0x02, 0, 0x5e, 0, 0x53, n]),
        name: name.map(str::to_owned),
        state: BindingState::Bound,
        bound_unix_s: NOW - 900,
        expires_unix_s: NOW + left,
        expired: false,
        reserved,
    };
    let service = |name: RoleName, pss: u64, restarts: u32| Service {
        name,
        state: "ready".to_owned(),
        pid: Some(100 + pss as u32),
        ready_ms: Some(1_000),
        restarts,
        pss_kib: Some(pss),
        last_exit: (restarts > 0).then(|| "killed by signal 9".to_owned()),
    };
    let status = Status {
        system: SystemInfo {
            hostname: "lintel".to_owned(),
            version: "0.1.0 (d985e5c)".to_owned(),
            board: "x86_64".to_owned(),
            board_title: "Generic PC, UEFI".to_owned(),
            boot_id: "b007".to_owned(),
            uptime_s: 94_000,
            clock: ClockStatus {
                unix_s: NOW,
                synchronised: false,
                ..ClockStatus::default()
            },
            memory: Some(Memory {
                total_kib: 250_000,
                available_kib: 201_000,
            }),
            run: false,
            tls_sha256: Some(FINGERPRINT.to_owned()),
        },
        data: DataState::Good,
        wan: WanStatus {
            mode: "dhcp".to_owned(),
            link: Some("eth0".parse().unwrap()),
            carrier: true,
            online: true,
            state: Some("bound".to_owned()),
            text: "The provider gave an address and a way out.".to_owned(),
            lease: Some(WanLease {
                link: "eth0".parse().unwrap(),
                address: Ipv4Addr::new(203, 0, 113, 57),
                prefix_len: 24,
                router: Some(Ipv4Addr::new(203, 0, 113, 1)),
                dns: vec![
                    Ipv4Addr::new(198, 51, 100, 53),
                    Ipv4Addr::new(198, 51, 100, 54),
                ],
                ntp: vec![],
                domain: None,
                mtu: None,
                routes: vec![],
                server: Ipv4Addr::new(203, 0, 113, 1),
                bound_unix_s: NOW - 4_000,
                lease_s: 86_400,
                renew_s: 43_200,
                rebind_s: 75_600,
            }),
            dropped: vec![],
        },
        lan: LanStatus {
            address: "192.168.1.1/24".parse().unwrap(),
            domain: "lan".to_owned(),
            link: Some("br-lan".parse().unwrap()),
            ports: [("eth1", true), ("eth2", false), ("eth3", true)]
                .into_iter()
                .map(|(name, carrier)| PortStatus {
                    link: name.parse().unwrap(),
                    carrier,
                })
                .collect(),
        },
        leases: LeaseCounts {
            active: 4,
            pool: 150,
            reserved: 1,
            dropped: vec![],
        },
        services: vec![
            service(RoleName::Netd, 1_740, 0),
            service(RoleName::Controld, 4_120, 0),
            service(RoleName::Wand, 1_530, 0),
            service(RoleName::Dhcpd, 1_490, 0),
            service(RoleName::Dnsd, 2_980, 1),
            service(RoleName::Webd, 3_410, 0),
        ],
        config: ConfigStatus {
            revision: Some(3),
            author: "web".to_owned(),
            applying: None,
            pending: None,
            fail_secure: false,
        },
        kernel: KernelStatus {
            converged: true,
            ..KernelStatus::default()
        },
        notices: vec![Notice {
            code: NoticeCode::Foreign,
            severity: Severity::Info,
            text: "The firewall table «ip guests» is not this box's own; it was left alone."
                .to_owned(),
            link: None,
        }],
    };
    Knowledge {
        password: None,
        data: DataState::Good,
        status,
        leases: vec![
            lease(0, Some("living-room-tv"), false, 41_000),
            lease(1, Some("nas"), true, 40_300),
            lease(2, Some("annes-phone"), false, 38_120),
            lease(3, None, false, 600),
        ],
        calls: vec![],
        mute: false,
    }
}

/// Whether this process runs the test of this name and no other. Memory is counted per process:
/// where others run too, the test is run here in a process of its own, and has to pass.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "LINTEL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let done = alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    assert!(done.status().unwrap().success());
    false
}
