//! Links, addresses and routes: dumps in, one request for each change out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lintel_model::desired::{AddressSpec, ROUTE_PROTOCOL, RouteSpec};
use lintel_model::observed::{ForeignObject, LinkStatus};
use lintel_model::{IpNet, LinkName, MacAddr};
use lintel_wire::nl::{Messages, Writer, flags};
use lintel_wire::rtnl::{
    AF_INET, AddressRepr, LinkRepr, RouteRepr, address_protocol, family_of, hardware, link_flags,
    msg, protocol, route_type, scope, table,
};

use crate::error::{NetlinkError, Refusal};
use crate::socket::Socket;

/// `IFA_F_TEMPORARY` of IPv6: a privacy address, made by the kernel. IPv4 uses the same bit for
/// secondary addresses.
const TEMPORARY: u32 = 1;

/// What the kernel holds of links, addresses and routes.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Every link but `lo`, by name.
    pub(crate) links: Vec<LinkStatus>,
    /// Sorted.
    pub(crate) addresses: Vec<AddressSpec>,
    /// Ours, sorted.
    pub(crate) routes: Vec<RouteSpec>,
    /// Other people's routes, sorted.
    pub(crate) foreign: Vec<ForeignObject>,
}

/// Names of links by index, `lo` included.
type Names = BTreeMap<u32, LinkName>;

/// Dumps everything.
pub(crate) fn observe(socket: &mut Socket) -> Result<Network, NetlinkError> {
    let mut network = Network::default();
    let names = observe_links(socket, &mut network)?;
    observe_addresses(socket, &names, &mut network)?;
    observe_routes(socket, &names, &mut network)?;
    network.links.sort_by(|a, b| a.name.cmp(&b.name));
    network.addresses.sort();
    network.addresses.dedup();
    network.routes.sort();
    network.foreign.sort();
    Ok(network)
}

fn observe_links(socket: &mut Socket, network: &mut Network) -> Result<Names, NetlinkError> {
    let dump = dump_links(socket)?;
    let reprs = links(&dump)?;
    let names: Names = reprs
        .iter()
        .filter_map(|link| Some((link.index, link.name?.parse().ok()?)))
        .collect();
    for link in &reprs {
        if link.flags & link_flags::LOOPBACK != 0 {
            continue;
        }
        match names.get(&link.index) {
            Some(name) => network.links.push(link_status(link, name.clone(), &names)),
            None => network.foreign.push(ForeignObject {
                kind: "link".to_owned(),
                text: format!("{:?}", link.name.unwrap_or_default()),
            }),
        }
    }
    Ok(names)
}

fn dump_links(socket: &mut Socket) -> Result<Vec<u8>, NetlinkError> {
    socket.dump("dumping links", |w| {
        LinkRepr::default().emit(w, msg::GETLINK, flags::DUMP)
    })
}

fn links(dump: &[u8]) -> Result<Vec<LinkRepr<'_>>, NetlinkError> {
    let reprs: Result<_, _> = Messages::new(dump)
        .filter(|m| m.kind == msg::NEWLINK)
        .map(|m| LinkRepr::parse(m.payload))
        .collect();
    Ok(reprs?)
}

fn link_status(link: &LinkRepr<'_>, name: LinkName, names: &Names) -> LinkStatus {
    let stats = link.stats.unwrap_or_default();
    LinkStatus {
        name,
        index: link.index,
        kind: link.kind.unwrap_or_default().to_owned(),
        mac: link.mac.map(MacAddr),
        permanent_mac: link.permanent_mac.map(MacAddr),
        bus_path: match (link.parent_bus, link.parent_device) {
            (Some(bus), Some(device)) => Some(format!("{bus}-{device}")),
            _ => None,
        },
        up: link.flags & link_flags::UP != 0,
        carrier: link.flags & link_flags::LOWER_UP != 0,
        mtu: link.mtu.unwrap_or(0),
        master: link.master.and_then(|index| names.get(&index).cloned()),
        ethernet: link.hardware_type == hardware::ETHER,
        rx_bytes: stats.rx_bytes,
        tx_bytes: stats.tx_bytes,
    }
}

