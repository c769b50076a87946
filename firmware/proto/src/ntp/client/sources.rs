//! Sources and their addresses: who is asked, who takes whose place, and when a name is to be
//! resolved again.

use std::net::SocketAddr;

use embassy_time::{Duration, Instant};

use super::association::Association;
use super::{
    ADDRESSES_MAX, ASSOCIATIONS_MAX, AssociationId, Client, ClosedReason, Event, Output,
    POOL_ASSOCIATIONS_MAX, SOURCES_MAX, SourceConfig, SourceId, SourceKind,
};

/// Addresses that said DENY or RSTR and are remembered for it; the oldest is forgotten.
const DENIED_MAX: usize = 32;
/// First and longest wait between two wishes to have a name resolved again.
const RESOLVE_PAUSE_MIN: Duration = Duration::from_secs(64);
const RESOLVE_PAUSE_MAX: Duration = Duration::from_secs(4_096);

/// A source and what its name stands for.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) config: SourceConfig,
    addresses: Vec<SocketAddr>,
    resolve_at: Instant,
    resolve_pause: Duration,
}

impl Source {
    fn new(now: Instant, config: SourceConfig) -> Self {
        Self {
            config,
            addresses: Vec::new(),
            resolve_at: now + RESOLVE_PAUSE_MIN,
            resolve_pause: RESOLVE_PAUSE_MIN,
        }
    }

    /// How many of its addresses are asked.
    fn wanted(&self) -> usize {
        match self.config.kind {
            SourceKind::Server => 1,
            SourceKind::Pool => POOL_ASSOCIATIONS_MAX,
        }
    }
}

impl Client {
    pub(super) fn set_sources(&mut self, now: Instant, configs: &[SourceConfig]) {
        let configs = &configs[..configs.len().min(SOURCES_MAX)];
        let stays = |source: &Source| configs.contains(&source.config);
        let gone: Vec<AssociationId> = self
            .associations
            .iter()
            .filter(|one| {
                !self
                    .sources
                    .iter()
                    .any(|source| source.config.id == one.source && stays(source))
            })
            .map(|one| one.id)
            .collect();
        for id in gone {
            self.close(id, ClosedReason::Removed);
        }
        self.sources.retain(stays);
        for config in configs {
            let known = |source: &Source| source.config.id == config.id;
            if !self.sources.iter().any(known) {
                self.sources.push(Source::new(now, *config));
            }
        }
    }

    pub(super) fn set_addresses(&mut self, now: Instant, id: SourceId, addresses: &[SocketAddr]) {
        let Some(source) = self.source_mut(id) else {
            return;
        };
        source.addresses.clear();
        for address in addresses.iter().take(ADDRESSES_MAX) {
            if !source.addresses.contains(address) {
                source.addresses.push(*address);
            }
        }
        self.fill(now, id);
    }

    /// Opens associations until the source has as many as it wants or no more addresses. An
    /// address is asked once, whichever sources name it: nobody votes twice.
    pub(super) fn fill(&mut self, now: Instant, id: SourceId) {
        while self.lacks(id) && self.associations.len() < ASSOCIATIONS_MAX {
            let Some(to) = self.unused(id) else {
                return;
            };
            let Some(source) = self.sources.iter().find(|source| source.config.id == id) else {
                return;
            };
            let association = AssociationId(self.next_id);
            self.next_id += 1;
            let opened = Association::new(association, &source.config, to, now);
            self.associations.push(opened);
            self.outputs.push_back(Output::Event(Event::Opened {
                association,
                source: id,
                to,
            }));
        }
    }

    /// Replaces associations that do not answer when there is somebody to take their place, and
    /// wishes for more addresses when there is not.
    pub(super) fn replace_silent(&mut self, now: Instant) {
        if !self.online {
            return;
        }
        for n in 0..self.sources.len() {
            let id = self.sources[n].config.id;
            while let Some(silent) = self
                .associations
                .iter()
                .find(|one| one.source == id && one.is_silent())
                .map(|one| one.id)
            {
                if self.unused(id).is_none() {
                    break;
                }
                self.close(silent, ClosedReason::Silent);
                self.fill(now, id);
            }
            self.fill(now, id);
            let needs = self.needs_addresses(id);
            let source = &mut self.sources[n];
            if needs && source.resolve_at <= now {
                source.resolve_at = now + source.resolve_pause;
                source.resolve_pause = (source.resolve_pause * 2).min(RESOLVE_PAUSE_MAX);
                let event = Event::ResolveAgain { source: id };
                self.outputs.push_back(Output::Event(event));
            }
        }
    }

    /// A source answered: its next failure is a new one.
    pub(super) fn source_is_well(&mut self, now: Instant, id: SourceId) {
        if let Some(source) = self.source_mut(id)
            && source.resolve_pause > RESOLVE_PAUSE_MIN
        {
            source.resolve_pause = RESOLVE_PAUSE_MIN;
            source.resolve_at = now + RESOLVE_PAUSE_MIN;
        }
    }

    pub(super) fn close(&mut self, id: AssociationId, reason: ClosedReason) {
        let Some(n) = self.associations.iter().position(|one| one.id == id) else {
            return;
        };
        let closed = self.associations.remove(n);
        if reason == ClosedReason::Denied {
            if self.denied.len() == DENIED_MAX {
                self.denied.pop_front();
            }
            self.denied.push_back(closed.to);
        }
        // When its name stands for it again, it has another chance.
        if let Some(source) = self.source_mut(closed.source) {
            source.addresses.retain(|to| *to != closed.to);
        }
        self.outputs.push_back(Output::Event(Event::Closed {
            association: id,
            source: closed.source,
            reason,
        }));
    }

    /// When the next wish for addresses is due.
    pub(super) fn resolve_deadline(&self) -> Option<Instant> {
        self.sources
            .iter()
            .filter(|source| self.online && self.needs_addresses(source.config.id))
            .map(|source| source.resolve_at)
            .min()
    }

    /// How many servers there are to hear: a source without an address is heard later.
    pub(super) fn expected(&self) -> usize {
        let unknown = self
            .sources
            .iter()
            .filter(|source| {
                !self
                    .associations
                    .iter()
                    .any(|one| one.source == source.config.id)
            })
            .count();
        self.associations.len() + unknown
    }

    fn needs_addresses(&self, id: SourceId) -> bool {
        let has_silent = || {
            self.associations
                .iter()
                .any(|one| one.source == id && one.is_silent())
        };
        // A pool whose name stands for a few servers has given what it has.
        let has_none = || !self.associations.iter().any(|one| one.source == id);
        has_none() || has_silent()
    }

    /// Whether fewer are asked than wanted.
    fn lacks(&self, id: SourceId) -> bool {
        let of_it = self.associations.iter().filter(|one| one.source == id);
        let source = self.sources.iter().find(|source| source.config.id == id);
        source.is_some_and(|source| of_it.count() < source.wanted())
    }

    /// The next address of the source that nobody asks and that did not deny us.
    fn unused(&self, id: SourceId) -> Option<SocketAddr> {
        let source = self.sources.iter().find(|source| source.config.id == id)?;
        let is_asked = |to: &SocketAddr| self.associations.iter().any(|one| one.to == *to);
        let mut addresses = source.addresses.iter();
        addresses
            .find(|to| !is_asked(to) && !self.denied.contains(to))
            .copied()
    }

    fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources
            .iter_mut()
            .find(|source| source.config.id == id)
    }
}
