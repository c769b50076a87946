//! Echo requests with a purpose.
//!
//! ```text
//!  ping        a request each half second, each waited for on its own
//!  traceroute  three requests with a time to live of 1, then of 2 ... until the target answers,
//!              somebody says that there is no way, or the most routers are passed
//!  path MTU    a small one that must arrive; then the longest; then, as routers say or by halves,
//!              what lies between the longest that arrived and the shortest that did not
//! ```
//!
//! A request is known again by its identifier and number (RFC 792), and by where it went. None is
//! fragmented: the socket's owner sees to that.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_model::probe::{
    HOP_TRIES, HOPS_MAX, Hop, MtuReport, PING_DATA_BYTES_MAX, PING_PACKETS_MAX, PingPacket,
    PingReport, ProbeReport, TraceReport,
};
use lintel_wire::icmp::{HEADERS_LEN, Heard, Says, echo_request};

/// Between two packets of a ping.
const PING_EVERY: Duration = Duration::from_millis(500);
/// How long an answer to a ping is waited for.
const PING_WAIT: Duration = Duration::from_secs(2);
/// How long a router is waited for: most answer at once or never.
const HOP_WAIT: Duration = Duration::from_millis(1_500);
/// How long the way's end is waited for with a packet of a given length, and how often it is tried.
const MTU_WAIT: Duration = Duration::from_secs(1);
const MTU_TRIES: u8 = 2;
/// Time to live of what is to arrive.
const TTL: u8 = 64;
/// Octets of data of what is to find routers, or to show that there is an end.
const SMALL: usize = 32;
/// What every link takes (RFC 791), and what Ethernet does, octets with the IPv4 header.
const MTU_MIN: u16 = 68;
const MTU_MAX: u16 = 1500;
/// Packets of a search, whatever is said about them: by halves it takes eleven steps.
const MTU_PACKETS_MAX: u32 = 40;

/// What the requests are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Whether the target answers.
    Ping {
        /// Packets.
        count: u32,
        /// Octets of data in each.
        size: u32,
    },
    /// The routers before it.
    Traceroute {
        /// Most of them.
        hops: u32,
    },
    /// How long packets may be.
    PathMtu,
}

/// Why a packet did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// Longer than the box's own link takes.
    TooLong,
    /// There is no way to the target.
    NoWay,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the target, as ICMP, and say [`Echoes::handle_unsent`] when it cannot be.
    Transmit {
        /// Its number.
        seq: u16,
        /// The time to live.
        ttl: u8,
        /// The ICMP message.
        octets: Vec<u8>,
    },
    /// Nothing now; call [`Echoes::handle_timeout`] then. `None`: the test is over.
    Timeout(Option<Instant>),
}

/// One test.
#[derive(Debug)]
pub struct Echoes {
    to: Ipv4Addr,
    id: u16,
    seq: u16,
    /// Requests that may still be answered.
    open: Vec<Open>,
    out: VecDeque<Output>,
    sent: u32,
    work: Work,
    over: bool,
}

#[derive(Debug)]
struct Open {
    seq: u16,
    sent_at: Instant,
    until: Instant,
}

#[derive(Debug)]
enum Work {
    Ping {
        count: u32,
        size: usize,
        next_at: Instant,
        packets: Vec<PingPacket>,
    },
    Trace {
        hops_max: u8,
        reached: bool,
        ended: bool,
        hops: Vec<Hop>,
    },
    Mtu(Mtu),
}

/// The search: `good` arrived and `bad` did not, or would not.
#[derive(Debug)]
struct Mtu {
    good: Option<u16>,
    bad: u16,
    trying: u16,
    tries: u8,
    narrowed_by: Option<Ipv4Addr>,
    silent: bool,
}

impl Echoes {
    /// Begins. `id` is best taken at random, so that others' answers are not taken for ours.
    pub fn new(now: Instant, to: Ipv4Addr, id: u16, purpose: Purpose) -> Self {
        let work = match purpose {
            Purpose::Ping { count, size } => Work::Ping {
                count: count.clamp(1, PING_PACKETS_MAX),
                size: size.min(PING_DATA_BYTES_MAX) as usize,
                next_at: now,
                packets: Vec::new(),
            },
            Purpose::Traceroute { hops } => Work::Trace {
                // At most HOPS_MAX, which fits.
                hops_max: hops.clamp(1, HOPS_MAX) as u8,
                reached: false,
                ended: false,
                hops: Vec::new(),
            },
            Purpose::PathMtu => Work::Mtu(Mtu {
                good: None,
                bad: MTU_MAX + 1,
                trying: MTU_MIN,
                tries: 0,
                narrowed_by: None,
                silent: false,
            }),
        };
        let mut echoes = Self {
            to,
            id,
            seq: 0,
            open: Vec::new(),
            out: VecDeque::new(),
            sent: 0,
            work,
            over: false,
        };
        echoes.go_on(now);
        echoes
    }

