//! The addresses of one subnet: who has which, until when, and who may have it next.
//!
//! A [`Binding`] is a promise and outlives the process; a hold is ours alone and short: an
//! address being probed, offered, written to disk, or kept out of use. An address that is
//! neither bound nor held is in `free` if the pool has it. `by_expiry` holds every pool
//! address with a binding and no hold, so that the longest expired one is found at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use embassy_time::Instant;
use smoltcp::wire::EthernetAddress;

use super::config::{ReservedFor, SubnetConfig};

/// Most bindings remembered in one subnet, expired ones included; then the longest expired
/// makes room. Some 300 octets each.
pub const BINDINGS_MAX: usize = 8192;
/// Most addresses offered or probed at once; then the oldest offer is forgotten. A client
/// that was really there asks again, and gets an address without needing the memory.
pub const HOLDS_MAX: usize = 1024;

/// Identity of a client within a subnet (RFC 2131 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKey {
    /// Option 61.
    Id(Box<[u8]>),
    /// `chaddr`, of a client without id or one with a reservation by hardware address.
    Mac([u8; 6]),
}

/// A promise to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The address promised.
    pub address: Ipv4Addr,
    /// Hardware address of the client.
    pub mac: EthernetAddress,
    /// Option 61, when the client sent it.
    pub client_id: Option<Vec<u8>>,
    /// Name in DNS: one label that no other live binding has.
    pub name: Option<String>,
    /// When it was last acknowledged; [`Instant::MIN`] for any time before the start.
    pub bound: Instant,
    /// When it ends. Afterwards the address is still this client's if it comes back before
    /// somebody else needs it.
    pub expires: Instant,
    /// What became of it.
    pub state: BindingState,
}

/// The life of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingState {
    /// Acknowledged.
    Bound,
    /// Given back.
    Released,
    /// In use by somebody unknown; out of the pool until `expires`.
    Declined,
}

/// Why an address is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldKind {
    Probing,
    Offered,
    Pending,
    Quarantined,
}

#[derive(Debug, Clone)]
struct Hold {
    /// Nobody, when quarantined.
    client: Option<ClientKey>,
    kind: HoldKind,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Pool {
    reserved: BTreeMap<Ipv4Addr, ClientKey>,
    reserved_by: BTreeMap<ClientKey, Ipv4Addr>,
    bindings: BTreeMap<Ipv4Addr, (ClientKey, Binding)>,
    by_client: BTreeMap<ClientKey, Ipv4Addr>,
    holds: BTreeMap<Ipv4Addr, Hold>,
    held_by: BTreeMap<ClientKey, Ipv4Addr>,
    /// Holds that end by themselves, by their end: offers and quarantines.
    offers: BTreeSet<(Instant, Ipv4Addr)>,
    quarantine: BTreeSet<(Instant, Ipv4Addr)>,
    free: BTreeSet<Ipv4Addr>,
    by_expiry: BTreeSet<(Instant, Ipv4Addr)>,
    first: Ipv4Addr,
    last: Ipv4Addr,
    own: Ipv4Addr,
}

impl Pool {
    pub(super) fn new(config: &SubnetConfig) -> Self {
        let mut reserved = BTreeMap::new();
        let mut reserved_by = BTreeMap::new();
        for reservation in &config.reservations {
            let key = match &reservation.client {
                ReservedFor::Mac(mac) => ClientKey::Mac(mac.0),
                ReservedFor::ClientId(id) => ClientKey::Id(id.as_slice().into()),
            };
            reserved.insert(reservation.address, key.clone());
            reserved_by.insert(key, reservation.address);
        }
        // Only the ends of a network are no hosts.
        let step = |address: Ipv4Addr, by: i64| {
            let moved = i64::from(u32::from(address)) + by;
            if config.is_host(address) {
                address
            } else {
                u32::try_from(moved).map_or(address, Ipv4Addr::from)
            }
        };
        let (first, last) = (step(config.first, 1), step(config.last, -1));
        let free = (u32::from(first)..=u32::from(last))
            .map(Ipv4Addr::from)
            .filter(|a| *a != config.address && !reserved.contains_key(a))
            .collect();
        Self {
            reserved,
            reserved_by,
            bindings: BTreeMap::new(),
            by_client: BTreeMap::new(),
            holds: BTreeMap::new(),
            held_by: BTreeMap::new(),
            offers: BTreeSet::new(),
            quarantine: BTreeSet::new(),
            free,
            by_expiry: BTreeSet::new(),
            first,
            last: last.max(first),
            own: config.address,
        }
    }

    /// Who a message is from. A reservation by hardware address wins over the client id, so
    /// that the firmware's boot loader and the system it loads are one client.
    pub(super) fn key(&self, mac: EthernetAddress, client_id: Option<&[u8]>) -> ClientKey {
        let by_mac = ClientKey::Mac(mac.0);
        let by_id = client_id.map(|id| ClientKey::Id(id.into()));
        match by_id {
            Some(by_id) if self.reserved_by.contains_key(&by_id) => by_id,
            _ if self.reserved_by.contains_key(&by_mac) => by_mac,
            Some(by_id) => by_id,
            None => by_mac,
        }
    }

