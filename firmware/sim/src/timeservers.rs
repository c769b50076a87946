//! Four NTP servers: three tell the time, one lies.

use std::net::{Ipv4Addr, SocketAddr};

use embassy_time::Duration;
use lintel_proto::ntp::client::AssociationId;
use lintel_wire::ntp::{
    HEADER_LEN, Leap, Mode, NtpShort, NtpTimestamp, Packet, ReferenceId, UnixNs, Version,
};

use crate::router::Wall;
use crate::world::{Event, Outside};

/// Who they are; the last one lies.
pub const SERVERS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(100, 64, 0, 121),
    Ipv4Addr::new(100, 64, 0, 122),
    Ipv4Addr::new(100, 64, 0, 123),
    Ipv4Addr::new(100, 64, 0, 124),
];

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    /// Of which association.
    pub association: AssociationId,
    /// Its number: the truth beside its nonce.
    pub number: u64,
    /// To whom.
    pub to: SocketAddr,
    /// The packet.
    pub octets: [u8; HEADER_LEN],
}

/// A reply on its way.
#[derive(Debug, Clone)]
pub struct Reply {
    /// To whose socket.
    pub association: AssociationId,
    /// The request that it answers; `None` when it is forged.
    pub answers: Option<u64>,
    /// Who sent it, or is said to have.
    pub from: SocketAddr,
    /// The packet.
    pub octets: [u8; HEADER_LEN],
}

/// The servers.
#[derive(Debug, Default)]
pub struct TimeServers {
    /// How far the liar is off, seconds.
    pub lie_s: i64,
    /// Forged replies to a request, in a thousand.
    pub forged: u32,
    /// The nonce that the forger saw last, and its request.
    seen: Option<(u64, NtpTimestamp)>,
}

impl TimeServers {
    /// Servers of which the last is off by `lie_s`.
    pub fn new(lie_s: i64, forged: u32) -> Self {
        let seen = None;
        Self {
            lie_s,
            forged,
            seen,
        }
    }

    /// A request arrives.
    pub fn on_request(&mut self, out: &mut Outside, wall: Wall, request: Request) {
        let Ok(asked) = Packet::parse(&request.octets) else {
            return;
        };
        let lies = request.to.ip() == SERVERS[3];
        let lie_ns = if lies { self.lie_s * 1_000_000_000 } else { 0 };
        let told = NtpTimestamp::from_unix(UnixNs(wall.truth_ns(out.now) + lie_ns));
        let reply = Packet {
            leap: Leap::None,
            version: Version::V4,
            mode: Mode::Server,
            stratum: 2,
            poll: asked.poll,
            precision: -20,
            root_delay: NtpShort(65),
            root_dispersion: NtpShort(65),
            reference_id: ReferenceId([192, 0, 2, 1]),
            reference: told,
            origin: asked.transmit,
            receive: told,
            transmit: told,
        };
        self.forge(out, &request, reply);
        for delay in out.wan.deliveries(&mut out.dice) {
            let reply = Reply {
                association: request.association,
                answers: Some(request.number),
                from: request.to,
                octets: reply.emit(),
            };
            out.after(delay, Event::FromTimeServer(reply));
        }
    }

    /// The forger knows who asks whom from which port, and guesses the nonce: he tries the one
    /// that he saw before.
    fn forge(&mut self, out: &mut Outside, request: &Request, mut reply: Packet) {
        let nonce = reply.origin;
        let before = self.seen.filter(|(number, _)| *number < request.number);
        if before.is_some() || self.seen.is_none() {
            self.seen = Some((request.number, nonce));
        }
        let Some((_, seen)) = before.filter(|_| out.dice.per_mille(self.forged)) else {
            return;
        };
        reply.origin = seen;
        if out.dice.per_mille(300) {
            reply.stratum = 0;
            reply.reference_id = ReferenceId(*b"DENY");
        } else {
            let moved = reply.transmit.0.wrapping_add(3600 << 32);
            (reply.receive, reply.transmit) = (NtpTimestamp(moved), NtpTimestamp(moved));
        }
        let wait = Duration::from_micros(out.dice.range(10, 400));
        let forged = Reply {
            association: request.association,
            answers: None,
            from: request.to,
            octets: reply.emit(),
        };
        out.after(wait, Event::FromTimeServer(forged));
    }
}
