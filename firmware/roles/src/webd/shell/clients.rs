//! Clients: taken in, read, written, handed on to the application.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};

use lintel_rt::poller::{Event, Interest, Token};
use lintel_rt::role::RoleError;

use super::{ACCEPT_PAUSE, Client, Shell};
use crate::webd::front::admission::{self, Resident, Verdict};
use crate::webd::front::answer::{self, Answer};
use crate::webd::front::connection::{Connection, Input, Output, Request, Standing, Surroundings};
use crate::webd::front::head::Refusal;
use crate::webd::front::limits;
use crate::webd::lanes::Delivery;

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

    pub(super) fn on_listener(&mut self) -> Result<(), RoleError> {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            match self.listener.accept() {
                Ok((socket, peer)) => self.admit(socket, peer.ip().to_canonical()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log::warn!("accepting a connection failed: {error}");
                    self.ctx
                        .poller
                        .remove(&self.listener)
                        .map_err(RoleError::io("pausing the listener"))?;
                    self.listening = false;
                    self.listen_again = Some(self.now() + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a connection in, or drops it: the client then sees a reset.
    pub(super) fn admit(&mut self, socket: TcpStream, peer: IpAddr) {
        let Ok(local) = socket.local_addr().map(|a| a.ip().to_canonical()) else {
            return;
        };
        let Some(link) = self.link_of(local) else {
            return;
        };
        let resident = |(id, client): (&Token, &Client)| Resident {
            id: *id,
            source: client.peer.into(),
            standing: client.machine.standing(),
            since: client.machine.since(),
        };
        let residents: Vec<Resident> = self.clients.iter().map(resident).collect();
        match admission::decide(peer.into(), &residents) {
            Verdict::Admit => {}
            Verdict::Replace(id) => {
                self.clients.remove(&id);
            }
            Verdict::Refuse => return,
        }
        let ready = socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_nodelay(true));
        let id = self.next_client;
        let watched = ready.and_then(|()| self.ctx.poller.add(&socket, id, Interest::READ));
        if let Err(error) = watched {
            log::debug!("a connection was gone before it began: {error}");
            return;
        }
        self.next_client += 1;
        let client = Client {
            socket,
            peer,
            local,
            link,
            machine: Connection::new(self.now(), local),
            interest: Interest::READ,
            stream: None,
        };
        self.clients.insert(id, client);
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
                    client
                        .machine
                        .handle_input(now, Input::Received(bytes), around);
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
            match client.machine.poll_output() {
                Output::Request(request) => {
                    self.on_request(id, request);
                    continue;
                }
                Output::EndSending => {
                    let _ = client.socket.shutdown(Shutdown::Write);
                    continue;
                }
                Output::Close => {
                    self.clients.remove(&id);
                    return;
                }
                Output::Nothing => {}
            }
            if client.machine.pending().is_empty() {
                break;
            }
            match client.socket.write(client.machine.pending()) {
                Ok(n) => {
                    let around = Surroundings {
                        hosts: &self.hosts,
                        bodies_bytes_left: limits::BODIES_BYTES_MAX,
                    };
                    client.machine.handle_input(now, Input::Sent(n), around);
                }
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
        let interest = Interest { read, write };
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
            let sent = self
                .lanes
                .send(id, client.peer, client.link, &request, &self.ctx.poller);
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

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