    pub(super) fn binding(&self, address: Ipv4Addr) -> Option<&Binding> {
        self.bindings.get(&address).map(|(_, binding)| binding)
    }

    pub(super) fn binding_of(&self, client: &ClientKey) -> Option<&Binding> {
        self.binding(*self.by_client.get(client)?)
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values().map(|(_, binding)| binding)
    }

    /// What the client holds, when it is this address.
    pub(super) fn hold(&self, address: Ipv4Addr, client: &ClientKey) -> Option<HoldKind> {
        let hold = self.holds.get(&address)?;
        (hold.client.as_ref() == Some(client)).then_some(hold.kind)
    }

    pub(super) fn held_by(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        self.held_by.get(client).copied()
    }

    /// The address that is being written to disk for the client.
    pub(super) fn pending_of(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        let address = self.held_by(client)?;
        (self.hold(address, client) == Some(HoldKind::Pending)).then_some(address)
    }

    /// Whether somebody has a promise for the address, or is about to.
    pub(super) fn is_live(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.binding(address).is_some_and(|b| b.expires > now)
            || self
                .holds
                .get(&address)
                .is_some_and(|hold| hold.kind == HoldKind::Pending)
    }

    /// Whether a tenth of the pool or less is left to those we do not know.
    pub(super) fn is_scarce(&self, now: Instant) -> bool {
        let size = u32::from(self.last) - u32::from(self.first) + 1;
        let expired = self.by_expiry.range(..=(now, Ipv4Addr::BROADCAST)).count();
        (self.free.len() + expired).saturating_mul(10) <= size as usize
    }

    /// Whether this client may have this address now.
    pub(super) fn is_available(&self, address: Ipv4Addr, client: &ClientKey, now: Instant) -> bool {
        let held = self
            .holds
            .get(&address)
            .is_some_and(|hold| hold.client.as_ref() != Some(client));
        let bound = self
            .bindings
            .get(&address)
            .is_some_and(|(owner, binding)| owner != client && binding.expires > now);
        self.is_given(address, client) && !held && !bound && self.is_entitled(address, client, now)
    }

    /// Whether the configuration lets this client have the address at all.
    fn is_given(&self, address: Ipv4Addr, client: &ClientKey) -> bool {
        match self.reserved.get(&address) {
            Some(owner) => owner == client,
            None => (self.first..=self.last).contains(&address) && address != self.own,
        }
    }

    /// A client with a reservation gets that address and no other, unless somebody still
    /// lives there. A client with a live binding keeps to it: whoever has one promise at a
    /// time cannot lose it to a crash between two.
    fn is_entitled(&self, address: Ipv4Addr, client: &ClientKey, now: Instant) -> bool {
        match self.reserved_by.get(client) {
            Some(reserved) if *reserved != address => {
                self.holds
                    .get(reserved)
                    .is_some_and(|hold| hold.client.as_ref() != Some(client))
                    || self
                        .bindings
                        .get(reserved)
                        .is_some_and(|(owner, b)| owner != client && b.expires > now)
            }
            Some(_) => true,
            None => self.binding_of(client).is_none_or(|had| {
                had.address == address || had.expires <= now || !self.is_given(had.address, client)
            }),
        }
    }

    /// The address to offer: the reserved one, the one already held, the last one had, the
    /// one asked for, one never used, the longest expired (RFC 2131 section 4.3.1).
    pub(super) fn candidate(
        &self,
        client: &ClientKey,
        requested: Option<Ipv4Addr>,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        let wishes = [
            self.reserved_by.get(client).copied(),
            self.held_by(client),
            self.by_client.get(client).copied(),
            requested,
        ];
        wishes
            .into_iter()
            .flatten()
            .find(|address| self.is_available(*address, client, now))
            .or_else(|| self.unused(client))
            .or_else(|| {
                let (expires, address) = self.by_expiry.first()?;
                (*expires <= now).then_some(*address)
            })
    }

    /// A free address that depends on the client alone while it is free, so that even a
    /// server that lost its disk tends to give the same one.
    fn unused(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        if self.bindings.len() >= BINDINGS_MAX {
            return None;
        }
        let size = u32::from(self.last) - u32::from(self.first) + 1;
        let start = Ipv4Addr::from(u32::from(self.first) + hash(client) % size);
        self.free
            .range(start..)
            .next()
            .or_else(|| self.free.first())
            .copied()
    }

    /// Holds an address for a client, which loses what else it held.
    pub(super) fn hold_for(
        &mut self,
        address: Ipv4Addr,
        client: &ClientKey,
        kind: HoldKind,
        until: Instant,
    ) {
        if let Some(old) = self.held_by(client) {
            self.let_go(old);
        }
        self.let_go(address);
        if self.holds.len() >= HOLDS_MAX
            && let Some((_, oldest)) = self.offers.first().copied()
        {
            self.let_go(oldest);
        }
        self.held_by.insert(client.clone(), address);
        if kind == HoldKind::Offered {
            self.offers.insert((until, address));
        }
        self.insert_hold(address, Some(client.clone()), kind, until);
    }

