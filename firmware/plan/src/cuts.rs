//! Which live flows a plan cuts.
//!
//! Rules cut nobody: every chain lets known connections pass before it looks at anything else, and
//! what was translated stays so. Cut is what loses its address, its link, its route, or the box's
//! leave to pass packets on. Where it cannot be known (which device is behind which port of the
//! bridge), the flow counts as cut: «none» is said only when it is so.

use std::net::IpAddr;

use lintel_model::desired::LAN_BRIDGE;
use lintel_model::observed::ObservedState;
use lintel_model::preview::Flow;
use lintel_model::step::{Action, Plan};
use lintel_model::{IpNet, LinkName};

use crate::sysctls::IP_FORWARD;

/// What a plan takes away.
#[derive(Debug, Default)]
pub struct Cuts {
    /// Addresses of the box.
    addresses: Vec<IpAddr>,
    /// Networks whose devices lose the box.
    networks: Vec<IpNet>,
    /// Every flow that passes through.
    forwarding: bool,
    /// What was reached by a route that goes or leads elsewhere.
    routed: Vec<IpNet>,
    /// The box's own addresses with their networks, which no route leads to: to tell what passes
    /// through from what ends here.
    own: Vec<IpNet>,
}

impl Cuts {
    /// Reads a plan that starts from `observed`.
    pub fn of(plan: &Plan, observed: &ObservedState) -> Self {
        let mut cuts = Self {
            own: observed.addresses.iter().map(|a| a.address).collect(),
            ..Self::default()
        };
        for step in &plan.steps {
            match &step.action {
                Action::DeleteAddress(gone) => {
                    cuts.addresses.push(gone.address.addr());
                    if gone.link.as_str() == LAN_BRIDGE {
                        cuts.networks.push(gone.address.trunc());
                    }
                }
                Action::DeleteLink { name }
                | Action::SetLink {
                    name,
                    up: Some(false),
                    ..
                } => cuts.link(name, observed),
                // A port that changes sides takes the devices behind it along.
                Action::SetLink {
                    name,
                    master: Some(_),
                    ..
                } => {
                    cuts.link(name, observed);
                    let master = observed.links.iter().find(|link| link.name == *name);
                    if let Some(master) = master.and_then(|link| link.master.as_ref()) {
                        cuts.link(master, observed);
                    }
                }
                Action::DeleteRoute(route) | Action::ReplaceRoute(route) => {
                    let known = observed.routes.iter().any(|old| {
                        old.destination == route.destination && old.metric == route.metric
                    });
                    if known {
                        cuts.routed.push(route.destination);
                    }
                }
                Action::SetSysctl(spec) if spec.path == IP_FORWARD && spec.value == "0" => {
                    cuts.forwarding = true;
                }
                _ => {}
            }
        }
        cuts
    }

    /// Whether this flow is cut, or may be.
    pub fn cut(&self, flow: &Flow) -> bool {
        if flow.source.is_loopback() {
            return self.addresses.contains(&flow.destination);
        }
        let ends = [
            flow.source,
            flow.destination,
            flow.reply_source,
            flow.reply_destination,
        ];
        let among = |networks: &[IpNet], end: &IpAddr| networks.iter().any(|n| n.contains(end));
        let ours = |end: &IpAddr| self.own.iter().any(|own| own.addr() == *end);
        let passes = !ours(&flow.source) && !ours(&flow.destination);
        (self.forwarding && passes)
            || ends.iter().any(|end| {
                self.addresses.contains(end)
                    || among(&self.networks, end)
                    || (among(&self.routed, end) && !among(&self.own, end))
            })
    }

    fn link(&mut self, name: &LinkName, observed: &ObservedState) {
        for address in observed.addresses.iter().filter(|a| a.link == *name) {
            self.addresses.push(address.address.addr());
            self.networks.push(address.address.trunc());
        }
        let routes = observed.routes.iter().filter(|route| route.link == *name);
        self.routed.extend(routes.map(|route| route.destination));
    }
}

#[cfg(test)]
mod tests {
    use lintel_model::desired::{AddressSpec, RouteSpec, SysctlSpec};
    use lintel_model::step::{Hazard, Step};

    use super::*;

    fn address(link: &str, net: &str) -> AddressSpec {
        AddressSpec {
            link: link.parse().unwrap(),
            address: net.parse().unwrap(),
        }
    }

    fn observed() -> ObservedState {
        ObservedState {
            addresses: vec![
                address("br-lan", "192.168.1.1/24"),
                address("wan0", "198.51.100.7/24"),
            ],
            routes: vec![RouteSpec {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: Some("198.51.100.1".parse().unwrap()),
                link: "wan0".parse().unwrap(),
                onlink: false,
                source: None,
                metric: 76,
                table: 254,
            }],
            ..ObservedState::default()
        }
    }

    fn flow(from: &str, to: &str, back: &str) -> Flow {
        Flow {
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            reply_source: to.parse().unwrap(),
            reply_destination: back.parse().unwrap(),
        }
    }

    /// Which of a call through the box, a page of the box, and the box talking to itself is cut.
    fn cut(action: Action) -> [bool; 3] {
        let plan = Plan {
            steps: vec![Step {
                action,
                hazard: Hazard::None,
                reason: String::new(),
            }],
        };
        let cuts = Cuts::of(&plan, &observed());
        [
            cuts.cut(&flow("192.168.1.50", "203.0.113.9", "198.51.100.7")),
            cuts.cut(&flow("192.168.1.50", "192.168.1.1", "192.168.1.50")),
            cuts.cut(&flow("127.0.0.1", "127.0.0.1", "127.0.0.1")),
        ]
    }

    #[test]
    fn what_loses_its_address_link_route_or_leave_is_cut_and_nothing_else() {
        let forward = |value: &str| {
            Action::SetSysctl(SysctlSpec {
                path: IP_FORWARD.to_owned(),
                value: value.to_owned(),
            })
        };
        let down = |name: &str| Action::SetLink {
            name: name.parse().unwrap(),
            up: Some(false),
            master: None,
            mtu: None,
            mac: None,
        };
        let route = observed().routes.remove(0);
        let wan = address("wan0", "198.51.100.7/24");
        let lan = address("br-lan", "192.168.1.1/24");
        assert_eq!(cut(Action::DeleteAddress(wan)), [true, false, false]);
        assert_eq!(cut(Action::DeleteAddress(lan)), [true, true, false]);
        assert_eq!(cut(down("wan0")), [true, false, false]);
        assert_eq!(cut(forward("0")), [true, false, false]);
        assert_eq!(cut(forward("1")), [false, false, false]);
        assert_eq!(cut(Action::DeleteRoute(route)), [true, false, false]);
        let other = address("br-lan", "10.9.8.1/24");
        assert_eq!(cut(Action::AddAddress(other)), [false; 3]);
    }
}
