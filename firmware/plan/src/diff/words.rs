//! Why a step is done, in words for the householder, and what it may cut.

use lintel_model::desired::{
    AddressSpec, LAN_BRIDGE, LinkKind, LinkSpec, RouteSpec, SocketKind, SocketSpec, SysctlSpec,
};
use lintel_model::nft::{Edit, Transaction};
use lintel_model::step::Hazard;
use lintel_model::{LinkName, MacAddr};

use crate::sysctls::IP_FORWARD;

pub(super) fn sysctl(spec: &SysctlSpec) -> (Hazard, String) {
    if spec.path == IP_FORWARD {
        return if spec.value == "0" {
            (
                Hazard::CutsFlows,
                "Nothing passes through the box.".to_owned(),
            )
        } else {
            (
                Hazard::None,
                "The rules are in force: the box may pass packets on.".to_owned(),
            )
        };
    }
    let leaf = spec.path.rsplit('/').next().unwrap_or_default();
    let reason = match leaf {
        "accept_redirects" => "Nobody else decides which way packets take.",
        "accept_source_route" => "No sender dictates the way of a packet.",
        "accept_ra" => "The box does not take its IPv6 settings from just anybody.",
        "arp_announce" | "arp_ignore" => "Each side learns only its own addresses of the box.",
        "promote_secondaries" => "A change of address keeps the newer one.",
        "rp_filter" => "Packets with a forged origin are dropped.",
        "send_redirects" => "The box passes packets on itself.",
        "disable_ipv6" if spec.value == "1" => "A port of the switch has no addresses of its own.",
        "disable_ipv6" => "The link speaks IPv6 with its neighbours.",
        "forwarding" => "IPv6 is not passed on yet.",
        _ => "A setting of the kernel.",
    };
    (Hazard::None, reason.to_owned())
}

pub(super) fn nft(transaction: &Transaction, loaded: bool) -> (Hazard, String) {
    match transaction {
        Transaction::DeleteTable => (
            Hazard::CutsFlows,
            "The box stops being a router and takes its rules along.".to_owned(),
        ),
        Transaction::ReplaceTable(_) if !loaded => (
            Hazard::None,
            "Nothing may enter or pass before the rules are in force.".to_owned(),
        ),
        Transaction::ReplaceTable(_) => (
            Hazard::CutsManagement,
            "The rules have a new shape and are exchanged as a whole.".to_owned(),
        ),
        Transaction::Edit(edits) => {
            let cuts = edits.iter().map(edit_hazard).max().unwrap_or(Hazard::None);
            (cuts, "The rules follow the change.".to_owned())
        }
    }
}

/// Rules and elements for the LAN's way into the box matter to whoever is logged in there.
fn edit_hazard(edit: &Edit) -> Hazard {
    let touches = |name: &str| {
        if name.contains("lan") || name == "input" || name == "spoof" {
            Hazard::CutsManagement
        } else {
            Hazard::CutsFlows
        }
    };
    match edit {
        Edit::AddSet(_) | Edit::AddElements { .. } | Edit::AddChain { .. } => Hazard::None,
        Edit::DeleteSet { name } | Edit::DeleteChain { name } => touches(name),
        Edit::DeleteElements { set, .. } => touches(&set.name),
        Edit::ReplaceRules { chain, .. } => touches(chain),
    }
}

pub(super) fn close_socket(socket: &SocketSpec) -> String {
    match socket.kind {
        SocketKind::DhcpClient => {
            format!("The box no longer asks for an address on {}.", socket.link)
        }
        SocketKind::DhcpServer => format!("The box no longer gives addresses on {}.", socket.link),
    }
}

pub(super) fn open_socket(socket: &SocketSpec) -> String {
    match socket.kind {
        SocketKind::DhcpClient => format!("The box asks the provider on {}.", socket.link),
        SocketKind::DhcpServer => {
            format!("The box gives addresses to the devices on {}.", socket.link)
        }
    }
}

pub(super) fn delete_address(address: &AddressSpec) -> String {
    format!(
        "{} no longer belongs to {}.",
        address.address.addr(),
        side(&address.link)
    )
}

pub(super) fn add_address(address: &AddressSpec) -> String {
    if address.link.as_str() == LAN_BRIDGE {
        format!(
            "The box is reached under {} in the household.",
            address.address.addr()
        )
    } else {
        format!("The provider gave the box {}.", address.address.addr())
    }
}

fn side(link: &LinkName) -> String {
    if link.as_str() == LAN_BRIDGE {
        "the household's network".to_owned()
    } else {
        format!("the port {link}")
    }
}

pub(super) fn delete_link(name: &LinkName) -> String {
    format!("{name} is not needed any more.")
}

pub(super) fn create_bridge(name: &LinkName) -> String {
    format!("{name} joins the household's ports into one network.")
}

pub(super) fn expel(name: &LinkName, master: &LinkName) -> String {
    format!("Somebody put {name} into {master}; it is no port of the household.")
}

pub(super) fn link_up(spec: &LinkSpec) -> String {
    match spec.kind {
        LinkKind::Bridge => "The household's network starts.".to_owned(),
        LinkKind::Port => format!("The port {} starts.", spec.name),
    }
}

pub(super) fn set_link(
    spec: &LinkSpec,
    up: Option<bool>,
    master_changes: bool,
    mtu: Option<u32>,
    mac: Option<MacAddr>,
) -> String {
    if master_changes {
        return match &spec.master {
            Some(_) => format!("The port {} belongs to the household.", spec.name),
            None => format!("The port {} is kept apart from the household.", spec.name),
        };
    }
    match (up, mtu, mac) {
        (Some(true), ..) => link_up(spec),
        (Some(false), ..) => format!("The port {} has no work.", spec.name),
        (None, Some(mtu), _) => format!("The provider carries packets of up to {mtu} octets."),
        (None, None, _) => "The box keeps one hardware address.".to_owned(),
    }
}

pub(super) fn replace_route(route: &RouteSpec, replaced: bool) -> String {
    let what = if route.destination.prefix_len() == 0 {
        "The internet".to_owned()
    } else {
        route.destination.to_string()
    };
    if replaced {
        format!("{what} is reached another way from now on.")
    } else {
        format!("{what} is reached by {}.", route.link)
    }
}

pub(super) fn delete_route(route: &RouteSpec) -> String {
    if route.destination.prefix_len() == 0 {
        "There is no way to the internet now.".to_owned()
    } else {
        format!(
            "{} is no longer reached by {}.",
            route.destination, route.link
        )
    }
}
