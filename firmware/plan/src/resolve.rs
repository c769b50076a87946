//! Configuration and facts become one exact wish: what the kernel shall hold, what each role
//! shall serve, and what the householder should know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lintel_model::config::{Config, NTP_PORT, RecordConfig, UpstreamAddr};
use lintel_model::desired::{
    AddressSpec, DesiredState, LAN_BRIDGE, LinkKind, LinkSpec, SocketKind, SocketSpec,
};
use lintel_model::facts::{DataState, Facts, NoticeCode, Severity};
use lintel_model::lease::WanLease;
use lintel_model::observed::LinkStatus;
use lintel_model::services::{
    DhcpSpec, DhcpSubnet, DnsLink, DnsSpec, HostRecord, NtpSpec, Resolved, WanLink, WanSpec,
    WebSpec,
};
use lintel_model::{IpNet, Ipv4Net, LinkName};

use crate::notice::Notices;
use crate::pool::default_pool;
use crate::ports::{Ports, bridge_mac};
use crate::ruleset::{self, Scene};
use crate::sysctls::sysctls;
use crate::wan::{self, WanAddressing};

/// Lease time while bindings cannot be kept on disk, seconds: short, because after a reboot
/// nobody remembers them.
const FAIL_SECURE_LEASE_S: u32 = 600;

/// Resolves. Never fails: what cannot be done is left out and told in a notice.
///
/// When /data cannot be used, the configuration is not trusted either: the factory's is taken
/// (but `[run]`, which says where a test listens), so that the house is online and nothing that
/// somebody opened stays open.
pub fn resolve(config: &Config, facts: &Facts) -> Resolved {
    let factory;
    let mut notices = Notices::default();
    let config = match &facts.data {
        DataState::Good => config,
        DataState::Failed { reason } => {
            notices.add(
                NoticeCode::DataFailed,
                Severity::Error,
                None,
                format!("The box runs with its factory settings, because its storage cannot be used: {reason}"),
            );
            factory = Config {
                run: config.run.clone(),
                ..Config::default()
            };
            &factory
        }
    };
    // Remembered of another configuration than this one: after the storage failed, say.
    let own = config.lan.address.addr();
    let without;
    let facts = if facts.leaving.iter().any(|left| left.addr() == own) {
        let mut leaving = facts.leaving.clone();
        leaving.retain(|left| left.addr() != own);
        without = Facts {
            leaving,
            ..facts.clone()
        };
        &without
    } else {
        facts
    };
    let Ok(bridge) = LAN_BRIDGE.parse::<LinkName>() else {
        // The constant is a link name; a test of `model` parses it.
        return Resolved::default();
    };
    let ports = Ports::assign(config, facts, &mut notices);
    let lease = ports
        .wan
        .and_then(|wan| facts.wan_lease.as_ref().filter(|l| l.link == wan.name));
    let addressing = match (ports.wan, lease) {
        (Some(wan), Some(lease)) => {
            wan::addressing(config, &facts.leaving, &wan.name, lease, &mut notices)
        }
        (Some(wan), None) => {
            notices.add(
                NoticeCode::NoLease,
                Severity::Warning,
                Some(&wan.name),
                no_lease_text(wan),
            );
            WanAddressing::default()
        }
        (None, _) => WanAddressing::default(),
    };
    Resolved {
        kernel: kernel(config, facts, &bridge, &ports, wan::mtu(lease), &addressing),
        wan: wan_spec(config, &ports),
        dhcp: dhcp_spec(config, facts, &bridge),
        dns: dns_spec(config, facts, &bridge, &addressing),
        ntp: ntp_spec(config, facts, &bridge, lease),
        web: web_spec(config, facts, &bridge),
        notices: notices.into_vec(),
    }
}

fn no_lease_text(wan: &LinkStatus) -> String {
    if wan.carrier {
        format!(
            "The provider has not given the box an address on {} yet. If this lasts, restart the modem.",
            wan.name
        )
    } else {
        format!(
            "No cable is plugged into the WAN port {}. Connect it to the modem.",
            wan.name
        )
    }
}

