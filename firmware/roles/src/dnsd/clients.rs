//! Askers over TCP (RFC 7766): bounded in number, in what they may leave unread, and in time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};

use embassy_time::{Duration, Instant};
use lintel_proto::dns::{Asker, Transport};
use lintel_rt::datagrams::arrival_link;
use lintel_rt::poller::{Interest, Poller, Token};

use super::frames::{Frames, ReadEnd};
use super::spec::Links;

/// Connections at a time: a household's devices come over TCP for a rare long answer.
const CLIENTS_MAX: usize = 256;

/// Connections of one address, so that no device keeps the others out.
const CLIENTS_PER_PEER_MAX: usize = 32;

/// Questions of one connection that may be open; the rest stays in the kernel's buffer.
const QUESTIONS_PER_CLIENT_MAX: u32 = 32;

/// Replies that may lie unread; a client that does not read is not read from either.
const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// A connection without a whole question or a sent answer for so long is closed (RFC 7766, 6.2.3).
const IDLE_MS_MAX: u64 = 10_000;

/// Connections accepted before others have their turn.
const ACCEPTS_PER_TURN_MAX: usize = 32;

/// All connections of askers.
#[derive(Debug, Default)]
pub(super) struct Clients {
    list: BTreeMap<u64, Client>,
    next_id: u64,
    /// Connections turned away because there were too many.
    pub(super) refused: u64,
    /// Connections turned away because of their link.
    pub(super) foreign: u64,
}

#[derive(Debug)]
struct Client {
    frames: Frames,
    asker: Asker,
    waiting: u32,
    read_closed: bool,
    interest: Interest,
    deadline: Instant,
}

impl Clients {
    /// Accepts who waits at the listener; `token_of` names the descriptor of a connection.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        listener: &TcpListener,
        links: &Links,
        poller: &Poller,
        token_of: impl Fn(u64) -> Token,
    ) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Ok((stream, peer)) = listener.accept() else {
                return;
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let link = arrival_link(&stream).unwrap_or(0);
            if !links.allow(link) {
                self.foreign += 1;
                continue;
            }
            let of_peer = self
                .list
                .values()
                .filter(|client| client.asker.peer.ip() == peer.ip())
                .count();
            let is_full = self.list.len() >= CLIENTS_MAX || of_peer >= CLIENTS_PER_PEER_MAX;
            let (false, Ok(local)) = (is_full, stream.local_addr()) else {
                self.refused += 1;
                continue;
            };
            let connection = self.next_id;
            if stream.set_nonblocking(true).is_err()
                || poller
                    .add(&stream, token_of(connection), Interest::READ)
                    .is_err()
            {
                continue;
            }
            // A reply is one write; waiting for more to send only delays it.
            let _ = stream.set_nodelay(true);
            self.next_id += 1;
            let local: IpAddr = local.ip().to_canonical();
            let asker = Asker {
                peer,
                local,
                link,
                transport: Transport::Tcp { connection },
            };
            let client = Client {
                frames: Frames::new(stream),
                asker,
                waiting: 0,
                read_closed: false,
                interest: Interest::READ,
                deadline: idle_deadline(now),
            };
            self.list.insert(connection, client);
        }
    }

    /// Reads what a connection has to say. Returns false when it is over.
    pub(super) fn read(&mut self, connection: u64) -> bool {
        let Some(client) = self.list.get_mut(&connection) else {
            return true;
        };
        if client.read_closed {
            return true;
        }
        match client.frames.fill() {
            Ok(ReadEnd::Open) => true,
            Ok(ReadEnd::Closed) => {
                client.read_closed = true;
                true
            }
            Err(_) => false,
        }
    }

    /// The next question of a connection, when it may ask one.
    pub(super) fn question(&self, connection: u64) -> Option<(Asker, &[u8])> {
        let client = self.list.get(&connection)?;
        let may =
            client.waiting < QUESTIONS_PER_CLIENT_MAX && client.frames.unsent() < UNSENT_BYTES_MAX;
        client
            .frames
            .message()
            .filter(|_| may)
            .map(|message| (client.asker, message))
    }

    /// Forgets the question that was taken; with a reply, or with one that is to come.
    pub(super) fn taken(
        &mut self,
        now: Instant,
        connection: u64,
        reply: Option<&[u8]>,
        waits: bool,
    ) {
        let Some(client) = self.list.get_mut(&connection) else {
            return;
        };
        client.frames.consume();
        client.waiting += u32::from(waits);
        client.deadline = idle_deadline(now);
        if let Some(reply) = reply {
            client.frames.push(reply);
        }
    }

    /// A reply that came later.
    pub(super) fn reply(&mut self, now: Instant, connection: u64, message: &[u8]) {
        let Some(client) = self.list.get_mut(&connection) else {
            return;
        };
        client.waiting = client.waiting.saturating_sub(1);
        client.deadline = idle_deadline(now);
        client.frames.push(message);
    }

    /// Sends what can be sent and watches for what is wanted next. Returns false when the
    /// connection is over.
    pub(super) fn settle(&mut self, connection: u64, poller: &Poller, token: Token) -> bool {
        let Some(client) = self.list.get_mut(&connection) else {
            return true;
        };
        if client.frames.flush().is_err() {
            return false;
        }
        let unsent = client.frames.unsent();
        if client.read_closed
            && client.waiting == 0
            && unsent == 0
            && client.frames.message().is_none()
        {
            return false;
        }
        let read = !client.read_closed
            && client.waiting < QUESTIONS_PER_CLIENT_MAX
            && unsent < UNSENT_BYTES_MAX;
        let interest = Interest {
            read,
            write: unsent > 0,
        };
        if interest != client.interest {
            client.interest = interest;
            return poller
                .modify(&client.frames.stream, token, interest)
                .is_ok();
        }
        true
    }

    /// Closes a connection; true if it was there.
    pub(super) fn close(&mut self, connection: u64) -> bool {
        self.list.remove(&connection).is_some()
    }

    /// Connections that have been idle for too long.
    pub(super) fn overdue(&self, now: Instant) -> Vec<u64> {
        self.list
            .iter()
            .filter(|(_, client)| client.deadline <= now)
            .map(|(id, _)| *id)
            .collect()
    }

    /// When the next one becomes so.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.list.values().map(|client| client.deadline).min()
    }
}

fn idle_deadline(now: Instant) -> Instant {
    now.saturating_add(Duration::from_millis(IDLE_MS_MAX))
}
