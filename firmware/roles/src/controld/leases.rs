//! Leases: those dhcpd gives and wants durable, and the one wand holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use embassy_time::{Duration, Instant};
use lintel_api::types::{Done, Event, LeaseDeleteParams};
use lintel_ipc::call::Problem;
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::wand::FromWand;
use lintel_model::config::PortSelector;
use lintel_model::lease::{Binding, BindingState, WanLease};
use lintel_model::services::{HostRecord, WanSpec};
use lintel_model::{DomainName, HostName, MacAddr, RoleName};
use lintel_store::Store;

use super::calls::{cannot_store, problem};
use super::core::{Core, Now, Output, bounded_drops};

/// Longest client id believed (option 61's length octet).
const CLIENT_ID_OCTETS_MAX: usize = 255;
/// Most routes believed of a WAN lease: more than a household's provider names.
const WAN_ROUTES_MAX: usize = 64;
/// Most resolvers or time servers believed of a WAN lease.
const WAN_SERVERS_MAX: usize = 8;
/// Most bindings that are held for longer because a flush is due anyway.
const HELD_ANEW_MAX: usize = 256;
/// How much longer than configured a binding may last: the clock of dhcpd and ours are read
/// apart, and a shorter lease time may just have been configured.
const EXPIRY_SLACK_S: u64 = 24 * 3600;

/// A binding may seem to begin this much later than now, seconds: dhcpd puts one a second behind
/// the one before.
pub(super) const AHEAD_S_MAX: u64 = 60;

/// Whether the lease is not over.
pub(super) fn is_running(lease: &WanLease, unix_s: u64) -> bool {
    lease.lease_s == u32::MAX || end_of(lease) > unix_s
}

fn end_of(lease: &WanLease) -> u64 {
    lease.bound_unix_s.saturating_add(u64::from(lease.lease_s))
}

/// Whether an address is in use by the client it was given to. A binding of the future, which the
/// clock has leapt behind and which did not follow, would be for years: it is not.
pub(super) fn is_live(binding: &Binding, unix_s: u64) -> bool {
    binding.state == BindingState::Bound
        && binding.expires_unix_s > unix_s
        && is_of_its_time(binding, unix_s)
}

fn is_of_its_time(binding: &Binding, unix_s: u64) -> bool {
    binding.bound_unix_s <= unix_s.saturating_add(AHEAD_S_MAX)
}

/// What is on disk, by address. A binding of the future was noted by a clock that was ahead: by
/// its word it might last for years, so it lasts as long as it was to last, from now on. It
/// counts as given when the box started: older than any other since, and by our clock.
pub(super) fn from_disk(bindings: Vec<Binding>, now: Now) -> BTreeMap<Ipv4Addr, Binding> {
    let start_s = now.unix_s.saturating_sub(now.mono.as_secs());
    let in_time = |binding: Binding| {
        if is_of_its_time(&binding, now.unix_s) {
            return binding;
        }
        let lasts_s = binding.expires_unix_s.saturating_sub(binding.bound_unix_s);
        Binding {
            bound_unix_s: start_s,
            expires_unix_s: now.unix_s.saturating_add(lasts_s),
            ..binding
        }
    };
    let by_address = |binding: Binding| (binding.address, in_time(binding));
    bindings.into_iter().map(by_address).collect()
}

/// Whether a client keeps what it has.
fn is_same_lease(old: &Binding, new: &Binding) -> bool {
    let bound = |binding: &Binding| binding.state == BindingState::Bound;
    bound(old) && bound(new) && old.mac == new.mac && old.client_id == new.client_id
}

/// Until when a binding is written to last, Unix seconds.
fn held_until(binding: &Binding) -> u64 {
    let lasts = match binding.state {
        BindingState::Bound => binding.expires_unix_s.saturating_sub(binding.bound_unix_s),
        BindingState::Released | BindingState::Declined => 0,
    };
    binding.expires_unix_s.saturating_add(lasts)
}

