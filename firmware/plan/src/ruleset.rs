//! The table `inet lintel`: what may enter the box, what may pass through it, and under which
//! address the house is seen outside.
//!
//! ```text
//!  prerouting -150  spoof ──► spoof_lan, spoof_wan      sources that cannot be true
//!  prerouting -100  dstnat                              (port forwards, later)
//!  forward    -150  clamp                               MSS that fits the WAN
//!  forward       0  forward     policy drop             LAN to WAN, answers back
//!  input         0  input       policy drop ──► input_lan, input_wan
//!  output        0  output                              LAN addresses never leave by the WAN
//!  postrouting 100  srcnat                              masquerade
//! ```
//!
//! Links, networks and ports stand in sets: the number of rules is the same for one device and
//! for a thousand, for two ports and for ten, and a change of a lease edits an element.

use lintel_model::nft::{
    BaseChain, Chain, ChainKind, DataType, Element, Hook, Policy, Rule, Set, Table,
};
use lintel_model::{Ipv4Net, LinkName};

use crate::rule::{ICMP, ICMPV6, TCP, UDP, ifname, rule, state};

const LAN_LINKS: &str = "lan_ifaces";
const WAN_LINKS: &str = "wan_ifaces";
const LAN_NETWORKS: &str = "lan_networks";
const WAN_NETWORKS: &str = "wan_networks";
const BOGONS: &str = "bogons";
const LAN_TCP: &str = "lan_tcp";
const LAN_UDP: &str = "lan_udp";

/// Echo requests answered a second, for all of the LAN; more is a flood.
const PING_PER_SECOND_MAX: u64 = 50;
/// Echo requests answered at once.
const PING_BURST_PACKETS: u32 = 100;

/// Sources that no host outside may have (RFC 6890 and its registry). The WAN's own network is
/// spared before: behind another router it is a private one.
const BOGON_NETWORKS: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
];

/// What the ruleset depends on.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// Links of the household.
    pub lan_links: Vec<LinkName>,
    /// Links to the provider.
    pub wan_links: Vec<LinkName>,
    /// Networks of the household.
    pub lan_networks: Vec<Ipv4Net>,
    /// Networks that the WAN's addresses lie in.
    pub wan_networks: Vec<Ipv4Net>,
    /// UDP port of the DHCP server.
    pub dhcp_port: u16,
    /// UDP and TCP port of the resolver.
    pub dns_port: u16,
    /// UDP port of the time server, when the household is told the time.
    pub ntp_port: Option<u16>,
    /// TCP ports of the web front.
    pub web_ports: Vec<u16>,
}

/// The whole table.
pub fn table(scene: &Scene) -> Table {
    let mut chains = vec![
        spoof(),
        spoof_lan(scene),
        spoof_wan(),
        dstnat(),
        clamp(),
        forward(),
        input(),
        input_lan(),
        input_wan(),
        output(),
        srcnat(),
    ];
    chains.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sets = vec![
        links(LAN_LINKS, &scene.lan_links),
        links(WAN_LINKS, &scene.wan_links),
        networks(LAN_NETWORKS, scene.lan_networks.iter().copied()),
        networks(WAN_NETWORKS, scene.wan_networks.iter().copied()),
        networks(
            BOGONS,
            BOGON_NETWORKS.iter().filter_map(|net| net.parse().ok()),
        ),
        ports(
            LAN_UDP,
            [scene.dns_port, scene.dhcp_port]
                .into_iter()
                .chain(scene.ntp_port),
        ),
        ports(
            LAN_TCP,
            [scene.dns_port]
                .into_iter()
                .chain(scene.web_ports.iter().copied()),
        ),
    ];
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    Table { chains, sets }
}

