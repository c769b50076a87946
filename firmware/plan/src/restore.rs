//! Which port of this box takes the place of which port of another one.
//!
//! A configuration names ports by what survives a reboot, not by what survives new hardware. In
//! order: what the owner chose; the very same port; the port with the same work, where there is
//! no doubt which one that is. What is left is asked for, and nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};

use lintel_model::backup::{PortRecord, PortRole};
use lintel_model::config::{Config, PortSelector, WanKind, WanPort};
use lintel_model::facts::Facts;
use lintel_model::observed::LinkStatus;

use crate::notice::Notices;
use crate::ports::{Ports, find, identity, labelled, physical};

/// A port that a configuration names, for which nothing here clearly stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortQuestion {
    /// How the configuration names it.
    pub selector: PortSelector,
    /// Why it is asked for.
    pub reason: String,
    /// What it may be here.
    pub candidates: Vec<PortSelector>,
}

/// The ports there are, with their work, for a backup.
pub fn record_ports(config: &Config, facts: &Facts) -> Vec<PortRecord> {
    let assigned = Ports::assign(config, facts, &mut Notices::default());
    let role = |port: &LinkStatus| match () {
        () if assigned.wan.is_some_and(|wan| wan.name == port.name) => PortRole::Wan,
        () if assigned.lan.iter().any(|lan| lan.name == port.name) => PortRole::Lan,
        () => PortRole::None,
    };
    let record = |port: &LinkStatus| PortRecord {
        name: port.name.clone(),
        mac: identity(port),
        path: port.bus_path.clone(),
        role: role(port),
    };
    physical(facts).into_iter().map(record).collect()
}

/// The configuration with the ports of this box in place of those that it was written for.
/// `ports` are those of its box, and `same_board` says whether that was one of this make.
pub fn match_ports(
    config: &Config,
    ports: &[PortRecord],
    same_board: bool,
    facts: &Facts,
    chosen: &BTreeMap<PortSelector, PortSelector>,
) -> Result<Config, Vec<PortQuestion>> {
    let mut places = Places {
        here: physical(facts),
        taken: BTreeMap::new(),
        open: Vec::new(),
    };
    let here_empty = places.here.is_empty();
    let (mut wan_open, mut lan_open) = (None, Vec::new());
    let wan = match &config.wan.port {
        WanPort::Port(selector) if config.wan.kind != WanKind::None => Some(selector),
        _ => None,
    };
    let named: BTreeSet<_> = config.lan.ports.iter().chain(wan).collect();
    for stray in chosen.keys().filter(|key| !named.contains(key)) {
        let reason = "the configuration of the backup names no such port".to_owned();
        places.ask(stray, reason, named.iter().copied().cloned().collect());
    }
    for selector in wan.into_iter().chain(&config.lan.ports) {
        let record = ports.iter().find(|port| port.is_named_by(selector));
        let is_wan = Some(selector) == wan;
        match (chosen.get(selector), find(selector, &places.here)) {
            // The owner knows that it will be there.
            (Some(target), found) if target == selector => {
                places.keep(selector, found);
            }
            (Some(target), _) => match find(target, &places.here) {
                Some(port) => places.take(selector, port),
                None => {
                    let free = places.free();
                    places.ask(selector, format!("there is no port {target} here"), free);
                }
            },
            (None, Some(port)) if record.is_none_or(|record| is_same(record, port, same_board)) => {
                places.keep(selector, Some(port));
            }
            // Its own box did not have it either.
            (None, None) if record.is_none() && same_board && ports.is_empty() == here_empty => {
                places.keep(selector, None);
            }
            (None, _) if is_wan => wan_open = Some(selector),
            (None, _) => lan_open.push(selector),
        }
    }
    let known_wan = labelled(facts, &places.here);
    if let Some(selector) = wan_open {
        let free = places.free_ports();
        let only = free
            .first()
            .copied()
            .filter(|_| free.len() == 1 && lan_open.is_empty());
        match known_wan.filter(|port| places.is_free(port)).or(only) {
            Some(port) => places.take(selector, port),
            None => {
                let reason =
                    "it was the way to the internet, and it is not known which port that is here";
                let free = places.free();
                places.ask(selector, reason.to_owned(), free);
            }
        }
    }
    let mut free = places.free_ports();
    if wan.is_none() && config.wan.kind != WanKind::None {
        free.retain(|port| known_wan.is_none_or(|wan| wan.name != port.name));
    }
    if free.len() == lan_open.len() && places.open.is_empty() {
        for (selector, port) in lan_open.into_iter().zip(free) {
            places.take(selector, port);
        }
    } else {
        for selector in lan_open {
            let reason =
                "it was a port of the household's network, and which one it is here is not clear";
            let name = |port: &&LinkStatus| selector_of(port, &places.here);
            let candidates = free.iter().map(name).collect();
            places.ask(selector, reason.to_owned(), candidates);
        }
    }
    let Places { taken, open, .. } = places;
    if !open.is_empty() {
        return Err(open);
    }
    let new = |selector: &PortSelector| taken.get(selector).unwrap_or(selector).clone();
    let mut config = config.clone();
    if let Some(selector) = wan.map(new) {
        config.wan.port = WanPort::Port(selector);
    }
    config.lan.ports = config.lan.ports.iter().map(new).collect();
    Ok(config)
}