impl Core {
    /// Everything dhcpd said in one go: one transaction, one flush, then the answers.
    pub(super) fn dhcpd(&mut self, now: Now, messages: Vec<FromDhcpd>) {
        let mut binds: Vec<(u64, Binding)> = Vec::new();
        for message in messages {
            match message {
                FromDhcpd::Bind {
                    token,
                    binding,
                    start_unix_s,
                } => {
                    let binding = self.by_our_clock(binding, start_unix_s);
                    match self.believable(now, binding) {
                        Some(binding) => binds.push((token, binding)),
                        None => {
                            log::warn!("dhcpd wants to bind what it does not serve; refused");
                            self.say(Output::Dhcpd(ToDhcpd::NotDurable { token }));
                        }
                    }
                }
                FromDhcpd::Dropped(dropped) => self.dhcp_dropped = bounded_drops(dropped),
            }
        }
        if binds.is_empty() {
            return;
        }
        let done = self.hold(now, binds.iter().map(|(_, binding)| binding));
        let mut names_changed = false;
        for (token, binding) in binds {
            if done.is_some() {
                let moved = (!self.facts.leaving.is_empty()).then(|| binding.clone());
                names_changed |= self.keep(now, binding);
                if let Some(binding) = moved {
                    self.has_moved(now, &binding);
                }
                self.say(Output::Dhcpd(ToDhcpd::Durable { token }));
            } else {
                self.say(Output::Dhcpd(ToDhcpd::NotDurable { token }));
            }
        }
        if names_changed {
            self.dns_changed(now);
        }
    }

