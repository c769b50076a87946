//! From text to [`Config`], section by section. What stands here and what serde derives for
//! JSON must name the same keys; a test compares them.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value};
use toml::de::DeTable;

use super::check::check;
use super::tree::{Reader, Section, TEXT_BYTES_MAX};
use super::version::{self, ConfigVersion};
use super::{
    Config, DhcpConfig, DnsConfig, LanConfig, NtpConfig, PoolConfig, Problem, RecordConfig,
    RecordType, ReservationConfig, RunConfig, SystemConfig, UpstreamAddr, WanConfig, WanKind,
    WanPort, record_ttl_s,
};
use crate::features::Lack;

impl Config {
    /// Reads a configuration text.
    ///
    /// # Errors
    /// Every problem of the text, in its order: syntax, unknown keys, wrong types, values that
    /// do not fit together. Checks whose values could not be read say nothing.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::read(text, Place::Anywhere)
    }

    /// As [`Self::parse`], for the configuration of a box: `[run]` is refused there.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_for_box(text: &str) -> Result<Self, Vec<Problem>> {
        Self::read(text, Place::Box)
    }

    /// Reads a configuration that came as a JSON tree of the same shape. A member that is null
    /// counts as not written.
    ///
    /// # Errors
    /// As [`Self::parse`], with neither line nor column.
    pub fn from_json(tree: &Value) -> Result<Self, Vec<Problem>> {
        let nowhere = |problem: Problem| Problem {
            line: 0,
            column: 0,
            ..problem
        };
        // By way of the text, so that both forms have the same rules, words and versions.
        let result = match toml::to_string(&without_nulls(tree)) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                let mut reader = Reader::new("");
                let reason = error.to_string().replace('\n', ", ");
                reader.problem("", reason, "write an object as config.show prints it");
                Err(reader.into_problems())
            }
        };
        result.map_err(|problems| problems.into_iter().map(nowhere).collect())
    }

    fn read(text: &str, place: Place) -> Result<Self, Vec<Problem>> {
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
        let mut table = table.into_inner();
        if !version::bring_forward(&mut table, &mut reader) {
            return Err(reader.into_problems());
        }
        let config = config(&mut reader, &Section::root(&table));
        check(&config, &mut reader);
        if place == Place::Box && config.run.is_some() {
            reader.problem(
                "run",
                "this section is for `lintel run` only: on a box the ports are fixed",
                "take the section out",
            );
        }
        let problems = reader.into_problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// What a configuration, which parses, asks for although the running kernel cannot do it.
    pub fn lacking(text: &str, lacks: &[Lack]) -> Vec<Problem> {
        let mut reader = Reader::new(text);
        let (table, _) = DeTable::parse_recoverable(text);
        let mut table = table.into_inner();
        // Reading it tells the reader what stands where.
        if version::bring_forward(&mut table, &mut reader) {
            config(&mut reader, &Section::root(&table));
        }
        for lack in lacks {
            let (path, what, options) = lack.feature.asked_by();
            let reason = format!(
                "{what}, and the running kernel cannot do that: {}",
                lack.why
            );
            let hint = format!("start the box with a kernel that has {options}");
            reader.problem(path, reason, hint);
        }
        reader.into_problems()
    }

    /// Checks a configuration that came without text: problems have no line.
    pub fn problems(&self) -> Vec<Problem> {
        let mut reader = Reader::new("");
        check(self, &mut reader);
        reader.into_problems()
    }
}

/// Where a configuration is to be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Box,
    Anywhere,
}

/// A tree without `null`, which TOML does not have: a member that is null is not written.
fn without_nulls(tree: &Value) -> Value {
    match tree {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(entries) => entries.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn config<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> Config {
    reader.only(root);
    Config {
        version: ConfigVersion::default(),
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
    if let Some(section) = reader.section(root, "system") {
        let hostname = reader.text(&section, "hostname");
        config.hostname = hostname.unwrap_or(config.hostname);
    }
    config
}

fn wan<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> WanConfig {
    let mut config = WanConfig::default();
    if let Some(section) = reader.section(root, "wan") {
        config.port = reader.text(&section, "port").unwrap_or(config.port);
        config.kind = reader.text(&section, "kind").unwrap_or(config.kind);
    }
    config
}

fn lan<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> LanConfig {
    let mut config = LanConfig::default();
    if let Some(section) = reader.section(root, "lan") {
        let address = reader.text(&section, "address");
        config.address = address.unwrap_or(config.address);
        config.ports = reader.texts(&section, "ports");
        let domain = reader.text(&section, "domain");
        config.domain = domain.unwrap_or(config.domain);
    }
    config
}

fn dhcp<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> DhcpConfig {
    let mut config = DhcpConfig::default();
    let Some(section) = reader.section(root, "dhcp") else {
        return config;
    };
    config.enabled = reader.flag(&section, "enabled").unwrap_or(config.enabled);
    let lease = reader.number(&section, "lease_s");
    config.lease_s = lease.unwrap_or(config.lease_s);
    if let Some(pool) = reader.section(&section, "pool") {
        let first: Option<Ipv4Addr> = reader.needed_text(&pool, "first");
        let last: Option<Ipv4Addr> = reader.needed_text(&pool, "last");
        config.pool = first
            .zip(last)
            .map(|(first, last)| PoolConfig { first, last });
    }
    for entry in reader.sections(&section, "reservations") {
        let mac = reader.needed_text(&entry, "mac");
        let address = reader.needed_text(&entry, "address");
        let name = reader.text(&entry, "name");
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
    let Some(section) = reader.section(root, "dns") else {
        return config;
    };
    let upstreams: Vec<UpstreamAddr> = reader.texts(&section, "upstreams");
    config.upstreams = upstreams;
    config.rebind_protection = reader
        .flag(&section, "rebind_protection")
        .unwrap_or(config.rebind_protection);
    config.cache_bytes_max = reader
        .number(&section, "cache_bytes_max")
        .unwrap_or(config.cache_bytes_max);
    for entry in reader.sections(&section, "records") {
        let name = reader.needed_text(&entry, "name");
        let rtype = reader.needed_text(&entry, "type");
        let value = reader.needed_text(&entry, "value");
        let ttl = reader.number(&entry, "ttl");
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
    let Some(section) = reader.section(root, "ntp") else {
        return config;
    };
    config.servers = reader.texts(&section, "servers");
    if section.has("pools") {
        config.pools = reader.texts(&section, "pools");
    }
    config.provider = reader.flag(&section, "provider").unwrap_or(config.provider);
    config.serve = reader.flag(&section, "serve").unwrap_or(config.serve);
    config
}

fn run<'t>(reader: &mut Reader<'t>, root: &Section<'t>) -> Option<RunConfig> {
    let section = reader.section(root, "run")?;
    let default = RunConfig::default();
    let address: Option<IpAddr> = reader.text(&section, "address");
    let mut port = |key| reader.number(&section, key);
    let (dns_port, dhcp_port) = (port("dns_port"), port("dhcp_port"));
    let (http_port, https_port) = (port("http_port"), port("https_port"));
    let ntp_port = port("ntp_port");
    let clock_error = reader.number(&section, "clock_error_ms");
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
