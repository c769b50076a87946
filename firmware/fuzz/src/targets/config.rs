//! The configuration text, and what calls name in the table of methods.

use arbitrary::Unstructured;
use lintel_api::{Lookup, METHODS, by_name, by_path, by_words};
use lintel_model::config::change::{Change, changes, undo};
use lintel_model::config::{Config, PoolConfig, RecordConfig, RecordType, WanKind};

use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

/// What a parsed configuration writes is parsed to the same, as TOML and as JSON; each problem
/// points into the text.
pub fn config(data: &[u8]) -> Tally {
    let Ok(text) = std::str::from_utf8(data) else {
        return Tally::REFUSED;
    };
    match Config::parse(text) {
        Ok(config) => {
            let written = config.to_toml();
            assert_eq!(Config::parse(&written).as_ref(), Ok(&config), "{written}");
            assert_eq!(config.problems(), Vec::new());
            let json = serde_json::to_vec(&config).expect("a configuration is JSON");
            let again: Config = serde_json::from_slice(&json).expect("what was written is read");
            assert_eq!(again, config);
            let on_a_box = Config::parse_for_box(text);
            assert_eq!(on_a_box.is_ok(), config.run.is_none());
            Tally::ACCEPTED
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 10_000);
            let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
            for problem in problems {
                assert!(problem.line <= lines, "{problem} of {lines} lines");
                assert!(!problem.reason.is_empty() && !problem.to_string().is_empty());
            }
            Tally::REFUSED
        }
    }
}

/// What differs between two configurations is told so that undoing it in the second leads to the
/// first; in a third it is undone whole, or refused and then it did change there.
pub fn config_change(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let [before, after, now] = [(); 3].map(|()| household(&mut u));
    let told = changes(&before, &after);
    assert_eq!(told.is_empty(), sorted(&before) == sorted(&after));
    let back = undo(&after, &told).expect("what was just done");
    assert_eq!(sorted(&back), sorted(&before));
    let text = serde_json::to_string(&told).expect("changes are JSON");
    let read: Vec<Change> = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(read, told);
    let undone = undo(&now, &told);
    match &undone {
        // Done again it is there again.
        Ok(undone) => {
            let again: Vec<Change> = told
                .iter()
                .map(|change| Change {
                    path: change.path.clone(),
                    from: change.to.clone(),
                    to: change.from.clone(),
                })
                .collect();
            let redone = undo(undone, &again).expect("nothing changed since");
            assert_eq!(sorted(&redone), sorted(&now));
        }
        Err(_) => assert_ne!(sorted(&now), sorted(&after)),
    }
    Tally::one(undone.is_ok())
}

/// A configuration of a small house, in which two often have parts in common.
fn household(u: &mut Unstructured<'_>) -> Config {
    let mut config = Config::default();
    if any(u) {
        config.system.hostname = pick(u, &["box", "house"]).parse().expect("a name");
    }
    if any(u) {
        let address = pick(u, &["10.0.1.1/24", "10.0.2.1/24"]);
        config.lan.address = address.parse().expect("a network");
    }
    for port in ["eth1", "eth2"].into_iter().take(below(u, 3)) {
        config.lan.ports.push(port.parse().expect("a port"));
    }
    config.wan.kind = pick(u, &[WanKind::None, WanKind::Dhcp]);
    config.dhcp.enabled = any(u);
    config.dhcp.lease_s = 3600 + below(u, 3) as u32;
    if any(u) {
        let [first, last] = [50, 60].map(|low| [10, 0, 1, low + below(u, 2) as u8].into());
        config.dhcp.pool = Some(PoolConfig { first, last });
    }
    config.dns.rebind_protection = any(u);
    for upstream in ["9.9.9.9", "1.1.1.1"].into_iter().take(below(u, 3)) {
        config
            .dns
            .upstreams
            .push(upstream.parse().expect("a server"));
    }
    let names = below(u, 8);
    for at in (0..3).filter(|at| names & (1 << at) != 0) {
        config.dns.records.push(RecordConfig {
            name: ["a", "b", "c"][at].parse().expect("a name"),
            rtype: RecordType::A,
            value: format!("192.168.1.{}", below(u, 2)),
            ttl: 300,
        });
    }
    config
}

/// Records have no order that matters.
fn sorted(config: &Config) -> Config {
    let mut config = config.clone();
    config
        .dns
        .records
        .sort_by_key(|record| format!("{record:?}"));
    config
}

