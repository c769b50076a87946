//! The provider's side: a DHCP server, a resolver and a web server from Debian's packages.

use std::time::Duration;

use crate::namespace::{Namespace, Proc, Workdir};
use crate::wait::until;

/// The provider's address towards its customers; documentation range, RFC 5737.
pub const GATEWAY: &str = "198.51.100.1";
/// A web server beyond the provider.
pub const WEB: &str = "203.0.113.80";
/// The time server that the provider's leases name; a test that wants one starts it.
pub const TIME: &str = "203.0.113.11";
/// What the provider's resolver says of the pool that the factory's configuration asks.
pub const POOL: [&str; 3] = ["203.0.113.12", "203.0.113.13", "203.0.113.14"];
/// A name that only the provider's resolver knows.
pub const NAME: &str = "www.example.net";
/// What the page says.
pub const PAGE: &str = "a page from beyond the provider\n";

/// Which DHCP server the provider runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpServer {
    /// `dnsmasq`.
    Dnsmasq,
    /// `kea-dhcp4`.
    Kea,
}

/// A provider that serves one link.
#[derive(Debug)]
pub struct Isp {
    /// Its namespace.
    pub ns: Namespace,
    link: &'static str,
    dir: Workdir,
    /// The DHCP server; `None` while it is down.
    pub dhcp: Option<Proc>,
    /// unbound; `None` while it is down.
    pub resolver: Option<Proc>,
    web: Proc,
}

impl Isp {
    /// Starts everything in `ns`, whose `link` leads to the customer.
    pub fn start(ns: Namespace, link: &'static str, dhcp: DhcpServer) -> Self {
        let dir = Workdir::new("isp");
        ns.ok([
            "ip",
            "address",
            "add",
            &format!("{GATEWAY}/24"),
            "dev",
            link,
        ]);
        ns.ok(["ip", "address", "add", &format!("{WEB}/32"), "dev", "lo"]);
        let web = web(&ns, &dir);
        let mut isp = Self {
            ns,
            link,
            dir,
            dhcp: None,
            resolver: None,
            web,
        };
        isp.start_resolver();
        isp.start_dhcp(dhcp);
        isp
    }

    /// Starts the DHCP server; leases survive it.
    pub fn start_dhcp(&mut self, server: DhcpServer) {
        self.dhcp = Some(match server {
            DhcpServer::Dnsmasq => self.dnsmasq(),
            DhcpServer::Kea => self.kea(),
        });
    }

    /// Starts unbound with the names that only it knows.
    pub fn start_resolver(&mut self) {
        let config = format!(
            "server:\n  interface: {GATEWAY}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  \
             chroot: \"\"\n  username: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
             module-config: \"iterator\"\n  local-zone: \"example.net.\" static\n  \
             local-data: \"{NAME}. 300 IN A {WEB}\"\n  local-data: \"rebind.example.net. 300 IN A 192.168.1.7\"\n  \
             local-data: \"second.example.net. 300 IN A {WEB}\"\n  \
             local-data: \"example.net. 60 IN SOA ns.example.net. host.example.net. 1 3600 600 86400 30\"\n{big}{pool}\
             remote-control:\n  control-enable: no\n",
            dir = self.dir.path("").display(),
            pool = POOL.map(|ip| format!("  local-data: \"pool.ntp.org. 300 IN A {ip}\"\n")).concat(),
            big = (0..60)
                .map(|n| format!("  local-data: 'big.example.net. 300 IN TXT \"text number {n} of many, long enough that no datagram holds all\"'\n"))
                .collect::<String>(),
        );
        let file = self.dir.write("unbound.conf", &config);
        let proc = self.ns.spawn(
            &self.dir.path("unbound.log"),
            ["unbound", "-d", "-c", file.to_str().expect("UTF-8")],
        );
        until("unbound answers", Duration::from_secs(20), || {
            let answer = self.ns.run([
                "dig",
                "+short",
                "+time=1",
                "+tries=1",
                &format!("@{GATEWAY}"),
                NAME,
            ]);
            String::from_utf8_lossy(&answer.stdout).trim() == WEB
        });
        self.resolver = Some(proc);
    }

