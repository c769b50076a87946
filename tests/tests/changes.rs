//! A change of the household's network, made from inside it: confirmed, or taken back by itself.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::session::Session;
use netns_tests::street::{CONFIG, Street};
use netns_tests::told::{notice, status_when};
use netns_tests::wires::is_online;
use netns_tests::{Proc, Workdir, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const OLD: &str = "192.168.1.1";
const NEW: &str = "10.9.8.1";

/// A street with one host whose owner is logged in.
struct Home {
    client: Proc,
    street: Street,
    session: Session,
    dir: Workdir,
}

fn home() -> Home {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    street.hosts[0].lease(SOON);
    is_online(&street.hosts[0]);
    let home = Home {
        client,
        street,
        session: Session::new(),
        dir: Workdir::new("changes"),
    };
    let (code, body) = home.post(
        OLD,
        "/api/auth/setup",
        &json!({"password": "seven bottles"}),
    );
    assert_eq!(code, 200, "{body}");
    home
}

impl Home {
    fn host(&self) -> &Host {
        &self.street.hosts[0]
    }

    /// As the page at this address of the box would: status code and what came.
    fn send(&self, verb: &str, address: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{address}{path}");
        let answer = self.session.send(self.host(), verb, &url, body);
        (answer.status, answer.json())
    }

    fn post(&self, address: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", address, path, body)
    }

    /// Moves the household to another network, from a page.
    fn move_the_lan(&self, confirm_s: &str) -> Value {
        let toml = format!("[lan]\naddress = \"{NEW}/24\"\n{CONFIG}");
        let path = format!("/api/config?reason=moving{confirm_s}");
        let (code, answer) = self.send("PUT", OLD, &path, &json!({ "toml": toml }));
        assert_eq!(code, 200, "{answer}");
        assert_eq!(answer["confirm"]["address"], NEW, "{answer}");
        answer
    }

    fn is_served(&self, address: &str) -> bool {
        let page = self.host().fetch(&format!("http://{address}/health"));
        page.is_some_and(|page| page.contains("up"))
    }

    /// What the kernel has on the household's link.
    fn addresses(&self) -> Vec<String> {
        let args = ["ip", "-j", "-4", "address", "show", "dev", "br-lan"];
        let shown = self.street.router.ns.json(args);
        let list = shown[0]["addr_info"].as_array().cloned();
        let list = list.unwrap_or_default();
        list.iter()
            .map(|address| address["local"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn a_move_of_the_lan_that_nobody_confirms_comes_back_by_itself() {
    let home = home();
    let answer = home.move_the_lan("&confirm_s=10");
    assert_eq!(answer["confirm"]["seconds_left"], 10);
    // The device still has its old address, and reaches the box under both.
    until("the new address answers", SOON, || home.is_served(NEW));
    assert!(home.is_served(OLD));
    is_online(home.host());
    let told = status_when(&home.street.router, "it is taken back", SOON, |status| {
        status["config"]["revision"] == 1 && status["kernel"]["converged"] == true
    });
    let text = notice(&told, "not-confirmed").unwrap();
    assert!(text.contains("was not confirmed in time"), "{text}");
    until("the new address is gone", SOON, || {
        home.addresses() == [OLD]
    });
    assert!(home.is_served(OLD));
    is_online(home.host());
    let printed = home.street.router.cli_ok(&["config", "revisions"]);
    assert!(printed.contains("reverted"), "{printed}");
}

#[test]
fn a_move_is_confirmed_at_the_new_address_and_the_devices_follow() {
    let home = home();
    let answer = home.move_the_lan("");
    assert_eq!(answer["confirm"]["seconds_left"], 90);
    until("the new address answers", SOON, || home.is_served(NEW));
    // A browser has no cookie for that address: the token of the answer stands for it.
    let (code, _) = home.post(NEW, "/api/config/confirm", &json!({}));
    assert_eq!(code, 401);
    let token = json!({"token": answer["confirm"]["token"]});
    let (code, body) = home.post(NEW, "/api/config/confirm", &token);
    assert_eq!(code, 200, "{body}");
    let (code, _) = home.post(NEW, "/api/config/confirm", &token);
    assert_eq!(code, 409, "logged in by now, and nothing waits");
    // Its lease runs: the old network is served on.
    assert!(home.is_served(OLD));
    is_online(home.host());
    // A renewal there is refused, and the device asks anew.
    home.client.signal("USR1");
    until("the device is in the new network", SOON, || {
        home.host().lease(SOON).address.starts_with("10.9.8.")
    });
    until("the old address is let go", SOON, || {
        home.addresses() == [NEW]
    });
    assert_eq!(home.host().lease(SOON).router, NEW);
    is_online(home.host());
    assert_eq!(home.host().dig(NEW, &["lintel.lan"]), [NEW]);
}

#[test]
fn another_address_in_the_same_network_cuts_nobody_off() {
    let home = home();
    let beside = "192.168.1.2";
    let toml = format!("[lan]\naddress = \"{beside}/24\"\n{CONFIG}");
    let (code, answer) = home.send("PUT", OLD, "/api/config", &json!({ "toml": toml }));
    assert_eq!(code, 200, "{answer}");
    let token = json!({"token": answer["confirm"]["token"]});
    let (code, body) = home.post(beside, "/api/config/confirm", &token);
    assert_eq!(code, 200, "{body}");
    // The device was told that the old address is its router and its resolver.
    assert!(home.is_served(OLD));
    is_online(home.host());
    assert_eq!(home.host().dig(OLD, &["lintel.lan"]), [beside]);
    home.client.signal("USR1");
    until("the device knows the new address", SOON, || {
        home.host().lease(SOON).router == beside
    });
    is_online(home.host());
}

#[test]
fn a_change_is_planned_compared_and_undone_from_the_command_line() {
    let home = home();
    let router = &home.street.router;
    let file = home
        .dir
        .write("new.toml", &format!("[lan]\ndomain = \"home\"\n{CONFIG}"));
    let file = file.to_str().unwrap();
    let planned = router.cli_ok(&["config", "plan", file]);
    assert!(planned.contains("lan.domain: lan -> home"), "{planned}");
    assert_eq!(home.host().dig(OLD, &["lintel.home"]), [] as [&str; 0]);
    router.cli_ok(&["config", "apply", file]);
    until("the new domain is served", SOON, || {
        home.host().dig(OLD, &["lintel.home"]) == [OLD]
    });
    let diff = router.cli_ok(&["config", "diff"]);
    assert_eq!(diff, "lan.domain: lan -> home\n");
    let number = router.cli_json(&["config", "show"])["revision"].to_string();
    router.cli_ok(&["config", "rollback", "--undo", &number]);
    until("the old domain is served again", SOON, || {
        home.host().dig(OLD, &["lintel.lan"]) == [OLD]
    });
    let wrong = router.cli(&["config", "rollback", "--revision", "4711"]);
    assert!(!wrong.status.success());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("no such revision"), "{said}");
}

#[test]
fn a_plan_says_what_the_kernel_would_hear_and_whom_it_cuts() {
    let home = home();
    let router = &home.street.router;
    let plan = |name: &str, text: &str| {
        let file = home.dir.write(name, text);
        router.cli_json(&["config", "plan", file.to_str().unwrap(), "--messages"])
    };
    is_online(home.host());
    let record = "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
    let quiet = plan("record.toml", &format!("{CONFIG}{record}"));
    assert_eq!(quiet["plan"], json!([]));
    assert_eq!(quiet["flows"]["cut"], 0);
    assert!(quiet["flows"]["tracked"].as_u64().unwrap() > 0, "{quiet}");

    let off = plan(
        "off.toml",
        "[wan]\nport = \"wan0\"\nkind = \"none\"\n[run]\n",
    );
    let named = off["flows"]["named"].to_string();
    assert!(off["flows"]["cut"].as_u64().unwrap() > 0, "{off}");
    assert!(named.contains("port 80"), "{named}");
    let steps = off["plan"].as_array().unwrap().iter();
    let messages = steps.filter_map(|step| step["kernel"]["messages"].as_array());
    let kinds: Vec<&str> = messages
        .flatten()
        .filter_map(|message| message["kind"].as_str())
        .collect();
    for kind in ["RTM_DELROUTE", "RTM_DELADDR"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    // It was only said.
    is_online(home.host());
    let file = home.dir.write("again.toml", &format!("{CONFIG}{record}"));
    let text = router.cli_ok(&["config", "plan", file.to_str().unwrap()]);
    assert!(text.contains("0 connections affected"), "{text}");
}
