//! Clients: read, written, handed on to the application.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};

use embassy_time::Instant;
use lintel_rt::poller::{Event, Interest, Token};
use lintel_rt::role::RoleError;

use super::{Client, Shell, Tls};
use crate::webd::front::answer::{self, Answer};
use crate::webd::front::connection::{Input, Output, Request, Standing, Surroundings};
use crate::webd::front::head::Refusal;
use crate::webd::front::limits;
use crate::webd::lanes::{Arrival, Delivery};

impl Shell {
    /// The link that carries the local address of a connection: `None` when the UI is not
    /// served there, `Some(None)` for an address without a link of its own.
    pub(super) fn link_of(&self, local: IpAddr) -> Option<Option<u32>> {
        let links = self.spec.iter().flat_map(|spec| &spec.links);
        let mut at = links.filter(|link| link.address == local);
        match at.next() {
            Some(link) => Some(Some(link.index)),
            None if local.is_loopback() || self.ctx.start.run.is_some() => Some(None),
            None => None,
        }
    }

    pub(super) fn on_client(&mut self, id: Token, event: Event) {
        let now = self.now();
        let held: usize = self.clients.values().map(|c| c.machine.body_bytes()).sum();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: limits::BODIES_BYTES_MAX.saturating_sub(held),
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (reads, _) = client.machine.interest();
        if event.readable && reads {
            let mut chunk = [0; limits::READ_BYTES_MAX];
            match client.socket.read(&mut chunk) {
                Ok(0) => client.machine.handle_input(now, Input::ReadEnd, around),
                Ok(n) => {
                    let bytes = chunk.get(..n).unwrap_or_default();
                    if let Err(error) = client.take(now, bytes, around) {
                        log::debug!("a client's TLS failed: {error}");
                        client.say_goodbye();
                        self.clients.remove(&id);
                        return;
                    }
                }
                Err(e) if is_passing(&e) => {}
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        } else if event.hangup {
            self.clients.remove(&id);
            return;
        }
        self.settle(id);
    }

    /// Does what the machine wants done, until it wants nothing more.
    pub(super) fn settle(&mut self, id: Token) {
        loop {
            let now = self.now();
            let Some(client) = self.clients.get_mut(&id) else {
                return;
            };
            let around = Surroundings {
                hosts: &self.hosts,
                bodies_bytes_left: limits::BODIES_BYTES_MAX,
            };
            match client.machine.poll_output() {
                Output::Request(request) => {
                    self.on_request(id, request);
                    continue;
                }
                Output::EndSending => {
                    client.say_goodbye();
                    let _ = client.socket.shutdown(Shutdown::Write);
                    continue;
                }
                Output::Close => {
                    client.say_goodbye();
                    self.clients.remove(&id);
                    return;
                }
                Output::Nothing => {}
            }
            if client.deliver(now, around) {
                continue;
            }
            match client.send(now, around) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        }
        self.watch(id);
    }

    pub(super) fn watch(&mut self, id: Token) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (read, write) = client.machine.interest();
        let layered = client.tls.as_ref().is_some_and(Tls::wants_write);
        let interest = Interest {
            read,
            write: write || layered,
        };
        if interest == client.interest {
            return;
        }
        client.interest = interest;
        if self
            .ctx
            .poller
            .modify(&client.socket, id, interest)
            .is_err()
        {
            self.clients.remove(&id);
        }
    }

    pub(super) fn on_request(&mut self, id: Token, request: Box<Request>) {
        let get = matches!(request.head.method, "GET" | "HEAD");
        match request.head.path.as_str() {
            "/health" if get => {
                let up = Answer {
                    status: 200,
                    fields: vec![
                        ("content-type", "application/json".to_owned()),
                        ("cache-control", "no-store".to_owned()),
                    ],
                    body: br#"{"status":"up"}"#.to_vec(),
                };
                self.answer(id, &up);
            }
            "/api/events" if request.head.method == "GET" => self.ask_stream(id, &request),
            _ => self.queue.push_back((id, request)),
        }
    }

