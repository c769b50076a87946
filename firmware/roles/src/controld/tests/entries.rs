//! Single records and reservations, against the configuration that they change.

use lintel_api::types::DnsRecord;
use lintel_model::lease::{Binding, BindingState};
use serde_json::json;

use super::*;

fn kind(result: &Result<Value, Problem>) -> &str {
    match result {
        Ok(_) => "ok",
        Err(problem) => &problem.kind,
    }
}

/// The written records, as `name type value`.
fn written(bench: &mut Bench) -> Vec<String> {
    let page = bench.local("dns.records.list", json!({})).unwrap();
    let items: Vec<DnsRecord> = serde_json::from_value(page["items"].clone()).unwrap();
    let own = items.into_iter().filter(|record| record.source == "config");
    own.map(|r| format!("{} {} {}", r.name, r.rtype, r.value))
        .collect()
}

#[test]
fn a_record_comes_and_goes_as_one_revision_each_and_leaves_the_text_alone() {
    let mut bench = Bench::settled();
    let toml = "# mine\n[lan]\naddress = \"192.168.1.1/24\" # the cellar\n";
    bench
        .local("config.apply", json!({ "toml": toml }))
        .unwrap();
    let first = json!({ "name": "nas", "type": "A", "value": "192.168.1.5", "reason": "new disk" });
    let added: ConfigApplied =
        serde_json::from_value(bench.local("dns.records.add", first.clone()).unwrap()).unwrap();
    assert!(added.committed && added.plan.is_empty(), "{added:?}");
    assert_eq!(added.outcome, "applied");
    assert_eq!(added.changes.len(), 1);
    assert_eq!(written(&mut bench), ["nas.lan A 192.168.1.5"]);
    let shown = bench.local("config.show", json!({})).unwrap();
    assert_eq!(shown["reason"], "new disk");
    assert!(shown["toml"].as_str().unwrap().starts_with(toml.trim_end()));

    // Once is enough, however it is written.
    for name in ["nas", "NAS.lan", "nas.lan."] {
        let again = json!({ "name": name, "type": "A", "value": "192.168.1.5", "ttl": 60 });
        let again = bench.local("dns.records.add", again);
        assert_eq!(kind(&again), "already-there", "{name}");
    }
    // What cannot be is told by the key that is wrong.
    for (wrong, path) in [
        (
            json!({ "name": "nas", "type": "A", "value": "fd00::5" }),
            "value",
        ),
        (
            json!({ "name": "a b", "type": "A", "value": "192.168.1.5" }),
            "name",
        ),
        (
            json!({ "name": "nas", "type": "CNAME", "value": "x" }),
            "name",
        ),
        (
            json!({ "name": "nas", "type": "A", "value": "192.168.1.6", "ttl": 1u64 << 40 }),
            "ttl",
        ),
        (json!({ "name": "nas", "type": "MX", "value": "x" }), "type"),
    ] {
        let problem = bench.local("dns.records.add", wrong).unwrap_err();
        assert_eq!(
            (problem.status, problem.errors[0].path.as_str()),
            (422, path)
        );
        assert!(!problem.errors[0].reason.is_empty());
    }

    // A dry run changes nothing.
    let only = json!({ "name": "tv", "type": "A", "value": "192.168.1.6", "dry_run": true });
    let said = bench.local("dns.records.add", only).unwrap();
    assert_eq!(
        (&said["outcome"], &said["committed"]),
        (&json!("planned"), &json!(false))
    );
    assert_eq!(written(&mut bench).len(), 1);

    bench
        .local("dns.records.delete", json!({ "name": "nas.lan" }))
        .unwrap();
    assert!(written(&mut bench).is_empty());
    let shown = bench.local("config.show", json!({})).unwrap();
    assert_eq!(shown["toml"].as_str().unwrap().trim_end(), toml.trim_end());
    assert_eq!(shown["reason"], "without the name nas.lan");
}

