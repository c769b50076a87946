//! What happens on a box, and the bus that tells of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use lintel_model::facts::{NoticeCode, Severity};
use lintel_model::{LinkName, MacAddr, RoleName};
use serde::{Deserialize, Serialize};

use super::TaskState;

/// Something that happened. The part of its `type` before the point is its topic, which is also
/// the name of the server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type")]
pub enum Event {
    /// A link has a carrier.
    #[serde(rename = "link.up")]
    LinkUp {
        /// Its name.
        link: LinkName,
    },
    /// A link has no carrier any more, or is gone.
    #[serde(rename = "link.down")]
    LinkDown {
        /// Its name.
        link: LinkName,
    },
    /// The way to the internet is another one: off, a port, or a search for one.
    #[serde(rename = "wan.chosen")]
    WanChosen {
        /// `off`, `detect` or `dhcp`.
        mode: String,
        /// The port, once it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<LinkName>,
    },
    /// The provider gave an address, or other terms for it.
    #[serde(rename = "wan.up")]
    WanUp {
        /// On this port.
        link: LinkName,
        /// The box's address there.
        address: Ipv4Addr,
        /// The way out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<Ipv4Addr>,
    },
    /// The provider's address is gone.
    #[serde(rename = "wan.down")]
    WanDown {
        /// On this port.
        link: LinkName,
        /// Why, in words.
        reason: String,
    },
    /// The DHCP client towards the provider is elsewhere in its life.
    #[serde(rename = "wan.state")]
    WanState {
        /// On this port.
        link: LinkName,
        /// As in the status.
        state: String,
        /// As a sentence.
        text: String,
    },
    /// A device has an address that it had not, or no longer had.
    #[serde(rename = "lease.given")]
    LeaseGiven {
        /// The address.
        ip: Ipv4Addr,
        /// The device.
        mac: MacAddr,
        /// Its name, where it told one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// An address is free again.
    #[serde(rename = "lease.ended")]
    LeaseEnded {
        /// The address.
        ip: Ipv4Addr,
        /// Who had it.
        mac: MacAddr,
        /// `expired`, `released`, `declined` or `deleted`.
        why: String,
    },
    /// A revision of the configuration is in force.
    #[serde(rename = "config.committed")]
    ConfigCommitted {
        /// Its number.
        revision: u64,
        /// Who made it.
        author: String,
        /// Why, in their words.
        reason: String,
        /// Until then somebody has to confirm it, seconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_s: Option<u32>,
    },
    /// The kernel holds what the configuration wants.
    #[serde(rename = "config.applied")]
    ConfigApplied {
        /// The revision; absent for one that is in no store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    /// A revision that waited is kept.
    #[serde(rename = "config.confirmed")]
    ConfigConfirmed {
        /// Its number.
        revision: u64,
    },
    /// A revision was taken back; the one before is in force.
    #[serde(rename = "config.rolled-back")]
    ConfigRolledBack {
        /// Which was taken back; absent for one that is in no store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// Which is in force now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// `not-confirmed`, `asked` or `refused` (by the kernel).
        why: String,
    },
    /// The kernel refused a step; it is tried again.
    #[serde(rename = "kernel.failed")]
    KernelFailed {
        /// What and why, in words.
        error: String,
    },
    /// A role is elsewhere in its life.
    #[serde(rename = "services.state")]
    ServiceState {
        /// The role.
        name: RoleName,
        /// As in `services.status`.
        state: String,
        /// Starts since boot, less the first.
        restarts: u32,
    },
    /// A role ended by itself, or was ended for cause.
    #[serde(rename = "services.died")]
    ServiceDied {
        /// The role.
        name: RoleName,
        /// How, in words.
        how: String,
        /// Starts since boot, less the first.
        restarts: u32,
    },
    /// The clock was set.
    #[serde(rename = "clock.set")]
    ClockSet {
        /// By how much, milliseconds; positive: forward.
        by_ms: i64,
    },
    /// The box knows the time, or no longer does.
    #[serde(rename = "clock.trust")]
    ClockTrust {
        /// A time source confirms it.
        synchronised: bool,
        /// Several sources agree.
        agreed: bool,
    },
    /// Somebody logged in.
    #[serde(rename = "login.done")]
    LoginDone {
        /// From here; absent at the box itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// A wrong password came.
    #[serde(rename = "login.failed")]
    LoginFailed {
        /// From here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// The storage cannot be used any more.
    #[serde(rename = "storage.failed")]
    StorageFailed {
        /// Why, in words.
        reason: String,
    },
    /// There is something that the householder should know.
    #[serde(rename = "notice.raised")]
    NoticeRaised {
        /// What kind.
        code: NoticeCode,
        /// How bad.
        severity: Severity,
        /// As a sentence.
        text: String,
    },
    /// It is over.
    #[serde(rename = "notice.cleared")]
    NoticeCleared {
        /// What kind.
        code: NoticeCode,
        /// The sentence that it was told with.
        text: String,
    },
    /// Long work began, went on or ended.
    #[serde(rename = "task.state")]
    TaskState {
        /// Its number.
        task: u64,
        /// The method that began it.
        method: String,
        /// Where it is in its life.
        state: TaskState,
        /// Parts of the work that are done.
        done: u64,
        /// Parts that there are.
        total: u64,
        /// What it does now, or what became of it.
        text: String,
    },
    /// More of a topic happened than is told one by one.
    #[serde(rename = "bus.skipped")]
    Skipped {
        /// The topic.
        topic: String,
        /// How many were not told.
        events: u64,
    },
}

impl Event {
    /// What it is about: the part of its type before the point.
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::LinkUp { .. } | Self::LinkDown { .. } => "link",
            Self::WanChosen { .. }
            | Self::WanUp { .. }
            | Self::WanDown { .. }
            | Self::WanState { .. } => "wan",
            Self::LeaseGiven { .. } | Self::LeaseEnded { .. } => "lease",
            Self::ConfigCommitted { .. }
            | Self::ConfigApplied { .. }
            | Self::ConfigConfirmed { .. }
            | Self::ConfigRolledBack { .. } => "config",
            Self::KernelFailed { .. } => "kernel",
            Self::ServiceState { .. } | Self::ServiceDied { .. } => "services",
            Self::ClockSet { .. } | Self::ClockTrust { .. } => "clock",
            Self::LoginDone { .. } | Self::LoginFailed { .. } => "login",
            Self::StorageFailed { .. } => "storage",
            Self::NoticeRaised { .. } | Self::NoticeCleared { .. } => "notice",
            Self::TaskState { .. } => "task",
            Self::Skipped { .. } => "bus",
        }
    }
}

/// Every topic, for filters.
pub const TOPICS: [&str; 12] = [
    "bus", "clock", "config", "kernel", "lease", "link", "login", "notice", "services", "storage",
    "task", "wan",
];

/// An event as it is told and kept: `services.bus.events`, `GET /api/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventEntry {
    /// Grows with each event and never comes again, over restarts too.
    pub id: u64,
    /// When, by the wall clock of that moment.
    pub unix_s: u64,
    /// When, since boot.
    pub uptime_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// `services.bus.events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EventsParams {
    /// Most entries wanted.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Only of this topic.
    #[serde(default)]
    pub topic: Option<String>,
}

/// `services.bus.status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BusStatus {
    /// Id of the newest event that is kept, when one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
    /// Id of the oldest: who saw the one before it last has missed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// Events kept.
    pub kept: u32,
    /// Most events kept.
    pub kept_max: u32,
    /// Octets kept.
    pub kept_bytes: u64,
    /// Most octets kept.
    pub kept_bytes_max: u64,
    /// Told since the control service began, by topic.
    pub told: BTreeMap<String, u64>,
    /// Not told one by one, since there were too many at once.
    pub skipped: u64,
    /// Streams of pages and programs over HTTP.
    pub streams: u32,
    /// Watchers at the control socket.
    pub watchers: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_what_the_type_begins_with() {
        let link: LinkName = "eth0".parse().unwrap();
        let samples = [
            Event::LinkUp { link: link.clone() },
            Event::WanDown {
                link,
                reason: String::new(),
            },
            Event::ConfigConfirmed { revision: 1 },
            Event::ClockSet { by_ms: 1 },
            Event::Skipped {
                topic: "lease".to_owned(),
                events: 2,
            },
        ];
        for event in samples {
            let value = serde_json::to_value(&event).unwrap();
            let kind = value["type"].as_str().unwrap();
            assert_eq!(kind.split('.').next(), Some(event.topic()));
            assert!(TOPICS.contains(&event.topic()));
            assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
        }
    }
}