    /// Hands the answer to the machine; whoever called settles the connection.
    pub(super) fn answer(&mut self, id: Token, answer: &Answer) {
        let now = self.now();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: limits::BODIES_BYTES_MAX,
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client
                .machine
                .handle_input(now, Input::Answer(answer), around);
        }
    }

    pub(super) fn dispatch(&mut self) {
        while !self.queue.is_empty() && self.lanes.has_room() {
            let waiting: usize = self
                .clients
                .values()
                .map(|c| c.machine.answer_bytes())
                .sum();
            if waiting > limits::ANSWERS_BYTES_MAX {
                return;
            }
            let Some((id, request)) = self.queue.pop_front() else {
                return;
            };
            let Some(client) = self.clients.get(&id) else {
                continue;
            };
            if client.machine.standing() != Standing::Busy {
                continue;
            }
            let arrival = Arrival {
                peer: client.peer,
                link: client.link,
                secure: client.tls.is_some(),
            };
            let sent = self.lanes.send(id, arrival, &request, &self.ctx.poller);
            if let Err(error) = sent {
                log::error!("handing a request on failed: {error}");
                self.answer(id, &answer::refusal(Refusal::Busy, false));
                self.settle(id);
            }
        }
    }

    pub(super) fn on_lane(&mut self, event: Event) -> Result<(), RoleError> {
        match self.lanes.on_event(event, &self.ctx.poller) {
            Delivery::Nothing => {}
            Delivery::Answer(id, answer) => {
                self.answer(id, &answer);
                self.settle(id);
            }
            Delivery::Broken(id) => {
                if let Some(id) = id {
                    self.answer(id, &answer::refusal(Refusal::NoAnswer, false));
                    self.settle(id);
                }
                if self.lanes.all_broken() {
                    let source = io::ErrorKind::BrokenPipe.into();
                    return Err(RoleError::io("talking to tiny_http")(source));
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// Takes what the socket gave.
    fn take(&mut self, now: Instant, bytes: &[u8], around: Surroundings<'_>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            self.machine
                .handle_input(now, Input::Received(bytes), around);
            return Ok(());
        };
        let began = tls.is_handshaking();
        tls.take(bytes)?;
        let told = match (began, tls.is_handshaking()) {
            (true, true) => Input::Handshake(bytes.len()),
            (true, false) => Input::Secured,
            (false, _) => return Ok(()),
        };
        self.machine.handle_input(now, told, around);
        Ok(())
    }

    /// Gives the machine what was decrypted, when it wants it; whether there was something.
    fn deliver(&mut self, now: Instant, around: Surroundings<'_>) -> bool {
        let (reads, _) = self.machine.interest();
        let Some(tls) = self.tls.as_mut().filter(|_| reads) else {
            return false;
        };
        let input = match tls.plain() {
            Some(bytes) => {
                self.machine
                    .handle_input(now, Input::Received(&bytes), around);
                return true;
            }
            None if tls.end() => Input::ReadEnd,
            None => return false,
        };
        self.machine.handle_input(now, input, around);
        true
    }

    /// Writes what the machine has for the client. The machine hears of what has left wholly.
    /// False when there is nothing to do.
    fn send(&mut self, now: Instant, around: Surroundings<'_>) -> io::Result<bool> {
        let pending = self.machine.pending();
        let sent = match &mut self.tls {
            None if pending.is_empty() => return Ok(false),
            None => self.socket.write(pending)?,
            Some(tls) => {
                tls.flush(&mut self.socket)?;
                match tls.sent() {
                    Some(sent) => sent,
                    None if pending.is_empty() => return Ok(false),
                    None => {
                        tls.put(pending)?;
                        return Ok(true);
                    }
                }
            }
        };
        self.machine.handle_input(now, Input::Sent(sent), around);
        Ok(true)
    }

    /// Tells the client that nothing more comes, or why, as far as its socket takes it now.
    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
            let _ = tls.flush(&mut self.socket);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