    /// Makes sure that the last of these bindings of each address is on disk, for at least as long
    /// as it lasts.
    ///
    /// What is written lasts twice as long: a renewal that only moves the end is on disk already
    /// then, and costs no flush. When one costs one all the same, it carries the others that
    /// renewed since their last. After a power cut a device that left is remembered for one lease
    /// more, at most. What a process before this one wrote does not count: its times may be of a
    /// clock that was wrong, and a leap moves only what was written since (`follow_clock`).
    fn hold<'a>(&mut self, now: Now, bindings: impl Iterator<Item = &'a Binding>) -> Option<()> {
        let last: BTreeMap<_, _> = bindings.map(|binding| (binding.address, binding)).collect();
        let new = last.values().filter(|binding| !self.is_held(binding));
        let mut writes: Vec<Binding> = new.map(|binding| (*binding).clone()).collect();
        if writes.is_empty() {
            return Some(());
        }
        let renewed = |binding: &&Binding| {
            let held = self.held.get(&binding.address);
            held.is_some_and(|held| *held < held_until(binding))
                && is_live(binding, now.unix_s)
                && !last.contains_key(&binding.address)
        };
        let others = self.bindings.values().filter(renewed).take(HELD_ANEW_MAX);
        writes.extend(others.cloned());
        for binding in &mut writes {
            // Never less than dhcpd was told, by which it may have promised the lease again.
            let old = self.bindings.get(&binding.address);
            let told = old.filter(|old| is_same_lease(old, binding));
            let told_s = told.map_or(0, |old| old.expires_unix_s);
            binding.expires_unix_s = held_until(binding).max(told_s);
        }
        self.write(now, &writes)
    }

    /// Writes bindings as they are.
    fn write(&mut self, now: Now, rows: &[Binding]) -> Option<()> {
        self.stored("storing bindings", |store| {
            store.put_bindings(rows, now.unix_s)
        })?;
        self.hold_rows(rows);
        Some(())
    }

    /// These are on disk as they are.
    pub(super) fn hold_rows(&mut self, rows: &[Binding]) {
        let ends = rows.iter().map(|row| (row.address, row.expires_unix_s));
        self.held.extend(ends);
    }

    /// Whether the disk says all that matters of a binding already.
    fn is_held(&self, binding: &Binding) -> bool {
        let (Some(held), Some(old)) = (
            self.held.get(&binding.address),
            self.bindings.get(&binding.address),
        ) else {
            return false;
        };
        let same = old.mac == binding.mac
            && old.client_id == binding.client_id
            && old.host_name == binding.host_name
            && old.state == binding.state;
        // An end far beyond is of a longer lease, or of a clock that was ahead.
        same && binding.state == BindingState::Bound
            && (binding.expires_unix_s..=held_until(binding)).contains(held)
    }

    /// Keeps a binding in memory; tells whether names may have changed with it. It does not get
    /// shorter: by the end that dhcpd was told at a start it may have promised the lease again.
    fn keep(&mut self, now: Now, mut binding: Binding) -> bool {
        if let Some(old) = self.bindings.get(&binding.address)
            && is_same_lease(old, &binding)
        {
            binding.expires_unix_s = binding.expires_unix_s.max(old.expires_unix_s);
        }
        let named = binding.host_name.is_some();
        let live = is_live(&binding, now.unix_s);
        let old = self.bindings.insert(binding.address, binding.clone());
        self.tell_lease(now, old.as_ref(), &binding);
        match old {
            None => named && live,
            Some(old) => {
                old.host_name != binding.host_name || (named && is_live(&old, now.unix_s) != live)
            }
        }
    }

    /// Tells of an address that changed hands; that somebody keeps theirs is no event.
    fn tell_lease(&mut self, now: Now, old: Option<&Binding>, new: &Binding) {
        let old = old.filter(|old| is_live(old, now.unix_s));
        let live = is_live(new, now.unix_s);
        if live && old.is_none_or(|old| old.mac != new.mac) {
            let given = Event::LeaseGiven {
                ip: new.address,
                mac: new.mac,
                name: new.host_name.clone(),
            };
            self.tell(now, given);
            self.lease_end_at.get_or_insert(now.mono);
        }
        if let Some(old) = old.filter(|_| !live) {
            let why = match new.state {
                BindingState::Released => "released",
                BindingState::Declined => "declined",
                BindingState::Bound => "expired",
            };
            self.tell_lease_end(now, old.address, old.mac, why);
        }
    }

    pub(super) fn tell_lease_end(&mut self, now: Now, ip: Ipv4Addr, mac: MacAddr, why: &str) {
        let why = why.to_owned();
        self.tell(now, Event::LeaseEnded { ip, mac, why });
    }

    /// Tells of leases whose time is over, and looks again when the next one ends. The wall clock
    /// may jump, so never in more than an hour.
    pub(super) fn end_leases(&mut self, now: Now) {
        if self.lease_end_at.is_none_or(|at| at > now.mono) {
            return;
        }
        let told = std::mem::replace(&mut self.leases_told_until, now.unix_s);
        let over = self.bindings.values().filter(|binding| {
            binding.state == BindingState::Bound
                && binding.expires_unix_s > told
                && binding.expires_unix_s <= now.unix_s
        });
        let over: Vec<_> = over.map(|binding| (binding.address, binding.mac)).collect();
        for (ip, mac) in over {
            self.tell_lease_end(now, ip, mac, "expired");
        }
        let live = self.bindings.values().filter(|b| is_live(b, now.unix_s));
        let left_s = live.map(|binding| binding.expires_unix_s.saturating_sub(now.unix_s));
        self.lease_end_at = left_s
            .min()
            .map(|left_s| now.mono + Duration::from_secs(left_s.clamp(1, 3600)));
    }

    /// What dhcpd says is checked: it parses foreign bytes.
    fn believable(&self, now: Now, mut binding: Binding) -> Option<Binding> {
        let subnet = self
            .resolved
            .dhcp
            .subnets
            .iter()
            .find(|subnet| subnet.address.contains(&binding.address))?;
        let own = subnet.address.addr() == binding.address;
        let longest = now
            .unix_s
            .saturating_add(u64::from(subnet.lease_s))
            .saturating_add(EXPIRY_SLACK_S);
        if own
            || binding.mac.is_multicast()
            || binding.client_id.len() > CLIENT_ID_OCTETS_MAX
            || binding.expires_unix_s > longest
        {
            return None;
        }
        binding.host_name = binding
            .host_name
            .filter(|name| name.parse::<HostName>().is_ok());
        Some(binding)
    }

    /// Ends a lease by the householder's wish; `None` when the store refused.
    pub(super) fn forget(&mut self, now: Now, address: Ipv4Addr) -> Option<bool> {
        let was = self.stored("deleting a lease", |store| store.delete_binding(address))?;
        let old = self.bindings.remove(&address);
        let was = old.is_some() || was;
        self.held.remove(&address);
        if was && self.up.contains(&RoleName::Dhcpd) {
            self.say(Output::Dhcpd(ToDhcpd::Forget { address }));
        }
        if was {
            self.dns_changed(now);
        }
        if let Some(old) = old.filter(|old| is_live(old, now.unix_s)) {
            self.tell_lease_end(now, old.address, old.mac, "deleted");
        }
        Some(was)
    }

    /// `dhcp.leases.delete`.
    pub(super) fn lease_delete(
        &mut self,
        now: Now,
        params: &LeaseDeleteParams,
    ) -> Result<Done, Problem> {
        match self.forget(now, params.ip) {
            Some(true) => Ok(Done {}),
            Some(false) => Err(problem(
                404,
                "no-such-lease",
                "There is no such lease",
                "lintel leases lists them.",
            )),
            None => Err(cannot_store()),
        }
    }

    /// Names for dnsd: reservations win, then who was bound last; each name once, and never the
    /// box's own.
    pub(super) fn hosts(&self, now: Now) -> Vec<HostRecord> {
        let mut hosts: BTreeMap<String, HostRecord> = BTreeMap::new();
        let own = &self.resolved.dns.own;
        let taken = |name: &HostName| {
            own.iter()
                .any(|host| host.name.as_str().eq_ignore_ascii_case(name.as_str()))
        };
        let mut add = |name: HostName, address: Ipv4Addr| {
            if !taken(&name) {
                hosts
                    .entry(name.as_str().to_ascii_lowercase())
                    .or_insert(HostRecord {
                        name,
                        address: IpAddr::V4(address),
                    });
            }
        };
        for reservation in &self.active.config.dhcp.reservations {
            if let Some(name) = &reservation.name {
                add(name.clone(), reservation.address);
            }
        }
        let mut live: Vec<&Binding> = self
            .bindings
            .values()
            .filter(|binding| is_live(binding, now.unix_s))
            .collect();
        live.sort_by_key(|binding| std::cmp::Reverse(binding.bound_unix_s));
        for binding in live {
            if let Some(Ok(name)) = binding.host_name.as_deref().map(str::parse) {
                add(name, binding.address);
            }
        }
        hosts.into_values().collect()
    }

    /// When the next name goes with its lease. The wall clock may jump, so never in more than an
    /// hour.
    pub(super) fn next_name_end(&self, now: Now) -> Option<Instant> {
        let named = self.bindings.values().filter(|b| b.host_name.is_some());
        let next_s = named
            .filter(|binding| is_live(binding, now.unix_s))
            .map(|binding| binding.expires_unix_s.saturating_sub(now.unix_s))
            .min()?;
        Some(now.mono + Duration::from_secs(next_s.clamp(1, 3600)))
    }

    pub(super) fn wand(&mut self, now: Now, message: FromWand) {
        match message {
            FromWand::Lease(lease) => {
                let Some(lease) = self.believable_lease(lease) else {
                    log::warn!("wand tells of a lease that cannot be; ignored");
                    return;
                };
                let same = |old: &WanLease| same_terms(old, &lease);
                if !self.facts.wan_lease.as_ref().is_some_and(same) {
                    let up = Event::WanUp {
                        link: lease.link.clone(),
                        address: lease.address,
                        router: lease.router,
                    };
                    self.tell(now, up);
                }
                self.facts.wan_lease = Some(lease);
                self.store_wan_lease();
                self.refresh(now);
            }
            FromWand::Lost { link, reason } => {
                let reason = clean(&reason);
                log::warn!("no lease on {link} any more: {reason}");
                self.facts.wan_lease = None;
                self.store_wan_lease();
                self.refresh(now);
                self.tell(now, Event::WanDown { link, reason });
            }
            FromWand::State { link, state, text } => {
                let state = (link, clean(&state), clean(&text));
                if self.wan_state.as_ref() != Some(&state) {
                    self.wan_state = Some(state.clone());
                    let (link, state, text) = state;
                    self.tell(now, Event::WanState { link, state, text });
                }
            }
            FromWand::ServerSeen { link } => self.server_seen(now, &link),
            FromWand::Dropped(dropped) => self.wan_dropped = bounded_drops(dropped),
            FromWand::Probe { id, news } => self.probe_told(now, Some(id), Some(news)),
        }
    }

    /// A DHCP server answered on a port that is searched: that port is the WAN from now on.
    fn server_seen(&mut self, now: Now, link: &lintel_model::LinkName) {
        let searched = match &self.resolved.wan {
            WanSpec::Detect { links } => links.iter().any(|l| l.name == *link),
            WanSpec::Off | WanSpec::Dhcp { .. } => false,
        };
        let Some(status) = self.facts.links.iter().find(|l| l.name == *link) else {
            return;
        };
        if !searched {
            return;
        }
        let port = match (&status.bus_path, status.permanent_mac.or(status.mac)) {
            (Some(path), _) => PortSelector::Path(path.clone()),
            (None, Some(mac)) => PortSelector::Mac(mac),
            (None, None) => PortSelector::Name(status.name.clone()),
        };
        log::info!("a provider answers on {link}: it is the WAN port ({port})");
        self.stored("storing the WAN port", |store| {
            store.set_detected_wan(Some(&port))
        });
        self.facts.detected_wan = Some(port);
        self.facts.detection_over = true;
        self.refresh(now);
    }

    /// Writes the lease when it says something new. That it only got longer is noted with the
    /// time.
    pub(super) fn store_wan_lease(&mut self) {
        let new = self.facts.wan_lease.clone();
        let same = match (&self.stored_lease, &new) {
            (None, None) => true,
            (Some(old), Some(new)) => same_terms(old, new),
            _ => false,
        };
        let store = |store: &mut Store| store.set_wan_lease(new.as_ref());
        if !same && self.stored("storing the WAN lease", store).is_some() {
            self.stored_lease = new;
        }
    }

    fn believable_lease(&self, mut lease: WanLease) -> Option<WanLease> {
        let WanSpec::Dhcp { link, .. } = &self.resolved.wan else {
            return None;
        };
        let usable = |ip: &Ipv4Addr| {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast())
        };
        if lease.link != link.name || !usable(&lease.address) || lease.prefix_len > 32 {
            return None;
        }
        lease.router = lease.router.filter(usable);
        lease.dns.retain(usable);
        lease.dns.truncate(WAN_SERVERS_MAX);
        lease.ntp.retain(usable);
        lease.ntp.truncate(WAN_SERVERS_MAX);
        lease.routes.truncate(WAN_ROUTES_MAX);
        lease.domain = lease
            .domain
            .filter(|domain| domain.parse::<DomainName>().is_ok());
        Some(lease)
    }
}

/// Equal but for its times.
fn same_terms(a: &WanLease, b: &WanLease) -> bool {
    let timeless = |lease: &WanLease| WanLease {
        bound_unix_s: 0,
        renew_s: 0,
        rebind_s: 0,
        ..lease.clone()
    };
    timeless(a) == timeless(b)
}

/// A sentence of another role: no control characters, and not a novel.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