struct Places<'a> {
    here: Vec<&'a LinkStatus>,
    /// The selector of the port here, by the one in the configuration.
    taken: BTreeMap<PortSelector, PortSelector>,
    open: Vec<PortQuestion>,
}

impl<'a> Places<'a> {
    fn take(&mut self, selector: &PortSelector, port: &'a LinkStatus) {
        let to = selector_of(port, &self.here);
        self.set(selector, to, Some(port));
    }

    fn keep(&mut self, selector: &PortSelector, port: Option<&'a LinkStatus>) {
        self.set(selector, selector.clone(), port);
    }

    fn set(&mut self, from: &PortSelector, to: PortSelector, port: Option<&'a LinkStatus>) {
        if port.is_some_and(|port| !self.is_free(port)) {
            let reason = format!("{to} stands for another port already");
            let free = self.free();
            return self.ask(from, reason, free);
        }
        self.taken.insert(from.clone(), to);
    }

    fn is_free(&self, port: &LinkStatus) -> bool {
        let is_it = |to| find(to, &self.here).is_some_and(|taken| taken.name == port.name);
        !self.taken.values().any(is_it)
    }

    fn free_ports(&self) -> Vec<&'a LinkStatus> {
        let mut free = self.here.clone();
        free.retain(|port| self.is_free(port));
        free
    }

    fn free(&self) -> Vec<PortSelector> {
        let name = |port| selector_of(port, &self.here);
        self.free_ports().into_iter().map(name).collect()
    }

    fn ask(&mut self, selector: &PortSelector, reason: String, candidates: Vec<PortSelector>) {
        self.open.push(PortQuestion {
            selector: selector.clone(),
            reason,
            candidates,
        });
    }
}

/// Whether a port here is that port of a backup: the same adapter, or the same socket of a board
/// of the same make.
fn is_same(record: &PortRecord, port: &LinkStatus, same_board: bool) -> bool {
    let adapter = record.mac.is_some() && record.mac == identity(port);
    let socket = same_board && record.path.is_some() && record.path == port.bus_path;
    let bare = record.mac.is_none() && record.path.is_none();
    adapter || socket || (same_board && bare && record.name == port.name)
}