fn kernel(
    config: &Config,
    facts: &Facts,
    bridge: &LinkName,
    ports: &Ports<'_>,
    wan_mtu: u32,
    wan: &WanAddressing,
) -> DesiredState {
    let mut links = vec![LinkSpec {
        name: bridge.clone(),
        kind: LinkKind::Bridge,
        up: true,
        master: None,
        mtu: None,
        mac: bridge_mac(facts, bridge),
    }];
    // Every port has an MTU of its own: one that was the WAN's may have been given a smaller one.
    let port = |status: &LinkStatus, up, master: Option<&LinkName>, mtu| LinkSpec {
        name: status.name.clone(),
        kind: LinkKind::Port,
        up,
        master: master.cloned(),
        mtu: Some(mtu),
        mac: None,
    };
    let usual = wan::mtu(None);
    links.extend(ports.lan.iter().map(|p| port(p, true, Some(bridge), usual)));
    links.extend(ports.open.iter().map(|p| port(p, true, None, usual)));
    links.extend(ports.wan.map(|p| port(p, true, None, wan_mtu)));
    if !facts.run {
        // In somebody's namespace a port without work is not ours to switch off.
        links.extend(ports.unused.iter().map(|p| port(p, false, None, usual)));
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));

    let mut addresses = vec![AddressSpec {
        link: bridge.clone(),
        address: IpNet::V4(config.lan.address),
    }];
    addresses.extend(facts.leaving.iter().map(|address| AddressSpec {
        link: bridge.clone(),
        address: IpNet::V4(*address),
    }));
    addresses.extend(wan.address.clone());
    addresses.sort();

    let mut sockets: Vec<SocketSpec> = ports
        .wan
        .iter()
        .chain(&ports.search)
        .map(|p| SocketSpec {
            link: p.name.clone(),
            kind: SocketKind::DhcpClient,
        })
        .collect();
    if config.dhcp.enabled {
        sockets.push(SocketSpec {
            link: bridge.clone(),
            kind: SocketKind::DhcpServer,
        });
    }
    sockets.sort();

    let routed = [bridge].into_iter().chain(ports.wan.map(|p| &p.name));
    let switched = ports.lan.iter().chain(&ports.open).map(|p| &p.name);
    DesiredState {
        links,
        addresses,
        routes: wan.routes.clone(),
        sysctls: sysctls(routed, switched),
        nft: Some(ruleset::table(&Scene {
            lan_links: vec![bridge.clone()],
            wan_links: ports.wan.iter().map(|p| p.name.clone()).collect(),
            lan_networks: networks(config, facts),
            wan_networks: wan.network.into_iter().collect(),
            dhcp_port: config.run.as_ref().map_or(67, |run| run.dhcp_port),
            dns_port: config.run.as_ref().map_or(53, |run| run.dns_port),
            ntp_port: config.ntp.serve.then(|| ntp_port(config)),
            web_ports: config
                .run
                .as_ref()
                .map_or(vec![80, 443], |run| vec![run.http_port, run.https_port]),
        })),
        sockets,
    }
}

fn wan_spec(config: &Config, ports: &Ports<'_>) -> WanSpec {
    if let Some(link) = ports.wan.and_then(wan_link) {
        return WanSpec::Dhcp {
            link,
            hostname: config.system.hostname.clone(),
        };
    }
    let links: Vec<_> = ports.search.iter().filter_map(|p| wan_link(p)).collect();
    if links.is_empty() {
        WanSpec::Off
    } else {
        WanSpec::Detect { links }
    }
}

fn wan_link(port: &LinkStatus) -> Option<WanLink> {
    Some(WanLink {
        name: port.name.clone(),
        index: port.index,
        mac: port.mac?,
        carrier: port.carrier,
        mtu: port.mtu,
    })
}

/// Nothing is served before the bridge is there: its index comes with the next look at the
/// kernel, and with it the next resolution.
fn lan_link<'a>(facts: &'a Facts, bridge: &LinkName) -> Option<&'a LinkStatus> {
    facts.links.iter().find(|link| link.name == *bridge)
}

fn dhcp_spec(config: &Config, facts: &Facts, bridge: &LinkName) -> DhcpSpec {
    let durable = facts.data == DataState::Good;
    let address = config.lan.address;
    let subnet = lan_link(facts, bridge).and_then(|link| {
        let (first, last) = match &config.dhcp.pool {
            Some(pool) => (pool.first, pool.last),
            None => default_pool(address)?,
        };
        Some(DhcpSubnet {
            link: link.name.clone(),
            index: link.index,
            mac: link.mac?,
            address,
            first,
            last,
            lease_s: if durable {
                config.dhcp.lease_s
            } else {
                FAIL_SECURE_LEASE_S
            },
            routers: vec![address.addr()],
            dns: vec![address.addr()],
            ntp: if config.ntp.serve && ntp_port(config) == NTP_PORT {
                vec![address.addr()]
            } else {
                Vec::new()
            },
            domain: config.lan.domain.clone(),
            mtu: None,
            reservations: config.dhcp.reservations.clone(),
            port: config.run.as_ref().map_or(67, |run| run.dhcp_port),
        })
    });
    DhcpSpec {
        subnets: subnet.filter(|_| config.dhcp.enabled).into_iter().collect(),
        durable,
    }
}

