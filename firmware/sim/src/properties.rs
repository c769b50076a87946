//! What must hold, whatever happens, and the books that it is checked against.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_model::Ipv4Net;
use lintel_model::lease::{Binding, BindingState};
use lintel_model::services::DhcpSpec;
use lintel_wire::dhcpv4::{MessageType, Repr, code};

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub property: Property,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property.as_str(), self.text)
    }
}

/// The promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// No address is acknowledged to two clients at a time.
    OneOwner,
    /// What was acknowledged is known after any crash.
    Survives,
    /// Who keeps asking on a network that delivers gets a lease.
    Served,
    /// The plan is done, and a second look finds nothing to do.
    Converges,
    /// Nothing is forwarded, and no link goes up, without rules.
    Ruled,
    /// What forged or late replies say is never believed.
    Genuine,
    /// Tables keep to their bounds.
    Bounded,
    /// A revision that was answered for is there after any crash, and is the one in force.
    Revisions,
    /// A question that many ask is asked of a resolver once, and again only as a repetition.
    Once,
    /// The clock follows the majority of its servers, and nobody is told another time than it
    /// has to be.
    Timely,
    /// Machines wait: none wants to be called again and again at one moment.
    Quiet,
    /// Nothing panics.
    Panics,
}

impl Property {
    /// A short name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneOwner => "an address has one owner",
            Self::Survives => "an acknowledged binding survives",
            Self::Served => "who asks is served",
            Self::Converges => "the plan converges",
            Self::Ruled => "nothing without rules",
            Self::Genuine => "only genuine replies count",
            Self::Bounded => "everything has a bound",
            Self::Revisions => "an applied revision survives",
            Self::Once => "one question for all who ask",
            Self::Timely => "the clock follows the majority",
            Self::Quiet => "no machine spins",
            Self::Panics => "nothing panics",
        }
    }
}

/// Identity of a client, as RFC 2131 has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Option 61.
    Id(Vec<u8>),
    /// `chaddr`.
    Mac([u8; 6]),
}

impl Key {
    /// Who sent, or is meant by, a message.
    pub fn of(message: &Repr) -> Option<Self> {
        let id = message
            .options
            .get(code::CLIENT_ID)
            .filter(|id| !id.is_empty());
        match id {
            Some(id) => Some(Self::Id(id.to_vec())),
            None => message.chaddr.as_ethernet().map(|mac| Self::Mac(mac.0)),
        }
    }

    fn of_binding(binding: &Binding) -> Self {
        if binding.client_id.is_empty() {
            Self::Mac(binding.mac.0)
        } else {
            Self::Id(binding.client_id.clone())
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {}", crate::trace::Hex(id)),
            Self::Mac(mac) => write!(f, "mac {}", crate::trace::Hex(mac)),
        }
    }
}

/// An ACK that left.
#[derive(Debug, Clone)]
struct Promise {
    key: Key,
    made: Instant,
    until: Instant,
    /// The householder's wish has changed: the server may refuse it now.
    excused: bool,
}

/// The disk and dhcpd count in whole seconds, each rounding its own way.
const ROUNDING: Duration = Duration::from_secs(3);

/// Clients whose last wish is remembered: more than any scenario's honest ones.
const WANTED_MAX: usize = 1000;

/// Everything that was promised.
#[derive(Debug, Default)]
pub struct Ledger {
    promises: BTreeMap<Ipv4Addr, Promise>,
    /// What each client asked for last.
    wanted: BTreeMap<Key, Ipv4Addr>,
    /// Revisions whose call was answered, with their texts.
    pub revisions: BTreeMap<u64, String>,
}

impl Ledger {
    /// dhcpd sends a message to a client.
    pub fn sent(&mut self, now: Instant, message: &Repr) -> Option<Violation> {
        let key = Key::of(message)?;
        match message.message_type()? {
            MessageType::Ack if !message.yiaddr.is_unspecified() => {
                self.acknowledged(now, key, message)
            }
            MessageType::Nak => self.refused(now, &key),
            _ => None,
        }
    }

    fn acknowledged(&mut self, now: Instant, key: Key, message: &Repr) -> Option<Violation> {
        let address = message.yiaddr;
        let lease_s = message.options.u32(code::LEASE_TIME).ok().flatten()?;
        let until = now + Duration::from_secs(u64::from(lease_s));
        let before = self.promises.get(&address);
        let other = before
            .filter(|promise| promise.key != key && promise.until > now && !promise.excused)
            .cloned();
        // A client has one address: the later ACK ends what it had before.
        self.promises.retain(|_, promise| promise.key != key);
        self.promises.insert(
            address,
            Promise {
                key: key.clone(),
                made: now,
                until,
                excused: false,
            },
        );
        let other = other?;
        Some(Violation {
            property: Property::OneOwner,
            text: format!(
                "{address} is acknowledged to {key}; {} has it for another {} s",
                other.key,
                (other.until - now).as_secs()
            ),
        })
    }

