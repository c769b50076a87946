//! Addresses and networks that the LAN has left and that are still served.
//!
//! A device keeps its address until its lease ends, or until it asks again and is refused
//! (RFC 2131 section 4.3.2: a renewal in the wrong network gets a NAK). Until then the box
//! answers under its old address too: the page that made the change finds its way to the new
//! one, and nobody is cut off meanwhile. A network is let go when no lease in it runs and no
//! change waits to be confirmed. An old address inside the network in force stays for those who
//! were told of it: until each of them has renewed, and so heard of the new one.

use embassy_time::Duration;
use lintel_model::Ipv4Net;
use lintel_model::config::Config;
use lintel_model::lease::Binding;
use lintel_plan::overlap;

use super::core::{Core, Now};
use super::leases::is_live;

/// Most networks served beside the LAN's own: who moves more often than leases end is trying
/// something out.
const LEAVING_NETWORKS_MAX: usize = 4;

impl Core {
    /// The box's addresses that stay served when `next` takes the place of the configuration in force.
    pub(super) fn leaving_with(&self, next: &Config) -> Vec<Ipv4Net> {
        let (old, new) = (self.active.config.lan.address, next.lan.address);
        let mut leaving = self.facts.leaving.clone();
        leaving.retain(|left| left.addr() != old.addr());
        leaving.push(old);
        leaving.retain(|left| left.addr() != new.addr());
        let surplus = leaving.len().saturating_sub(LEAVING_NETWORKS_MAX);
        leaving.drain(..surplus);
        leaving
    }

    /// Before `next` is taken: remembers what it leaves.
    pub(super) fn keep_leaving(&mut self, now: Now, next: &Config) {
        let leaving = self.leaving_with(next);
        if next.lan.address != self.active.config.lan.address {
            self.lan_since_unix_s = now.unix_s;
        }
        self.set_leaving(leaving);
    }

    /// Lets go what nobody needs any more.
    pub(super) fn let_go(&mut self, now: Now) {
        self.leaving_due = None;
        if self.facts.leaving.is_empty() || self.window.is_some() || self.pending_apply.is_some() {
            return;
        }
        let own = self.active.config.lan.address;
        let since = self.lan_since_unix_s;
        let end_s = |network: &Ipv4Net| {
            let knows = |b: &&Binding| !own.contains(&b.address) || b.bound_unix_s <= since;
            let inside = self
                .bindings
                .values()
                .filter(|b| network.contains(&b.address))
                .filter(knows);
            let live = inside.filter(|binding| is_live(binding, now.unix_s));
            live.map(|binding| binding.expires_unix_s).max()
        };
        // The provider uses it too: leaving it is what brings the house online.
        let is_wan = |network: &Ipv4Net| {
            let lease = self.facts.wan_lease.as_ref();
            let wan = lease.and_then(|l| Ipv4Net::new(l.address, l.prefix_len).ok());
            wan.is_some_and(|wan| overlap(wan, *network))
        };
        let mut needed = self.facts.leaving.clone();
        needed.retain(|network| {
            network.addr() != own.addr() && end_s(network).is_some() && !is_wan(network)
        });
        // The wall clock may jump, so never in more than an hour.
        self.leaving_due = needed
            .iter()
            .filter_map(end_s)
            .map(|end_s| end_s.saturating_sub(now.unix_s).clamp(1, 3600))
            .min()
            .map(|wait_s| now.mono + Duration::from_secs(wait_s));
        if needed.len() < self.facts.leaving.len() {
            for network in &self.facts.leaving {
                if !needed.contains(network) {
                    log::info!("nobody needs {network} any more: it is not served");
                }
            }
            self.set_leaving(needed);
            self.refresh(now);
            self.drive(now);
        }
    }

    /// A device has an address in the network in force: what it had in one that was left is over.
    pub(super) fn has_moved(&mut self, now: Now, binding: &Binding) {
        let leaving = &self.facts.leaving;
        let own = self.active.config.lan.address;
        let same = |other: &&Binding| {
            !own.contains(&other.address)
                && other.client_id == binding.client_id
                && other.mac == binding.mac
                && other.address != binding.address
                && leaving
                    .iter()
                    .any(|network| network.contains(&other.address))
        };
        let old: Vec<_> = self
            .bindings
            .values()
            .filter(same)
            .map(|b| b.address)
            .collect();
        for address in old {
            self.stored("ending a lease of the network before", |store| {
                store.delete_binding(address)
            });
            self.bindings.remove(&address);
        }
        self.let_go(now);
    }

    fn set_leaving(&mut self, leaving: Vec<Ipv4Net>) {
        if self.facts.leaving == leaving {
            return;
        }
        self.stored("storing which networks are left", |store| {
            store.set_leaving(&leaving)
        });
        self.facts.leaving = leaving;
    }
}
