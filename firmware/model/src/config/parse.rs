//! From text to [`Config`], section by section. What stands here and what serde derives for
//! JSON must name the same keys; a test compares them.

use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeTable;

use super::check::check;
use super::tree::{Reader, Section, TEXT_BYTES_MAX};
use super::{
    Config, DhcpConfig, DnsConfig, LanConfig, NtpConfig, PoolConfig, Problem, RecordConfig,
    RecordType, ReservationConfig, RunConfig, SystemConfig, UpstreamAddr, WanConfig, WanKind,
    WanPort, record_ttl_s,
};

/// Most ports that a LAN names.
const LAN_PORTS_MAX: usize = 64;
/// Most resolvers asked; the tenth is never reached.
const UPSTREAMS_MAX: usize = 8;
/// Most time servers, and most pools; selection uses ten sources at most (RFC 5905, NMAX 50).
const TIME_SERVERS_MAX: usize = 8;
/// Most reservations: more than a household's network of /22 holds.
const RESERVATIONS_MAX: usize = 1024;
/// Most local records.
const RECORDS_MAX: usize = 4096;

/// How wrong a pretended clock may begin, milliseconds: a century each way.
const CLOCK_ERROR_MS: std::ops::RangeInclusive<i64> = -3_155_760_000_000..=3_155_760_000_000;

const SELECTOR_HINT: &str =
    "write \"mac:02:00:5e:00:53:01\", \"path:pci-0000:00:03.0\" or a link's name such as \"eth1\"";
const PORT_HINT: &str = "write \"auto\", \"mac:...\", \"path:...\" or a link's name";

impl Config {
    /// Reads a configuration text.
    ///
    /// # Errors
    /// Every problem of the text, in its order: syntax, unknown keys, wrong types, values that
    /// do not fit together. Checks whose values could not be read say nothing.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(text);
        if text.len() > TEXT_BYTES_MAX {
            let reason = format!("the text is longer than {TEXT_BYTES_MAX} octets");
            reader.problem("", reason, "");
            return Err(reader.into_problems());
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let reason = error.message().replace('\n', ", ");
            reader.problem_at(offset, "", reason, "this is no valid TOML here".to_owned());
        }
        let config = config(&mut reader, &Section::root(table.get_ref()));
        check(&config, &mut reader);
        let problems = reader.into_problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// As [`Self::parse`], for the configuration of a box: `[run]` is refused there.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_for_box(text: &str) -> Result<Self, Vec<Problem>> {
        let config = Self::parse(text)?;
        if config.run.is_none() {
            return Ok(config);
        }
        let mut reader = Reader::new(text);
        let (table, _) = DeTable::parse_recoverable(text);
        let root = Section::root(table.get_ref());
        reader.section(&root, "run", RUN_KEYS);
        reader.problem(
            "run",
            "this section is for `lintel run` only: on a box the ports are fixed",
            "take the section out",
        );
        Err(reader.into_problems())
    }

    /// Checks a configuration that came without text (as JSON): problems have no line.
    pub fn problems(&self) -> Vec<Problem> {
        let mut reader = Reader::new("");
        check(self, &mut reader);
        reader.into_problems()
    }
}

const RUN_KEYS: &[&str] = &[
    "address",
    "dns_port",
    "dhcp_port",
    "http_port",
    "https_port",
    "ntp_port",
    "clock_error_ms",
    "sandbox",
];

fn config<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> Config {
    reader.only(root, &["system", "wan", "lan", "dhcp", "dns", "ntp", "run"]);
    Config {
        system: system(reader, root),
        wan: wan(reader, root),
        lan: lan(reader, root),
        dhcp: dhcp(reader, root),
        dns: dns(reader, root),
        ntp: ntp(reader, root),
        run: run(reader, root),
    }
}

fn system<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> SystemConfig {
    let mut config = SystemConfig::default();
    if let Some(section) = reader.section(root, "system", &["hostname"]) {
        let hint = "write one word such as \"lintel\"";
        let hostname = reader.text(&section, "hostname", hint);
        config.hostname = hostname.unwrap_or(config.hostname);
    }
    config
}

fn wan<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> WanConfig {
    let mut config = WanConfig::default();
    if let Some(section) = reader.section(root, "wan", &["port", "kind"]) {
        config.port = reader
            .text(&section, "port", PORT_HINT)
            .unwrap_or(config.port);
        config.kind = reader
            .text(&section, "kind", "write \"dhcp\" or \"none\"")
            .unwrap_or(config.kind);
    }
    config
}

fn lan<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> LanConfig {
    let mut config = LanConfig::default();
    if let Some(section) = reader.section(root, "lan", &["address", "ports", "domain"]) {
        let hint = "write the box's address and the network's length: \"192.168.1.1/24\"";
        let address = reader.text(&section, "address", hint);
        config.address = address.unwrap_or(config.address);
        config.ports = reader.texts(&section, "ports", LAN_PORTS_MAX, SELECTOR_HINT);
        let hint = "write \"lan\" or \"home.arpa\"";
        let domain = reader.text(&section, "domain", hint);
        config.domain = domain.unwrap_or(config.domain);
    }
    config
}

