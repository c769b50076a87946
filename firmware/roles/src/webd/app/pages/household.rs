//! Devices and names: what is there, and the methods behind their buttons.

use lintel_api::types::{
    ConfigApplied, ConfigShown, DnsRecord, Lease, PAGE_ENTRIES_MAX, Page, ReservationInfo,
};
use lintel_ipc::call::Problem;
use lintel_model::config::entries::RECORDS;
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{Done, Form, Stop, Visit, field, sentence, shown};
use crate::webd::app::urls;
use crate::webd::app::view::household::{LeaseRow, RecordRow};

/// Types of records that a configuration holds.
const RECORD_TYPES: [&str; 5] = ["A", "AAAA", "CNAME", "TXT", "PTR"];

impl Visit<'_> {
    pub(super) fn devices(&self) -> Done {
        self.devices_with(&Vec::new(), None)
    }

    /// A button or the form of the page of devices.
    pub(super) fn change_devices(&self, form: &Form) -> Done {
        self.owner()?;
        let (mac, address) = (field(form, "mac").trim(), field(form, "address").trim());
        let name = field(form, "name").trim();
        let done = match field(form, "do") {
            "reserve" => {
                let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let params = json!({ "mac": mac, "address": given(address), "name": given(name) });
                self.change_one("dhcp.reservations.add", params)?
            }
            "release" => self.change_one("dhcp.reservations.delete", json!({ "mac": mac }))?,
            _ => {
                return match self.call("dhcp.leases.delete", json!({ "ip": address }))? {
                    Ok(_) => Err(Stop::Elsewhere("/devices")),
                    Err(problem) => {
                        self.devices_with(form, Some((problem.status, sentence(&problem))))
                    }
                };
            }
        };
        match done {
            Err(problem) => self.devices_with(form, Some((problem.status, sentence(&problem)))),
            Ok(applied) => self.committed(applied, "/devices", |error| {
                self.devices_with(form, Some((422, error)))
            }),
        }
    }

    fn devices_with(&self, form: &Form, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let list: Page<Lease> = self.result("dhcp.leases.list", self.page_params())?;
        let now = self.status()?.system.clock.unix_s;
        let fixed: Page<ReservationInfo> = self.result(
            "dhcp.reservations.list",
            json!({ "limit": PAGE_ENTRIES_MAX }),
        )?;
        let leases: Vec<_> = list.items.iter().map(|l| LeaseRow::new(l, now)).collect();
        let values = context! {
            leases => shown(&leases),
            next => list.next.as_deref().map(urls::encode),
            reservations => shown(&fixed.items),
            error => error.as_ref().map(|(_, text)| text),
            draft => draft(form, &["mac", "address", "name"], error.is_some()),
        };
        self.page(error.map_or(200, |e| e.0), "devices.html", &auth, values)
    }

    pub(super) fn names(&self) -> Done {
        self.names_with(&Vec::new(), None)
    }

    /// A button or the form of the page of names.
    pub(super) fn change_names(&self, form: &Form) -> Done {
        self.owner()?;
        let (name, value) = (field(form, "name").trim(), field(form, "value").trim());
        let kind = field(form, "type");
        let mut params = json!({ "name": name, "type": kind, "value": value });
        let done = if field(form, "do") == "delete" {
            self.change_one("dns.records.delete", params)?
        } else {
            let ttl = field(form, "ttl").trim();
            if !ttl.is_empty() {
                // What is no number is told by the method's own check.
                params["ttl"] = ttl.parse::<u64>().map_or(Value::from(ttl), Value::from);
            }
            self.change_one("dns.records.add", params)?
        };
        match done {
            Err(problem) => self.names_with(form, Some((problem.status, sentence(&problem)))),
            Ok(applied) => self.committed(applied, "/names", |error| {
                self.names_with(form, Some((422, error)))
            }),
        }
    }

    fn names_with(&self, form: &Form, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let list: Page<DnsRecord> = self.result("dns.records.list", self.page_params())?;
        let config: ConfigShown = self.result("config.show", json!({}))?;
        let domain = self.status()?.lan.domain;
        let written = RECORDS.of(&config.config);
        let rows = list
            .items
            .iter()
            .map(|r| RecordRow::new(r, &written, &domain));
        let values = context! {
            records => shown(&rows.collect::<Vec<_>>()),
            next => list.next.as_deref().map(urls::encode),
            kinds => RECORD_TYPES.to_vec(),
            domain => &domain,
            error => error.as_ref().map(|(_, text)| text),
            draft => draft(form, &["name", "type", "value", "ttl"], error.is_some()),
        };
        self.page(error.map_or(200, |e| e.0), "names.html", &auth, values)
    }

    /// One small change of the configuration.
    fn change_one(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Result<ConfigApplied, Problem>, Stop> {
        match self.call(method, params)? {
            Ok(reply) => Ok(Ok(Self::read(method, reply)?)),
            Err(problem) => Ok(Err(problem)),
        }
    }

    fn page_params(&self) -> Value {
        match self.asked_for("cursor") {
            Some(cursor) => json!({ "limit": 100, "cursor": cursor }),
            None => json!({ "limit": 100 }),
        }
    }
}

/// What a refused form said, to be said again.
fn draft(form: &Form, names: &[&str], again: bool) -> minijinja::Value {
    let value = |name: &&str| if again { field(form, name) } else { "" };
    let pairs = names
        .iter()
        .map(|name| ((*name).to_owned(), Value::from(value(name))));
    shown(&pairs.collect::<Map<_, _>>())
}
