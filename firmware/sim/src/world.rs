//! Virtual time: what happens next, and everything that machines share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use embassy_time::{Duration, Instant};
use lintel_ipc::call::Call;
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::netd::{FromNetd, HandOver, ToNetd};
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_model::RoleName;

use crate::dice::Dice;
use crate::net::Wire;
use crate::plant::Plant;
use crate::properties::{Ledger, Violation};
use crate::trace::Trace;

/// A frame or message.
pub type Octets = std::rc::Rc<[u8]>;

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The role.
    Role(RoleName),
    /// The host with this number.
    Host(usize),
}

/// What one role tells another.
#[derive(Debug)]
pub enum Said {
    /// To netd.
    ToNetd(ToNetd),
    /// To wand.
    ToWand(ToWand),
    /// To dhcpd.
    ToDhcpd(ToDhcpd),
    /// To dnsd.
    ToDnsd(ToDnsd),
    /// From netd.
    FromNetd(FromNetd),
    /// From wand.
    FromWand(FromWand),
    /// From dhcpd.
    FromDhcpd(FromDhcpd),
    /// From dnsd.
    FromDnsd(FromDnsd),
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A frame reaches a station of the LAN; the router is `None`.
    Lan {
        /// Which host.
        to: Option<usize>,
        /// The frame.
        frame: Octets,
    },
    /// A frame of the router reaches the provider.
    ToIsp {
        /// The frame.
        frame: Octets,
        /// Number of the packet.
        packet: u64,
    },
    /// A frame reaches the router's WAN port.
    FromIsp {
        /// The frame.
        frame: Octets,
        /// The packet it answers; `None` when it is forged.
        answers: Option<u64>,
    },
    /// A question reaches a resolver.
    ToResolver(crate::isp::Question),
    /// Something reaches a socket of dnsd.
    FromResolver(crate::isp::Answer),
    /// A request reaches a time server.
    ToTimeServer(crate::timeservers::Request),
    /// A reply reaches timed.
    FromTimeServer(crate::timeservers::Reply),
    /// A deadline.
    Wake(Who),
    /// A message between controld and a role, of this session.
    Ipc {
        /// The role that is not controld.
        role: RoleName,
        /// The session.
        session: u64,
        /// The message.
        said: Said,
    },
    /// netd hands a socket to a role that began with this life.
    HandOver {
        /// To whom.
        role: RoleName,
        /// Its life.
        life: u64,
        /// What.
        what: HandOver,
    },
    /// netd does its next step.
    NetdStep {
        /// Its life.
        life: u64,
    },
    /// netd looks.
    NetdLook {
        /// Its life.
        life: u64,
        /// The look of every minute.
        regular: bool,
    },
    /// controld's flush has ended.
    Flushed {
        /// Its life.
        life: u64,
    },
    /// init starts a role again.
    Start {
        /// Which.
        role: RoleName,
        /// Of this boot.
        boot: u64,
    },
    /// The power comes back.
    PowerOn,
    /// A call on the control socket.
    Call(Box<Call>),
    /// Something goes wrong.
    Fault,
    /// A host does something.
    Deed,
    /// The householder does something.
    Wish,
    /// The hostile host sends.
    Attack,
    /// Everything is well from now on.
    Calm,
    /// A look whether all is well.
    Judge {
        /// How many looks are left before it must be.
        left: u32,
    },
    /// The end, if all is still well.
    End {
        /// How many looks are left when it is not.
        left: u32,
    },
}

