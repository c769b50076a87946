//! The control socket: root of this box asks, one JSON line a call, one a reply.
//!
//! A connection may call [`WATCH`] once, with `{"last_event_id": N}` when it saw events before: it
//! is answered with what it missed, and from then on each line is an object whose `events` happened
//! since. It calls nothing else any more. Who reads too slowly loses the connection, and comes back
//! with the id that it saw last.
//!
//! Bounded on every side: connections, octets of a line, calls under way on a connection (one),
//! octets that wait for a reader, and time.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use embassy_time::{Duration, Instant};
use lintel_api::types::CONFIG_BYTES_MAX;
use lintel_ipc::call::{Call, Reply};
use lintel_ipc::webd::Happened;
use lintel_rt::poller::{Interest, Poller, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Most connections; a person and some scripts.
const CONNECTIONS_MAX: usize = 16;
/// Longest line taken: a configuration with every character escaped, and room.
const LINE_BYTES_MAX: usize = 2 * CONFIG_BYTES_MAX + 4096;
/// The call that begins to listen; no method of the table, since its answer has no end.
pub(crate) const WATCH: &str = "events";
/// Octets that wait for who listens; beyond it the connection ends.
const WATCH_BYTES_MAX: usize = 512 << 10;
/// A connection that says nothing and waits for nothing ends after this.
const IDLE: Duration = Duration::from_secs(300);

/// Tokens of connections begin here; the shell's own are smaller.
pub(super) const CONNECTION_TOKENS: Token = 1 << 32;

/// The listener and its connections.
pub(super) struct Control {
    listener: UnixListener,
    connections: BTreeMap<Token, Connection>,
    gone: Vec<Token>,
    next: Token,
    /// Other than root, under `lintel run`: who started it.
    own_uid: u32,
}

struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A call is on its way; the next line is read after its reply.
    busy: bool,
    /// It listens, and is told what happens.
    watches: bool,
    used: Instant,
}

impl Control {
    pub(super) fn new(listener: OwnedFd, own_uid: u32) -> std::io::Result<Self> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections: BTreeMap::new(),
            gone: Vec::new(),
            next: CONNECTION_TOKENS,
            own_uid,
        })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Takes what waits at the listener.
    pub(super) fn accept(&mut self, poller: &Poller, now: Instant) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("the control socket accepts nothing: {error}");
                    return;
                }
            };
            let allowed = getsockopt(&stream, PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == self.own_uid);
            if !allowed || self.connections.len() >= CONNECTIONS_MAX {
                log::warn!("a connection to the control socket was refused");
                continue;
            }
            self.next += 1;
            let token = self.next;
            let watched = stream
                .set_nonblocking(true)
                .and_then(|()| poller.add(&stream, token, Interest::READ));
            if let Err(error) = watched {
                log::warn!("a connection to the control socket cannot be watched: {error}");
                continue;
            }
            let connection = Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                busy: false,
                watches: false,
                used: now,
            };
            self.connections.insert(token, connection);
        }
    }

    /// Something happened to a connection: the call that is complete now, if any.
    pub(super) fn ready(&mut self, poller: &Poller, token: Token, now: Instant) -> Option<Call> {
        let connection = self.connections.get_mut(&token)?;
        connection.used = now;
        let alive = connection.write_out().and_then(|()| connection.read_in());
        let call = match alive {
            Ok(()) => connection.next_call(),
            Err(_) => None,
        };
        match (alive, call) {
            // Who listens asks nothing.
            (Ok(()), Some(Ok(_))) if connection.watches => {
                self.close(poller, token);
                None
            }
            (Ok(()), Some(Ok(call))) => {
                connection.busy = true;
                connection.watch(poller, token);
                Some(call)
            }
            (Ok(()), None) => {
                connection.watch(poller, token);
                None
            }
            // Gone, or said what is no call: a program, not a person, so no answer helps.
            (Err(Gone), _) | (_, Some(Err(Gone))) => {
                self.close(poller, token);
                None
            }
        }
    }

    /// Sends a reply; the connection may have gone meanwhile. The next call, when its line was
    /// there already.
    pub(super) fn reply(&mut self, poller: &Poller, token: Token, reply: &Reply) -> Option<Call> {
        let connection = self.connections.get_mut(&token)?;
        connection.busy = false;
        if serde_json::to_writer(&mut connection.output, reply).is_err() {
            self.close(poller, token);
            return None;
        }
        connection.output.push(b'\n');
        let used = connection.used;
        self.ready(poller, token, used)
    }

    /// From now on this connection is told what happens.
    pub(super) fn watch(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.watches = true;
        }
    }

    /// Tells everybody who listens.
    pub(super) fn tell(&mut self, poller: &Poller, events: &[Happened]) {
        let Ok(mut line) = serde_json::to_vec(&serde_json::json!({ "events": events })) else {
            return;
        };
        line.push(b'\n');
        let listens = |(token, c): (&Token, &Connection)| (c.watches && !c.busy).then_some(*token);
        let tokens: Vec<Token> = self.connections.iter().filter_map(listens).collect();
        for token in tokens {
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            connection.output.extend_from_slice(&line);
            let slow = connection.output.len() > WATCH_BYTES_MAX;
            if connection.write_out().is_err() || slow {
                self.close(poller, token);
            } else {
                connection.watch(poller, token);
            }
        }
    }

    /// Listeners that are gone since the last call.
    pub(super) fn gone(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.gone)
    }

    /// Ends connections that idle.
    pub(super) fn expire(&mut self, poller: &Poller, now: Instant) {
        let idle: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, c)| !c.busy && !c.watches && c.used + IDLE <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in idle {
            self.close(poller, token);
        }
    }

    /// When [`Self::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.connections.values().filter(|c| !c.busy && !c.watches);
        idle.map(|connection| connection.used + IDLE).min()
    }

    fn close(&mut self, poller: &Poller, token: Token) {
        if let Some(connection) = self.connections.remove(&token) {
            if connection.watches {
                self.gone.push(token);
            }
            // Closing the last descriptor ends the watching too; this is for clarity's sake.
            let _ = poller.remove(&connection.stream);
        }
    }
}

/// The other end is gone or broke the rules.
#[derive(Debug, Clone, Copy)]
struct Gone;

impl Connection {
    fn read_in(&mut self) -> Result<(), Gone> {
        let mut buffer = [0; 4096];
        // While a call is on its way nothing more is read: the peer's socket buffer is the bound.
        while !self.busy {
            match self.stream.read(&mut buffer) {
                Ok(0) => return if self.has_line() { Ok(()) } else { Err(Gone) },
                Ok(n) => {
                    self.input
                        .extend_from_slice(buffer.get(..n).unwrap_or_default());
                    if self.has_line() {
                        return Ok(());
                    }
                    if self.input.len() > LINE_BYTES_MAX {
                        return Err(Gone);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), Gone> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(Gone),
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    fn has_line(&self) -> bool {
        self.input.contains(&b'\n')
    }

    fn next_call(&mut self) -> Option<Result<Call, Gone>> {
        if self.busy {
            return None;
        }
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(serde_json::from_slice(&line).map_err(|_| Gone))
    }

    fn watch(&self, poller: &Poller, token: Token) {
        let interest = Interest {
            read: !self.busy,
            write: !self.output.is_empty(),
        };
        if let Err(error) = poller.modify(&self.stream, token, interest) {
            log::warn!("a connection to the control socket cannot be watched: {error}");
        }
    }
}