/// Runs behind conntrack (-200): packets of connections that are known have passed it before.
fn spoof() -> Chain {
    let rules = vec![
        rule("known connections were checked when they began")
            .ct_state(state::ESTABLISHED | state::RELATED)
            .accept(),
        rule("sources that the household may use")
            .entering(LAN_LINKS)
            .goto("spoof_lan"),
        rule("sources that the provider may send")
            .entering(WAN_LINKS)
            .goto("spoof_wan"),
    ];
    base(
        "spoof",
        ChainKind::Filter,
        Hook::Prerouting,
        -150,
        Policy::Accept,
        rules,
    )
}

fn spoof_lan(scene: &Scene) -> Chain {
    let rules = vec![
        rule("the household's own network")
            .ip_saddr_in(LAN_NETWORKS)
            .accept(),
        rule("a device that asks for its first address")
            .ip_saddr_none()
            .udp_dport(scene.dhcp_port)
            .accept(),
        rule("IPv6 on the link itself")
            .ip6_saddr_link_local()
            .accept(),
        rule("IPv6: is this address free")
            .ip6_saddr_none()
            .l4proto(ICMPV6)
            .accept(),
        rule("an address that is not from this network")
            .counter()
            .drop(),
    ];
    chain("spoof_lan", rules)
}

fn spoof_wan() -> Chain {
    let rules = vec![
        rule("the household's addresses do not come from outside")
            .ip_saddr_in(LAN_NETWORKS)
            .counter()
            .drop(),
        rule("the provider's own network, private or not")
            .ip_saddr_in(WAN_NETWORKS)
            .accept(),
        rule("addresses that nobody outside has")
            .ip_saddr_in(BOGONS)
            .counter()
            .drop(),
    ];
    chain("spoof_wan", rules)
}

/// Empty until port forwards exist; the hook stands from the start so that adding one is an
/// edit of one chain.
fn dstnat() -> Chain {
    base(
        "dstnat",
        ChainKind::Nat,
        Hook::Prerouting,
        -100,
        Policy::Accept,
        Vec::new(),
    )
}

fn clamp() -> Chain {
    let rules = vec![
        rule("segments outwards fit the way there")
            .leaving(WAN_LINKS)
            .tcp_syn()
            .clamp_mss(),
        rule("segments inwards fit the way there")
            .entering(WAN_LINKS)
            .tcp_syn()
            .clamp_mss(),
    ];
    base(
        "clamp",
        ChainKind::Filter,
        Hook::Forward,
        -150,
        Policy::Accept,
        rules,
    )
}

fn forward() -> Chain {
    let rules = vec![
        rule("known connections")
            .ct_state(state::ESTABLISHED | state::RELATED)
            .accept(),
        rule("packets that belong to nothing")
            .ct_state(state::INVALID)
            .counter()
            .drop(),
        rule("the household's addresses never leave by the WAN")
            .leaving(WAN_LINKS)
            .ip_daddr_in(LAN_NETWORKS)
            .counter()
            .drop(),
        rule("the household may go out")
            .entering(LAN_LINKS)
            .leaving(WAN_LINKS)
            .ipv4()
            .accept(),
        rule("everything else is refused").counter().go_on(),
    ];
    base(
        "forward",
        ChainKind::Filter,
        Hook::Forward,
        0,
        Policy::Drop,
        rules,
    )
}

fn input() -> Chain {
    let rules = vec![
        rule("the box talks to itself").entering_by("lo").accept(),
        rule("known connections")
            .ct_state(state::ESTABLISHED)
            .accept(),
        rule("errors about our own packets")
            .ct_state(state::RELATED)
            .l4proto(ICMP)
            .accept(),
        rule("errors about our own packets, IPv6 (RFC 4890)")
            .ct_state(state::RELATED)
            .l4proto(ICMPV6)
            .accept(),
        rule("packets that belong to nothing")
            .ct_state(state::INVALID)
            .counter()
            .drop(),
        rule("the household").entering(LAN_LINKS).goto("input_lan"),
        rule("the provider").entering(WAN_LINKS).goto("input_wan"),
        rule("ports without work are refused").counter().go_on(),
    ];
    base(
        "input",
        ChainKind::Filter,
        Hook::Input,
        0,
        Policy::Drop,
        rules,
    )
}