/// What survives a reboot best and finds this port: boards there are whose ports share an address.
fn selector_of(port: &LinkStatus, here: &[&LinkStatus]) -> PortSelector {
    let path = port.bus_path.clone().map(PortSelector::Path);
    let mac = identity(port).map(PortSelector::Mac);
    let finds_it =
        |selector: &PortSelector| find(selector, here).is_some_and(|found| found.name == port.name);
    let mut stable = [path, mac].into_iter().flatten();
    stable
        .find(finds_it)
        .unwrap_or_else(|| PortSelector::Name(port.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, n: u8) -> LinkStatus {
        LinkStatus {
            name: name.parse().unwrap(),
            index: n.into(),
            ethernet: true,
            permanent_mac: Some(lintel_model::MacAddr([2, 0, 0, 0, 0, n])),
            bus_path: Some(format!("pci-0000:00:0{n}.0")),
            kind: String::new(),
            mac: None,
            up: true,
            carrier: true,
            mtu: 1500,
            master: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    fn facts(links: Vec<LinkStatus>) -> Facts {
        Facts {
            links,
            detection_over: true,
            ..Facts::default()
        }
    }

    fn config(wan: &str, lan: &[&str]) -> Config {
        let mut config = Config::default();
        config.wan.port = wan.to_owned().try_into().unwrap();
        config.lan.ports = lan.iter().map(|text| text.parse().unwrap()).collect();
        config
    }

    fn ports(config: &Config) -> (String, Vec<String>) {
        let lan = config.lan.ports.iter().map(ToString::to_string);
        (config.wan.port.clone().into(), lan.collect())
    }

    fn old() -> Facts {
        facts(vec![link("eth0", 1), link("eth1", 2), link("eth2", 3)])
    }

    fn none() -> BTreeMap<PortSelector, PortSelector> {
        BTreeMap::new()
    }

    #[test]
    fn the_same_box_keeps_every_word() {
        let config = config("mac:02:00:00:00:00:01", &["eth1", "path:pci-0000:00:03.0"]);
        let records = record_ports(&config, &old());
        assert_eq!(records[0].role, PortRole::Wan);
        assert_eq!(records[1].role, PortRole::Lan);
        assert_eq!(
            match_ports(&config, &records, true, &old(), &none()),
            Ok(config)
        );
    }

    #[test]
    fn on_other_hardware_work_decides_and_not_names() {
        let config = config("eth0", &["eth1", "eth2"]);
        let records = record_ports(&config, &old());
        // The same names, in another order: the label says which one is the WAN.
        let mut new = facts(vec![link("eth0", 4), link("eth1", 5), link("eth2", 6)]);
        new.board.wan_path = Some("pci-0000:00:06.0".to_owned());
        let matched = match_ports(&config, &records, false, &new, &none()).unwrap();
        let lan = ["path:pci-0000:00:04.0", "path:pci-0000:00:05.0"].map(str::to_owned);
        assert_eq!(
            ports(&matched),
            ("path:pci-0000:00:06.0".to_owned(), lan.to_vec())
        );
    }

    #[test]
    fn what_is_not_clear_is_asked_for_and_the_answer_is_taken() {
        let config = config("eth0", &["eth1"]);
        let records = record_ports(&config, &old());
        let new = facts(vec![link("eth0", 4), link("eth1", 5), link("eth2", 6)]);
        let open = match_ports(&config, &records, false, &new, &none()).unwrap_err();
        let asked: Vec<_> = open.iter().map(|q| q.selector.to_string()).collect();
        assert_eq!(asked, ["eth0", "eth1"]);
        assert_eq!(open[0].candidates.len(), 3);
        let selector = |text: &str| text.parse::<PortSelector>().unwrap();
        let mut chosen = BTreeMap::from([(selector("eth0"), selector("eth2"))]);
        let open = match_ports(&config, &records, false, &new, &chosen).unwrap_err();
        assert_eq!((open.len(), open[0].candidates.len()), (1, 2));
        chosen.insert(selector("eth1"), selector("mac:02:00:00:00:00:04"));
        let matched = match_ports(&config, &records, false, &new, &chosen).unwrap();
        assert_eq!(
            ports(&matched),
            (
                "path:pci-0000:00:06.0".to_owned(),
                vec!["path:pci-0000:00:04.0".to_owned()]
            )
        );
        // Two for one, one that is not here, one that nobody named.
        for (from, to) in [("eth1", "eth2"), ("eth1", "eth9"), ("eth7", "eth0")] {
            let mut wrong = chosen.clone();
            wrong.insert(selector(from), selector(to));
            assert!(
                match_ports(&config, &records, false, &new, &wrong).is_err(),
                "{to}"
            );
        }
    }

    #[test]
    fn an_adapter_that_is_unplugged_is_asked_for_and_may_be_kept() {
        let config = config("auto", &["mac:02:00:00:00:00:02"]);
        let records = record_ports(&config, &old());
        let now = facts(vec![link("eth0", 1), link("eth2", 3)]);
        let open = match_ports(&config, &records, true, &now, &none()).unwrap_err();
        assert_eq!(open.len(), 1);
        let selector = open[0].selector.clone();
        let chosen = BTreeMap::from([(selector.clone(), selector)]);
        assert_eq!(
            match_ports(&config, &records, true, &now, &chosen),
            Ok(config)
        );
    }

    #[test]
    fn a_port_that_was_missing_before_may_be_missing_again() {
        let config = config("usb7", &[]);
        let records = record_ports(&config, &old());
        assert_eq!(
            match_ports(&config, &records, true, &old(), &none()),
            Ok(config.clone())
        );
        assert!(match_ports(&config, &records, false, &old(), &none()).is_err());
        assert!(match_ports(&config, &[], true, &old(), &none()).is_err());
    }

    #[test]
    fn ports_that_share_an_address_are_told_apart() {
        let config = config("eth0", &["eth1"]);
        let records = record_ports(&config, &old());
        let twin = |name| LinkStatus {
            bus_path: None,
            ..link(name, 7)
        };
        let new = facts(vec![twin("a"), twin("b")]);
        let chosen = [("eth0", "b"), ("eth1", "a")]
            .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
        let matched = match_ports(&config, &records, false, &new, &chosen.into()).unwrap();
        let lan = vec!["mac:02:00:00:00:00:07".to_owned()];
        assert_eq!(ports(&matched), ("b".to_owned(), lan));
    }

    proptest::proptest! {
        /// On the box that a configuration was matched for, it stays as it is.
        #[test]
        fn what_was_matched_is_matched_again(
            picks in proptest::collection::vec(0_u8..6, 40),
            same_board in proptest::bool::ANY,
        ) {
            let mut picks = picks.into_iter().cycle();
            let mut next = || picks.next().unwrap();
            let selector = |n: u8, kind: u8| -> PortSelector {
                match kind % 3 {
                    0 => PortSelector::Name(format!("eth{n}").parse().unwrap()),
                    1 => PortSelector::Mac(lintel_model::MacAddr([2, 0, 0, 0, 0, n])),
                    _ => PortSelector::Path(format!("pci-{n}")),
                }
            };
            let mut box_of = |count: u8| {
                let mut links: Vec<LinkStatus> = Vec::new();
                for _ in 0..count {
                    let mut port = link(&format!("eth{}", next()), next());
                    port.bus_path = (next() > 2).then(|| format!("pci-{}", next()));
                    port.permanent_mac = port.permanent_mac.filter(|_| next() > 2);
                    if links.iter().all(|link| link.name != port.name) {
                        links.push(port);
                    }
                }
                let mut facts = facts(links);
                facts.board.wan_path = (next() > 3).then(|| format!("pci-{}", next()));
                facts
            };
            let (there, here) = (box_of(4), box_of(4));
            let mut config = Config::default();
            if next() > 2 {
                config.wan.port = WanPort::Port(selector(next(), next()));
            }
            config.lan.ports = (0..next() % 4).map(|_| selector(next(), next())).collect();
            if config.problems().is_empty() {
                let records = record_ports(&config, &there);
                let chosen = (0..next() % 3)
                    .map(|_| (selector(next(), next()), selector(next(), next())))
                    .collect();
                if let Ok(matched) = match_ports(&config, &records, same_board, &here, &chosen) {
                    let records = record_ports(&matched, &here);
                    let again = match_ports(&matched, &records, true, &here, &none());
                    proptest::prop_assert_eq!(again, Ok(matched));
                }
            }
        }
    }

    #[test]
    fn a_configuration_that_names_no_port_goes_anywhere() {
        let config = config("auto", &[]);
        let records = record_ports(&config, &old());
        let new = facts(vec![link("lan9", 9)]);
        assert_eq!(
            match_ports(&config, &records, false, &new, &none()),
            Ok(config)
        );
    }
}
