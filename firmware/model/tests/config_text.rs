//! Configuration texts: every problem at once, and what is written reads back.

use lintel_model::config::Config;
use proptest::prelude::*;

const BROKEN: &str = r#"
[sytem]
hostname = "box"

[wan]
prot = "auto"
kind = "pppoe"
port = "eth0"

[lan]
address = "192.168.1.1/24"
ports = ["eth0", "a b"]
domain = "local"

[dhcp]
enabled = "yes"
lease_s = 5
pool = { first = "192.168.2.100", last = "192.168.1.50" }

[[dhcp.reservations]]
mac = "02:00:5e:00:53:01"
address = "192.168.1.1"

[[dhcp.reservations]]
mac = "02:00:5e:00:53:01"
address = "10.0.0.1"
name = "lintel"

[[dhcp.reservations]]
mac = "02:00:5e:00:53"

[dns]
cache_bytes_max = -1
upstreams = ["nine.nine", "192.168.1.1"]

[[dns.records]]
name = "nas"
type = "A"
value = "fd00::1"

[[dns.records]]
name = "nas"
type = "CNAME"
value = "other.example"
tll = 5
"#;

/// Path and place of every problem, in order.
fn found(text: &str) -> Vec<String> {
    Config::parse(text)
        .err()
        .unwrap_or_default()
        .iter()
        .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.path))
        .collect()
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    assert_eq!(
        found(BROKEN),
        [
            "2:2 sytem",
            "6:1 wan.prot",
            "7:8 wan.kind",
            "12:18 lan.ports[1]",
            "13:10 lan.domain",
            "16:11 dhcp.enabled",
            "17:11 dhcp.lease_s",
            "18:18 dhcp.pool.first",
            "18:18 dhcp.pool.first",
            "22:11 dhcp.reservations[0].address",
            "25:7 dhcp.reservations[1].mac",
            "26:11 dhcp.reservations[1].address",
            "27:8 dhcp.reservations[1].name",
            "29:1 dhcp.reservations[2].address",
            "30:7 dhcp.reservations[2].mac",
            "33:19 dns.cache_bytes_max",
            "34:14 dns.upstreams[0]",
            "39:9 dns.records[0].value",
            "42:8 dns.records[1].name",
            "45:1 dns.records[1].tll",
        ]
    );
}

#[test]
fn a_problem_reads_as_compilers_print_it() {
    let problems = Config::parse("[wan]\nprot = \"auto\"\n").unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "2:1: wan.prot: there is no setting \"prot\"\n    hint: did you mean \"port\"?"
    );
    let problems = Config::parse("[lan]\naddress = \"192.168.1.1\"\n").unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "2:11: lan.address: \"192.168.1.1\": invalid IP address syntax\n    hint: write the box's address and the network's length: \"192.168.1.1/24\""
    );
}

#[test]
fn broken_syntax_hides_nothing_else() {
    let problems = found("[wan]\nport = \nkind = \"x\"\n[lan]\nprot = 1\n");
    assert!(problems.iter().any(|p| p.starts_with("2:")), "{problems:?}");
    assert!(
        problems.contains(&"5:1 lan.prot".to_owned()),
        "{problems:?}"
    );
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    for (text, path) in [
        ("[lan]\naddress = \"192.168.1.0/24\"", "lan.address"),
        ("[lan]\naddress = \"192.168.1.255/24\"", "lan.address"),
        ("[lan]\naddress = \"192.168.1.1/31\"", "lan.address"),
        ("[lan]\naddress = \"10.0.0.1/7\"", "lan.address"),
        ("[lan]\naddress = \"127.0.0.1/8\"", "lan.address"),
        ("[lan]\naddress = \"224.0.0.1/24\"", "lan.address"),
        (
            "[dhcp]\npool = { first = \"192.168.1.1\", last = \"192.168.1.9\" }",
            "dhcp.pool",
        ),
        (
            "[dhcp]\npool = { first = \"192.168.1.1\" }",
            "dhcp.pool.last",
        ),
        (
            "[wan]\nport = \"eth0\"\n[lan]\nports = [\"eth0\"]",
            "lan.ports[0]",
        ),
        ("[lan]\nports = [\"eth0\", \"eth0\"]", "lan.ports[1]"),
        ("[lan]\nports = [\"br-lan\"]", "lan.ports[0]"),
        ("[dns]\nupstreams = [\"0.0.0.0\"]", "dns.upstreams[0]"),
        ("[dns]\nupstreams = [\"127.0.0.1\"]", "dns.upstreams[0]"),
        (
            "[[dns.records]]\nname = \"lintel\"\ntype = \"CNAME\"\nvalue = \"example.org\"",
            "dns.records[0].name",
        ),
        (
            "[[dns.records]]\nname = \"x\"\ntype = \"PTR\"\nvalue = \"x\"",
            "dns.records[0].name",
        ),
        ("[lan]\ndomain = \"house.local\"", "lan.domain"),
        ("[lan]\ndomain = \"1.168.192.in-addr.arpa\"", "lan.domain"),
        (
            "[[dns.records]]\nname = \"printer\"\ntype = \"CNAME\"\nvalue = \"lintel\"\n[[dhcp.reservations]]\nmac = \"02:00:5e:00:53:01\"\naddress = \"192.168.1.9\"\nname = \"printer\"",
            "dns.records[0].name",
        ),
        (
            "[[dns.records]]\nname = \"x\"\ntype = \"CNAME\"\nvalue = \"x.lan\"",
            "dns.records[0].value",
        ),
        ("[system]\nhostname = \"localhost\"", "system.hostname"),
        ("dns = 5", "dns"),
        ("[run]\ndns_port = 80", "run.http_port"),
        ("[run]\ndns_port = 443", "run.https_port"),
        ("[run]\nhttp_port = 443", "run.https_port"),
        ("[run]\ndns_port = 0", "run.dns_port"),
        ("[dhcp]\nlease_s = 99999999999999999999", "dhcp.lease_s"),
    ] {
        let problems = Config::parse(text).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, [path], "{text}");
    }
}

