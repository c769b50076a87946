//! Whether the values of a configuration fit together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tree::Reader;
use super::{Config, PortSelector, RecordConfig, RecordType, TimeServer, UpstreamAddr, WanPort};
use crate::desired::LAN_BRIDGE;
use crate::names::DOMAIN_OCTETS_MAX;
use crate::{DomainName, Ipv4Net};

/// Shortest lease, seconds: below, devices talk of nothing else.
const LEASE_S_MIN: u32 = 60;
/// Shortest lease under `lintel run`, where tests wait for its end, seconds.
pub(super) const LEASE_S_MIN_RUN: u32 = 2;
/// Longest lease, seconds: a year.
pub(super) const LEASE_S_MAX: u32 = 366 * 86_400;
/// Longest text of a TXT record, octets: four strings of 255 fit one packet with room.
const TXT_OCTETS_MAX: usize = 1020;

/// Networks that no LAN may lie in, with what they are for.
const RESERVED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "the host itself"),
    ("169.254.0.0/16", "addresses that hosts give themselves"),
    ("224.0.0.0/4", "groups (multicast)"),
    ("240.0.0.0/4", "nobody"),
];

/// Adds a problem for everything that does not fit.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    if reader.read(&["lan.address"]) {
        lan_address(config, reader);
        pool(config, reader);
    }
    lease(config, reader);
    ports(config, reader);
    names(config, reader);
    reservations(config, reader);
    upstreams(config, reader);
    time_servers(config, reader);
    records(config, reader);
    run(config, reader);
}

fn lan_address(config: &Config, reader: &mut Reader<'_>) {
    let lan = config.lan.address;
    let path = "lan.address";
    if !(8..=30).contains(&lan.prefix_len()) {
        let reason = format!("a network of /{} is no household's", lan.prefix_len());
        reader.problem(path, reason, "use a length from 8 to 30, most often 24");
        return;
    }
    for (network, what) in RESERVED {
        let Ok(network) = network.parse::<Ipv4Net>() else {
            continue;
        };
        if network.contains(&lan.trunc()) || lan.trunc().contains(&network) {
            let reason = format!("{} is for {what}", network);
            reader.problem(path, reason, "use a private network such as 192.168.1.1/24");
        }
    }
    if is_edge(lan, lan.addr()) {
        let reason = format!(
            "{} is the network's first or last address, which no host may have",
            lan.addr()
        );
        let example = first_host(lan);
        reader.problem(
            path,
            reason,
            format!("write \"{example}/{}\"", lan.prefix_len()),
        );
    }
}

fn pool(config: &Config, reader: &mut Reader<'_>) {
    let Some(pool) = config.dhcp.pool else { return };
    let lan = config.lan.address;
    let mut inside = true;
    for (path, address) in [
        ("dhcp.pool.first", pool.first),
        ("dhcp.pool.last", pool.last),
    ] {
        inside &= host_of_lan(lan, path, address, reader);
    }
    if pool.first > pool.last {
        let reason = format!("{} comes after the last address {}", pool.first, pool.last);
        reader.problem("dhcp.pool.first", reason, "exchange the two");
    } else if inside && (pool.first..=pool.last).contains(&lan.addr()) {
        let reason = format!("the pool holds {}, the box's own address", lan.addr());
        reader.problem(
            "dhcp.pool",
            reason,
            "begin the pool after it or end it before it",
        );
    }
}

/// Whether an address may be a host's in the LAN; else tells why not.
fn host_of_lan(lan: Ipv4Net, path: &str, address: Ipv4Addr, reader: &mut Reader<'_>) -> bool {
    let trunc = lan.trunc();
    if !trunc.contains(&address) {
        let reason = format!("{address} is outside the household's network {trunc}");
        let hint = format!(
            "use an address from {} to {}",
            first_host(lan),
            last_host(lan)
        );
        reader.problem(path, reason, hint);
        false
    } else if is_edge(lan, address) {
        let reason =
            format!("{address} is the network's first or last address, which no host may have");
        let hint = format!(
            "use an address from {} to {}",
            first_host(lan),
            last_host(lan)
        );
        reader.problem(path, reason, hint);
        false
    } else {
        true
    }
}

fn is_edge(lan: Ipv4Net, address: Ipv4Addr) -> bool {
    address == lan.network() || address == lan.broadcast()
}

fn first_host(lan: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(lan.network()).saturating_add(1))
}

fn last_host(lan: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(lan.broadcast()).saturating_sub(1))
}

