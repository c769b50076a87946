//! Which port is the WAN, which ones are the LAN, which ones are still open.
//!
//! The order of trust: what the configuration names, what the board labels, where a DHCP server
//! answered. While none of them decides, every port that could be the WAN stays out of the LAN
//! bridge for the short time of the search, because a DHCP server of ours in the provider's
//! network does harm that a few seconds without LAN do not. After the search all ports are
//! LAN, and the search goes on quietly on them.

use lintel_model::config::{Config, PortSelector, WanKind, WanPort};
use lintel_model::facts::{Facts, NoticeCode, Severity};
use lintel_model::observed::LinkStatus;
use lintel_model::{LinkName, MacAddr};

use crate::notice::Notices;

/// The ports by what they are for; each list is sorted by name and no port is in two of `wan`,
/// `lan`, `unused`, or in both `lan` and `open`.
#[derive(Debug, Default)]
pub(crate) struct Ports<'a> {
    /// The way to the provider.
    pub wan: Option<&'a LinkStatus>,
    /// Ports of the LAN bridge.
    pub lan: Vec<&'a LinkStatus>,
    /// Ports that may be the WAN and are kept apart from the LAN meanwhile.
    pub open: Vec<&'a LinkStatus>,
    /// Ports on which to look for a DHCP server: `open`, or `lan` once the search is over.
    pub search: Vec<&'a LinkStatus>,
    /// Ports that the configuration gives no work.
    pub unused: Vec<&'a LinkStatus>,
}

impl<'a> Ports<'a> {
    /// Gives each port its work.
    pub(crate) fn assign(config: &Config, facts: &'a Facts, notices: &mut Notices) -> Self {
        let ports = physical(facts);
        if ports.is_empty() {
            notices.add(
                NoticeCode::NoPort,
                Severity::Error,
                None,
                "The box finds no Ethernet port. Plug in an adapter or check the board's drivers.",
            );
            return Self::default();
        }
        let named_lan = named(&config.lan.ports, &ports, notices);
        let may_be_lan =
            |port: &LinkStatus| config.lan.ports.is_empty() || contains(&named_lan, port);
        match wan_of(config, facts, &ports, &named_lan, notices) {
            Wan::Is(wan) => {
                let (lan, unused) = split(ports, |port| port.name != wan.name, may_be_lan);
                if lan.is_empty() {
                    notices.add(
                        NoticeCode::NoPort,
                        Severity::Warning,
                        None,
                        "No port is left for the household's network: plug in a second adapter or name another WAN port.",
                    );
                }
                Self {
                    wan: Some(wan),
                    lan,
                    unused,
                    ..Self::default()
                }
            }
            Wan::No => {
                let (lan, unused) = split(ports, |_| true, may_be_lan);
                Self {
                    lan,
                    unused,
                    ..Self::default()
                }
            }
            Wan::Unknown if !facts.detection_over => {
                let (lan, open) = ports
                    .into_iter()
                    .partition(|port| contains(&named_lan, port));
                let open: Vec<_> = open;
                Self {
                    lan,
                    search: open.clone(),
                    open,
                    ..Self::default()
                }
            }
            Wan::Unknown => {
                let (lan, open) = split(ports, |_| true, may_be_lan);
                let search = if open.is_empty() {
                    lan.clone()
                } else {
                    open.clone()
                };
                Self {
                    lan,
                    open,
                    search,
                    ..Self::default()
                }
            }
        }
    }
}

/// What is known of the WAN port.
enum Wan<'a> {
    Is(&'a LinkStatus),
    No,
    Unknown,
}

fn wan_of<'a>(
    config: &Config,
    facts: &Facts,
    ports: &[&'a LinkStatus],
    named_lan: &[&'a LinkStatus],
    notices: &mut Notices,
) -> Wan<'a> {
    if config.wan.kind == WanKind::None {
        return Wan::No;
    }
    if let WanPort::Port(selector) = &config.wan.port {
        return match find(selector, ports) {
            Some(port) => Wan::Is(port),
            None => {
                notices.add(
                    NoticeCode::PortMissing,
                    Severity::Error,
                    None,
                    format!("The WAN port {selector} is not there. Plug it in, or choose another port as WAN."),
                );
                Wan::No
            }
        };
    }
    // One port: somebody must be able to reach the box and tell it what to do.
    if let [port] = ports {
        notices.add(
            NoticeCode::OnePort,
            Severity::Warning,
            Some(&port.name),
            format!(
                "The box has one port, {}, and uses it for the household's network. To go online, plug in a second (USB) Ethernet adapter; the box then finds the port of the provider by itself.",
                port.name
            ),
        );
        return Wan::No;
    }
    known_wans(facts, ports)
        .find(|port| !contains(named_lan, port))
        .map_or_else(
            || {
                let text = if facts.detection_over {
                    "No port has shown a provider yet. All ports serve the household; plug the modem in, or choose the WAN port by hand."
                } else {
                    "The box looks for the port on which the provider answers. This takes a few seconds."
                };
                let severity = if facts.detection_over {
                    Severity::Warning
                } else {
                    Severity::Info
                };
                notices.add(NoticeCode::WanUnknown, severity, None, text);
                Wan::Unknown
            },
            Wan::Is,
        )
}