fn dhcp<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> DhcpConfig {
    let mut config = DhcpConfig::default();
    let known = ["enabled", "pool", "lease_s", "reservations"];
    let Some(section) = reader.section(root, "dhcp", &known) else {
        return config;
    };
    config.enabled = reader.flag(&section, "enabled").unwrap_or(config.enabled);
    let lease = reader.number(&section, "lease_s", 0..=i64::from(u32::MAX), "seconds");
    config.lease_s = lease.unwrap_or(config.lease_s);
    let address_hint = "write an address such as \"192.168.1.100\"";
    if let Some(pool) = reader.section(&section, "pool", &["first", "last"]) {
        let first: Option<Ipv4Addr> = reader.needed_text(&pool, "first", address_hint);
        let last: Option<Ipv4Addr> = reader.needed_text(&pool, "last", address_hint);
        config.pool = first
            .zip(last)
            .map(|(first, last)| PoolConfig { first, last });
    }
    let known = ["mac", "address", "name"];
    for entry in reader.sections(&section, "reservations", &known, RESERVATIONS_MAX) {
        let mac_hint = "write six pairs of hex digits: \"02:00:5e:00:53:01\"";
        let mac = reader.needed_text(&entry, "mac", mac_hint);
        let address = reader.needed_text(&entry, "address", address_hint);
        let name = reader.text(&entry, "name", "write one word such as \"printer\"");
        // Entries keep their index, or checks would point to their neighbours: what could not
        // be read is marked as failed and its stand-in is never looked at.
        config.reservations.push(ReservationConfig {
            mac: mac.unwrap_or(crate::MacAddr([0; 6])),
            address: address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            name,
        });
    }
    config
}

fn dns<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> DnsConfig {
    let mut config = DnsConfig::default();
    let known = [
        "upstreams",
        "rebind_protection",
        "cache_bytes_max",
        "records",
    ];
    let Some(section) = reader.section(root, "dns", &known) else {
        return config;
    };
    let hint = "write an address such as \"9.9.9.9\" or \"9.9.9.9:53\"";
    let upstreams: Vec<UpstreamAddr> = reader.texts(&section, "upstreams", UPSTREAMS_MAX, hint);
    config.upstreams = upstreams;
    config.rebind_protection = reader
        .flag(&section, "rebind_protection")
        .unwrap_or(config.rebind_protection);
    config.cache_bytes_max = reader
        .number(&section, "cache_bytes_max", 65_536..=268_435_456, "octets")
        .unwrap_or(config.cache_bytes_max);
    let known = ["name", "type", "value", "ttl"];
    for entry in reader.sections(&section, "records", &known, RECORDS_MAX) {
        let name = reader.needed_text(&entry, "name", "write a name such as \"nas\"");
        let hint = "write one of \"A\", \"AAAA\", \"CNAME\", \"TXT\", \"PTR\"";
        let rtype = reader.needed_text(&entry, "type", hint);
        let value = reader.needed_text(&entry, "value", "write an address, a name or a text");
        let bounds = 0..=i64::from(i32::MAX);
        let ttl = reader.number(&entry, "ttl", bounds, "seconds");
        config.records.push(RecordConfig {
            name: name.unwrap_or_else(|| super::LanConfig::default().domain),
            rtype: rtype.unwrap_or(RecordType::TXT),
            value: value.unwrap_or_default(),
            ttl: ttl.unwrap_or_else(record_ttl_s),
        });
    }
    config
}

fn ntp<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> NtpConfig {
    let mut config = NtpConfig::default();
    let known = ["servers", "pools", "provider", "serve"];
    let Some(section) = reader.section(root, "ntp", &known) else {
        return config;
    };
    let hint = "write an address or a name such as \"ntp.example.net\"";
    config.servers = reader.texts(&section, "servers", TIME_SERVERS_MAX, hint);
    if section.has("pools") {
        config.pools = reader.texts(&section, "pools", TIME_SERVERS_MAX, hint);
    }
    config.provider = reader.flag(&section, "provider").unwrap_or(config.provider);
    config.serve = reader.flag(&section, "serve").unwrap_or(config.serve);
    config
}

fn run<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> Option<RunConfig> {
    let section = reader.section(root, "run", RUN_KEYS)?;
    let default = RunConfig::default();
    let address: Option<IpAddr> = reader.text(
        &section,
        "address",
        "write an address such as \"127.0.0.1\"",
    );
    let mut port = |key| reader.number(&section, key, 1..=65_535, "port");
    let (dns_port, dhcp_port) = (port("dns_port"), port("dhcp_port"));
    let (http_port, https_port) = (port("http_port"), port("https_port"));
    let ntp_port = port("ntp_port");
    let clock_error = reader.number(&section, "clock_error_ms", CLOCK_ERROR_MS, "milliseconds");
    Some(RunConfig {
        address: address.unwrap_or(default.address),
        dns_port: dns_port.unwrap_or(default.dns_port),
        dhcp_port: dhcp_port.unwrap_or(default.dhcp_port),
        http_port: http_port.unwrap_or(default.http_port),
        https_port: https_port.unwrap_or(default.https_port),
        ntp_port: ntp_port.unwrap_or(default.ntp_port),
        clock_error_ms: clock_error.unwrap_or(default.clock_error_ms),
        sandbox: reader.flag(&section, "sandbox").unwrap_or(default.sandbox),
    })
}

/// A word out of a fixed few.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is none of the words known here")]
pub struct UnknownWord(String);

impl std::str::FromStr for WanKind {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "dhcp" => Ok(Self::Dhcp),
            "none" => Ok(Self::None),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

impl std::str::FromStr for RecordType {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "A" => Ok(Self::A),
            "AAAA" => Ok(Self::AAAA),
            "CNAME" => Ok(Self::CNAME),
            "TXT" => Ok(Self::TXT),
            "PTR" => Ok(Self::PTR),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

impl std::str::FromStr for WanPort {
    type Err = crate::NameError;
    fn from_str(text: &str) -> Result<Self, crate::NameError> {
        Self::try_from(text.to_owned())
    }
}