struct Entry {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events at one moment beyond which somebody spins.
const EVENTS_AT_ONCE_MAX: u32 = 20_000;

/// What every machine's surroundings share.
pub struct Outside {
    /// True time.
    pub now: Instant,
    /// Chance.
    pub dice: Dice,
    /// What happened.
    pub trace: Trace,
    /// What was promised.
    pub ledger: Ledger,
    /// The household's wire.
    pub lan: Wire,
    /// The provider's.
    pub wan: Wire,
    /// The bug planted.
    pub plant: Option<Plant>,
    /// Hosts on the LAN.
    pub hosts: usize,
    /// Who has which address in the house, as ARP would find out.
    pub addresses: Vec<Option<std::net::Ipv4Addr>>,
    /// Number of the last packet towards the provider.
    pub packets: u64,
    /// The first thing that broke.
    pub broken: Option<Violation>,
    /// What tells two runs apart.
    pub fingerprint: u64,
    /// Events so far.
    pub events: u64,
    at_once: u32,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Outside {
    /// Nothing has happened yet.
    pub fn new(seed: u64, trace: Trace, plant: Option<Plant>, lan: Wire, wan: Wire) -> Self {
        Self {
            now: Instant::from_secs(0),
            dice: Dice::new(seed),
            trace,
            ledger: Ledger::default(),
            lan,
            wan,
            plant,
            hosts: 0,
            addresses: Vec::new(),
            packets: 0,
            broken: None,
            fingerprint: 0xcbf2_9ce4_8422_2325,
            events: 0,
            at_once: 0,
            queue: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Something will happen at a time.
    pub fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        }));
    }

    /// Something will happen.
    pub fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// A wait of some length between two, milliseconds.
    pub fn within_ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.dice.range(low, high))
    }

    /// The next thing that happens; time goes there.
    pub fn next_event(&mut self) -> Option<Event> {
        let Reverse(entry) = self.queue.pop()?;
        self.events += 1;
        if entry.at > self.now {
            self.at_once = 0;
            self.now = entry.at;
        }
        self.at_once += 1;
        if self.at_once > EVENTS_AT_ONCE_MAX {
            self.breaks(Violation {
                property: crate::properties::Property::Quiet,
                text: format!(
                    "{EVENTS_AT_ONCE_MAX} events at one moment, the last {:?}",
                    entry.event
                ),
            });
        }
        self.mix(entry.at.as_micros() ^ entry.order.rotate_left(32));
        Some(entry.event)
    }

    /// Notes a violation; the first one counts.
    pub fn breaks(&mut self, violation: impl Into<Option<Violation>>) {
        if let Some(violation) = violation.into() {
            self.trace
                .note(self.now, "BROKEN", || violation.to_string());
            self.broken.get_or_insert(violation);
        }
    }

    /// Notes what happened.
    pub fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        self.trace.note(self.now, who, what);
    }

    /// The host that answers for an address.
    pub fn neighbour(&self, address: std::net::Ipv4Addr) -> Option<usize> {
        let mut all = self.addresses.iter();
        all.position(|own| *own == Some(address))
    }

    /// A frame goes onto the LAN: `from` is a host, or the router.
    pub fn send_lan(&mut self, from: Option<usize>, frame: &[u8]) {
        let frame: Octets = frame.into();
        let stations = std::iter::once(None).chain((0..self.hosts).map(Some));
        for to in stations.filter(|to| *to != from) {
            if !addressed(&frame, to) {
                continue;
            }
            for delay in self.lan.deliveries(&mut self.dice) {
                let frame = frame.clone();
                self.after(delay, Event::Lan { to, frame });
            }
        }
    }

    fn mix(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0100_0000_01b3);
    }
}

/// Hardware address of a host.
pub fn host_mac(host: usize) -> [u8; 6] {
    let [a, b] = u16::try_from(host).unwrap_or(u16::MAX).to_be_bytes();
    [0x02, 0x10, 0, 0, a, b]
}

/// Whether a switch would deliver the frame to a station.
fn addressed(frame: &[u8], to: Option<usize>) -> bool {
    let Some(destination) = frame.get(..6) else {
        return false;
    };
    let group = destination.first().is_some_and(|octet| octet & 1 == 1);
    let hosts = destination.starts_with(&[0x02, 0x10]);
    match to {
        _ if group => true,
        Some(host) => destination == host_mac(host),
        None => !hosts,
    }
}

/// When a machine is woken next: asks for no event that is coming anyway.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<Instant>,
}

impl Alarm {
    /// The machine wants to be called at `at`.
    pub fn set(&mut self, out: &mut Outside, who: Who, at: Option<Instant>) {
        if let Some(at) = at
            && self.set.is_none_or(|set| at < set)
        {
            self.set = Some(at);
            out.at(at, Event::Wake(who));
        }
    }

    /// It rang; the machine says anew when it wants to be called.
    pub fn rang(&mut self, now: Instant) {
        if self.set.is_some_and(|set| set <= now) {
            self.set = None;
        }
    }
}
