//! Single records and reservations on the running router: dig and udhcpc are the judges.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use netns_tests::client::DhcpClient;
use netns_tests::home::{Home, PATIENCE};
use netns_tests::until;
use netns_tests::wires::BOX;
use serde_json::{Value, json};

#[test]
fn records_and_reservations_are_written_one_by_one() {
    let mut home = Home::new(2);
    let mut client = home.clients.remove(0);
    let first = home.host().lease(PATIENCE).address;
    let (anne, bert) = (&home.street.hosts[0], &home.street.hosts[1]);
    let router = home.router();
    let token = home.token("write");
    let program = home.program(&token);
    let call = |verb: &str, path: &str, more: &[&str], body: &Value| {
        let answer = program.send_with(verb, path, body, more);
        (answer.status, answer.value())
    };

    // The answer comes when it is stored; the resolver hears of it in the same moment.
    let named = |name: &str, addresses: &[&str]| {
        until("DNS has it", PATIENCE, || {
            anne.dig(BOX, &[name]) == addresses
        });
    };

    // A record: in DNS with the answer, once for one key, and gone with the answer.
    let nas = json!({ "name": "nas", "type": "A", "value": "192.168.1.5", "ttl": 77 });
    let key = ["-H", "Idempotency-Key: one"];
    let (status, made) = call("POST", "/api/dns/records", &key, &nas);
    assert_eq!(
        (status, &made["outcome"]),
        (200, &json!("applied")),
        "{made}"
    );
    assert_eq!(made["plan"], json!([]), "the kernel has no part in names");
    named("nas.lan", &["192.168.1.5"]);
    let full = anne.dig(BOX, &["+noshort", "+noall", "+answer", "nas.lan"]);
    assert!(full[0].split_whitespace().nth(1) == Some("77"), "{full:?}");
    let (status, again) = call("POST", "/api/dns/records", &key, &nas);
    assert_eq!((status, &again["revision"]), (200, &made["revision"]));
    let (status, twice) = call("POST", "/api/dns/records", &[], &nas);
    assert_eq!((status, &twice["type"]), (409, &json!("already-there")));
    let old = ["-H", "If-Match: 1"];
    let (status, _) = call("DELETE", "/api/dns/records?name=nas", &old, &json!({}));
    assert_eq!(status, 412);
    let dry = "/api/dns/records?name=nas&dry_run=1";
    let (status, planned) = call("DELETE", dry, &[], &json!({}));
    assert_eq!((status, &planned["outcome"]), (200, &json!("planned")));
    named("nas.lan", &["192.168.1.5"]);
    // What is meant may stand in the body as well.
    let (status, gone) = call("DELETE", "/api/dns/records", &[], &nas_key());
    assert_eq!(status, 200, "{gone}");
    named("nas.lan", &[]);
    let said = router.cli_ok(&["dns", "records", "add", "tv", "A", "192.168.1.6"]);
    assert!(said.contains("dns.records"), "{said}");
    named("tv.lan", &["192.168.1.6"]);
    router.cli_ok(&["dns", "records", "delete", "tv"]);
    named("tv.lan", &[]);

    // A reservation of what the device has, then of another address.
    let page = router.cli_json(&["leases"]);
    let mac = page["items"][0]["mac"].as_str().unwrap().to_owned();
    let path = "/api/dhcp/reservations";
    let (status, _) = call("POST", path, &[], &json!({ "mac": mac }));
    assert_eq!(status, 200);
    let list = program.get(path).json();
    let held = first.split('/').next().unwrap();
    assert_eq!(list["items"][0]["address"], held);
    let (status, taken) = call(
        "POST",
        path,
        &[],
        &json!({ "mac": "02:00:00:00:00:77", "address": held }),
    );
    assert_eq!((status, &taken["type"]), (409, &json!("already-there")));
    router.cli_ok(&["dhcp", "reservations", "delete", &mac]);
    let words = ["--address", "192.168.1.50", "--name", "anne"];
    router.cli_ok(&[&["dhcp", "reservations", "add", &mac], &words[..]].concat());
    client.kill();
    let mut client = anne.dhcp(DhcpClient::Udhcpc, "annes-laptop");
    until("the device has its fixed address", PATIENCE, || {
        anne.lease(PATIENCE).address.starts_with("192.168.1.50/")
    });
    named("anne.lan", &["192.168.1.50"]);

    // Promised to another while Anne has it: Bert gets one of the pool meanwhile.
    let link = bert.ns.json(["ip", "-j", "link", "show", "eth0"]);
    let bert_mac = link[0]["address"].as_str().unwrap();
    router.cli_ok(&["dhcp", "reservations", "delete", &mac]);
    let (status, promised) = call(
        "POST",
        path,
        &[],
        &json!({ "mac": bert_mac, "address": "192.168.1.50" }),
    );
    assert_eq!(status, 200, "{promised}");
    let told = promised["notices"].to_string();
    assert!(told.contains("is in use by anne."), "{told}");
    let berts = bert.dhcp(DhcpClient::Udhcpc, "berts-phone");
    let other = bert.lease(PATIENCE).address;
    assert!(!other.starts_with("192.168.1.50/"), "{other}");
    // Anne goes, her lease ends by hand, and with it the wait.
    client.kill();
    anne.ns
        .ok(["ip", "address", "flush", "dev", "eth0", "scope", "global"]);
    let end = ["dhcp", "leases", "delete", "192.168.1.50"];
    assert!(router.cli(&end).status.success());
    assert!(!router.cli(&end).status.success(), "it is gone");
    drop(berts);
    let _bert = bert.dhcp(DhcpClient::Udhcpc, "berts-phone");
    until("the address is the one promised", PATIENCE, || {
        bert.lease(PATIENCE).address.starts_with("192.168.1.50/")
    });
}

fn nas_key() -> Value {
    json!({ "name": "nas.lan", "type": "A" })
}