fn input_lan() -> Chain {
    let rules = vec![
        rule("DNS, DHCP and NTP").dport_in(UDP, LAN_UDP).accept(),
        rule("DNS and the box's pages")
            .dport_in(TCP, LAN_TCP)
            .accept(),
        rule("ping, with measure")
            .icmp_type(8)
            .limit(PING_PER_SECOND_MAX, PING_BURST_PACKETS)
            .accept(),
        rule("IPv6: who has which address on this link (RFC 4861)")
            .ip6_hoplimit_255()
            .icmpv6_types(133, 136)
            .accept(),
        rule("IPv6: who listens to which group (RFC 2710)")
            .icmpv6_types(130, 132)
            .accept(),
        rule("IPv6: who listens to which group (RFC 3810)")
            .icmpv6_type(143)
            .accept(),
        rule("IPv6: errors (RFC 4890)").icmpv6_types(1, 4).accept(),
        rule("ping over IPv6, with measure")
            .icmpv6_type(128)
            .limit(PING_PER_SECOND_MAX, PING_BURST_PACKETS)
            .accept(),
        rule("everything else is refused").counter().drop(),
    ];
    chain("input_lan", rules)
}

/// The lease comes by a packet socket, which the ruleset does not see: nothing is open here.
fn input_wan() -> Chain {
    let rules = vec![
        rule("IPv6: who has which address on this link (RFC 4861)")
            .ip6_hoplimit_255()
            .icmpv6_types(135, 136)
            .accept(),
        rule("nothing enters from outside").counter().drop(),
    ];
    chain("input_wan", rules)
}

fn output() -> Chain {
    let rules = vec![
        rule("the household's addresses never leave by the WAN")
            .leaving(WAN_LINKS)
            .ip_daddr_in(LAN_NETWORKS)
            .counter()
            .drop(),
    ];
    base(
        "output",
        ChainKind::Filter,
        Hook::Output,
        0,
        Policy::Accept,
        rules,
    )
}

fn srcnat() -> Chain {
    let rules = vec![
        rule("outside, the household has the box's address")
            .leaving(WAN_LINKS)
            .ip_saddr_in(LAN_NETWORKS)
            .masquerade(),
    ];
    base(
        "srcnat",
        ChainKind::Nat,
        Hook::Postrouting,
        100,
        Policy::Accept,
        rules,
    )
}

fn base(
    name: &str,
    kind: ChainKind,
    hook: Hook,
    priority: i32,
    policy: Policy,
    rules: Vec<Rule>,
) -> Chain {
    Chain {
        name: name.to_owned(),
        base: Some(BaseChain {
            kind,
            hook,
            priority,
            policy,
        }),
        rules,
    }
}

fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: None,
        rules,
    }
}

fn links(name: &str, links: &[LinkName]) -> Set {
    let keys = links.iter().map(|link| ifname(link.as_str()));
    set(name, DataType::Ifname, false, keys.map(|key| (key, None)))
}

fn networks(name: &str, networks: impl Iterator<Item = Ipv4Net>) -> Set {
    let ranges = networks.map(|net| {
        let first = net.network().octets().to_vec();
        let last = net.broadcast().octets().to_vec();
        (first, Some(last))
    });
    set(name, DataType::Ipv4Addr, true, ranges)
}

fn ports(name: &str, ports: impl IntoIterator<Item = u16>) -> Set {
    let keys = ports.into_iter().map(|port| port.to_be_bytes().to_vec());
    set(
        name,
        DataType::InetService,
        false,
        keys.map(|key| (key, None)),
    )
}

fn set(
    name: &str,
    key: DataType,
    interval: bool,
    keys: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
) -> Set {
    let mut elements: Vec<Element> = keys
        .map(|(key, key_end)| Element {
            key,
            key_end,
            value: None,
        })
        .collect();
    elements.sort();
    elements.dedup();
    Set {
        name: name.to_owned(),
        key,
        value: None,
        interval,
        elements,
    }
}