fn dns_spec(config: &Config, facts: &Facts, bridge: &LinkName, wan: &WanAddressing) -> DnsSpec {
    let address = config.lan.address;
    let upstreams = if config.dns.upstreams.is_empty() {
        wan.dns
            .iter()
            .filter(|ip| usable_resolver(**ip, address))
            .map(|ip| SocketAddr::new(IpAddr::V4(*ip), 53))
            .collect()
    } else {
        let configured = config.dns.upstreams.iter();
        configured.map(|UpstreamAddr(socket)| *socket).collect()
    };
    let reserved = config.dhcp.reservations.iter().filter_map(|reservation| {
        Some(HostRecord {
            name: reservation.name.clone()?,
            address: IpAddr::V4(reservation.address),
        })
    });
    DnsSpec {
        links: served_links(config, facts, bridge),
        upstreams,
        rebind_private: config.dns.rebind_protection,
        domain: Some(config.lan.domain.clone()),
        own: vec![HostRecord {
            name: config.system.hostname.clone(),
            address: IpAddr::V4(address.addr()),
        }],
        records: config
            .dns
            .records
            .iter()
            .map(|record| qualified(record, config))
            .collect(),
        hosts: reserved.collect(),
        networks: networks(config, facts),
        cache_bytes_max: config.dns.cache_bytes_max,
    }
}

/// A resolver that a lease names: never ourselves, which would be a loop.
fn usable_resolver(ip: Ipv4Addr, lan: Ipv4Net) -> bool {
    !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !lan.contains(&ip)
}

/// A record whose name has no dot lives under the household's domain.
fn qualified(record: &RecordConfig, config: &Config) -> RecordConfig {
    let mut record = record.clone();
    if !record.name.as_str().contains('.') {
        // Too long together is refused by validation; the bare name then stays.
        if let Ok(name) = format!("{}.{}", record.name, config.lan.domain).parse() {
            record.name = name;
        }
    }
    record
}

/// The household's time server, and whom it asks. Names are asked of our own resolver, over
/// loopback and like any host: dnsd always serves `lo`.
fn ntp_spec(
    config: &Config,
    facts: &Facts,
    bridge: &LinkName,
    lease: Option<&WanLease>,
) -> NtpSpec {
    let links = if config.ntp.serve {
        served_links(config, facts, bridge)
    } else {
        Vec::new()
    };
    let named = lease.iter().flat_map(|lease| lease.ntp.iter().copied());
    let dns_port = config.run.as_ref().map_or(53, |run| run.dns_port);
    let resolver = match config.run.as_ref().map(|run| run.address) {
        Some(address) if !address.is_unspecified() => address,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    NtpSpec {
        links,
        servers: config.ntp.servers.clone(),
        pools: config.ntp.pools.clone(),
        provider: named
            .filter(|ip| config.ntp.provider && usable_resolver(*ip, config.lan.address))
            .collect(),
        resolver: Some(SocketAddr::new(resolver, dns_port)),
        online: lease.is_some_and(|lease| lease.router.is_some()),
    }
}

/// 123, but for `lintel run`.
fn ntp_port(config: &Config) -> u16 {
    config.run.as_ref().map_or(NTP_PORT, |run| run.ntp_port)
}

fn web_spec(config: &Config, facts: &Facts, bridge: &LinkName) -> WebSpec {
    let hostname = &config.system.hostname;
    let mut hosts = vec![
        config.lan.address.addr().to_string(),
        hostname.to_string(),
        format!("{hostname}.{}", config.lan.domain),
        // A tunnel from the owner's machine ends in these; a rebinding page cannot own them.
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let left = facts.leaving.iter();
    hosts.extend(left.map(|address| address.addr().to_string()));
    let addresses = std::iter::once(&config.lan.address).chain(&facts.leaving);
    let served = lan_link(facts, bridge).map(|link| {
        let at = |address: &Ipv4Net| DnsLink {
            name: link.name.clone(),
            index: link.index,
            address: IpAddr::V4(address.addr()),
        };
        addresses.map(at).collect()
    });
    WebSpec {
        links: served.unwrap_or_default(),
        hosts,
    }
}

/// The household's networks: its own, and those it has left. None lies in another one: the kernel
/// refuses a set whose ranges overlap.
fn networks(config: &Config, facts: &Facts) -> Vec<Ipv4Net> {
    let own = std::iter::once(&config.lan.address);
    let mut all: Vec<Ipv4Net> = own.chain(&facts.leaving).map(Ipv4Net::trunc).collect();
    all.sort_by_key(Ipv4Net::prefix_len);
    let mut apart: Vec<Ipv4Net> = Vec::new();
    for network in all {
        if !apart.iter().any(|larger| larger.contains(&network)) {
            apart.push(network);
        }
    }
    apart
}

fn served_links(config: &Config, facts: &Facts, bridge: &LinkName) -> Vec<DnsLink> {
    lan_link(facts, bridge)
        .map(|link| DnsLink {
            name: link.name.clone(),
            index: link.index,
            address: IpAddr::V4(config.lan.address.addr()),
        })
        .into_iter()
        .collect()
}