    /// Keeps an address from everybody. At most half the pool: who answers every probe shall
    /// not starve the network.
    pub(super) fn quarantine(&mut self, address: Ipv4Addr, until: Instant) {
        self.let_go(address);
        self.unbind(address);
        let size = u32::from(self.last) - u32::from(self.first) + 1;
        let quarantined_max = (size as usize / 2).clamp(1, BINDINGS_MAX);
        if self.quarantine.len() >= quarantined_max
            && let Some((_, oldest)) = self.quarantine.first().copied()
        {
            self.let_go(oldest);
        }
        self.quarantine.insert((until, address));
        self.insert_hold(address, None, HoldKind::Quarantined, until);
    }

    fn insert_hold(
        &mut self,
        address: Ipv4Addr,
        client: Option<ClientKey>,
        kind: HoldKind,
        until: Instant,
    ) {
        self.free.remove(&address);
        if let Some((_, binding)) = self.bindings.get(&address) {
            self.by_expiry.remove(&(binding.expires, address));
        }
        self.holds.insert(
            address,
            Hold {
                client,
                kind,
                until,
            },
        );
    }

    /// Ends a hold.
    pub(super) fn let_go(&mut self, address: Ipv4Addr) {
        let Some(hold) = self.holds.remove(&address) else {
            return;
        };
        self.offers.remove(&(hold.until, address));
        self.quarantine.remove(&(hold.until, address));
        if let Some(client) = hold.client {
            self.held_by.remove(&client);
        }
        self.index(address);
    }

    /// Ends the holds whose time is over.
    pub(super) fn expire_holds(&mut self, now: Instant) {
        for address in ended(&mut self.offers, now)
            .into_iter()
            .chain(ended(&mut self.quarantine, now))
        {
            self.let_go(address);
        }
    }

    /// Records a binding, in place of whatever the address or the client had. Returns the
    /// address that the client lost, when it was another one.
    pub(super) fn bind(&mut self, client: ClientKey, binding: Binding) -> Option<Binding> {
        let address = binding.address;
        self.let_go(address);
        self.unbind(address);
        let moved = match self.by_client.get(&client).copied() {
            Some(old) => self.unbind(old),
            None => None,
        };
        self.by_client.insert(client.clone(), address);
        self.bindings.insert(address, (client, binding));
        self.index(address);
        moved
    }

    /// Forgets a binding.
    pub(super) fn unbind(&mut self, address: Ipv4Addr) -> Option<Binding> {
        let (client, binding) = self.bindings.remove(&address)?;
        self.by_client.remove(&client);
        self.by_expiry.remove(&(binding.expires, address));
        self.index(address);
        Some(binding)
    }

    /// Puts an unheld pool address where the next client finds it.
    fn index(&mut self, address: Ipv4Addr) {
        let in_pool = (self.first..=self.last).contains(&address)
            && address != self.own
            && !self.reserved.contains_key(&address);
        if !in_pool || self.holds.contains_key(&address) {
            return;
        }
        match self.bindings.get(&address) {
            Some((_, binding)) => {
                self.free.remove(&address);
                self.by_expiry.insert((binding.expires, address));
            }
            None => {
                self.free.insert(address);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn holds_len(&self) -> usize {
        self.holds.len()
    }

    /// Every address is in exactly one place.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for (address, hold) in &self.holds {
            assert!(!self.free.contains(address), "{address} held and free");
            if let Some(client) = &hold.client {
                assert_eq!(self.held_by.get(client), Some(address));
            }
        }
        assert_eq!(
            self.held_by.len(),
            self.holds.values().filter(|h| h.client.is_some()).count()
        );
        for (address, (client, binding)) in &self.bindings {
            assert!(!self.free.contains(address), "{address} bound and free");
            assert_eq!(self.by_client.get(client), Some(address));
            let indexed = self.by_expiry.contains(&(binding.expires, *address));
            assert!(
                indexed
                    || self.holds.contains_key(address)
                    || self.reserved.contains_key(address)
                    || !(self.first..=self.last).contains(address)
            );
        }
        assert_eq!(self.by_client.len(), self.bindings.len());
        for (until, address) in self.offers.iter().chain(&self.quarantine) {
            assert_eq!(self.holds[address].until, *until);
        }
        for (expires, address) in &self.by_expiry {
            assert_eq!(self.bindings[address].1.expires, *expires);
            assert!(!self.holds.contains_key(address));
        }
    }
}

/// Takes out the addresses whose time is over.
fn ended(set: &mut BTreeSet<(Instant, Ipv4Addr)>, now: Instant) -> Vec<Ipv4Addr> {
    let mut ended = Vec::new();
    while let Some((until, address)) = set.first().copied()
        && until <= now
    {
        set.remove(&(until, address));
        ended.push(address);
    }
    ended
}

/// FNV-1a. Not against anybody: a client that chooses its id may as well ask for an address.
fn hash(client: &ClientKey) -> u32 {
    let octets: &[u8] = match client {
        ClientKey::Id(id) => id,
        ClientKey::Mac(mac) => mac,
    };
    octets.iter().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193)
    })
}
