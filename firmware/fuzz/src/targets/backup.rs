//! Backups as somebody brings them: their text, the age file around it, and the ports in it.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use lintel_model::MacAddr;
use lintel_model::backup::{BACKUP_BYTES_MAX, Backup, PORTS_MAX, PortRecord, PortRole};
use lintel_model::config::{Config, PortSelector};
use lintel_model::facts::Facts;
use lintel_model::observed::LinkStatus;
use lintel_plan::restore::{match_ports, record_ports};
use lintel_seal::{LOG_N_MAX, Sealed, armor, seal};

use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick, text};

/// Work that a fuzzer has the time for, the logarithm of scrypt's N.
const CHEAP_LOG_N: u8 = 3;
const WORDS: &str = "four words are enough";

/// What is read keeps its bounds and is written and read the same; one that is cut short is never
/// read.
pub fn backup(data: &[u8]) -> Tally {
    let Ok(text) = std::str::from_utf8(data) else {
        return Tally::REFUSED;
    };
    let Ok(read) = Backup::parse(text) else {
        return Tally::REFUSED;
    };
    assert!(text.len() <= BACKUP_BYTES_MAX && read.ports.len() <= PORTS_MAX);
    let written = read.to_text();
    assert_eq!(Backup::parse(&written).as_ref(), Ok(&read), "{written}");
    let half = written.get(..written.len() / 2);
    assert!(
        half.is_none_or(|half| Backup::parse(half).is_err()),
        "{half:?}"
    );
    Tally::ACCEPTED
}

/// A header is read whole or not at all and never asks for more work than is done; letters lead
/// back to the octets; what opens was sealed by somebody who knew the passphrase.
pub fn sealed(data: &[u8]) -> Tally {
    if let Some(file) = std::str::from_utf8(data).ok().and_then(armor::decode) {
        assert_eq!(armor::decode(&armor::encode(&file)), Some(file));
    }
    let Ok(sealed) = Sealed::parse(data) else {
        return Tally::REFUSED;
    };
    assert!((1..=LOG_N_MAX).contains(&sealed.log_n()));
    if sealed.log_n() > CHEAP_LOG_N {
        return Tally::ACCEPTED;
    }
    if let Ok(plain) = sealed.open(WORDS) {
        let random = [9; 48];
        let again = seal(&plain, WORDS, 1, &random);
        assert_eq!(Sealed::parse(&again).and_then(|s| s.open(WORDS)), Ok(plain));
    }
    Tally::ACCEPTED
}

/// Only ports change, and who is refused is asked for something with few candidates. That a match is
/// matched again to the same is a property of the planner's own tests.
pub fn port_match(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let (there, here) = (links(&mut u), links(&mut u));
    let mut config = Config::default();
    if once_in(&mut u, 2) {
        let wan = selector(&mut u).to_string();
        config.wan.port = wan.try_into().expect("a selector is a port");
    }
    config.lan.ports = (0..below(&mut u, 4)).map(|_| selector(&mut u)).collect();
    // Only what passes its checks comes so far: no port is named twice.
    if !config.problems().is_empty() {
        return Tally::REFUSED;
    }
    let records = match once_in(&mut u, 3) {
        true => (0..below(&mut u, 4)).map(|_| record(&mut u)).collect(),
        false => record_ports(&config, &there),
    };
    let chosen: BTreeMap<_, _> = (0..below(&mut u, 3))
        .map(|_| (selector(&mut u), selector(&mut u)))
        .collect();
    let same_board = any(&mut u);
    match match_ports(&config, &records, same_board, &here, &chosen) {
        Err(open) => {
            assert!(!open.is_empty());
            let known = record_ports(&config, &here).len();
            assert!(
                open.iter()
                    .all(|question| question.candidates.len() <= known.max(8))
            );
            Tally::REFUSED
        }
        Ok(matched) => {
            assert_eq!(matched.lan.ports.len(), config.lan.ports.len());
            let unchanged = Config {
                wan: config.wan.clone(),
                lan: config.lan.clone(),
                ..matched.clone()
            };
            assert_eq!(unchanged, config, "only ports change");
            Tally::ACCEPTED
        }
    }
}

fn links(u: &mut Unstructured<'_>) -> Facts {
    let count = below(u, 5);
    let mut links: Vec<LinkStatus> = Vec::new();
    for index in 0..count {
        let n = below(u, 6);
        let name = format!("eth{n}").parse().expect("a name");
        if links.iter().any(|link| link.name == name) {
            continue;
        }
        links.push(LinkStatus {
            name,
            index: u32::try_from(index).expect("few") + 1,
            kind: String::new(),
            mac: None,
            permanent_mac: once_in(u, 2).then(|| mac(below(u, 6))),
            bus_path: once_in(u, 2).then(|| format!("pci-{}", below(u, 6))),
            up: true,
            carrier: any(u),
            mtu: 1500,
            master: None,
            ethernet: !once_in(u, 8),
            rx_bytes: 0,
            tx_bytes: 0,
        });
    }
    let mut facts = Facts {
        links,
        detection_over: any(u),
        ..Facts::default()
    };
    facts.board.wan_path = once_in(u, 3).then(|| format!("pci-{}", below(u, 6)));
    facts.detected_wan = once_in(u, 3).then(|| selector(u));
    facts
}

fn mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, u8::try_from(n).expect("few")])
}

fn selector(u: &mut Unstructured<'_>) -> PortSelector {
    let n = below(u, 6);
    match below(u, 3) {
        0 => PortSelector::Name(format!("eth{n}").parse().expect("a name")),
        1 => PortSelector::Mac(mac(n)),
        _ => PortSelector::Path(format!("pci-{n}")),
    }
}

fn record(u: &mut Unstructured<'_>) -> PortRecord {
    PortRecord {
        name: format!("eth{}", below(u, 6)).parse().expect("a name"),
        mac: once_in(u, 2).then(|| mac(below(u, 6))),
        path: once_in(u, 2).then(|| format!("pci-{}", below(u, 6))),
        role: pick(u, &[PortRole::Wan, PortRole::Lan, PortRole::None]),
    }
}

/// A backup, often as we write it.
pub fn backup_text(u: &mut Unstructured<'_>) -> Vec<u8> {
    let backup = Backup {
        made_unix_s: any::<u32>(u).into(),
        firmware: text(u, b"0.1-\"", 8),
        board: text(u, b"ab_'", 8),
        revision: once_in(u, 2).then(|| any::<u32>(u).into()),
        reason: text(u, b"why \\\"'", 20),
        ports: (0..below(u, 4)).map(|_| record(u)).collect(),
        config: text(u, b"[lan]\n='\" \r\t#", 80),
    };
    let mut octets = backup.to_text().into_bytes();
    if once_in(u, 4) {
        let at = below(u, octets.len());
        octets.truncate(at);
    }
    octets
}

/// An age file, of octets or of letters.
pub fn sealed_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let plain = octets(u, 60);
    let mut random = [0; 48];
    random.fill_with(|| any(u));
    let file = seal(&plain, WORDS, 1, &random);
    match once_in(u, 3) {
        true => armor::encode(&file).into_bytes(),
        false => file,
    }
}
