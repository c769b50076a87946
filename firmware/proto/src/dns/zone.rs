//! The names that this box knows by itself: the household's records, hosts with leases, its own
//! name, and the empty zones of [`super::special`]. Answers are authoritative.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lintel_wire::dns::{
    Class, EdnsRepr, Error, Flags, Name, Rcode, Rdata, RecordRepr, RrType, Section, UDP_EDNS_LEN,
    Writer,
};

use super::answer::{self, message_len_max};
use super::ask::Ask;
use super::config::{Config, Prefix};
use super::io::Transport;
use super::special::{Special, special};

/// TTL of names from leases and of our own: short, since a lease can go to another device.
const HOST_TTL_S: u32 = 60;

/// TTL of negative answers: a device that has just got its lease is wanted at once.
const NEGATIVE_TTL_S: u32 = 10;

/// TTL of the answer to ANY (RFC 8482, 4.2): nothing in it ever changes.
const ANY_TTL_S: u32 = 3_600;

/// Aliases that are followed among local names; more are a loop.
const ALIASES_MAX: usize = 8;

/// Records by lower-case name in wire form. A name without records exists because of names below
/// it, and is answered NODATA (RFC 8020).
pub(super) struct Zones {
    names: BTreeMap<Box<[u8]>, Vec<RecordRepr>>,
    domain: Name,
    own_name: Name,
    mailbox: Name,
    networks: Vec<Prefix>,
}

/// What there is to say about a name.
enum Found<'a> {
    /// Records that it may have, of any type; `apex` is the name of its zone.
    Records {
        records: &'a [RecordRepr],
        apex: Option<Name>,
    },
    /// It is not there.
    Missing { apex: Option<Name> },
    /// ANY, of a name that we need not know.
    Any,
}

impl Zones {
    pub(super) fn new(config: &Config) -> Self {
        let domain = config.domain.to_lowercase();
        let label = |text: &str| Name::from_text(text).unwrap_or_else(|_| Name::root());
        let mut zones = Self {
            names: BTreeMap::new(),
            mailbox: label("hostmaster")
                .join(&domain)
                .unwrap_or_else(|_| domain.clone()),
            domain,
            own_name: config.own_name.clone(),
            networks: config.networks.clone(),
        };
        let localhost = label("localhost");
        zones.add_host(&localhost, IpAddr::V4(Ipv4Addr::LOCALHOST));
        zones.add_host(&localhost, IpAddr::V6(Ipv6Addr::LOCALHOST));
        for record in &config.records {
            zones.add(record.clone());
        }
        for (name, address) in &config.hosts {
            zones.add_host(name, *address);
        }
        zones
    }

    fn add_host(&mut self, name: &Name, address: IpAddr) {
        let rdata = match address {
            IpAddr::V4(v4) => Rdata::A(v4),
            IpAddr::V6(v6) => Rdata::Aaaa(v6),
        };
        let record = |name: Name, rdata| RecordRepr {
            name,
            class: Class::IN,
            ttl: HOST_TTL_S,
            rdata,
        };
        self.add(record(name.clone(), rdata));
        // An address has one PTR: the first name it was given.
        let reverse = Name::reverse(address);
        if self.names.get(reverse.as_bytes()).is_none_or(Vec::is_empty) {
            self.add(record(reverse, Rdata::Ptr(name.clone())));
        }
    }

    fn add(&mut self, record: RecordRepr) {
        let lower = record.name.to_lowercase();
        let key = lower.as_bytes();
        // Names between this one and its zone exist from now on.
        let apex_at = self.apex_at(key).unwrap_or(0);
        let mut at = 0;
        while at < apex_at {
            at += 1 + usize::from(key[at]);
            self.names.entry(key[at..].into()).or_default();
        }
        let records = self.names.entry(key.into()).or_default();
        if !records.contains(&record) {
            records.push(record);
        }
    }

    /// Where in `name` (lower case) the name of the zone of ours begins that it is in.
    fn apex_at(&self, name: &[u8]) -> Option<usize> {
        let domain = self.domain.as_bytes();
        if domain.len() > 1 && name.ends_with(domain) {
            let at = name.len() - domain.len();
            // The match must begin where a label does.
            let mut start = 0;
            while start < at {
                start += 1 + usize::from(name[start]);
            }
            if start == at {
                return Some(at);
            }
        }
        match special(name, &self.networks)? {
            Special::Zone { apex_at } => Some(apex_at),
            Special::Localhost => None,
        }
    }

    /// Answers `ask` into `out`, or `None` when upstream has to.
    pub(super) fn answer(
        &self,
        ask: &Ask<'_>,
        transport: Transport,
        out: &mut [u8],
    ) -> Option<usize> {
        let found = self.find(ask)?;
        let limit = message_len_max(ask.edns, transport).min(out.len());
        let out = out.get_mut(..limit)?;
        match self.write(ask, &found, out) {
            Ok(len) => Some(len),
            Err(_) => cut(ask, out).ok(),
        }
    }

