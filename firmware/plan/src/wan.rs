//! What a lease means for the WAN link: its address, its routes, and whether it may be used at
//! all beside the household's network.

use std::net::{IpAddr, Ipv4Addr};

use lintel_model::config::Config;
use lintel_model::desired::{AddressSpec, RouteSpec};
use lintel_model::facts::{NoticeCode, Severity};
use lintel_model::lease::WanLease;
use lintel_model::{IpNet, Ipv4Net, LinkName};

use crate::notice::Notices;

/// Metric of our routes. Not 0, so that a route which somebody else made for the same
/// destination is another key for the kernel and is never replaced.
pub(crate) const ROUTE_METRIC: u32 = 76;
/// Main routing table.
const TABLE_MAIN: u32 = 254;
/// MTU of a WAN link whose lease names none, octets.
const MTU_DEFAULT: u32 = 1500;
/// Smallest MTU taken from a lease, octets: what every IPv4 host must take (RFC 791); a
/// smaller one from a broken or hostile server would only slow the house down.
const MTU_MIN: u32 = 576;
/// Most routes taken from a lease; a server that names more is not believed.
const LEASE_ROUTES_MAX: usize = 64;

/// A lease as far as it is used.
#[derive(Debug, Default)]
pub(crate) struct WanAddressing {
    /// The network that the address lies in.
    pub network: Option<Ipv4Net>,
    /// Our address.
    pub address: Option<AddressSpec>,
    /// Routes by it.
    pub routes: Vec<RouteSpec>,
    /// Resolvers by it.
    pub dns: Vec<Ipv4Addr>,
}

/// The MTU that the WAN link shall have.
pub(crate) fn mtu(lease: Option<&WanLease>) -> u32 {
    lease
        .and_then(|lease| lease.mtu)
        .map(u32::from)
        .filter(|mtu| (MTU_MIN..=MTU_DEFAULT).contains(mtu))
        .unwrap_or(MTU_DEFAULT)
}

/// Turns a lease into addresses and routes. A lease whose network overlaps the LAN's is not
/// used at all: two links with one network would cut the household off from the box.
pub(crate) fn addressing(
    config: &Config,
    leaving: &[Ipv4Net],
    link: &LinkName,
    lease: &WanLease,
    notices: &mut Notices,
) -> WanAddressing {
    let lan = config.lan.address.trunc();
    let Ok(net) = Ipv4Net::new(lease.address, lease.prefix_len) else {
        return WanAddressing::default();
    };
    if overlap(net.trunc(), lan) {
        let free = free_lan(net.trunc());
        notices.add(
            NoticeCode::WanOverlapsLan,
            Severity::Error,
            Some(link),
            format!(
                "The provider's network {} overlaps the household's network {lan}, so the box does not go online. Move the household to a free network, for example lan.address = \"{free}\".",
                net.trunc()
            ),
        );
        return WanAddressing::default();
    }
    if let Some(left) = leaving
        .iter()
        .find(|left| overlap(net.trunc(), left.trunc()))
    {
        notices.add(
            NoticeCode::WanOverlapsLan,
            Severity::Info,
            Some(link),
            format!(
                "The box goes online as soon as the household has left the network {}, which the provider uses too: confirm the change.",
                left.trunc()
            ),
        );
        return WanAddressing::default();
    }
    WanAddressing {
        network: Some(net.trunc()),
        address: Some(AddressSpec {
            link: link.clone(),
            address: IpNet::V4(net),
        }),
        routes: routes(link, lease, net, lan, notices),
        dns: lease.dns.clone(),
    }
}

/// Whether two networks share an address.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    let (a, b) = (a.trunc(), b.trunc());
    a.contains(&b) || b.contains(&a)
}

/// A LAN that does not collide with `taken`.
fn free_lan(taken: Ipv4Net) -> Ipv4Net {
    let candidates = [
        Ipv4Addr::new(192, 168, 77, 1),
        Ipv4Addr::new(192, 168, 177, 1),
        Ipv4Addr::new(10, 77, 0, 1),
        Ipv4Addr::new(172, 20, 77, 1),
    ];
    candidates
        .into_iter()
        .map(|address| Ipv4Net::new_assert(address, 24))
        .find(|net| !overlap(net.trunc(), taken))
        // No network of /1 or longer holds all three private ranges; /0 does, and then any
        // proposal is as good as another.
        .unwrap_or(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 77, 1), 24))
}

fn routes(
    link: &LinkName,
    lease: &WanLease,
    net: Ipv4Net,
    lan: Ipv4Net,
    notices: &mut Notices,
) -> Vec<RouteSpec> {
    let source = Some(IpAddr::V4(lease.address));
    let route = |destination: Ipv4Net, gateway: Option<Ipv4Addr>, onlink: bool| RouteSpec {
        destination: IpNet::V4(destination.trunc()),
        gateway: gateway.map(IpAddr::V4),
        link: link.clone(),
        onlink,
        source,
        metric: ROUTE_METRIC,
        table: TABLE_MAIN,
    };
    // RFC 3442: a client that gets option 121 ignores the Router option.
    let wanted: Vec<(Ipv4Net, Ipv4Addr)> = if lease.routes.is_empty() {
        let default = Ipv4Net::default();
        lease
            .router
            .map(|router| (default, router))
            .into_iter()
            .collect()
    } else {
        lease
            .routes
            .iter()
            .take(LEASE_ROUTES_MAX)
            .copied()
            .collect()
    };
    let mut routes: Vec<RouteSpec> = Vec::with_capacity(wanted.len() + 1);
    for (destination, router) in wanted {
        if lan.contains(&destination.trunc()) {
            notices.add(
                NoticeCode::WanOverlapsLan,
                Severity::Warning,
                Some(link),
                format!(
                    "The provider asks to send {} its way, but that lies inside the household's network {lan}; the route is left out.",
                    destination.trunc()
                ),
            );
            continue;
        }
        // RFC 3442: router 0.0.0.0 means that the destination is on the link itself.
        if router.is_unspecified() {
            routes.push(route(destination, None, false));
            continue;
        }
        if lan.contains(&router) {
            continue;
        }
        let onlink = !net.contains(&router);
        if onlink {
            routes.push(route(Ipv4Net::from(router), None, false));
        }
        routes.push(route(destination, Some(router), onlink));
    }
    // The kernel's key is the destination: of two routes for one, the first counts.
    let mut seen = std::collections::BTreeSet::new();
    routes.retain(|route| seen.insert(route.destination));
    routes.sort();
    routes
}
