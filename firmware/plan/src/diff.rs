//! The way from what is to what shall be.
//!
//! The order of a plan, and why:
//!
//! 1. values for links to come and for the whole box, and `ip_forward` off when it shall be;
//! 2. the ruleset, in one batch: before any link goes up and before anything is forwarded;
//! 3. sockets that nobody needs;
//! 4. addresses that would stand in the way of new ones on another link;
//! 5. links: away with those that go, bridges made, ports out of bridges, then each link's own
//!    values before it goes up;
//! 6. new addresses, new routes, old routes, old addresses: the new way stands before the old
//!    one falls;
//! 7. sockets, which need their link;
//! 8. `ip_forward` on.
//!
//! A thing is ours when its link is in the desired state (addresses), when it carries our
//! protocol number (routes; the observed state holds no others), when it is in our table, or
//! when it is our bridge. Nothing else is touched.

mod nft;
mod words;

use lintel_model::desired::{
    AddressSpec, DesiredState, LAN_BRIDGE, LinkKind, LinkSpec, RouteSpec, SysctlSpec,
};
use lintel_model::observed::{LinkStatus, ObservedState};
use lintel_model::step::{Action, Hazard, Plan, Step};
use lintel_model::{IpNet, LinkName};

use crate::sysctls::{IP_FORWARD, link_of};

/// Finds the steps. Empty when the kernel holds what is desired.
pub fn diff(desired: &DesiredState, observed: &ObservedState) -> Plan {
    let mut plan = Builder {
        steps: Vec::new(),
        observed,
    };
    box_sysctls(&mut plan, desired);
    ruleset(&mut plan, desired);
    close_sockets(&mut plan, desired);
    let early = addresses_in_the_way(&mut plan, desired);
    links(&mut plan, desired);
    addresses_and_routes(&mut plan, desired, &early);
    open_sockets(&mut plan, desired);
    forwarding(&mut plan, desired);
    Plan { steps: plan.steps }
}

/// The steps so far, and what they start from.
struct Builder<'a> {
    steps: Vec<Step>,
    observed: &'a ObservedState,
}

impl<'a> Builder<'a> {
    fn step(&mut self, action: Action, hazard: Hazard, reason: impl Into<String>) {
        self.steps.push(Step {
            action,
            hazard,
            reason: reason.into(),
        });
    }

    fn link(&self, name: &LinkName) -> Option<&'a LinkStatus> {
        self.observed.links.iter().find(|link| link.name == *name)
    }

    fn deletes(&self, link: &LinkName) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(&step.action, Action::DeleteLink { name } if name == link))
    }

    /// Whether the kernel drops the link's routes on the way: it does when a link goes down.
    fn drops_routes(&self, link: &LinkName) -> bool {
        self.deletes(link)
            || self.steps.iter().any(|step| {
                matches!(&step.action, Action::SetLink { name, up: Some(false), .. } if name == link)
            })
    }

    fn sysctl(&self, path: &str) -> Option<&'a str> {
        let mut values = self.observed.sysctls.iter();
        values
            .find(|spec| spec.path == path)
            .map(|spec| spec.value.as_str())
    }

    fn set_sysctl(&mut self, spec: &SysctlSpec) {
        if self.sysctl(&spec.path) != Some(&spec.value) {
            let (hazard, reason) = words::sysctl(spec);
            self.step(Action::SetSysctl(spec.clone()), hazard, reason);
        }
    }
}

fn is_management(link: &LinkName) -> bool {
    link.as_str() == LAN_BRIDGE
}

fn cuts(link: &LinkName) -> Hazard {
    if is_management(link) {
        Hazard::CutsManagement
    } else {
        Hazard::CutsFlows
    }
}

fn box_sysctls(plan: &mut Builder<'_>, desired: &DesiredState) {
    for spec in &desired.sysctls {
        let turns_forwarding_on = spec.path == IP_FORWARD && spec.value != "0";
        if link_of(&spec.path).is_none() && !turns_forwarding_on {
            plan.set_sysctl(spec);
        }
    }
}

fn ruleset(plan: &mut Builder<'_>, desired: &DesiredState) {
    let observed = plan.observed.nft.as_ref();
    if desired.nft.is_none() && observed.is_some() && plan.sysctl(IP_FORWARD) == Some("1") {
        // Without rules nothing may pass.
        plan.set_sysctl(&SysctlSpec {
            path: IP_FORWARD.to_owned(),
            value: "0".to_owned(),
        });
    }
    if let Some(transaction) = nft::transaction(desired.nft.as_ref(), observed) {
        let (hazard, reason) = words::nft(&transaction, observed.is_some());
        plan.step(Action::Nft(transaction), hazard, reason);
    }
}

