//! Values under /proc/sys. Those for `conf/default` reach links that are made later, those for
//! a link reach links that were there before us.

use lintel_model::LinkName;
use lintel_model::desired::SysctlSpec;

/// Path of the switch that makes the box a router. It goes on only after the ruleset is in.
pub(crate) const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// What holds for the whole box.
///
/// * `rp_filter` 1: a packet whose source would not be reached by the way it came is dropped
///   (RFC 3704 section 2.2). The kernel takes the larger of `all` and the link's own.
/// * `arp_ignore` 1, `arp_announce` 2: the WAN side does not learn LAN addresses by ARP.
/// * `promote_secondaries` 1: when a lease brings another address in the same network, removing
///   the old one keeps the new.
/// * `accept_redirects` 0, `accept_source_route` 0: nobody else decides where our packets go.
const GLOBAL: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/promote_secondaries", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    (IP_FORWARD, "1"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
];

/// Every sysctl for the box, sorted by path. `routed` are links with addresses of ours, `switched`
/// the ports that have none.
pub(crate) fn sysctls<'a>(
    routed: impl Iterator<Item = &'a LinkName>,
    switched: impl Iterator<Item = &'a LinkName>,
) -> Vec<SysctlSpec> {
    let mut list: Vec<SysctlSpec> = GLOBAL
        .iter()
        .map(|(path, value)| spec((*path).to_owned(), value))
        .collect();
    for link in routed {
        list.push(spec(format!("net/ipv4/conf/{link}/send_redirects"), "0"));
        list.push(spec(format!("net/ipv6/conf/{link}/accept_ra"), "0"));
        list.push(spec(format!("net/ipv6/conf/{link}/accept_redirects"), "0"));
        list.push(spec(format!("net/ipv6/conf/{link}/disable_ipv6"), "0"));
    }
    for link in switched {
        // A port without addresses of ours speaks no IPv6 of its own: the bridge does.
        list.push(spec(format!("net/ipv6/conf/{link}/disable_ipv6"), "1"));
    }
    list.sort();
    list
}

/// The link that a path speaks of, when it speaks of one.
pub(crate) fn link_of(path: &str) -> Option<&str> {
    let mut parts = path.strip_prefix("net/")?.split('/');
    let (_family, conf, link) = (parts.next()?, parts.next()?, parts.next()?);
    (conf == "conf" && link != "all" && link != "default").then_some(link)
}

fn spec(path: String, value: &str) -> SysctlSpec {
    SysctlSpec {
        path,
        value: value.to_owned(),
    }
}