    /// What the web server logged so far; a line starts with the asker's address and comes
    /// some seconds late.
    pub fn web_log(&self) -> String {
        std::fs::read_to_string(self.dir.path("access.log")).unwrap_or_default()
    }

    /// Whether the web server runs.
    pub fn web_runs(&mut self) -> bool {
        self.web.runs()
    }

    fn dnsmasq(&self) -> Proc {
        let leases = self.dir.path("dnsmasq.leases");
        let proc = self.ns.spawn(
            &self.dir.path("dnsmasq.log"),
            [
                "dnsmasq",
                // Stays in front and keeps its user: a user namespace of one id has no other.
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--no-hosts",
                "--log-dhcp",
                "--log-facility=-",
                "--dhcp-authoritative",
                "--no-ping",
                &format!("--interface={}", self.link),
                "--bind-interfaces",
                "--dhcp-range=198.51.100.100,198.51.100.150,255.255.255.0,2m",
                &format!("--dhcp-option=option:router,{GATEWAY}"),
                &format!("--dhcp-option=option:dns-server,{GATEWAY}"),
                &format!("--dhcp-option=option:ntp-server,{TIME}"),
                &format!("--dhcp-leasefile={}", leases.display()),
                &format!("--pid-file={}", self.dir.path("dnsmasq.pid").display()),
            ],
        );
        until("dnsmasq serves DHCP", Duration::from_secs(10), || {
            proc.printed().contains("DHCP, IP range")
        });
        proc
    }

    fn kea(&self) -> Proc {
        let config = format!(
            r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["{link}"],"dhcp-socket-type":"raw"}},
            "lease-database":{{"type":"memfile","persist":true,"name":"{leases}"}},
            "valid-lifetime":120,"subnet4":[{{"id":1,"subnet":"198.51.100.0/24",
            "pools":[{{"pool":"198.51.100.100 - 198.51.100.150"}}],
            "option-data":[{{"name":"routers","data":"{GATEWAY}"}},{{"name":"domain-name-servers","data":"{GATEWAY}"}},{{"name":"ntp-servers","data":"{TIME}"}}]}}],
            "loggers":[{{"name":"kea-dhcp4","output_options":[{{"output":"stdout"}}],"severity":"INFO"}}]}}}}"#,
            link = self.link,
            leases = self.dir.path("kea.leases").display(),
        );
        let file = self.dir.write("kea.json", &config);
        let mut command = self
            .ns
            .command(["kea-dhcp4", "-c", file.to_str().expect("UTF-8")]);
        command
            .env("KEA_PIDFILE_DIR", self.dir.path(""))
            .env("KEA_LOCKFILE_DIR", self.dir.path(""));
        let log = self.dir.path("kea.log");
        let proc = Proc::start(command, &log);
        until("kea serves DHCP", Duration::from_secs(20), || {
            proc.printed().contains("DHCP4_STARTED")
        });
        proc
    }
}

fn web(ns: &Namespace, dir: &Workdir) -> Proc {
    dir.write("index.html", PAGE);
    let config = format!(
        "server.document-root = \"{root}\"\nserver.port = 80\nserver.bind = \"{WEB}\"\n\
         index-file.names = (\"index.html\")\nserver.modules = (\"mod_accesslog\")\n\
         accesslog.filename = \"{log}\"\nmimetype.assign = (\".html\" => \"text/html\")\n",
        root = dir.path("").display(),
        log = dir.path("access.log").display(),
    );
    let file = dir.write("lighttpd.conf", &config);
    let proc = ns.spawn(
        &dir.path("lighttpd.log"),
        ["lighttpd", "-D", "-f", file.to_str().expect("UTF-8")],
    );
    until("lighttpd serves its page", Duration::from_secs(10), || {
        ns.run(["curl", "-sf", "-m", "1", &format!("http://{WEB}/")])
            .stdout
            == PAGE.as_bytes()
    });
    proc
}