fn forwarding(plan: &mut Builder<'_>, desired: &DesiredState) {
    let on = desired
        .sysctls
        .iter()
        .find(|spec| spec.path == IP_FORWARD && spec.value != "0");
    // A box without a ruleset forwards nothing, whatever else is asked.
    if let Some(spec) = on.filter(|_| desired.nft.is_some()) {
        plan.set_sysctl(spec);
    }
}

fn close_sockets(plan: &mut Builder<'_>, desired: &DesiredState) {
    let gone = plan.observed.sockets.iter();
    for socket in gone.filter(|socket| !desired.sockets.contains(socket)) {
        plan.step(
            Action::CloseSocket(socket.clone()),
            Hazard::None,
            words::close_socket(socket),
        );
    }
}

fn open_sockets(plan: &mut Builder<'_>, desired: &DesiredState) {
    for socket in &desired.sockets {
        // A socket goes with its link, also when another link takes the name.
        if !plan.observed.sockets.contains(socket) || plan.deletes(&socket.link) {
            plan.step(
                Action::OpenSocket(socket.clone()),
                Hazard::None,
                words::open_socket(socket),
            );
        }
    }
}

/// Addresses on links of ours that are not desired.
fn stale_addresses<'a>(
    plan: &Builder<'a>,
    desired: &'a DesiredState,
) -> impl Iterator<Item = &'a AddressSpec> {
    plan.observed.addresses.iter().filter(|address| {
        desired.links.iter().any(|link| link.name == address.link)
            && !desired.addresses.contains(address)
    })
}

/// An old address whose network overlaps that of a new one on another link goes first:
/// otherwise the kernel would have two ways to the same network for a moment.
fn addresses_in_the_way(plan: &mut Builder<'_>, desired: &DesiredState) -> Vec<AddressSpec> {
    let new: Vec<&AddressSpec> = desired
        .addresses
        .iter()
        .filter(|address| !plan.observed.addresses.contains(address))
        .collect();
    let in_the_way: Vec<AddressSpec> = stale_addresses(plan, desired)
        .filter(|old| {
            new.iter()
                .any(|new| new.link != old.link && overlap(&new.address, &old.address))
        })
        .cloned()
        .collect();
    for address in &in_the_way {
        delete_address(plan, address);
    }
    in_the_way
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let (a, b) = (a.trunc(), b.trunc());
    a.contains(&b) || b.contains(&a)
}

fn delete_address(plan: &mut Builder<'_>, address: &AddressSpec) {
    plan.step(
        Action::DeleteAddress(address.clone()),
        cuts(&address.link),
        words::delete_address(address),
    );
}

fn links(plan: &mut Builder<'_>, desired: &DesiredState) {
    let wanted = |name: &LinkName| desired.links.iter().find(|link| link.name == *name);
    // Our bridge when nobody wants it, or something else that took its name.
    for link in &plan.observed.links {
        let ours = match wanted(&link.name) {
            Some(spec) => spec.kind == LinkKind::Bridge && link.kind != "bridge",
            None => is_management(&link.name),
        };
        if ours {
            plan.step(
                Action::DeleteLink {
                    name: link.name.clone(),
                },
                cuts(&link.name),
                words::delete_link(&link.name),
            );
        }
    }
    for spec in &desired.links {
        if spec.kind == LinkKind::Bridge && bridge_of(plan, spec).is_none() {
            plan.step(
                Action::CreateBridge {
                    name: spec.name.clone(),
                    mac: spec.mac,
                },
                Hazard::None,
                words::create_bridge(&spec.name),
            );
        }
    }
    // Ports that others put into a bridge of ours.
    for link in &plan.observed.links {
        let Some(master) = link.master.as_ref() else {
            continue;
        };
        if wanted(&link.name).is_none()
            && wanted(master).is_some_and(|m| m.kind == LinkKind::Bridge)
        {
            plan.step(
                Action::SetLink {
                    name: link.name.clone(),
                    up: None,
                    master: Some(None),
                    mtu: None,
                    mac: None,
                },
                Hazard::CutsFlows,
                words::expel(&link.name, master),
            );
        }
    }
    // Ports first, those that leave a bridge before those that join one; the bridges last.
    let leaves = |spec: &LinkSpec| {
        plan.link(&spec.name)
            .is_some_and(|link| link.master.is_some() && link.master != spec.master)
    };
    let mut order: Vec<&LinkSpec> = desired.links.iter().collect();
    order.sort_by_key(|spec| (spec.kind == LinkKind::Bridge, !leaves(spec)));
    for spec in order {
        for sysctl in &desired.sysctls {
            if link_of(&sysctl.path) == Some(spec.name.as_str()) {
                plan.set_sysctl(sysctl);
            }
        }
        set_link(plan, spec);
    }
}

/// The link as it stands after steps already planned: a bridge just made is down and has its
/// hardware address; one that was deleted is not there.
fn bridge_of<'a>(plan: &Builder<'a>, spec: &LinkSpec) -> Option<&'a LinkStatus> {
    plan.link(&spec.name).filter(|link| link.kind == "bridge")
}