/// Ports that are the WAN when nobody says otherwise: the one that the board labels, then the one
/// on which a DHCP server answered.
fn known_wans<'a>(facts: &Facts, ports: &[&'a LinkStatus]) -> impl Iterator<Item = &'a LinkStatus> {
    let board = facts.board.wan_path.as_ref().map(|path| {
        // The kernel command line may carry the prefix of the configuration's form.
        let path = path.strip_prefix("path:").unwrap_or(path);
        PortSelector::Path(path.to_owned())
    });
    [board, facts.detected_wan.clone()]
        .into_iter()
        .flatten()
        .filter_map(|selector| find(&selector, ports))
}

/// The first of them.
pub(crate) fn labelled<'a>(facts: &Facts, ports: &[&'a LinkStatus]) -> Option<&'a LinkStatus> {
    known_wans(facts, ports).next()
}

/// The links that are ports: Ethernet hardware; under `lintel run` also the links that stand
/// for hardware in a namespace. Never a link of ours. Sorted by name.
pub(crate) fn physical(facts: &Facts) -> Vec<&LinkStatus> {
    let mut ports: Vec<_> = facts
        .links
        .iter()
        .filter(|link| link.ethernet && link.name.as_str() != lintel_model::desired::LAN_BRIDGE)
        .filter(|link| match link.kind.as_str() {
            "" => true,
            "veth" | "tun" => facts.run,
            _ => false,
        })
        .collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

fn named<'a>(
    selectors: &[PortSelector],
    ports: &[&'a LinkStatus],
    notices: &mut Notices,
) -> Vec<&'a LinkStatus> {
    let mut found = Vec::with_capacity(selectors.len());
    for selector in selectors {
        match find(selector, ports) {
            Some(port) => found.push(port),
            None => notices.add(
                NoticeCode::PortMissing,
                Severity::Warning,
                None,
                format!(
                    "The LAN port {selector} is not there. Plug it in, or take it off the list."
                ),
            ),
        }
    }
    found
}

pub(crate) fn find<'a>(
    selector: &PortSelector,
    ports: &[&'a LinkStatus],
) -> Option<&'a LinkStatus> {
    ports
        .iter()
        .find(|port| match selector {
            PortSelector::Mac(mac) => identity(port) == Some(*mac),
            PortSelector::Path(path) => port.bus_path.as_ref() == Some(path),
            PortSelector::Name(name) => port.name == *name,
        })
        .copied()
}

/// The hardware address that survives a reboot; the current one where the driver knows no other
/// (virtual links).
pub(crate) fn identity(port: &LinkStatus) -> Option<MacAddr> {
    port.permanent_mac.or(port.mac)
}

/// The bridge's own hardware address: made from a port's, so that it is the same after a reboot,
/// locally administered, so that it is never that of a port on the same wire.
///
/// A bridge that already carries the address made from any port that is there keeps it: a USB
/// adapter plugged in later must not change the router's address under its clients.
pub(crate) fn bridge_mac(facts: &Facts, bridge: &LinkName) -> Option<MacAddr> {
    let derived = |mac: MacAddr| {
        let [first, rest @ ..] = mac.0;
        let [b, c, d, e, g] = rest;
        // Bit 1: locally administered. Bit 6 flips so that a local address differs as well.
        MacAddr([(first | 0x02) ^ 0x40, b, c, d, e, g])
    };
    let ports = physical(facts);
    let current = facts
        .links
        .iter()
        .find(|link| link.name == *bridge)
        .and_then(|link| link.mac);
    let mut made: Vec<_> = ports.into_iter().filter_map(identity).collect();
    made.sort();
    let kept = made
        .iter()
        .map(|mac| derived(*mac))
        .find(|mac| Some(*mac) == current);
    kept.or_else(|| made.first().map(|mac| derived(*mac)))
}

fn contains(list: &[&LinkStatus], port: &LinkStatus) -> bool {
    list.iter().any(|other| other.name == port.name)
}

/// Those of `ports` that pass `keep`, parted by `lan`.
fn split(
    ports: Vec<&LinkStatus>,
    keep: impl Fn(&LinkStatus) -> bool,
    lan: impl Fn(&LinkStatus) -> bool,
) -> (Vec<&LinkStatus>, Vec<&LinkStatus>) {
    ports
        .into_iter()
        .filter(|port| keep(port))
        .partition(|port| lan(port))
}