#[test]
fn an_alias_leads_to_a_name_that_is_there() {
    let alias = |name: &str, value: &str| {
        format!("[[dns.records]]\nname = \"{name}\"\ntype = \"CNAME\"\nvalue = \"{value}\"\n")
    };
    let reserved = "[[dhcp.reservations]]\nmac = \"02:00:5e:00:53:01\"\naddress = \"192.168.1.9\"\nname = \"Printer\"\n";
    for target in [
        "lintel",
        "printer.lan",
        "PRINTER",
        "www.example.org.",
        "lan.example",
        "b",
    ] {
        let text = alias("a", target) + &alias("b", "lintel.lan") + reserved;
        assert_eq!(found(&text), Vec::<String>::new(), "{target}");
    }
    let circle = alias("a", "b") + &alias("b", "c.lan") + &alias("c", "a") + &alias("d", "a");
    assert_eq!(
        found(&circle),
        [
            "4:9 dns.records[0].value",
            "8:9 dns.records[1].value",
            "12:9 dns.records[2].value"
        ]
    );
    // A name that could not be read may be the one that is meant.
    let unread = alias("a", "b.lan") + &alias("b b", "lintel");
    assert_eq!(found(&unread), ["6:8 dns.records[1].name"]);
}

/// A device brings its name with its lease.
#[test]
fn an_alias_may_lead_to_a_device_that_has_not_come_yet() {
    let text = "[[dns.records]]\nname = \"music\"\ntype = \"CNAME\"\nvalue = \"nas.lan\"\n";
    assert!(Config::parse(text).is_ok());
}

#[test]
fn the_run_section_is_not_for_a_box() {
    let text = "[run]\ndns_port = 5353\n";
    assert!(Config::parse(text).is_ok());
    let problems = Config::parse_for_box(text).unwrap_err();
    assert_eq!((problems[0].line, problems[0].path.as_str()), (1, "run"));
    let problems = Config::parse_for_box("[run]\nsandbox = 1\n[lan]\nprot = 2\n").unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["run", "run.sandbox", "lan.prot"]);
}

#[test]
fn what_is_written_reads_back() {
    let text = r#"
[system]
hostname = "attic"
[wan]
port = "path:pci-0000:00:03.0"
kind = "none"
[lan]
address = "10.1.0.1/16"
ports = ["eth1", "mac:02:00:5e:00:53:09"]
domain = "home.arpa"
[dhcp]
enabled = false
pool = { first = "10.1.1.0", last = "10.1.2.255" }
[[dhcp.reservations]]
mac = "02:00:5e:00:53:01"
address = "10.1.0.9"
name = "printer"
[dns]
upstreams = ["9.9.9.9", "[2620:fe::fe]:5353"]
rebind_protection = false
[[dns.records]]
name = "nas"
type = "TXT"
value = "a \"quoted\" word, a \\ and a 'tick'"
[run]
http_port = 8080
https_port = 8443
sandbox = false
"#;
    let config = Config::parse(text).unwrap();
    assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
    // The hand-written reader and serde's derive know the same keys.
    assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
    assert_eq!(toml::from_str::<Config>(text).unwrap(), config);
    let derived = toml::to_string(&config).unwrap();
    assert_eq!(Config::parse(&derived).unwrap(), config);
    assert!(config.problems().is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        let _ = Config::parse(&text);
    }

    /// A broken file is most often a good one with a part gone or doubled.
    #[test]
    fn any_cut_of_a_text_is_read_without_panic(from in 0..1000usize, to in 0..1000usize, with in ".{0,8}") {
        let chars: Vec<char> = BROKEN.chars().collect();
        let part = |range: &[char]| range.iter().collect::<String>();
        let text = part(&chars[..from.min(chars.len())]) + &with + &part(&chars[to.min(chars.len())..]);
        for problem in Config::parse(&text).err().unwrap_or_default() {
            let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
            prop_assert!(problem.line >= 1 && problem.line <= lines, "{problem}");
        }
    }

    /// What parses is written to what parses to the same.
    #[test]
    fn what_parses_is_written_and_parses_again(value in ".{0,40}", host in "[a-z]{1,9}", third in 0..255u8) {
        let value = toml::Value::String(value).to_string();
        let text = format!("[system]\nhostname = \"{host}\"\n[lan]\naddress = \"10.0.{third}.1/24\"\n[[dns.records]]\nname = \"x\"\ntype = \"TXT\"\nvalue = {value}\n");
        if let Ok(config) = Config::parse(&text) {
            let tree = serde_json::to_value(&config).unwrap();
            prop_assert_eq!(Config::from_json(&tree), Ok(config.clone()));
            prop_assert_eq!(Config::parse(&config.to_toml()), Ok(config));
        }
    }
}

#[test]
fn a_flood_of_problems_is_cut_off() {
    let text: String = (0..60_000).map(|n| format!("key{n} = 1\n")).collect();
    assert_eq!(Config::parse(&text).unwrap_err().len(), 200);
    let text = "a = [".to_owned() + &"[".repeat(100_000);
    assert!(Config::parse(&text).is_err());
}