    fn find(&self, ask: &Ask<'_>) -> Option<Found<'_>> {
        let name = ask.key.name();
        let apex = |at: Option<usize>| at.and_then(|at| Name::from_wire(&name[at..]).ok());
        if let Some(records) = self.names.get(name) {
            if ask.rr_type == RrType::ANY {
                return Some(Found::Any);
            }
            return Some(Found::Records {
                records,
                apex: apex(self.apex_at(name)),
            });
        }
        if let Some(at) = self.apex_at(name) {
            if at == 0 {
                return Some(Found::Records {
                    records: &[],
                    apex: apex(Some(0)),
                });
            }
            return Some(Found::Missing {
                apex: apex(Some(at)),
            });
        }
        if special(name, &self.networks) == Some(Special::Localhost) {
            let records = self.names.get(&b"\x09localhost\0"[..])?;
            return Some(Found::Records {
                records,
                apex: None,
            });
        }
        if is_single_label(name) && !is_about_a_zone(ask.rr_type) {
            // A bare name means one of the household's, and is nobody else's business.
            let whole = Name::from_wire(name).ok()?.join(&self.domain).ok();
            return Some(
                match whole.and_then(|whole| self.names.get(whole.as_bytes())) {
                    Some(records) => Found::Records {
                        records,
                        apex: None,
                    },
                    None => Found::Missing { apex: None },
                },
            );
        }
        (ask.rr_type == RrType::ANY).then_some(Found::Any)
    }

    fn write(&self, ask: &Ask<'_>, found: &Found<'_>, out: &mut [u8]) -> Result<usize, Error> {
        let flags = Flags {
            authoritative: true,
            recursion_desired: ask.flags.recursion_desired,
            checking_disabled: ask.flags.checking_disabled,
            ..answer::RESPONSE
        };
        let rcode = if matches!(found, Found::Missing { .. }) {
            Rcode::NXDOMAIN
        } else {
            Rcode::NOERROR
        };
        let asked = Name::parse(ask.question, 0)?.0;
        let mut writer = Writer::new(out, ask.id, flags, rcode)?;
        writer.question(&asked, ask.rr_type, Class::IN)?;
        match found {
            Found::Any => {
                writer.record(
                    Section::Answer,
                    &asked,
                    RrType::HINFO,
                    Class::IN,
                    ANY_TTL_S,
                    |writer| writer.bytes(b"\x07RFC8482\0"),
                )?;
            }
            Found::Records { records, apex } => {
                let some = self.write_records(ask.rr_type, &asked, records, &mut writer)?;
                if let (false, Some(apex)) = (some, apex) {
                    let is_apex = apex.eq_ignore_case(&asked);
                    let section = if is_apex && ask.rr_type == RrType::SOA {
                        Section::Answer
                    } else {
                        Section::Authority
                    };
                    self.write_soa(apex, section, &mut writer)?;
                }
            }
            Found::Missing { apex } => {
                if let Some(apex) = apex {
                    self.write_soa(apex, Section::Authority, &mut writer)?;
                }
            }
        }
        if let Some(edns) = ask.edns {
            let edns = EdnsRepr {
                udp_len: UDP_EDNS_LEN as u16,
                version: 0,
                dnssec_ok: edns.dnssec_ok,
                options: Vec::new(),
            };
            edns.emit(&mut writer, rcode)?;
        }
        Ok(writer.finish())
    }

    /// Writes the records of the type asked for, following aliases as far as names are ours.
    fn write_records(
        &self,
        rr_type: RrType,
        asked: &Name,
        records: &[RecordRepr],
        writer: &mut Writer<'_>,
    ) -> Result<bool, Error> {
        let (mut owner, mut records, mut some) = (asked.clone(), records, false);
        for _ in 0..ALIASES_MAX {
            let mut alias = None;
            for record in records {
                match &record.rdata {
                    rdata if rdata.rr_type() == rr_type => {}
                    Rdata::Cname(target) => alias = Some(target),
                    _ => continue,
                }
                write_record(&owner, record, writer)?;
                some = true;
            }
            let Some(target) = alias else { break };
            owner = target.clone();
            records = self
                .names
                .get(target.to_lowercase().as_bytes())
                .map_or(&[][..], Vec::as_slice);
        }
        Ok(some)
    }

    fn write_soa(
        &self,
        apex: &Name,
        section: Section,
        writer: &mut Writer<'_>,
    ) -> Result<(), Error> {
        writer.record(
            section,
            apex,
            RrType::SOA,
            Class::IN,
            NEGATIVE_TTL_S,
            |writer| {
                writer.name(&self.own_name)?;
                writer.name(&self.mailbox)?;
                // Serial, refresh, retry, expire: nobody transfers this zone. Then the negative TTL.
                for number in [1, 3_600, 1_200, 604_800, NEGATIVE_TTL_S] {
                    writer.u32(number)?;
                }
                Ok(())
            },
        )
    }
}

fn write_record(owner: &Name, record: &RecordRepr, writer: &mut Writer<'_>) -> Result<(), Error> {
    writer.record(
        Section::Answer,
        owner,
        record.rdata.rr_type(),
        record.class,
        record.ttl,
        |writer| record.rdata.emit(writer),
    )
}

/// An answer that is empty but for TC: what there is does not fit.
fn cut(ask: &Ask<'_>, out: &mut [u8]) -> Result<usize, Error> {
    let len = answer::bare(ask, Rcode::NOERROR, out)?;
    out[2] |= 0x06;
    Ok(len)
}

fn is_single_label(name: &[u8]) -> bool {
    name.first()
        .is_some_and(|&length| length > 0 && usize::from(length) + 2 == name.len())
}

/// Types that validators and the curious ask top-level domains for.
fn is_about_a_zone(rr_type: RrType) -> bool {
    matches!(
        rr_type,
        RrType::SOA | RrType::NS | RrType::DS | RrType::DNSKEY
    )
}
