//! Time servers: chronyd, which never touches this machine's clock, and some that are at fault.

use std::time::Duration;

use crate::namespace::{Namespace, Proc, Workdir};
use crate::wait::until;

const RESPONDER: &str = include_str!("../fixtures/ntp/responder.py");
const ASKER: &str = include_str!("../fixtures/ntp/asker.py");

/// chronyd at `address`, serving this machine's clock as stratum 2.
pub fn chronyd(ns: &Namespace, dir: &Workdir, address: &str) -> Proc {
    add_address(ns, address);
    let name = format!("chronyd-{address}");
    let config = format!(
        "bindaddress {address}\nallow all\nlocal stratum 2\ncmdport 0\npidfile {pid}\nport 123\n",
        pid = dir.path(&format!("{name}.pid")).display(),
    );
    let file = dir.write(&format!("{name}.conf"), &config);
    let file = file.to_str().expect("UTF-8");
    let proc = ns.spawn(
        &dir.path(&format!("{name}.log")),
        // -x: it never sets the clock.
        ["chronyd", "-x", "-d", "-u", "root", "-f", file],
    );
    until("chronyd serves", Duration::from_secs(10), || {
        ask(ns, dir, address, &["once", "4", "3"]).contains("stratum 2")
    });
    proc
}

/// A time server with a fault; the modes stand in the script.
pub fn faulty(ns: &Namespace, dir: &Workdir, address: &str, mode: &str) -> Proc {
    add_address(ns, address);
    let script = dir.write("responder.py", RESPONDER);
    let script = script.to_str().expect("UTF-8");
    let proc = ns.spawn(
        &dir.path(&format!("{mode}-{address}.log")),
        ["python3", script, address, mode],
    );
    until("the faulty server serves", Duration::from_secs(10), || {
        proc.printed().contains("ready")
    });
    proc
}

/// Asks a time server with a program of its own; what it says stands in the script.
pub fn ask(ns: &Namespace, dir: &Workdir, address: &str, what: &[&str]) -> String {
    let script = dir.write("asker.py", ASKER);
    let script = script.to_str().expect("UTF-8");
    let args = ["python3", script, address].into_iter();
    ns.ok(args.chain(what.iter().copied())).trim().to_owned()
}

fn add_address(ns: &Namespace, address: &str) {
    let address = format!("{address}/32");
    // Two servers may share one.
    ns.run(["ip", "address", "add", &address, "dev", "lo"]);
}