    /// Somebody said something about an echo request; ours or not.
    pub fn handle_heard(&mut self, now: Instant, heard: &Heard) {
        if heard.id != self.id || heard.to != self.to {
            return;
        }
        let Some(at) = self.open.iter().position(|open| open.seq == heard.seq) else {
            return;
        };
        let open = self.open.swap_remove(at);
        let rtt_us = now.saturating_duration_since(open.sent_at).as_micros();
        match &mut self.work {
            Work::Ping { packets, .. } => {
                if let Some(packet) = packets.iter_mut().find(|p| p.seq == open.seq) {
                    match heard.says {
                        Says::Reply => {
                            packet.rtt_us = Some(rtt_us);
                            packet.ttl = Some(heard.ttl);
                        }
                        says => {
                            packet.refused_by = Some(heard.from);
                            packet.error = Some(sentence(says));
                        }
                    }
                }
            }
            Work::Trace {
                reached,
                ended,
                hops,
                ..
            } => {
                if let Some(hop) = hops.last_mut() {
                    hop.address = Some(heard.from);
                    hop.rtt_us.push(rtt_us);
                    match heard.says {
                        Says::TimeExceeded => {}
                        Says::Reply => *reached = true,
                        says => {
                            *ended = true;
                            hop.error = Some(sentence(says));
                        }
                    }
                }
            }
            Work::Mtu(mtu) => match heard.says {
                Says::Reply => mtu.arrived(),
                Says::TooLong { mtu: says } => {
                    mtu.narrowed_by = Some(heard.from);
                    mtu.too_long(says);
                }
                Says::TimeExceeded | Says::Unreachable { .. } => self.over = true,
            },
        }
        self.go_on(now);
    }

