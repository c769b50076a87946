//! Which client has which name in DNS. No two live bindings share one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use embassy_time::Instant;
use lintel_wire::dhcpv4::{ClientFqdn, code, sanitise_host_name};

use super::config::{ReservedFor, ServerConfig};
use super::pool::{Binding, BindingState, ClientKey, Pool};
use super::reply::Request;

/// Numbers tried behind a name that somebody has; then the client has none.
const SUFFIX_MAX: u32 = 99;
/// Longest label, octets.
const LABEL_LEN_MAX: usize = 63;

#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: BTreeMap<String, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, String>,
    /// Names that the configuration gives to a client.
    reserved: BTreeMap<ClientKey, String>,
    /// Names that no client gets by asking.
    refused: BTreeSet<String>,
}

impl Names {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let mut reserved = BTreeMap::new();
        for reservation in config.subnets.iter().flat_map(|s| &s.reservations) {
            if let Some(name) = &reservation.name {
                let client = match &reservation.client {
                    ReservedFor::Mac(mac) => ClientKey::Mac(mac.0),
                    ReservedFor::ClientId(id) => ClientKey::Id(id.as_slice().into()),
                };
                reserved.insert(client, name.clone());
            }
        }
        let mut refused: BTreeSet<String> = reserved.values().cloned().collect();
        refused.extend(config.names_refused.iter().cloned());
        Self {
            reserved,
            refused,
            ..Self::default()
        }
    }

    /// The name that a client gets with this address: the configured one, else what it calls
    /// itself, with a number when somebody else has that.
    pub(super) fn choose(
        &self,
        now: Instant,
        request: &Request,
        address: Ipv4Addr,
        pools: &[Pool],
    ) -> Option<String> {
        if let Some(name) = self.reserved.get(&request.client) {
            return Some(name.clone());
        }
        let base = wished(request)?;
        let pool = pools.get(request.subnet)?;
        // The name it has, if that comes from the same wish.
        if let Some(own) = pool
            .binding_of(&request.client)
            .and_then(|binding| binding.name.as_deref())
            && strip_number(own, &base)
            && self.is_free(own, now, address, request, pools)
        {
            return Some(own.to_owned());
        }
        let room = base.get(..LABEL_LEN_MAX - 3).unwrap_or(&base);
        let room = room.trim_end_matches('-');
        std::iter::once(base.clone())
            .chain((2..=SUFFIX_MAX).map(|n| format!("{room}-{n}")))
            .find(|name| self.is_free(name, now, address, request, pools))
    }

    fn is_free(
        &self,
        name: &str,
        now: Instant,
        address: Ipv4Addr,
        request: &Request,
        pools: &[Pool],
    ) -> bool {
        if self.refused.contains(name) {
            return false;
        }
        let Some(holder) = self.by_name.get(name) else {
            return true;
        };
        let own = pools
            .get(request.subnet)
            .and_then(|pool| pool.binding_of(&request.client))
            .map(|binding| binding.address);
        *holder == address
            || Some(*holder) == own
            || !pools.iter().any(|pool| pool.is_live(*holder, now))
    }

    /// The binding's name is taken, its address's old one is free.
    pub(super) fn claim(&mut self, binding: &Binding) {
        self.release(binding.address);
        if let Some(name) = &binding.name
            && binding.state == BindingState::Bound
        {
            if let Some(other) = self.by_name.insert(name.clone(), binding.address) {
                self.by_address.remove(&other);
            }
            self.by_address.insert(binding.address, name.clone());
        }
    }

    /// Nobody has the address's name any more.
    pub(super) fn release(&mut self, address: Ipv4Addr) {
        if let Some(name) = self.by_address.remove(&address) {
            self.by_name.remove(&name);
        }
    }
}

/// What the client calls itself: option 81 before option 12 (RFC 4702 section 3.1).
fn wished(request: &Request) -> Option<String> {
    let options = &request.message.options;
    let fqdn = options
        .get(code::CLIENT_FQDN)
        .and_then(|value| ClientFqdn::parse(value).ok())
        .and_then(|fqdn| sanitise_host_name(fqdn.name.as_bytes()));
    fqdn.or_else(|| sanitise_host_name(options.get(code::HOST_NAME)?))
}

/// Whether `name` is `base`, or `base` with a number.
fn strip_number(name: &str, base: &str) -> bool {
    name == base
        || name
            .rsplit_once('-')
            .is_some_and(|(stem, n)| n.parse::<u32>().is_ok() && base.starts_with(stem))
}
