//! From [`Config`] to the text that people read and edit: sections in a fixed order, each with a
//! sentence, every value written out.

use std::fmt::Write as _;

use super::{Config, RecordConfig, ReservationConfig, WanKind};

impl Config {
    /// The configuration as TOML. [`Config::parse`] reads it back to an equal value.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        section(&mut text, "system", "The box itself.");
        entry(&mut text, "hostname", quoted(self.system.hostname.as_str()));

        section(
            &mut text,
            "wan",
            "The way to the internet: which port leads there (\"auto\" finds it), and how the address\n# comes about (\"dhcp\", or \"none\" for a box without internet).",
        );
        entry(
            &mut text,
            "port",
            quoted(&String::from(self.wan.port.clone())),
        );
        let kind = match self.wan.kind {
            WanKind::Dhcp => "dhcp",
            WanKind::None => "none",
        };
        entry(&mut text, "kind", quoted(kind));

        section(
            &mut text,
            "lan",
            "The household's network: the box's address there, its ports (none named: every port that is\n# not the WAN), and the domain of its names.",
        );
        entry(&mut text, "address", quoted(&self.lan.address.to_string()));
        let ports = self.lan.ports.iter().map(ToString::to_string);
        entry(&mut text, "ports", list(ports));
        entry(&mut text, "domain", quoted(self.lan.domain.as_str()));

        section(&mut text, "dhcp", "Addresses for the household's devices.");
        entry(&mut text, "enabled", self.dhcp.enabled.to_string());
        entry(&mut text, "lease_s", self.dhcp.lease_s.to_string());
        if let Some(pool) = &self.dhcp.pool {
            let value = format!("{{ first = \"{}\", last = \"{}\" }}", pool.first, pool.last);
            entry(&mut text, "pool", value);
        }
        for reservation in &self.dhcp.reservations {
            reservation_section(&mut text, reservation);
        }

        section(
            &mut text,
            "dns",
            "Names: the resolvers to ask (none named: the provider's), whether public names may not point\n# into private networks, and the size of the memory for answers.",
        );
        let upstreams = self.dns.upstreams.iter().map(|u| String::from(*u));
        entry(&mut text, "upstreams", list(upstreams));
        let protection = self.dns.rebind_protection.to_string();
        entry(&mut text, "rebind_protection", protection);
        let cache = self.dns.cache_bytes_max.to_string();
        entry(&mut text, "cache_bytes_max", cache);
        for record in &self.dns.records {
            record_section(&mut text, record);
        }

        section(
            &mut text,
            "ntp",
            "The clock: time servers to ask (by address or name), names that stand for many of them, whether\n# the provider's are asked too, and whether the box tells the household's devices the time.",
        );
        let servers = self.ntp.servers.iter().map(ToString::to_string);
        entry(&mut text, "servers", list(servers));
        let pools = self.ntp.pools.iter().map(ToString::to_string);
        entry(&mut text, "pools", list(pools));
        entry(&mut text, "provider", self.ntp.provider.to_string());
        entry(&mut text, "serve", self.ntp.serve.to_string());

        if let Some(run) = &self.run {
            section(
                &mut text,
                "run",
                "Only for `lintel run`: where the roles listen.",
            );
            entry(&mut text, "address", quoted(&run.address.to_string()));
            entry(&mut text, "dns_port", run.dns_port.to_string());
            entry(&mut text, "dhcp_port", run.dhcp_port.to_string());
            entry(&mut text, "http_port", run.http_port.to_string());
            entry(&mut text, "https_port", run.https_port.to_string());
            entry(&mut text, "ntp_port", run.ntp_port.to_string());
            entry(&mut text, "clock_error_ms", run.clock_error_ms.to_string());
            entry(&mut text, "sandbox", run.sandbox.to_string());
        }
        text
    }
}

fn section(text: &mut String, name: &str, sentence: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "# {sentence}\n[{name}]");
}

fn reservation_section(text: &mut String, reservation: &ReservationConfig) {
    text.push_str("\n[[dhcp.reservations]]\n");
    entry(text, "mac", quoted(&reservation.mac.to_string()));
    entry(text, "address", quoted(&reservation.address.to_string()));
    if let Some(name) = &reservation.name {
        entry(text, "name", quoted(name.as_str()));
    }
}

fn record_section(text: &mut String, record: &RecordConfig) {
    text.push_str("\n[[dns.records]]\n");
    entry(text, "name", quoted(record.name.as_str()));
    entry(text, "type", quoted(&format!("{:?}", record.rtype)));
    entry(text, "value", quoted(&record.value));
    entry(text, "ttl", record.ttl.to_string());
}

fn entry(text: &mut String, key: &str, value: String) {
    let _ = writeln!(text, "{key} = {value}");
}

fn list(values: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = values.map(|value| quoted(&value)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A basic string of TOML.
fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}
