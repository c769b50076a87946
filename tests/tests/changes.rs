//! A change of the household's network, made from inside it: confirmed, or taken back by itself.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use netns_tests::home::{Home, PASSWORD, PATIENCE};
use netns_tests::street::CONFIG;
use netns_tests::told::{notice, status_when};
use netns_tests::until;
use netns_tests::wires::is_online;
use serde_json::{Value, json};

const OLD: &str = "192.168.1.1";
const NEW: &str = "10.9.8.1";

/// A street with one host that is online and whose owner is logged in.
fn home() -> Home {
    let home = Home::new(1);
    is_online(home.host());
    let (code, body) = post(
        &home,
        OLD,
        "/api/auth/setup",
        &json!({"password": PASSWORD}),
    );
    assert_eq!(code, 200, "{body}");
    home
}

/// As the page at this address of the box would: status code and what came.
fn send(home: &Home, verb: &str, address: &str, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{address}{path}");
    let answer = home.sessions[0].send(home.host(), verb, &url, body);
    (answer.status, answer.value())
}

fn post(home: &Home, address: &str, path: &str, body: &Value) -> (u16, Value) {
    send(home, "POST", address, path, body)
}

/// Moves the household to another network, from a page.
fn move_the_lan(home: &Home, confirm_s: &str) -> Value {
    let toml = format!("[lan]\naddress = \"{NEW}/24\"\n{CONFIG}");
    let path = format!("/api/config?reason=moving{confirm_s}");
    let (code, answer) = send(home, "PUT", OLD, &path, &json!({ "toml": toml }));
    assert_eq!(code, 200, "{answer}");
    assert_eq!(answer["confirm"]["address"], NEW, "{answer}");
    answer
}

fn is_served(home: &Home, address: &str) -> bool {
    let page = home.host().fetch(&format!("http://{address}/health"));
    page.is_some_and(|page| page.contains("up"))
}

