//! Single records and reservations: each write is one small change of the configuration that takes
//! the way of every change, and leaves the rest of its text as its author wrote it.

use std::net::{IpAddr, Ipv4Addr};

use lintel_api::types::{
    Page, PageParams, RecordAddParams, RecordDeleteParams, ReservationAddParams,
    ReservationDeleteParams, ReservationInfo,
};
use lintel_ipc::call::{Caller, FieldError, Problem};
use lintel_model::MacAddr;
use lintel_model::config::entries::{EntryList, RECORDS, RESERVATIONS};
use lintel_model::config::{self, Config, RecordConfig, RecordType};
use lintel_model::facts::{Notice, NoticeCode, Severity};
use lintel_model::lease::Binding;
use serde_json::{Map, Value, json};

use super::calls::{Answer, bad_field, problem, to_value};
use super::commits::Wish;
use super::config_calls::{bad_cursor, invalid, page_limit};
use super::core::{Core, Now, Waiter};
use super::leases::is_live;
use super::startup;

impl Core {
    pub(super) fn record_add(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: RecordAddParams,
    ) -> Answer {
        let wish = self.record_wish(params)?;
        self.commit(now, waiter, caller, wish)
    }

    fn record_wish(&self, params: RecordAddParams) -> Result<Wish, Problem> {
        let wanted = Wanted {
            name: &params.name,
            rtype: Some(&params.rtype),
            value: Some(&params.value),
        };
        let config = &self.active.config;
        if let Some(held) = config.dns.records.iter().find(|r| wanted.is(config, r)) {
            let detail = format!(
                "It is kept {} s. Delete it first, if it should be kept for another time.",
                held.ttl
            );
            return Err(problem(
                409,
                "already-there",
                "There is this record already",
                &detail,
            ));
        }
        let mut entry = Map::new();
        entry.insert("name".to_owned(), json!(params.name));
        entry.insert("type".to_owned(), json!(params.rtype));
        entry.insert("value".to_owned(), json!(params.value));
        if let Some(ttl) = params.ttl {
            entry.insert("ttl".to_owned(), json!(ttl));
        }
        let (toml, config) = self.with_entry(RECORDS, entry)?;
        let reason = params.reason;
        Ok(Wish {
            toml,
            config,
            reason: reason.unwrap_or_else(|| format!("the name {}", params.name)),
            dry_run: params.dry_run,
            confirm_s: None,
            notices: Vec::new(),
        })
    }

    pub(super) fn record_delete(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: RecordDeleteParams,
    ) -> Answer {
        let wanted = Wanted {
            name: &params.name,
            rtype: params.rtype.as_deref(),
            value: params.value.as_deref(),
        };
        let config = &self.active.config;
        let records = config.dns.records.iter();
        let goes: Vec<bool> = records.map(|record| wanted.is(config, record)).collect();
        if !goes.contains(&true) {
            return Err(self.no_such_record(&params.name));
        }
        let (toml, config) = self.without_entries(RECORDS, &goes)?;
        let reason = params.reason;
        let wish = Wish {
            toml,
            config,
            reason: reason.unwrap_or_else(|| format!("without the name {}", params.name)),
            dry_run: params.dry_run,
            confirm_s: None,
            notices: Vec::new(),
        };
        self.commit(now, waiter, caller, wish)
    }

    /// No written record: but perhaps a name that comes from elsewhere.
    fn no_such_record(&self, name: &str) -> Problem {
        let config = &self.active.config;
        let wanted = config.full_name(name);
        let dns = &self.resolved.dns;
        let is = |host: &lintel_model::services::HostRecord| {
            config.full_name(host.name.as_str()) == wanted
        };
        let detail = if dns.own.iter().any(is) {
            "That name is the box's own; system.hostname in the configuration says it."
        } else if dns.hosts.iter().any(is) {
            "That name comes from a lease or a fixed address, and goes with it."
        } else {
            "lintel dns records list has them."
        };
        problem(404, "no-such-record", "There is no such record", detail)
    }