    /// A NAK ends a promise in the client's eyes; it must have had its reason.
    fn refused(&mut self, now: Instant, key: &Key) -> Option<Violation> {
        let wanted = self.wanted.get(key).copied();
        let own = wanted.and_then(|wanted| Some((wanted, self.promises.get(&wanted)?.clone())));
        self.promises.retain(|_, promise| promise.key != *key);
        let (address, promise) = own?;
        (promise.key == *key && promise.until > now + ROUNDING && !promise.excused).then(|| {
            Violation {
                property: Property::Survives,
                text: format!(
                    "{key} is refused its own {address}, with {} s left",
                    (promise.until - now).as_secs()
                ),
            }
        })
    }

    /// dhcpd hears a client give back what it has, or decline it.
    pub fn heard(&mut self, message: &Repr) {
        let Some(key) = Key::of(message) else { return };
        if message.message_type() == Some(MessageType::Request) {
            let wanted = message.options.addr(code::REQUESTED_ADDRESS);
            let wanted = wanted.ok().flatten().unwrap_or(message.ciaddr);
            if self.wanted.len() < WANTED_MAX || self.wanted.contains_key(&key) {
                self.wanted.insert(key.clone(), wanted);
            }
        }
        let address = match message.message_type() {
            Some(MessageType::Release) => Some(message.ciaddr),
            Some(MessageType::Decline) => {
                message.options.addr(code::REQUESTED_ADDRESS).ok().flatten()
            }
            _ => None,
        };
        if let Some(address) = address
            && self
                .promises
                .get(&address)
                .is_some_and(|promise| promise.key == key)
        {
            self.promises.remove(&address);
        }
    }

    /// The box cannot know any more how long its promises last.
    pub fn excuse(&mut self) {
        for promise in self.promises.values_mut() {
            promise.excused = true;
        }
    }

    /// The wall clock was set. A box that runs lets what was given since the `boot` follow;
    /// what was given before it cannot tell from wrong times.
    pub fn clock_stepped(&mut self, boot: Option<Instant>) {
        for promise in self.promises.values_mut() {
            let follows = boot.is_some_and(|boot| promise.made > boot);
            promise.excused |= !follows;
        }
    }

    /// The householder ended a lease.
    pub fn forgotten(&mut self, address: Ipv4Addr) {
        self.promises.remove(&address);
    }

    /// What is served has changed: promises outside it are the householder's to break.
    pub fn respecified(&mut self, now: Instant, spec: &DhcpSpec) {
        self.promises.retain(|address, promise| {
            let subnet = spec.subnets.iter().find(|subnet| {
                let network: Ipv4Net = subnet.address.trunc();
                network.contains(address)
            });
            let Some(subnet) = subnet.filter(|subnet| subnet.address.addr() != *address) else {
                return false;
            };
            promise.excused |= !(subnet.first..=subnet.last).contains(address);
            // A shorter lease may be on disk before its ACK is heard.
            let lease = Duration::from_secs(u64::from(subnet.lease_s));
            promise.excused |= promise.until > now + lease + ROUNDING;
            true
        });
    }

    /// Everything promised and not over is among what a server begins with, or what a disk holds.
    /// `unix_s` is the wall clock now.
    pub fn survived(
        &self,
        now: Instant,
        unix_s: u64,
        bindings: &[Binding],
        spec: Option<&DhcpSpec>,
    ) -> Option<Violation> {
        let broken = |text: String| {
            Some(Violation {
                property: Property::Survives,
                text,
            })
        };
        let served = |address: &Ipv4Addr| {
            spec.is_none_or(|spec| spec.subnets.iter().any(|s| s.address.contains(address)))
        };
        for (address, promise) in &self.promises {
            if promise.until <= now + ROUNDING || promise.excused || !served(address) {
                continue;
            }
            let left_s = (promise.until - now).as_secs();
            let found = bindings.iter().find(|binding| binding.address == *address);
            let Some(found) = found else {
                return broken(format!(
                    "{address} of {} is unknown, with {left_s} s left",
                    promise.key
                ));
            };
            let key = Key::of_binding(found);
            if key != promise.key || found.state != BindingState::Bound {
                return broken(format!(
                    "{address} of {} is {:?} of {key}, with {left_s} s left",
                    promise.key, found.state
                ));
            }
            let stored_s = found.expires_unix_s.saturating_sub(unix_s);
            if stored_s + ROUNDING.as_secs() < left_s {
                return broken(format!(
                    "{address} of {} has {stored_s} s left there, and {left_s} s by its ACK",
                    promise.key
                ));
            }
        }
        None
    }

    /// Promises not over.
    pub fn running(&self, now: Instant) -> usize {
        self.promises
            .values()
            .filter(|promise| promise.until > now)
            .count()
    }
}
