//! Port 123: the household asks, and is answered in batches.

use std::os::fd::OwnedFd;

use embassy_time::Instant;
use lintel_proto::ntp::server::{Counters, RateLimit, Reply, Server, Verdict};
use lintel_proto::ntp::{System, UnixNs};
use lintel_proto::rng::Rng;
use lintel_rt::clock::Clock;
use lintel_rt::datagrams::{BATCH_MAX, Batch};
use lintel_rt::wall::WallClock;
use lintel_wire::ntp::DATAGRAM_LEN_MAX;

use super::serve::BATCHES_PER_TURN_MAX;

/// Kernel index of `lo`, the same in every namespace.
const LOOPBACK_LINK: u32 = 1;

/// The socket, and what serves it.
pub(super) struct Lan {
    socket: OwnedFd,
    batch: Batch,
    server: Server,
    links: Vec<u32>,
    foreign: u64,
}

impl Lan {
    pub(super) fn new(socket: OwnedFd, now: Instant, rng: &mut dyn Rng) -> Self {
        Self {
            socket,
            batch: Batch::new(DATAGRAM_LEN_MAX),
            server: Server::new(now, Some(RateLimit::LAN), rng),
            links: Vec::new(),
            foreign: 0,
        }
    }

    /// Requests count that arrive on these links, by their kernel index, or on `lo`.
    pub(super) fn set_links(&mut self, links: Vec<u32>) {
        self.links = links;
    }

    /// How good the clock is.
    pub(super) fn set_system(&mut self, system: System) {
        self.server.set_system(system);
    }

    /// What was done so far.
    pub(super) fn counters(&self) -> Counters {
        self.server.counters()
    }

    /// Requests from links that are not served.
    pub(super) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Answers what waits.
    pub(super) fn serve(&mut self, clock: Clock, wall: &dyn WallClock) {
        for _ in 0..BATCHES_PER_TURN_MAX {
            let Ok(received) = self.batch.receive(&self.socket) else {
                return;
            };
            let now = super::clock::now(clock, wall);
            let mut replies: [Option<Reply>; BATCH_MAX] = [None; BATCH_MAX];
            for (at, reply) in replies.iter_mut().enumerate().take(received) {
                let Some(datagram) = self.batch.datagram(at) else {
                    continue;
                };
                let link = datagram.meta.link;
                if link != LOOPBACK_LINK && !self.links.contains(&link) {
                    self.foreign += 1;
                    continue;
                }
                let came = datagram
                    .received_ns
                    .map_or(now.wall, |ns| UnixNs(wall.at_kernel_ns(ns)));
                let from = datagram.meta.peer.ip();
                let verdict = self
                    .server
                    .handle_request(now.mono, from, datagram.bytes, came);
                if let Verdict::Reply(stampless) = verdict {
                    *reply = Some(stampless);
                }
            }
            // One reading for the batch, as late as can be.
            let leaves = UnixNs(wall.now_ns());
            for (at, reply) in replies.into_iter().enumerate() {
                let Some(reply) = reply else { continue };
                if let Some(datagram) = self.batch.datagram(at) {
                    let octets = reply.stamped(leaves);
                    if let Some(room) = datagram.reply.get_mut(..octets.len()) {
                        room.copy_from_slice(&octets);
                        self.batch.queue(at, octets.len());
                    }
                }
            }
            self.batch.send(&self.socket);
            if received < BATCH_MAX {
                return;
            }
        }
    }
}