    pub(super) fn reservations(
        &self,
        now: Now,
        params: &PageParams,
    ) -> Result<Page<ReservationInfo>, Problem> {
        let from: usize = match &params.cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let limit = usize::try_from(page_limit(params)).unwrap_or(usize::MAX);
        let all = &self.active.config.dhcp.reservations;
        let end = from.saturating_add(limit);
        let items = all.iter().skip(from).take(limit);
        Ok(Page {
            items: items
                .map(|entry| ReservationInfo {
                    mac: entry.mac,
                    address: entry.address,
                    name: entry.name.as_ref().map(ToString::to_string),
                    held_until_unix_s: self
                        .held_by_another(now, entry.mac, entry.address)
                        .map(|binding| binding.expires_unix_s),
                })
                .collect(),
            next: (end < all.len()).then(|| end.to_string()),
        })
    }

    pub(super) fn reservation_add(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: ReservationAddParams,
    ) -> Answer {
        let wish = self.reservation_wish(now, params)?;
        self.commit(now, waiter, caller, wish)
    }

    fn reservation_wish(&self, now: Now, params: ReservationAddParams) -> Result<Wish, Problem> {
        let mac = mac(&params.mac)?;
        let address = match params.address {
            Some(address) => address,
            None => self.address_of(now, mac)?,
        };
        self.refuse_taken(mac, address)?;
        let mut entry = Map::new();
        entry.insert("mac".to_owned(), json!(mac));
        entry.insert("address".to_owned(), json!(address));
        if let Some(name) = &params.name {
            entry.insert("name".to_owned(), json!(name));
        }
        let (toml, config) = self.with_entry(RESERVATIONS, entry)?;
        let held = self.held_by_another(now, mac, address);
        let notices = held.map(|held| Notice {
            code: NoticeCode::AddressHeld,
            severity: Severity::Info,
            text: format!(
                "{address} is in use by {}. It gets another address when it asks again; until \
                 then {mac} gets one from the pool.",
                held.host_name.clone().unwrap_or(held.mac.to_string())
            ),
            link: None,
        });
        let who = params.name.unwrap_or_else(|| mac.to_string());
        Ok(Wish {
            toml,
            config,
            reason: params
                .reason
                .unwrap_or_else(|| format!("fixed address for {who}")),
            dry_run: params.dry_run,
            confirm_s: None,
            notices: notices.into_iter().collect(),
        })
    }

    pub(super) fn reservation_delete(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: ReservationDeleteParams,
    ) -> Answer {
        let wish = self.no_reservation_wish(params)?;
        self.commit(now, waiter, caller, wish)
    }

    fn no_reservation_wish(&self, params: ReservationDeleteParams) -> Result<Wish, Problem> {
        let mac = mac(&params.mac)?;
        let all = self.active.config.dhcp.reservations.iter();
        let goes: Vec<bool> = all.map(|entry| entry.mac == mac).collect();
        if !goes.contains(&true) {
            return Err(problem(
                404,
                "no-such-reservation",
                "The device has no fixed address",
                "lintel dhcp reservations list has those there are.",
            ));
        }
        let (toml, config) = self.without_entries(RESERVATIONS, &goes)?;
        let reason = params.reason;
        Ok(Wish {
            toml,
            config,
            reason: reason.unwrap_or_else(|| format!("no fixed address for {mac} any more")),
            dry_run: params.dry_run,
            confirm_s: None,
            notices: Vec::new(),
        })
    }

    /// The address that the device has a lease of; the last one, when it has two.
    fn address_of(&self, now: Now, mac: MacAddr) -> Result<Ipv4Addr, Problem> {
        let bindings = self.bindings.values();
        let own = bindings.filter(|b| b.mac == mac && is_live(b, now.unix_s));
        own.max_by_key(|binding| binding.bound_unix_s)
            .map(|binding| binding.address)
            .ok_or_else(|| {
                problem(
                    404,
                    "no-such-lease",
                    "The device has no address now",
                    "Say which address it shall have.",
                )
            })
    }

    fn refuse_taken(&self, mac: MacAddr, address: Ipv4Addr) -> Result<(), Problem> {
        let all = &self.active.config.dhcp.reservations;
        let taken = |detail: String| {
            problem(
                409,
                "already-there",
                "There is such a fixed address already",
                &detail,
            )
        };
        if let Some(own) = all.iter().find(|entry| entry.mac == mac) {
            let text = format!("{mac} has {}. Delete that first.", own.address);
            return Err(taken(text));
        }
        if let Some(other) = all.iter().find(|entry| entry.address == address) {
            let text = format!("{address} is that of {}. Choose another.", other.mac);
            return Err(taken(text));
        }
        Ok(())
    }