fn set_link(plan: &mut Builder<'_>, spec: &LinkSpec) {
    let status = match spec.kind {
        LinkKind::Bridge => bridge_of(plan, spec),
        LinkKind::Port => plan.link(&spec.name),
    };
    let Some(status) = status else {
        match spec.kind {
            // Made in this plan with its hardware address: down, without anything else.
            LinkKind::Bridge => {
                if spec.up || spec.mtu.is_some() {
                    let action = Action::SetLink {
                        name: spec.name.clone(),
                        up: spec.up.then_some(true),
                        master: None,
                        mtu: spec.mtu,
                        mac: None,
                    };
                    plan.step(action, Hazard::None, words::link_up(spec));
                }
            }
            // A port that is not there cannot be set: facts without it make another wish.
            LinkKind::Port => {}
        }
        return;
    };
    let up = (status.up != spec.up).then_some(spec.up);
    // A bridge that this plan deletes lets its ports go.
    let standing = status.master.as_ref().filter(|m| !plan.deletes(m));
    let master = (standing != spec.master.as_ref()).then(|| spec.master.clone());
    let mtu = spec.mtu.filter(|mtu| *mtu != status.mtu);
    let mac = spec.mac.filter(|mac| Some(*mac) != status.mac);
    if up.is_none() && master.is_none() && mtu.is_none() && mac.is_none() {
        return;
    }
    let disturbs = status.up && (up == Some(false) || master.is_some() || mac.is_some());
    let leaves_lan = status.master.as_ref().is_some_and(is_management) && master.is_some();
    let hazard = match (disturbs, leaves_lan) {
        (false, _) => Hazard::None,
        (true, true) => Hazard::CutsManagement,
        (true, false) => cuts(&spec.name),
    };
    let reason = words::set_link(spec, up, master.is_some(), mtu, mac);
    let action = Action::SetLink {
        name: spec.name.clone(),
        up,
        master,
        mtu,
        mac,
    };
    plan.step(action, hazard, reason);
}

fn addresses_and_routes(plan: &mut Builder<'_>, desired: &DesiredState, early: &[AddressSpec]) {
    for address in &desired.addresses {
        if !plan.observed.addresses.contains(address) || plan.deletes(&address.link) {
            plan.step(
                Action::AddAddress(address.clone()),
                Hazard::None,
                words::add_address(address),
            );
        }
    }
    // Routes on the link or to a gateway's own address come before those that use them.
    let mut new: Vec<&RouteSpec> = desired
        .routes
        .iter()
        .filter(|route| {
            !plan.observed.routes.contains(route)
                || plan.drops_routes(&route.link)
                || loses_its_address(plan, route, early)
        })
        .collect();
    new.sort_by_key(|route| route.gateway.is_some());
    for route in new {
        let replaced = plan.observed.routes.iter().any(|old| same_key(old, route));
        let hazard = if replaced {
            Hazard::CutsFlows
        } else {
            Hazard::None
        };
        plan.step(
            Action::ReplaceRoute(route.clone()),
            hazard,
            words::replace_route(route, replaced),
        );
    }
    let mut old: Vec<&RouteSpec> = plan
        .observed
        .routes
        .iter()
        .filter(|old| {
            !desired.routes.iter().any(|route| same_key(old, route))
                && !plan.drops_routes(&old.link)
                && !loses_its_address(plan, old, early)
        })
        .collect();
    old.sort_by_key(|route| route.gateway.is_none());
    for route in old {
        plan.step(
            Action::DeleteRoute(route.clone()),
            Hazard::CutsFlows,
            words::delete_route(route),
        );
    }
    let stale: Vec<&AddressSpec> = stale_addresses(plan, desired)
        .filter(|address| !early.contains(address) && !plan.deletes(&address.link))
        .collect();
    for address in stale {
        delete_address(plan, address);
    }
}

/// Whether the kernel drops the route with the addresses that went early: routes go with their
/// preferred source, and with the last address of their link.
fn loses_its_address(plan: &Builder<'_>, route: &RouteSpec, early: &[AddressSpec]) -> bool {
    let stays = |found: &dyn Fn(&AddressSpec) -> bool| {
        let mut observed = plan.observed.addresses.iter();
        observed.any(|address| found(address) && !early.contains(address))
    };
    early.iter().any(|gone| {
        let source = gone.address.addr();
        let last_there = route.link == gone.link && !stays(&|a| a.link == gone.link);
        let last_source = route.source == Some(source) && !stays(&|a| a.address.addr() == source);
        last_there || last_source
    })
}

fn same_key(a: &RouteSpec, b: &RouteSpec) -> bool {
    (a.destination, a.metric, a.table) == (b.destination, b.metric, b.table)
}