fn observe_addresses(
    socket: &mut Socket,
    names: &Names,
    network: &mut Network,
) -> Result<(), NetlinkError> {
    let dump = socket.dump("dumping addresses", |w| {
        AddressRepr::default().emit(w, msg::GETADDR, flags::DUMP)
    })?;
    for message in Messages::new(&dump) {
        let address = AddressRepr::parse(message.payload)?;
        let on_lo = !network.links.iter().any(|l| l.index == address.index);
        let temporary = address.family != AF_INET && address.flags & TEMPORARY != 0;
        if on_lo || temporary || made_by_kernel(&address) {
            continue;
        }
        if let (Some(link), Some(net)) = (names.get(&address.index), net_of(&address)) {
            network.addresses.push(AddressSpec {
                link: link.clone(),
                address: net,
            });
        }
    }
    Ok(())
}

/// Link-local addresses that the kernel makes for each link that is up, and those from router
/// advertisements; kernels since 5.18 say so.
fn made_by_kernel(address: &AddressRepr) -> bool {
    matches!(
        address.protocol,
        Some(
            address_protocol::KERNEL_LO | address_protocol::KERNEL_RA | address_protocol::KERNEL_LL
        )
    )
}

fn net_of(address: &AddressRepr) -> Option<IpNet> {
    IpNet::new(address.own()?, address.prefix_len).ok()
}

fn observe_routes(
    socket: &mut Socket,
    names: &Names,
    network: &mut Network,
) -> Result<(), NetlinkError> {
    let dump = dump_routes(socket)?;
    for message in Messages::new(&dump) {
        let route = RouteRepr::parse(message.payload)?;
        match owner(&route) {
            Owner::Kernel => {}
            Owner::Ours => {
                if let Some(spec) = route_spec(&route, names) {
                    network.routes.push(spec);
                }
            }
            Owner::Foreign => network.foreign.push(ForeignObject {
                kind: "route".to_owned(),
                text: route_text(&route, names),
            }),
        }
    }
    Ok(())
}

fn dump_routes(socket: &mut Socket) -> Result<Vec<u8>, NetlinkError> {
    socket.dump("dumping routes", |w| {
        RouteRepr::default().emit(w, msg::GETROUTE, flags::DUMP)
    })
}

enum Owner {
    Ours,
    /// Follows from addresses, or was learnt by the kernel itself.
    Kernel,
    Foreign,
}

fn owner(route: &RouteRepr) -> Owner {
    let simple = route.kind == route_type::UNICAST && !route.multipath && route.index.is_some();
    match route.protocol {
        ROUTE_PROTOCOL if simple => Owner::Ours,
        protocol::KERNEL | protocol::REDIRECT | protocol::RA => Owner::Kernel,
        _ if route.table == table::LOCAL => Owner::Kernel,
        _ => Owner::Foreign,
    }
}

fn route_spec(route: &RouteRepr, names: &Names) -> Option<RouteSpec> {
    Some(RouteSpec {
        destination: destination(route)?,
        gateway: route.gateway,
        link: names.get(&route.index?)?.clone(),
        onlink: route.flags & RouteRepr::ONLINK != 0,
        source: route.source,
        metric: route.metric.unwrap_or(0),
        table: route.table,
    })
}