#[test]
fn a_delete_takes_what_fits_and_says_where_other_names_come_from() {
    let mut bench = Bench::settled();
    for (rtype, value) in [
        ("A", "192.168.1.5"),
        ("A", "192.168.1.6"),
        ("AAAA", "fd00::5"),
    ] {
        let add = json!({ "name": "nas", "type": rtype, "value": value });
        bench.local("dns.records.add", add).unwrap();
    }
    let one = json!({ "name": "nas", "type": "A", "value": "192.168.1.6" });
    bench.local("dns.records.delete", one.clone()).unwrap();
    assert_eq!(written(&mut bench).len(), 2);
    assert_eq!(
        kind(&bench.local("dns.records.delete", one)),
        "no-such-record"
    );
    let rest = json!({ "name": "nas", "value": "FD00:0::5" });
    bench.local("dns.records.delete", rest).unwrap();
    assert_eq!(written(&mut bench), ["nas.lan A 192.168.1.5"]);
    let own = bench.local("dns.records.delete", json!({ "name": "lintel" }));
    let own = own.unwrap_err();
    assert!(
        own.status == 404 && own.detail.contains("the box's own"),
        "{own:?}"
    );
    // A list that is written in another way is written anew.
    let inline = "[dns]\nrecords = [{ name = \"a\", type = \"A\", value = \"192.168.1.7\" }]\n";
    bench
        .local("config.apply", json!({ "toml": inline }))
        .unwrap();
    let add = json!({ "name": "b", "type": "A", "value": "192.168.1.8" });
    bench.local("dns.records.add", add).unwrap();
    assert_eq!(written(&mut bench).len(), 2);
    bench
        .local("dns.records.delete", json!({ "name": "a" }))
        .unwrap();
    assert_eq!(written(&mut bench), ["b.lan A 192.168.1.8"]);
}

fn bound(last: u8, mac: u8, name: &str) -> Binding {
    Binding {
        address: Ipv4Addr::new(192, 168, 1, last),
        mac: MacAddr([2, 0, 0, 0, 0, mac]),
        client_id: Vec::new(),
        host_name: Some(name.to_owned()),
        bound_unix_s: UNIX_S,
        expires_unix_s: UNIX_S + 3600,
        state: BindingState::Bound,
    }
}

#[test]
fn a_reservation_is_checked_against_leases_and_other_reservations() {
    let mut bench = Bench::settled();
    use super::leases::bind;
    bench.input(Input::Dhcpd(vec![
        bind(1, bound(120, 1, "annes-laptop")),
        bind(2, bound(121, 2, "tv")),
    ]));
    // Without an address, the one that the device has.
    let anne = json!({ "mac": "02:00:00:00:00:01", "name": "anne" });
    bench.local("dhcp.reservations.add", anne).unwrap();
    let list = bench.local("dhcp.reservations.list", json!({})).unwrap();
    assert_eq!(
        list["items"],
        json!([{ "mac": "02:00:00:00:00:01", "address": "192.168.1.120", "name": "anne" }])
    );
    let leases = bench.local("dhcp.leases.list", json!({})).unwrap();
    assert_eq!(leases["items"][0]["reserved"], true);
    let nobody = json!({ "mac": "02:00:00:00:00:99" });
    assert_eq!(
        kind(&bench.local("dhcp.reservations.add", nobody)),
        "no-such-lease"
    );

    for (mac, address, what) in [
        ("02:00:00:00:00:01", "192.168.1.30", "already-there"),
        ("02:00:00:00:00:03", "192.168.1.120", "already-there"),
        ("02:00:00:00:00:03", "192.168.2.5", "bad-parameters"),
        ("02:00:00:00:00:03", "192.168.1.1", "bad-parameters"),
        ("02:00:00:00:00:03", "192.168.1.255", "bad-parameters"),
        ("03:00:00:00:00:03", "192.168.1.30", "bad-parameters"),
        ("nonsense", "192.168.1.30", "bad-parameters"),
    ] {
        let params = json!({ "mac": mac, "address": address });
        let came = bench.local("dhcp.reservations.add", params);
        assert_eq!(kind(&came), what, "{mac} {address}");
        if let Err(problem) = came
            && problem.status == 422
        {
            assert!(["mac", "address"].contains(&problem.errors[0].path.as_str()));
        }
    }

    // What another device has is promised, and it is told that this takes a while.
    let theirs = json!({ "mac": "02:00:00:00:00:03", "address": "192.168.1.121" });
    let taken: ConfigApplied =
        serde_json::from_value(bench.local("dhcp.reservations.add", theirs).unwrap()).unwrap();
    let mut texts = taken.notices.iter().map(|notice| &notice.text);
    assert!(
        texts.any(|text| text.contains("is in use by tv")),
        "{taken:?}"
    );
    let list = bench.local("dhcp.reservations.list", json!({})).unwrap();
    assert_eq!(list["items"][1]["held_until_unix_s"], UNIX_S + 3600);

    let gone = json!({ "mac": "02:00:00:00:00:01" });
    bench
        .local("dhcp.reservations.delete", gone.clone())
        .unwrap();
    assert_eq!(
        kind(&bench.local("dhcp.reservations.delete", gone)),
        "no-such-reservation"
    );
}