fn lease(config: &Config, reader: &mut Reader<'_>) {
    let min = if config.run.is_some() {
        LEASE_S_MIN_RUN
    } else {
        LEASE_S_MIN
    };
    if reader.read(&["dhcp.lease_s"]) && !(min..=LEASE_S_MAX).contains(&config.dhcp.lease_s) {
        let reason = format!("a lease of {} s is out of bounds", config.dhcp.lease_s);
        let hint = format!("use {min} to {LEASE_S_MAX} seconds; 43200 is twelve hours");
        reader.problem("dhcp.lease_s", reason, hint);
    }
}

fn ports(config: &Config, reader: &mut Reader<'_>) {
    let own = |selector: &PortSelector| match selector {
        PortSelector::Name(name) => name.as_str() == LAN_BRIDGE || name.as_str() == "lo",
        _ => false,
    };
    let hint = "name an Ethernet port, or take the setting out";
    let wan = match &config.wan.port {
        WanPort::Port(selector) => Some(selector),
        WanPort::Auto => None,
    };
    if let Some(selector) = wan.filter(|selector| own(selector)) {
        reader.problem("wan.port", format!("{selector} is no port"), hint);
    }
    // Entries that could not be read are not in the list: indices would be wrong.
    if !reader.read(&["lan.ports"]) {
        return;
    }
    for (index, selector) in config.lan.ports.iter().enumerate() {
        let path = format!("lan.ports[{index}]");
        if own(selector) {
            reader.problem(&path, format!("{selector} is no port"), hint);
        }
        if Some(selector) == wan {
            let reason = format!("{selector} is the WAN port already");
            reader.problem(&path, reason, "a port is either WAN or LAN");
        }
        if config.lan.ports[..index].contains(selector) {
            reader.problem(
                &path,
                format!("{selector} is named twice"),
                "once is enough",
            );
        }
    }
}

fn names(config: &Config, reader: &mut Reader<'_>) {
    if config
        .system
        .hostname
        .as_str()
        .eq_ignore_ascii_case("localhost")
    {
        let reason = "\"localhost\" is every host's name for itself";
        reader.problem(
            "system.hostname",
            reason,
            "choose another, such as \"lintel\"",
        );
    }
    let domain = config.lan.domain.as_str();
    let taken = match domain.rsplit('.').next().unwrap_or(domain) {
        "local" => Some("belongs to multicast DNS (RFC 6762)"),
        "localhost" => Some("means the host itself (RFC 6761)"),
        "arpa" if domain != "home.arpa" && !domain.ends_with(".home.arpa") => {
            Some("holds the names of addresses")
        }
        "onion" | "invalid" => Some("never exists in DNS (RFC 6761, RFC 7686)"),
        _ => None,
    };
    if let Some(taken) = taken {
        let reason = format!("the domain {domain:?} {taken}");
        reader.problem(
            "lan.domain",
            reason,
            "use \"lan\" or \"home.arpa\" (RFC 8375)",
        );
    }
}

fn reservations(config: &Config, reader: &mut Reader<'_>) {
    let lan = config.lan.address;
    let mut macs = Seen::default();
    let mut addresses = Seen::default();
    let mut names = Seen::default();
    for (index, entry) in config.dhcp.reservations.iter().enumerate() {
        let path = |key: &str| format!("dhcp.reservations[{index}].{key}");
        let mac = path("mac");
        if reader.read(&[&mac]) {
            if entry.mac.is_multicast() || entry.mac.0 == [0; 6] {
                let reason = format!("{} is no device's address", entry.mac);
                reader.problem(&mac, reason, "copy it from the list of leases");
            }
            macs.once(entry.mac.to_string(), &mac, reader);
        }
        let address = path("address");
        if reader.read(&[&address]) {
            if reader.read(&["lan.address"]) {
                host_of_lan(lan, &address, entry.address, reader);
                if entry.address == lan.addr() {
                    let reason = format!("{} is the box's own address", lan.addr());
                    reader.problem(&address, reason, "choose another");
                }
            }
            addresses.once(entry.address.to_string(), &address, reader);
        }
        if let Some(name) = &entry.name {
            let at = path("name");
            let lower = name.as_str().to_ascii_lowercase();
            if lower == config.system.hostname.as_str().to_ascii_lowercase() {
                reader.problem(
                    &at,
                    format!("{name:?} is the box's own name", name = name.as_str()),
                    "choose another",
                );
            }
            names.once(lower, &at, reader);
        }
    }
}