/// The default route has no `RTA_DST`.
fn destination(route: &RouteRepr) -> Option<IpNet> {
    let any: IpAddr = if route.family == AF_INET {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    IpNet::new(route.destination.unwrap_or(any), route.destination_len).ok()
}

/// The route as `ip route` prints it.
fn route_text(route: &RouteRepr, names: &Names) -> String {
    let mut text = match destination(route) {
        Some(net) if net.prefix_len() == 0 => "default".to_owned(),
        Some(net) => net.to_string(),
        None => "?".to_owned(),
    };
    let mut add = |word: &str, value: String| text.push_str(&format!(" {word} {value}"));
    if let Some(gateway) = route.gateway {
        add("via", gateway.to_string());
    }
    if let Some(name) = route.index.and_then(|index| names.get(&index)) {
        add("dev", name.to_string());
    }
    add("proto", route.protocol.to_string());
    if let Some(metric) = route.metric {
        add("metric", metric.to_string());
    }
    if route.table != table::MAIN {
        add("table", route.table.to_string());
    }
    text
}

/// Kernel index of a link.
pub(crate) fn index_of(socket: &mut Socket, name: &LinkName) -> Result<u32, NetlinkError> {
    let mut w = socket.writer();
    let query = LinkRepr {
        name: Some(name.as_str()),
        ..LinkRepr::default()
    };
    query.emit(&mut w, msg::GETLINK, 0);
    let payload = socket.query(&w, &format!("looking for link {name}"))?;
    Ok(LinkRepr::parse(&payload)?.index)
}

/// Makes a bridge; refused when the name is taken.
pub(crate) fn create_bridge(
    socket: &mut Socket,
    name: &LinkName,
    mac: Option<MacAddr>,
) -> Result<(), NetlinkError> {
    let link = LinkRepr {
        name: Some(name.as_str()),
        kind: Some("bridge"),
        mac: mac.map(|mac| mac.0),
        ..LinkRepr::default()
    };
    send(socket, &format!("making bridge {name}"), |w| {
        link.emit(w, msg::NEWLINK, flags::ACK | flags::CREATE | flags::EXCL)
    })
}

/// Asks for a link of this kind that is longer than any link may be. A kernel that knows the kind
/// refuses the length (since 5.5, `dev_validate_mtu`), another one the kind.
pub(crate) fn try_link_kind(socket: &mut Socket, kind: &str) -> Result<(), NetlinkError> {
    let link = LinkRepr {
        name: Some(TRIED_LINK),
        kind: Some(kind),
        mtu: Some(u32::MAX),
        ..LinkRepr::default()
    };
    let asked = send(socket, &format!("links of kind {kind}"), |w| {
        link.emit(w, msg::NEWLINK, flags::ACK | flags::CREATE | flags::EXCL)
    });
    match asked {
        Err(NetlinkError::Refused(refusal)) if refusal.errno == libc::EINVAL => Ok(()),
        Err(error) => Err(error),
        // It was made after all.
        Ok(()) => {
            let link = LinkRepr {
                name: Some(TRIED_LINK),
                ..LinkRepr::default()
            };
            send(socket, "deleting what was tried", |w| {
                link.emit(w, msg::DELLINK, flags::ACK)
            })
        }
    }
}

/// Never made.
const TRIED_LINK: &str = "lintel-try";

/// Deletes a link by name. A port of the hardware refuses by itself.
pub(crate) fn delete_link(socket: &mut Socket, name: &LinkName) -> Result<(), NetlinkError> {
    let link = LinkRepr {
        name: Some(name.as_str()),
        ..LinkRepr::default()
    };
    send(socket, &format!("deleting link {name}"), |w| {
        link.emit(w, msg::DELLINK, flags::ACK)
    })
}

/// What to change of a link; the rest stays.
#[derive(Debug, Default)]
pub(crate) struct LinkChange<'a> {
    pub(crate) up: Option<bool>,
    pub(crate) master: Option<Option<&'a LinkName>>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<MacAddr>,
}

/// Changes a link in one message. The kernel does hardware address, MTU, bridge and state in this
/// order, so a link comes up with everything set.
pub(crate) fn set_link(
    socket: &mut Socket,
    name: &LinkName,
    change: &LinkChange<'_>,
) -> Result<(), NetlinkError> {
    let master = match change.master {
        None => None,
        Some(None) => Some(0),
        Some(Some(bridge)) => Some(index_of(socket, bridge)?),
    };
    let link = LinkRepr {
        name: Some(name.as_str()),
        flags: u32::from(change.up == Some(true)) * link_flags::UP,
        change: u32::from(change.up.is_some()) * link_flags::UP,
        master,
        mtu: change.mtu,
        mac: change.mac.map(|mac| mac.0),
        ..LinkRepr::default()
    };
    send(socket, &format!("changing link {name}"), |w| {
        link.emit(w, msg::NEWLINK, flags::ACK)
    })
}

/// Puts an address on a link, for ever; makes a temporary one of the same value permanent.
pub(crate) fn add_address(socket: &mut Socket, spec: &AddressSpec) -> Result<(), NetlinkError> {
    let mut address = address_repr(socket, spec)?;
    if let IpNet::V4(net) = spec.address
        && net.prefix_len() < 31
    {
        address.broadcast = Some(net.broadcast().into());
    }
    send(
        socket,
        &format!("adding {} to {}", spec.address, spec.link),
        |w| address.emit(w, msg::NEWADDR, flags::ACK | flags::CREATE | flags::REPLACE),
    )
}