    /// The packet with this number did not leave.
    pub fn handle_unsent(&mut self, now: Instant, seq: u16, why: Unsent) {
        let Some(at) = self.open.iter().position(|open| open.seq == seq) else {
            return;
        };
        self.open.swap_remove(at);
        let text = match why {
            Unsent::TooLong => "It is longer than the box's own link takes.",
            Unsent::NoWay => "The box knows no way there.",
        };
        match &mut self.work {
            Work::Ping { packets, .. } => {
                if let Some(packet) = packets.iter_mut().find(|p| p.seq == seq) {
                    packet.error = Some(text.to_owned());
                }
            }
            Work::Trace { ended, hops, .. } => {
                *ended = true;
                if let Some(hop) = hops.last_mut() {
                    hop.error = Some(text.to_owned());
                }
            }
            Work::Mtu(mtu) => match why {
                Unsent::TooLong => mtu.too_long(None),
                Unsent::NoWay => self.over = true,
            },
        }
        self.go_on(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let before = self.open.len();
        self.open.retain(|open| open.until > now);
        if before > self.open.len()
            && self.open.is_empty()
            && let Work::Mtu(mtu) = &mut self.work
        {
            mtu.unanswered();
            self.over |= mtu.good.is_none() && mtu.tries >= MTU_TRIES;
        }
        self.go_on(now);
    }

    /// What is wanted next.
    pub fn poll_output(&mut self) -> Output {
        let next = self.out.pop_front();
        next.unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    /// Where the requests go.
    pub fn target(&self) -> Ipv4Addr {
        self.to
    }

    /// Whether the test has ended.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Parts of the work that are done, and those there are.
    pub fn progress(&self) -> (u32, u32) {
        let len = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
        match &self.work {
            Work::Ping { count, packets, .. } => {
                (len(packets.len().saturating_sub(self.open.len())), *count)
            }
            Work::Trace { hops_max, hops, .. } => (len(hops.len()), u32::from(*hops_max)),
            // By halves: one step for each bit of the length, and the first.
            Work::Mtu(_) => (self.sent, self.sent.max(12)),
        }
    }

    /// What is known.
    pub fn report(&self) -> ProbeReport {
        match &self.work {
            Work::Ping { packets, .. } => {
                let rtts: Vec<u64> = packets.iter().filter_map(|packet| packet.rtt_us).collect();
                let received = rtts.len() as u64;
                ProbeReport::Ping(PingReport {
                    address: self.to,
                    sent: self.sent,
                    received: received as u32,
                    rtt_us_min: rtts.iter().min().copied(),
                    rtt_us_mean: rtts.iter().sum::<u64>().checked_div(received),
                    rtt_us_max: rtts.iter().max().copied(),
                    packets: packets.clone(),
                })
            }
            Work::Trace { reached, hops, .. } => ProbeReport::Traceroute(TraceReport {
                address: self.to,
                reached: *reached,
                hops: hops.clone(),
            }),
            Work::Mtu(mtu) => ProbeReport::PathMtu(MtuReport {
                address: self.to,
                mtu: mtu.good,
                narrowed_by: mtu.narrowed_by,
                silent: mtu.silent && mtu.good.is_some(),
                sent: self.sent,
            }),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let next = match &self.work {
            Work::Ping {
                count,
                next_at,
                packets,
                ..
            } => ((packets.len() as u32) < *count).then_some(*next_at),
            _ => None,
        };
        let open = self.open.iter().map(|open| open.until);
        open.chain(next).min()
    }

    /// Sends what is due, or ends.
    fn go_on(&mut self, now: Instant) {
        if self.over {
            self.open.clear();
            return;
        }
        match &mut self.work {
            Work::Ping {
                count,
                size,
                next_at,
                packets,
            } => {
                let (count, size) = (*count, *size);
                if (packets.len() as u32) < count && *next_at <= now {
                    *next_at = now + PING_EVERY;
                    packets.push(PingPacket {
                        seq: self.seq + 1,
                        rtt_us: None,
                        ttl: None,
                        refused_by: None,
                        error: None,
                    });
                    self.send(now, TTL, size, PING_WAIT);
                } else if packets.len() as u32 == count && self.open.is_empty() {
                    self.over = true;
                }
            }
            Work::Trace {
                hops_max,
                reached,
                ended,
                hops,
            } => {
                if !self.open.is_empty() {
                    return;
                }
                if *reached || *ended || hops.len() >= usize::from(*hops_max) {
                    self.over = true;
                    return;
                }
                // Below HOPS_MAX, which fits.
                let ttl = hops.len() as u8 + 1;
                hops.push(Hop {
                    ttl,
                    address: None,
                    rtt_us: Vec::new(),
                    error: None,
                });
                for _ in 0..HOP_TRIES {
                    self.send(now, ttl, SMALL, HOP_WAIT);
                }
            }
            Work::Mtu(mtu) => {
                if !self.open.is_empty() {
                    return;
                }
                if mtu.is_found() || self.sent >= MTU_PACKETS_MAX {
                    self.over = true;
                    return;
                }
                let data = usize::from(mtu.trying).saturating_sub(HEADERS_LEN);
                self.send(now, TTL, data, MTU_WAIT);
            }
        }
    }

    fn send(&mut self, now: Instant, ttl: u8, data_len: usize, wait: Duration) {
        self.seq += 1;
        self.sent += 1;
        self.open.push(Open {
            seq: self.seq,
            sent_at: now,
            until: now + wait,
        });
        self.out.push_back(Output::Transmit {
            seq: self.seq,
            ttl,
            octets: echo_request(self.id, self.seq, data_len),
        });
    }
}

impl Mtu {
    fn is_found(&self) -> bool {
        self.good.is_some_and(|good| good + 1 >= self.bad)
    }

    fn arrived(&mut self) {
        let first = self.good.is_none();
        self.good = self.good.max(Some(self.trying));
        self.tries = 0;
        // The longest at once: most ways take it.
        self.trying = if first { self.bad - 1 } else { self.middle() };
    }

    /// `says`: what the next link takes, when somebody said it.
    fn too_long(&mut self, says: Option<u16>) {
        let good = self.good.unwrap_or(MTU_MIN);
        self.bad = self.bad.min(self.trying).max(good + 1);
        self.tries = 0;
        self.trying = match says {
            // It is the router's own link.
            Some(says) if (good + 1..self.bad).contains(&says) => {
                self.bad = says + 1;
                says
            }
            _ => self.middle(),
        };
    }

    fn unanswered(&mut self) {
        self.tries += 1;
        if self.tries >= MTU_TRIES && self.good.is_some() {
            self.silent = true;
            self.too_long(None);
        }
    }

    fn middle(&self) -> u16 {
        let good = self.good.unwrap_or(MTU_MIN);
        good + (self.bad - good) / 2
    }
}

/// Why a request was not answered, in words.
fn sentence(says: Says) -> String {
    let text = match says {
        Says::Reply => "It was answered.",
        Says::TimeExceeded => "It passed too many routers.",
        Says::TooLong { mtu: Some(mtu) } => {
            return format!("It is too long: the next link takes {mtu} octets.");
        }
        Says::TooLong { mtu: None } => "It is too long for the next link.",
        Says::Unreachable { code } => match code {
            0 | 6 | 8 => "There is no way to that network.",
            1 | 7 => "The host is not there.",
            9 | 10 | 13 => "A firewall refuses it.",
            _ => "It cannot be delivered.",
        },
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const ID: u16 = 77;

    /// A way of routers: each takes packets of so many octets, and the last one is the target.
    struct Way {
        mtus: Vec<u16>,
        /// Routers that say nothing.
        mute: Vec<usize>,
        /// What the box's own link takes.
        own_mtu: u16,
    }

    impl Way {
        fn new(mtus: &[u16]) -> Self {
            Self {
                mtus: mtus.to_vec(),
                mute: Vec::new(),
                own_mtu: 1500,
            }
        }

        fn router(at: usize) -> Ipv4Addr {
            Ipv4Addr::new(203, 0, 113, at as u8 + 1)
        }

        /// What is said about a packet.
        fn answer(&self, ttl: u8, len: u16) -> Option<(Ipv4Addr, Says)> {
            let last = self.mtus.len() - 1;
            for (at, mtu) in self.mtus.iter().enumerate() {
                let mute = self.mute.contains(&at);
                if at == last {
                    return (!mute).then_some((TO, Says::Reply));
                }
                let said = if usize::from(ttl) <= at + 1 {
                    Some(Says::TimeExceeded)
                } else if len > *mtu {
                    Some(Says::TooLong { mtu: Some(*mtu) })
                } else {
                    None
                };
                if let Some(said) = said {
                    return (!mute).then_some((Self::router(at), said));
                }
            }
            None
        }

        /// Runs to the end; the report and how long it took.
        fn run(&self, purpose: Purpose) -> (ProbeReport, Duration) {
            let start = Instant::from_secs(100);
            let mut now = start;
            let mut echoes = Echoes::new(now, TO, ID, purpose);
            let mut outputs = 0;
            loop {
                outputs += 1;
                assert!(outputs < 1_000, "{echoes:?}");
                match echoes.poll_output() {
                    Output::Transmit { seq, ttl, octets } => {
                        let len = octets.len() as u16 + 20;
                        now += Duration::from_millis(1);
                        if len > self.own_mtu {
                            echoes.handle_unsent(now, seq, Unsent::TooLong);
                        } else if let Some((from, says)) = self.answer(ttl, len) {
                            let heard = Heard {
                                from,
                                ttl: 60,
                                to: TO,
                                id: ID,
                                seq,
                                says,
                            };
                            // Others' come in too.
                            echoes.handle_heard(
                                now,
                                &Heard {
                                    id: ID + 1,
                                    ..heard
                                },
                            );
                            echoes.handle_heard(
                                now,
                                &Heard {
                                    to: from,
                                    id: 0,
                                    ..heard
                                },
                            );
                            echoes.handle_heard(now, &heard);
                            echoes.handle_heard(now, &heard);
                        }
                    }
                    Output::Timeout(Some(at)) => {
                        assert!(at >= now - Duration::from_millis(10));
                        now = now.max(at);
                        echoes.handle_timeout(now);
                    }
                    Output::Timeout(None) => {
                        assert!(echoes.is_over());
                        return (echoes.report(), now - start);
                    }
                }
            }
        }
    }

    fn ping(way: &Way) -> PingReport {
        match way.run(Purpose::Ping { count: 4, size: 56 }).0 {
            ProbeReport::Ping(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn trace(way: &Way) -> TraceReport {
        match way.run(Purpose::Traceroute { hops: 30 }).0 {
            ProbeReport::Traceroute(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn mtu(way: &Way) -> MtuReport {
        let (report, took) = way.run(Purpose::PathMtu);
        assert!(took < Duration::from_secs(40), "{took:?}");
        match report {
            ProbeReport::PathMtu(report) => report,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_ping_counts_answers_and_waits_for_the_last() {
        let report = ping(&Way::new(&[1500, 1500]));
        assert_eq!((report.sent, report.received), (4, 4));
        assert_eq!(report.rtt_us_min, Some(1_000));
        assert!(report.packets.iter().all(|packet| packet.ttl == Some(60)));
        let numbers: Vec<u16> = report.packets.iter().map(|packet| packet.seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);

        let mut dead = Way::new(&[1500, 1500]);
        dead.mute = vec![1];
        let (report, took) = dead.run(Purpose::Ping { count: 4, size: 56 });
        assert!(!report.is_good());
        assert!(
            took >= PING_EVERY * 3 + PING_WAIT && took < Duration::from_secs(5),
            "{took:?}"
        );
        // However much is asked for.
        let (report, took) = dead.run(Purpose::Ping {
            count: u32::MAX,
            size: u32::MAX,
        });
        let ProbeReport::Ping(report) = report else {
            panic!("{report:?}")
        };
        assert_eq!(report.sent, PING_PACKETS_MAX);
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    #[test]
    fn a_ping_tells_who_refuses_it() {
        let report = ping(&Way::new(&[60, 1500]));
        assert_eq!((report.sent, report.received), (4, 0));
        assert_eq!(report.packets[0].refused_by, Some(Way::router(0)));
        assert!(
            report.packets[0]
                .error
                .as_ref()
                .unwrap()
                .contains("takes 60 octets")
        );
    }

    #[test]
    fn a_way_is_told_router_by_router_and_silent_ones_are_passed() {
        let mut way = Way::new(&[1500; 5]);
        way.mute = vec![2];
        let report = trace(&way);
        assert!(report.reached);
        let addresses: Vec<_> = report.hops.iter().map(|hop| hop.address).collect();
        let router = |at| Some(Way::router(at));
        assert_eq!(addresses, [router(0), router(1), None, router(3), Some(TO)]);
        let answers: Vec<_> = report.hops.iter().map(|hop| hop.rtt_us.len()).collect();
        assert_eq!(answers, [3, 3, 0, 3, 3]);

        // Who never answers ends it by the bound, in less than a minute.
        way.mute = vec![0, 1, 2, 3, 4];
        let (report, took) = way.run(Purpose::Traceroute { hops: u32::MAX });
        let ProbeReport::Traceroute(report) = report else {
            panic!("{report:?}")
        };
        assert_eq!((report.hops.len(), report.reached), (30, false));
        assert!(took < Duration::from_secs(60), "{took:?}");
    }

    #[test]
    fn the_longest_packet_is_found_in_every_way() {
        for narrowest in [1500, 1499, 1492, 1400, 1280, 576, 69] {
            let report = mtu(&Way::new(&[1500, narrowest, 1500]));
            assert_eq!(report.mtu, Some(narrowest));
            assert!(!report.silent && report.sent <= 4, "{report:?}");
            let by = (narrowest < 1500).then_some(Way::router(1));
            assert_eq!(report.narrowed_by, by);
        }
        // Two of them, each narrower.
        let report = mtu(&Way::new(&[1400, 1300, 1500]));
        assert_eq!(
            (report.mtu, report.narrowed_by),
            (Some(1300), Some(Way::router(1)))
        );
        // The box's own link says so without a name.
        let mut own = Way::new(&[1500, 1500]);
        own.own_mtu = 1492;
        let report = mtu(&own);
        assert_eq!((report.mtu, report.narrowed_by), (Some(1492), None));
        // A router that drops what is too long and says nothing.
        let mut hole = Way::new(&[1500, 1350, 1500]);
        hole.mute = vec![1];
        let report = mtu(&hole);
        assert_eq!((report.mtu, report.silent), (Some(1350), true));
        // Nobody there.
        let mut dead = Way::new(&[1500, 1500]);
        dead.mute = vec![1];
        assert_eq!(mtu(&dead).mtu, None);
    }

    #[test]
    fn lies_about_the_length_end_too() {
        // Too long at any length.
        let liar = Way::new(&[1, 1500]);
        let report = mtu(&liar);
        assert_eq!((report.mtu, report.sent), (None, MTU_PACKETS_MAX));
        // Longer than what was sent, and shorter than what arrived.
        for says in [0, 1, 67, 1500, 65_535] {
            let mut now = Instant::from_secs(1);
            let mut echoes = Echoes::new(now, TO, ID, Purpose::PathMtu);
            let mut sent = 0;
            loop {
                match echoes.poll_output() {
                    Output::Transmit { seq, octets, .. } => {
                        sent += 1;
                        assert!(sent < 100);
                        let says = match octets.len() + 20 > 900 {
                            true => Says::TooLong { mtu: Some(says) },
                            false => Says::Reply,
                        };
                        let heard = Heard {
                            from: TO,
                            ttl: 1,
                            to: TO,
                            id: ID,
                            seq,
                            says,
                        };
                        echoes.handle_heard(now, &heard);
                    }
                    Output::Timeout(Some(at)) => {
                        now = at;
                        echoes.handle_timeout(now);
                    }
                    Output::Timeout(None) => break,
                }
            }
            let ProbeReport::PathMtu(report) = echoes.report() else {
                panic!()
            };
            assert_eq!(report.mtu, Some(900));
        }
    }
}