fn upstreams(config: &Config, reader: &mut Reader<'_>) {
    if !reader.read(&["dns.upstreams"]) {
        return;
    }
    let mut seen = Seen::default();
    for (index, UpstreamAddr(socket)) in config.dns.upstreams.iter().enumerate() {
        let path = format!("dns.upstreams[{index}]");
        let ip = socket.ip();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if ip.is_unspecified() || ip.is_multicast() || broadcast || socket.port() == 0 {
            let reason = format!("{socket} is no resolver's address");
            reader.problem(&path, reason, "use one such as 9.9.9.9");
        }
        let own = ip == IpAddr::V4(config.lan.address.addr())
            || (ip.is_loopback() && socket.port() == 53 && config.run.is_none());
        if own {
            let reason = format!("{ip} is the box itself, which would ask in a circle");
            reader.problem(
                &path,
                reason,
                "name another resolver, or leave the list empty for the provider's",
            );
        }
        seen.once(socket.to_string(), &path, reader);
    }
}

fn records(config: &Config, reader: &mut Reader<'_>) {
    // Owner names with what stands there: an alias tolerates no neighbour (RFC 1034 3.6.2).
    let mut owners: BTreeMap<String, Vec<(usize, &RecordConfig)>> = BTreeMap::new();
    for (index, record) in config.dns.records.iter().enumerate() {
        let path = |key: &str| format!("dns.records[{index}].{key}");
        let (name, rtype, value) = (path("name"), path("type"), path("value"));
        if reader.read(&[&name]) {
            let full = qualified(record, config);
            if full.len() > DOMAIN_OCTETS_MAX {
                let reason = format!("with the domain {} the name is too long", config.lan.domain);
                reader.problem(&name, reason, "shorten it");
            }
            if reader.read(&[&rtype, &value]) {
                owners.entry(full).or_default().push((index, record));
            }
        }
        if reader.read(&[&rtype, &value])
            && let Err((reason, hint)) = record_value(record)
        {
            reader.problem(&value, reason, hint);
        }
        if reader.read(&[&name, &rtype])
            && record.rtype == RecordType::PTR
            && !record.name.as_str().ends_with(".in-addr.arpa")
            && !record.name.as_str().ends_with(".ip6.arpa")
        {
            let reason = "a PTR record's name is an address turned around";
            reader.problem(
                &name,
                reason,
                "write \"5.1.168.192.in-addr.arpa\" for 192.168.1.5",
            );
        }
    }
    let hosts = hosts(config);
    for (owner, records) in &owners {
        for (position, (index, record)) in records.iter().enumerate() {
            let path = format!("dns.records[{index}].name");
            if record.rtype == RecordType::CNAME {
                if records.len() > 1 {
                    let reason = format!("{owner} has other records, and an alias stands alone");
                    reader.problem(&path, reason, "give the alias another name");
                } else if let Some(whose) = hosts.get(owner) {
                    let reason =
                        format!("{owner} is the name of {whose}, and an alias stands alone");
                    reader.problem(&path, reason, "give the alias another name");
                }
                alias(config, &owners, (owner, *index, record), reader);
            }
            let twin = records[..position]
                .iter()
                .any(|(_, other)| other.rtype == record.rtype && other.value == record.value);
            if twin {
                reader.problem(
                    &path,
                    format!("{owner} has this record twice"),
                    "once is enough",
                );
            }
        }
    }
}

fn qualified(record: &RecordConfig, config: &Config) -> String {
    config.full_name(record.name.as_str())
}

impl Config {
    /// A name as DNS knows it, in lower case: one without a dot lives under the household's
    /// domain.
    pub fn full_name(&self, name: &str) -> String {
        if name.contains('.') {
            name.to_ascii_lowercase()
        } else {
            format!("{name}.{}", self.lan.domain).to_ascii_lowercase()
        }
    }
}

/// Names that have an address without a record, and whose they are.
fn hosts(config: &Config) -> BTreeMap<String, String> {
    let reserved = config.dhcp.reservations.iter().filter_map(|entry| {
        let name = entry.name.as_ref()?;
        let whose = format!("the device with {}", entry.mac);
        Some((config.full_name(name.as_str()), whose))
    });
    let own = config.full_name(config.system.hostname.as_str());
    reserved
        .chain([(own, "the box itself".to_owned())])
        .collect()
}

type Owners<'c> = BTreeMap<String, Vec<(usize, &'c RecordConfig)>>;

/// An alias must not lead in a circle. A name of the household that nothing here has may be that of
/// a device which has not come yet.
fn alias(
    config: &Config,
    owners: &Owners<'_>,
    (owner, index, record): (&str, usize, &RecordConfig),
    reader: &mut Reader<'_>,
) {
    let path = format!("dns.records[{index}].value");
    let mut target = alias_target(record, config);
    // As many steps as there are names: whoever needs more runs in a circle.
    for _ in 0..=owners.len() {
        if target == owner {
            let reason = format!("{owner} is an alias that leads back to itself");
            reader.problem(&path, reason, "let it lead to a name that has an address");
            return;
        }
        let next = owners.get(&target).and_then(|records| {
            let aliases = records.iter().map(|(_, record)| *record);
            aliases.clone().find(|r| r.rtype == RecordType::CNAME)
        });
        match next {
            Some(next) => target = alias_target(next, config),
            None => break,
        }
    }
}

