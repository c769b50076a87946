//! From controld's snapshot to the machine's sources, each with a name that stays.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lintel_model::config::{NTP_PORT, TimeServer};
use lintel_model::services::NtpSpec;
use lintel_proto::ntp::client::{SOURCES_MAX, SourceConfig, SourceId, SourceKind};

/// Shortest and longest interval between requests, log2 seconds: what operators of public servers
/// ask for, and RFC 5905's defaults.
const POLL_MIN: u8 = 6;
const POLL_MAX: u8 = 10;

/// The sources of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Source>,
    /// Names given so far, so that a source that stays keeps its own.
    ids: BTreeMap<String, SourceId>,
    next: u32,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) kind: SourceKind,
    pub(super) server: TimeServer,
    /// As it is written in the configuration, or `provider`.
    pub(super) origin: String,
}

impl Sources {
    /// Takes a snapshot: the servers written, then the provider's, then pools, each once and no
    /// more than the machine takes.
    pub(super) fn set(&mut self, spec: &NtpSpec) {
        let written = spec
            .servers
            .iter()
            .map(|server| (SourceKind::Server, server.clone(), server.to_string()));
        let provider = spec.provider.iter().map(|ip| {
            let server = TimeServer::Address(SocketAddr::new(IpAddr::V4(*ip), NTP_PORT));
            (SourceKind::Server, server, "provider".to_owned())
        });
        let pools = spec
            .pools
            .iter()
            .map(|pool| (SourceKind::Pool, pool.clone(), pool.to_string()));
        let mut ids = BTreeMap::new();
        self.list.clear();
        for (kind, server, origin) in written.chain(provider).chain(pools) {
            let key = format!("{kind:?} {server}");
            if ids.contains_key(&key) || self.list.len() >= SOURCES_MAX {
                continue;
            }
            let id = self.ids.get(&key).copied().unwrap_or_else(|| {
                self.next = self.next.wrapping_add(1);
                SourceId(self.next)
            });
            ids.insert(key, id);
            self.list.push(Source {
                id,
                kind,
                server,
                origin,
            });
        }
        self.ids = ids;
    }

    /// For the machine.
    pub(super) fn configs(&self) -> Vec<SourceConfig> {
        let config = |source: &Source| SourceConfig {
            id: source.id,
            kind: source.kind,
            poll_min: POLL_MIN,
            poll_max: POLL_MAX,
            burst: true,
        };
        self.list.iter().map(config).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.list.iter()
    }

    pub(super) fn get(&self, id: SourceId) -> Option<&Source> {
        self.list.iter().find(|source| source.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keep_their_names_and_are_bounded() {
        let mut sources = Sources::default();
        let mut spec = NtpSpec {
            servers: vec!["192.0.2.1".parse().unwrap(), "a.example".parse().unwrap()],
            pools: vec!["pool.example".parse().unwrap()],
            provider: vec![[192, 0, 2, 1].into(), [192, 0, 2, 7].into()],
            ..NtpSpec::default()
        };
        sources.set(&spec);
        let before: Vec<Source> = sources.iter().cloned().collect();
        let origins: Vec<&str> = before.iter().map(|s| s.origin.as_str()).collect();
        // What the provider names and the householder wrote is asked once.
        assert_eq!(
            origins,
            ["192.0.2.1", "a.example", "provider", "pool.example"]
        );
        spec.servers.remove(0);
        sources.set(&spec);
        for source in sources.iter() {
            let same = before.iter().find(|old| old.server == source.server);
            assert_eq!(same.unwrap().id, source.id);
        }
        spec.provider = (0..100).map(|n| [192, 0, 2, n].into()).collect();
        sources.set(&spec);
        assert_eq!(sources.configs().len(), SOURCES_MAX);
    }
}