/// Takes an address off a link.
pub(crate) fn delete_address(socket: &mut Socket, spec: &AddressSpec) -> Result<(), NetlinkError> {
    let address = address_repr(socket, spec)?;
    let subject = format!("taking {} off {}", spec.address, spec.link);
    send(socket, &subject, |w| {
        address.emit(w, msg::DELADDR, flags::ACK)
    })
}

fn address_repr(socket: &mut Socket, spec: &AddressSpec) -> Result<AddressRepr, NetlinkError> {
    let own = spec.address.addr();
    Ok(AddressRepr {
        family: family_of(own),
        prefix_len: spec.address.prefix_len(),
        index: index_of(socket, &spec.link)?,
        address: Some(own),
        local: own.is_ipv4().then_some(own),
        ..AddressRepr::default()
    })
}

/// Adds a route, or replaces ours with the same destination, metric and table. The kernel would
/// replace anybody's: so a foreign one is looked for first, and a new one is added exclusively.
pub(crate) fn replace_route(socket: &mut Socket, spec: &RouteSpec) -> Result<(), NetlinkError> {
    let route = route_repr(socket, spec)?;
    let subject = format!("adding route {}", spec.destination);
    let how = match standing(socket, spec)? {
        None => flags::CREATE | flags::EXCL,
        Some(Owner::Ours) => flags::CREATE | flags::REPLACE,
        Some(Owner::Kernel | Owner::Foreign) => {
            return Err(NetlinkError::Refused(Refusal {
                errno: libc::EEXIST,
                text: "somebody else's route has this destination and metric".to_owned(),
                subject,
            }));
        }
    };
    send(socket, &subject, |w| {
        route.emit(w, msg::NEWROUTE, flags::ACK | how)
    })
}

/// Deletes a route, only if it is ours.
pub(crate) fn delete_route(socket: &mut Socket, spec: &RouteSpec) -> Result<(), NetlinkError> {
    let route = RouteRepr {
        // Any scope: the kernel compares it for IPv4.
        scope: scope::NOWHERE,
        ..route_repr(socket, spec)?
    };
    let subject = format!("deleting route {}", spec.destination);
    send(socket, &subject, |w| {
        route.emit(w, msg::DELROUTE, flags::ACK)
    })
}

/// Whose route has this destination, metric and table now.
fn standing(socket: &mut Socket, spec: &RouteSpec) -> Result<Option<Owner>, NetlinkError> {
    let dump = dump_routes(socket)?;
    for message in Messages::new(&dump) {
        let route = RouteRepr::parse(message.payload)?;
        let same = destination(&route) == Some(spec.destination)
            && route.metric.unwrap_or(0) == spec.metric
            && route.table == spec.table;
        if same {
            return Ok(Some(owner(&route)));
        }
    }
    Ok(None)
}

fn route_repr(socket: &mut Socket, spec: &RouteSpec) -> Result<RouteRepr, NetlinkError> {
    let destination = spec.destination;
    let direct = destination.addr().is_ipv4() && spec.gateway.is_none();
    Ok(RouteRepr {
        family: family_of(destination.addr()),
        destination: (destination.prefix_len() != 0).then(|| destination.addr()),
        destination_len: destination.prefix_len(),
        table: spec.table,
        protocol: ROUTE_PROTOCOL,
        scope: if direct { scope::LINK } else { scope::UNIVERSE },
        kind: route_type::UNICAST,
        flags: u32::from(spec.onlink) * RouteRepr::ONLINK,
        gateway: spec.gateway,
        source: spec.source,
        metric: (spec.metric != 0).then_some(spec.metric),
        index: Some(index_of(socket, &spec.link)?),
        multipath: false,
    })
}

fn send(
    socket: &mut Socket,
    subject: &str,
    emit: impl FnOnce(&mut Writer) -> u32,
) -> Result<(), NetlinkError> {
    let mut w = socket.writer();
    emit(&mut w);
    socket.request(&w, subject)
}
