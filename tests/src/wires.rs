//! A street whose parts a test starts and breaks one by one: a provider's wire, the router, and
//! hosts each on a port of it; and the box as a browser sees it.

use std::time::Duration;

use crate::client::Host;
use crate::isp;
use crate::namespace::{Namespace, Workdir};
use crate::router::Router;
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

/// A request to the box as a browser would send it: status code and content.
pub fn http(host: &Host, method: &str, path: &str, json: Option<&str>) -> (u32, String) {
    let (url, origin) = (
        format!("http://{BOX}{path}"),
        format!("Origin: http://{BOX}"),
    );
    let mut args = vec![
        "curl",
        "-sS",
        "-m",
        "10",
        "-L",
        "-X",
        method,
        "-w",
        "\n%{http_code}",
        "-H",
        &origin,
    ];
    if let Some(json) = json {
        args.extend(["-H", "Content-Type: application/json", "-d", json]);
    }
    args.push(&url);
    let text = String::from_utf8_lossy(&host.ns.run(args).stdout).into_owned();
    let (content, code) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (code.parse().unwrap_or(0), content.to_owned())
}

/// Claims the box and shows its page.
pub fn claimed_page(host: &Host) -> String {
    let dir = Workdir::new("jar");
    let jar = dir.path("cookies");
    let (jar, origin) = (
        jar.to_str().expect("UTF-8"),
        format!("Origin: http://{BOX}"),
    );
    let setup = format!("http://{BOX}/api/auth/setup");
    let password = r#"{"password":"a good pass phrase"}"#;
    let json = "Content-Type: application/json";
    let claim = [
        "curl", "-sSf", "-m", "10", "-c", jar, "-H", &origin, "-H", json, "-d", password,
    ];
    host.ns.ok(claim.into_iter().chain([setup.as_str()]));
    host.ns.ok([
        "curl",
        "-sSfL",
        "-m",
        "10",
        "-b",
        jar,
        &format!("http://{BOX}/"),
    ])
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