    /// The lease of another device on an address.
    fn held_by_another(&self, now: Now, mac: MacAddr, address: Ipv4Addr) -> Option<&Binding> {
        let binding = self.bindings.get(&address)?;
        (binding.mac != mac && is_live(binding, now.unix_s)).then_some(binding)
    }

    /// The configuration in force with one more entry: its text with the entry at the end, or,
    /// where that text bears none, written anew. What is wrong with the entry is told by the
    /// names of its keys.
    fn with_entry(
        &self,
        list: EntryList,
        entry: Map<String, Value>,
    ) -> Result<(String, Config), Problem> {
        let tree = to_value(&self.active.config)?;
        let mut entries = list.of(&tree);
        let place = format!("{}[{}]", list.path(), entries.len());
        entries.push(Value::Object(entry.clone()));
        let wanted = Config::from_json(&list.put(tree, entries))
            .map_err(|problems| entry_problem(problems, &place))?;
        Ok(self.as_text(wanted, Some(list.appended(&self.active.toml, &entry))))
    }

    /// The configuration in force without the entries of a list that go.
    fn without_entries(&self, list: EntryList, goes: &[bool]) -> Result<(String, Config), Problem> {
        let tree = to_value(&self.active.config)?;
        let mut text = Some(self.active.toml.clone());
        let mut kept = Vec::new();
        for (entry, goes) in list.of(&tree).into_iter().zip(goes) {
            if *goes {
                text = text.and_then(|text| list.without(&text, &entry));
            } else {
                kept.push(entry);
            }
        }
        let wanted = Config::from_json(&list.put(tree, kept)).map_err(invalid)?;
        Ok(self.as_text(wanted, text))
    }

    /// The configuration with the text that keeps what its author wrote, when that says the same.
    fn as_text(&self, wanted: Config, text: Option<String>) -> (String, Config) {
        let read = text.and_then(|text| {
            let config = startup::parse(&self.start, &text).ok()?;
            (config == wanted).then_some((text, config))
        });
        read.unwrap_or_else(|| (wanted.to_toml(), wanted))
    }
}

/// Which records are meant.
struct Wanted<'p> {
    name: &'p str,
    rtype: Option<&'p str>,
    value: Option<&'p str>,
}

impl Wanted<'_> {
    fn is(&self, config: &Config, record: &RecordConfig) -> bool {
        let bare = |name: &str| config.full_name(name.strip_suffix('.').unwrap_or(name));
        let same_value = |value: &str| match record.rtype {
            RecordType::A | RecordType::AAAA => {
                let address = |text: &str| text.parse::<IpAddr>().ok();
                address(value) == address(&record.value)
            }
            RecordType::CNAME | RecordType::PTR => bare(value) == bare(&record.value),
            RecordType::TXT => value == record.value,
        };
        bare(self.name) == bare(record.name.as_str())
            && self
                .rtype
                .is_none_or(|rtype| rtype == format!("{:?}", record.rtype))
            && self.value.is_none_or(same_value)
    }
}

fn mac(text: &str) -> Result<MacAddr, Problem> {
    text.trim().parse().map_err(|_| {
        bad_field(
            "mac",
            "it is no hardware address",
            "write one such as 02:00:00:00:00:01; lintel leases shows those of the devices",
        )
    })
}

/// What is wrong with one entry, each by its key.
fn entry_problem(problems: Vec<config::Problem>, place: &str) -> Problem {
    let mut told = bad_field("", "", "");
    told.errors = problems
        .into_iter()
        .map(|p| {
            let inner = p.path.strip_prefix(place);
            FieldError {
                path: inner
                    .map_or(p.path.as_str(), |key| key.trim_start_matches('.'))
                    .to_owned(),
                line: None,
                reason: p.reason,
                hint: p.hint,
            }
        })
        .collect();
    told.title = "The entry does not fit".to_owned();
    told.detail = "Nothing was changed.".to_owned();
    told
}