/// What the kernel has on the household's link.
fn addresses(home: &Home) -> Vec<String> {
    let args = ["ip", "-j", "-4", "address", "show", "dev", "br-lan"];
    let shown = home.router().ns.json(args);
    let list = shown[0]["addr_info"].as_array().cloned();
    let list = list.unwrap_or_default();
    list.iter()
        .map(|address| address["local"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_move_of_the_lan_that_nobody_confirms_comes_back_by_itself() {
    let home = home();
    let answer = move_the_lan(&home, "&confirm_s=10");
    assert_eq!(answer["confirm"]["seconds_left"], 10);
    // The device still has its old address, and reaches the box under both.
    until("the new address answers", PATIENCE, || {
        is_served(&home, NEW)
    });
    assert!(is_served(&home, OLD));
    is_online(home.host());
    let told = status_when(home.router(), "it is taken back", PATIENCE, |status| {
        status["config"]["revision"] == 1 && status["kernel"]["converged"] == true
    });
    let text = notice(&told, "not-confirmed").unwrap();
    assert!(text.contains("was not confirmed in time"), "{text}");
    until("the new address is gone", PATIENCE, || {
        addresses(&home) == [OLD]
    });
    assert!(is_served(&home, OLD));
    is_online(home.host());
    let printed = home.router().cli_ok(&["config", "revisions"]);
    assert!(printed.contains("reverted"), "{printed}");
}

#[test]
fn a_household_cut_off_from_its_ports_is_back_when_nobody_confirms() {
    let home = home();
    let toml = format!("[lan]\nports = [\"path:pci-0000:00:1f.7\"]\n{CONFIG}");
    let body = json!({ "toml": toml });
    let path = "/api/config?reason=ports&confirm_s=10";
    // Whether the answer still finds its way is for the links to say.
    let url = format!("http://{OLD}{path}");
    let _ = home.sessions[0].ask(home.host(), 5, "PUT", &url, &body);
    until("nobody reaches the box", PATIENCE, || {
        !is_served(&home, OLD)
    });
    let told = status_when(home.router(), "it is taken back", PATIENCE, |status| {
        status["config"]["revision"] == 1 && status["kernel"]["converged"] == true
    });
    assert!(notice(&told, "not-confirmed").is_some(), "{told}");
    until("the box is reached again", PATIENCE, || {
        is_served(&home, OLD)
    });
    is_online(home.host());
}

#[test]
fn a_move_is_confirmed_at_the_new_address_and_the_devices_follow() {
    let home = home();
    let answer = move_the_lan(&home, "");
    assert_eq!(answer["confirm"]["seconds_left"], 90);
    until("the new address answers", PATIENCE, || {
        is_served(&home, NEW)
    });
    // A browser has no cookie for that address: the token of the answer stands for it.
    let (code, _) = post(&home, NEW, "/api/config/confirm", &json!({}));
    assert_eq!(code, 401);
    let token = json!({"token": answer["confirm"]["token"]});
    let (code, body) = post(&home, NEW, "/api/config/confirm", &token);
    assert_eq!(code, 200, "{body}");
    let (code, _) = post(&home, NEW, "/api/config/confirm", &token);
    assert_eq!(code, 409, "logged in by now, and nothing waits");
    // Its lease runs: the old network is served on.
    assert!(is_served(&home, OLD));
    is_online(home.host());
    // A renewal there is refused, and the device asks anew.
    home.clients[0].signal("USR1");
    until("the device is in the new network", PATIENCE, || {
        home.host().lease(PATIENCE).address.starts_with("10.9.8.")
    });
    until("the old address is let go", PATIENCE, || {
        addresses(&home) == [NEW]
    });
    assert_eq!(home.host().lease(PATIENCE).router, NEW);
    is_online(home.host());
    assert_eq!(home.host().dig(NEW, &["lintel.lan"]), [NEW]);
}

#[test]
fn another_address_in_the_same_network_cuts_nobody_off() {
    let home = home();
    let beside = "192.168.1.2";
    let toml = format!("[lan]\naddress = \"{beside}/24\"\n{CONFIG}");
    let (code, answer) = send(&home, "PUT", OLD, "/api/config", &json!({ "toml": toml }));
    assert_eq!(code, 200, "{answer}");
    let token = json!({"token": answer["confirm"]["token"]});
    let (code, body) = post(&home, beside, "/api/config/confirm", &token);
    assert_eq!(code, 200, "{body}");
    // The device was told that the old address is its router and its resolver.
    assert!(is_served(&home, OLD));
    is_online(home.host());
    assert_eq!(home.host().dig(OLD, &["lintel.lan"]), [beside]);
    home.clients[0].signal("USR1");
    until("the device knows the new address", PATIENCE, || {
        home.host().lease(PATIENCE).router == beside
    });
    is_online(home.host());
}

#[test]
fn a_change_is_planned_compared_and_undone_from_the_command_line() {
    let home = home();
    let router = home.router();
    let file = home
        .dir
        .write("new.toml", &format!("[lan]\ndomain = \"home\"\n{CONFIG}"));
    let file = file.to_str().unwrap();
    let planned = router.cli_ok(&["config", "plan", file]);
    assert!(planned.contains("lan.domain: lan -> home"), "{planned}");
    assert_eq!(home.host().dig(OLD, &["lintel.home"]), [] as [&str; 0]);
    router.cli_ok(&["config", "apply", file]);
    until("the new domain is served", PATIENCE, || {
        home.host().dig(OLD, &["lintel.home"]) == [OLD]
    });
    let diff = router.cli_ok(&["config", "diff"]);
    assert_eq!(diff, "lan.domain: lan -> home\n");
    let number = router.cli_json(&["config", "show"])["revision"].to_string();
    router.cli_ok(&["config", "rollback", "--undo", &number]);
    until("the old domain is served again", PATIENCE, || {
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
    let router = home.router();
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
