//! A street whose parts a test starts and breaks one by one: a provider's wire, the router, and
//! hosts each on a port of it; and the box as a browser sees it.

use std::time::Duration;

use serde_json::json;

use crate::caller::{JSON, curl};
use crate::client::Host;
use crate::home::BASE;
use crate::isp;
use crate::namespace::Namespace;
use crate::router::Router;
use crate::session::Session;
use crate::wait::until;

/// The router's configuration.
pub const CONFIG: &str = "[wan]\nport = \"wan0\"\n\n[run]\n";
/// The box's own address on its LAN.
pub const BOX: &str = "192.168.1.1";
const SOON: Duration = Duration::from_secs(20);

/// A provider's namespace joined to a router that is not started, and hosts on a switch.
#[derive(Debug)]
pub struct Wires {
    /// The provider's end, whose link is `cust0`.
    pub isp: Namespace,
    /// The box.
    pub router: Router,
    /// Who is on its LAN.
    pub hosts: Vec<Host>,
}

/// Everything in its place and nothing started; at most three hosts.
pub fn wires(hosts: usize) -> Wires {
    let (isp, router) = (Namespace::new("isp"), Namespace::new("router"));
    isp.join("cust0", &router, "wan0");
    let hosts = ["p0", "p1", "p2"].into_iter().take(hosts).map(|port| {
        let host = Namespace::new("host");
        router.join(port, &host, "eth0");
        Host::new(host, "eth0")
    });
    let hosts = hosts.collect();
    Wires {
        isp,
        router: Router::prepared(router, CONFIG),
        hosts,
    }
}

/// Waits until a page comes from beyond the provider.
pub fn is_online(host: &Host) {
    until("a page comes from beyond", SOON, || {
        host.fetch(&format!("http://{}/", isp::WEB)).as_deref() == Some(isp::PAGE)
    });
}

/// A request to the box as a browser would send it: status code and content, or nothing.
pub fn http(host: &Host, method: &str, path: &str, json: Option<&str>) -> (u32, String) {
    let (url, origin) = (format!("{BASE}{path}"), format!("Origin: {BASE}"));
    let mut args = vec!["-L", "-X", method, "-H", &origin];
    if let Some(json) = json {
        args.extend(["-H", JSON, "-d", json]);
    }
    args.push(&url);
    let answer = curl(host, 10, &args);
    answer.map_or_else(|_| (0, String::new()), |a| (a.status.into(), a.body))
}

/// The first page for whoever claims the box (`setup`) or logs in (`login`) with this password.
pub fn page_after(host: &Host, way_in: &str, password: &str) -> String {
    let session = Session::new();
    let url = format!("{BASE}/api/auth/{way_in}");
    let came = session.send(host, "POST", &url, &json!({ "password": password }));
    assert_eq!(came.status, 200, "{}", came.body);
    let page = session.curl(host, 10, &["-L", &format!("{BASE}/")]);
    let page = page.expect("a page comes");
    assert_eq!(page.status, 200, "{}", page.body);
    page.body
}

/// Runs a script of Python over a database and returns what it prints; `d` is the connection.
pub fn query(path: &std::path::Path, script: &str) -> String {
    let script = format!(
        "import sqlite3,sys,ipaddress\nd=sqlite3.connect(sys.argv[1])\n{script}\nd.close()"
    );
    let mut command = std::process::Command::new("python3");
    let output = command.arg("-c").arg(script).arg(path).output();
    let output = output.expect("python3 runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