/// What an alias leads to: a name without a dot lives under the household's domain.
fn alias_target(record: &RecordConfig, config: &Config) -> String {
    let value = record.value.strip_suffix('.').unwrap_or(&record.value);
    config.full_name(value)
}

/// Whether a record's value is of its type.
fn record_value(record: &RecordConfig) -> Result<(), (String, &'static str)> {
    let value = &record.value;
    let fits = match record.rtype {
        RecordType::A => value.parse::<Ipv4Addr>().is_ok(),
        RecordType::AAAA => value.parse::<Ipv6Addr>().is_ok(),
        RecordType::CNAME | RecordType::PTR => value.parse::<DomainName>().is_ok(),
        RecordType::TXT => value.len() <= TXT_OCTETS_MAX && !value.chars().any(char::is_control),
    };
    if fits {
        return Ok(());
    }
    let (what, hint) = match record.rtype {
        RecordType::A => ("IPv4 address", "write one such as \"192.168.1.5\""),
        RecordType::AAAA => ("IPv6 address", "write one such as \"fd00::5\""),
        RecordType::CNAME | RecordType::PTR => ("domain name", "write one such as \"nas.lan\""),
        RecordType::TXT => (
            "text for a record",
            "at most 1020 octets, without control characters",
        ),
    };
    let short: String = value.chars().take(60).collect();
    Err((format!("{short:?} is no {what}"), hint))
}

/// Each once, none that nobody can be, and none that is the box itself.
fn time_servers(config: &Config, reader: &mut Reader<'_>) {
    let mut seen = Seen::default();
    for (key, servers) in [
        ("servers", &config.ntp.servers),
        ("pools", &config.ntp.pools),
    ] {
        for (index, server) in servers.iter().enumerate() {
            let path = format!("ntp.{key}[{index}]");
            let TimeServer::Address(socket) = server else {
                seen.once(server.to_string(), &path, reader);
                continue;
            };
            if key == "pools" {
                let reason = "a pool is a name that stands for many servers";
                reader.problem(&path, reason, "move the address to \"servers\"");
                continue;
            }
            let ip = socket.ip();
            if ip.is_unspecified() || ip.is_multicast() || socket.port() == 0 {
                let reason = format!("{server} is no host's address");
                reader.problem(&path, reason, "write the address of a time server");
            } else if ip == IpAddr::V4(config.lan.address.addr()) {
                let reason = format!("{ip} is the box itself");
                reader.problem(&path, reason, "leave it out");
            }
            seen.once(server.to_string(), &path, reader);
        }
    }
}

fn run(config: &Config, reader: &mut Reader<'_>) {
    let Some(run) = &config.run else { return };
    let all = [
        "run.dns_port",
        "run.dhcp_port",
        "run.http_port",
        "run.https_port",
        "run.ntp_port",
    ];
    if !reader.read(&all) {
        return;
    }
    if run.dns_port == run.dhcp_port {
        let reason = format!("port {} serves DNS already", run.dhcp_port);
        reader.problem("run.dhcp_port", reason, "use another UDP port");
    }
    let udp = [(run.dns_port, "DNS"), (run.dhcp_port, "DHCP")];
    if let Some((port, what)) = udp.iter().find(|(port, _)| *port == run.ntp_port) {
        let reason = format!("port {port} serves {what} already");
        reader.problem("run.ntp_port", reason, "use another UDP port");
    }
    if run.dns_port == run.http_port {
        let reason = format!("port {} serves DNS already", run.http_port);
        reader.problem("run.http_port", reason, "use another TCP port");
    }
    let tcp = [(run.dns_port, "DNS"), (run.http_port, "HTTP")];
    if let Some((port, what)) = tcp.iter().find(|(port, _)| *port == run.https_port) {
        let reason = format!("port {port} serves {what} already");
        reader.problem("run.https_port", reason, "use another TCP port");
    }
}

/// Values that must not come twice, with the path of the first.
#[derive(Default)]
struct Seen(BTreeMap<String, String>);

impl Seen {
    fn once(&mut self, value: String, path: &str, reader: &mut Reader<'_>) {
        if let Some(first) = self.0.get(&value) {
            let reason = format!("{value} is taken by {first}");
            reader.problem(path, reason, "each may have it once");
        } else {
            self.0.insert(value, path.to_owned());
        }
    }
}