/// A path leads to at most one method, whose parameters are pieces of the path; words are read as
/// far as they are a method's; a typed value is of its kind.
pub fn api(data: &[u8]) -> Tally {
    let Ok(text) = std::str::from_utf8(data) else {
        return Tally::REFUSED;
    };
    let (verb, path) = text.split_once(' ').unwrap_or(("GET", text));
    let mut accepted = false;
    match by_path(verb, path) {
        Lookup::Found { method, params } => {
            accepted = true;
            assert_eq!(method.verb.as_str(), verb);
            assert!(
                params
                    .iter()
                    .all(|(_, value)| !value.is_empty() && !value.contains('/'))
            );
            let rebuilt = params
                .iter()
                .fold(method.path.to_owned(), |path, (name, value)| {
                    path.replacen(&format!("{{{name}}}"), value, 1)
                });
            assert!(rebuilt == path || path.contains('{'), "{rebuilt} of {path}");
        }
        Lookup::WrongVerb { allowed } => {
            assert!(!allowed.is_empty() && allowed.iter().all(|other| other.as_str() != verb));
        }
        Lookup::NotFound => {}
    }
    let words: Vec<&str> = text.split(' ').collect();
    if let Some((method, taken)) = by_words(&words) {
        accepted = true;
        assert!(taken <= words.len() && by_name(method.name).is_some());
    }
    for param in METHODS.iter().flat_map(|method| method.params) {
        if let Ok(value) = param.parse(words.last().unwrap_or(&"")) {
            assert!(
                value.is_string() || value.is_number() || value.is_boolean() || value.is_object()
            );
        }
    }
    Tally::one(accepted)
}

/// A configuration as people write them, mostly right.
pub fn config_text(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for section in ["system", "wan", "lan", "dhcp", "dhcp.pool", "dns", "ntp"] {
        if once_in(u, 2) {
            lines.push(format!("[{section}]"));
            for _ in 0..below(u, 4) {
                lines.push(line(u, section));
            }
        }
    }
    for _ in 0..below(u, 3) {
        lines.push("[[dhcp.reservations]]".to_owned());
        lines.push(format!("mac = \"02:00:00:00:00:{:02x}\"", any::<u8>(u)));
        lines.push(format!("address = \"192.168.1.{}\"", any::<u8>(u)));
    }
    for _ in 0..below(u, 3) {
        lines.push("[[dns.records]]".to_owned());
        lines.push(format!("name = \"{}\"", text(u, b"ab.-x", 12)));
        let (rtype, value) = pick(
            u,
            &[
                ("A", "192.168.1.9"),
                ("AAAA", "fd00::1"),
                ("CNAME", "nas.lan"),
                ("TXT", "é \\\" x"),
            ],
        );
        lines.push(format!("type = \"{rtype}\"\nvalue = \"{value}\""));
    }
    lines.join("\n").into_bytes()
}

fn line(u: &mut Unstructured<'_>, section: &str) -> String {
    let key = match section {
        "system" => "hostname",
        "wan" => pick(u, &["kind", "port", "hostname"]),
        "lan" => pick(u, &["address", "ports", "domain"]),
        "dhcp" => pick(u, &["enabled", "lease_s", "durable"]),
        "dhcp.pool" => pick(u, &["first", "last"]),
        "dns" => pick(u, &["upstreams", "rebind_protection", "rebind_allowed"]),
        _ => pick(u, &["enabled", "servers", "pools", "serve"]),
    };
    let value = match below(u, 10) {
        0 => number(u).to_string(),
        1 => any::<bool>(u).to_string(),
        2 => format!("\"{}\"", text(u, b"abc-.", 8)),
        3 => format!(
            "\"192.168.{}.{}/{}\"",
            any::<u8>(u),
            any::<u8>(u),
            below(u, 34)
        ),
        4 => format!("\"192.168.1.{}\"", any::<u8>(u)),
        5 => "[\"9.9.9.9\", \"[2620:fe::fe]:53\"]".to_owned(),
        6 => "[\"eth1\", \"mac:02:00:5e:00:53:01\"]".to_owned(),
        7 => "\"auto\"".to_owned(),
        8 => pick(u, &["\"dhcp\"", "\"none\"", "3600", "true", "[]"]).to_owned(),
        _ => String::from_utf8_lossy(&octets(u, 8)).into_owned(),
    };
    format!("{key} = {value}")
}

/// A request line without its version, or words of a command.
pub fn api_text(u: &mut Unstructured<'_>) -> Vec<u8> {
    let method = &METHODS[below(u, METHODS.len())];
    let value = match below(u, 4) {
        0 => "192.168.1.7".to_owned(),
        1 => number(u).to_string(),
        2 => "{\"a\":[1]}".to_owned(),
        _ => text(u, b"ab%/ ", 6),
    };
    if any(u) {
        let mut path = method.path.to_owned();
        if let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
            path.replace_range(from..=to, &value);
        }
        format!("{} {path}", method.verb.as_str()).into_bytes()
    } else {
        format!("{} {value}", method.name.replace('.', " ")).into_bytes()
    }
}
