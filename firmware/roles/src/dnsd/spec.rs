//! From controld's snapshot to what the machine is told.

use std::net::IpAddr;

use lintel_model::config::{Config as UserConfig, RecordConfig, RecordType};
use lintel_model::services::{DnsSpec, HostRecord};
use lintel_proto::dns::{Config, Prefix};
use lintel_wire::dns::{Class, Name, Rdata, RecordRepr};

/// Kernel index of `lo`, the same in every namespace.
const LOOPBACK_LINK: u32 = 1;

/// Octets of cache for which one entry is counted; small answers take about this much.
const CACHE_BYTES_PER_ENTRY: usize = 256;

/// Links on which questions are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// These and `lo`.
    These(Vec<u32>),
    /// All: a role that was started alone by `lintel run`.
    Any,
}

impl Links {
    /// Whether questions from this link are answered.
    pub fn allow(&self, link: u32) -> bool {
        match self {
            Self::These(links) => link == LOOPBACK_LINK || (link != 0 && links.contains(&link)),
            Self::Any => true,
        }
    }
}

/// What a snapshot says.
pub fn from_spec(spec: &DnsSpec) -> (Config, Links) {
    let default = Config::default();
    let domain = spec
        .domain
        .as_ref()
        .and_then(|domain| name(domain.as_str()))
        .unwrap_or(default.domain);
    let under =
        |host: &HostRecord| Some((name(host.name.as_str())?.join(&domain).ok()?, host.address));
    let own: Vec<(Name, IpAddr)> = spec.own.iter().filter_map(under).collect();
    let own_name = own
        .first()
        .map_or_else(|| domain.clone(), |(name, _)| name.clone());
    let mut hosts = own;
    hosts.extend(spec.hosts.iter().filter_map(under));
    let records = spec.records.iter().filter_map(|config| {
        let record = record(config, &domain);
        if record.is_none() {
            log::warn!(
                "the record {} {:?} {:?} is none: left out",
                config.name,
                config.rtype,
                config.value
            );
        }
        record
    });
    let cache_bytes_max = usize::try_from(spec.cache_bytes_max).unwrap_or(default.cache_bytes_max);
    let config = Config {
        upstreams: spec.upstreams.clone(),
        own_name,
        records: records.collect(),
        hosts,
        networks: spec
            .networks
            .iter()
            .map(|net| Prefix::new(net.addr().into(), net.prefix_len()))
            .collect(),
        rebind_protection: spec.rebind_private,
        rebind_allowed: Vec::new(),
        cache_entries_max: cache_bytes_max / CACHE_BYTES_PER_ENTRY,
        cache_bytes_max,
        domain,
    };
    (
        config,
        Links::These(spec.links.iter().map(|link| link.index).collect()),
    )
}

/// What a configuration file says when there is no controld to resolve it.
pub fn from_user_config(config: &UserConfig) -> DnsSpec {
    DnsSpec {
        links: Vec::new(),
        upstreams: config
            .dns
            .upstreams
            .iter()
            .map(|upstream| upstream.0)
            .collect(),
        rebind_private: config.dns.rebind_protection,
        domain: Some(config.lan.domain.clone()),
        own: vec![HostRecord {
            name: config.system.hostname.clone(),
            address: config.lan.address.addr().into(),
        }],
        records: config.dns.records.clone(),
        hosts: Vec::new(),
        networks: vec![config.lan.address.trunc()],
        cache_bytes_max: config.dns.cache_bytes_max,
    }
}

fn record(config: &RecordConfig, domain: &Name) -> Option<RecordRepr> {
    let absolute = |text: &str| {
        let name = name(text)?;
        if name.labels().count() == 1 {
            name.join(domain).ok()
        } else {
            Some(name)
        }
    };
    let (owner, value) = (config.name.as_str(), config.value.as_str());
    let rdata = match config.rtype {
        RecordType::A => Rdata::A(value.parse().ok()?),
        RecordType::AAAA => Rdata::Aaaa(value.parse().ok()?),
        RecordType::CNAME => Rdata::Cname(absolute(value)?),
        RecordType::PTR => Rdata::Ptr(absolute(value)?),
        RecordType::TXT if value.is_empty() => Rdata::Txt(vec![Vec::new()]),
        RecordType::TXT => Rdata::Txt(value.as_bytes().chunks(255).map(<[u8]>::to_vec).collect()),
    };
    let name = match (config.rtype, owner.parse::<IpAddr>()) {
        (RecordType::PTR, Ok(address)) => Name::reverse(address),
        _ => absolute(owner)?,
    };
    Some(RecordRepr {
        name,
        class: Class::IN,
        ttl: config.ttl,
        rdata,
    })
}

fn name(text: &str) -> Option<Name> {
    Name::from_text(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_what_the_machine_is_told() {
        let text = r#"
            [system]
            hostname = "box"
            [lan]
            address = "192.168.7.1/24"
            domain = "house"
            [dns]
            upstreams = ["9.9.9.9", "127.0.0.1:5353"]
            [[dns.records]]
            name = "nas"
            type = "A"
            value = "192.168.7.5"
            [[dns.records]]
            name = "files.house"
            type = "CNAME"
            value = "nas"
            [[dns.records]]
            name = "text.house"
            type = "TXT"
            value = "hello"
        "#;
        let user: UserConfig = toml::from_str(text).unwrap();
        let (config, links) = from_spec(&from_user_config(&user));
        assert_eq!(config.upstreams.len(), 2);
        assert_eq!(config.own_name.to_string(), "box.house.");
        assert_eq!(
            config.hosts,
            [(name("box.house").unwrap(), "192.168.7.1".parse().unwrap())]
        );
        let names: Vec<_> = config
            .records
            .iter()
            .map(|record| record.name.to_string())
            .collect();
        assert_eq!(names, ["nas.house.", "files.house.", "text.house."]);
        assert_eq!(
            config.records[1].rdata,
            Rdata::Cname(name("nas.house").unwrap())
        );
        assert_eq!(
            config.networks,
            [Prefix::new("192.168.7.0".parse().unwrap(), 24)]
        );
        assert!(links.allow(1) && !links.allow(2) && !links.allow(0));
        assert!(Links::These(vec![7]).allow(7));
        assert!(Links::Any.allow(0));
    }
}
