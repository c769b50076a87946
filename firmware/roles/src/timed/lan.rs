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

/// Batches thrown away after the clock was set: more than the socket's buffer holds, and an end
/// even when somebody floods.
const DISCARDED_BATCHES_MAX: usize = 64;
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

    /// The clock was set: requests that wait bear stamps of the clock before, which beside a
    /// departure by the new one would tell their askers years. They ask again.
    pub(super) fn discard(&mut self) {
        for _ in 0..DISCARDED_BATCHES_MAX {
            if self.batch.receive(&self.socket).unwrap_or(0) < BATCH_MAX {
                return;
            }
        }
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use lintel_ipc::init::SocketName;
    use lintel_proto::rng::SeededRng;
    use lintel_rt::sockets::{Addresses, open};
    use lintel_rt::wall::PretendClock;
    use lintel_wire::ntp::{NtpTimestamp, Packet, ReferenceId};

    use super::*;

    /// A request with this as its transmit time.
    fn ask(client: &UdpSocket, nonce: u64) {
        let request = Packet::request(NtpTimestamp(nonce)).emit();
        client.send(&request).unwrap();
    }

    #[test]
    fn what_came_before_the_clock_was_set_is_not_answered() {
        let addresses = Addresses {
            address: Ipv4Addr::LOCALHOST.into(),
            dns_port: 0,
            dhcp_port: 0,
            http_port: 0,
            https_port: 0,
            ntp_port: 0,
            run_dir: std::env::temp_dir(),
        };
        let socket = open(SocketName::NtpUdp, &addresses).unwrap();
        let at = UdpSocket::from(socket.try_clone().unwrap());
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(at.local_addr().unwrap()).unwrap();
        let seconds = Some(Duration::from_secs(5));
        client.set_read_timeout(seconds).unwrap();
        let clock = Clock;
        let mut wall = PretendClock::new(0);
        let mut lan = Lan::new(socket, clock.now(), &mut SeededRng::new(1));
        lan.set_system(System {
            stratum: 2,
            leap: lintel_proto::ntp::Leap::None,
            reference_id: ReferenceId::of(Ipv4Addr::LOCALHOST.into()),
            reference: UnixNs(wall.now_ns()),
            ..System::unsynchronised(clock.now(), -20)
        });
        ask(&client, 1);
        wall.step(1_000_000_000_000_000_000).unwrap();
        lan.discard();
        ask(&client, 2);
        lan.serve(clock, &wall);
        let mut reply = [0; 100];
        let len = client.recv(&mut reply).unwrap();
        let reply = Packet::parse(&reply[..len]).unwrap();
        assert_eq!(reply.origin, NtpTimestamp(2));
    }
}
