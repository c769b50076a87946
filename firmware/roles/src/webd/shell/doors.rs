//! The listeners, and who is let in by which.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use embassy_time::{Duration, Instant};
use lintel_rt::poller::{Interest, Token};
use lintel_rt::role::RoleError;

use super::{Client, HTTP, HTTPS, Shell, Tls};
use crate::webd::front::admission::{self, Resident, Verdict};
use crate::webd::front::connection::Connection;
use crate::webd::front::limits;

/// Pause after the kernel refused an accept, so that a lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listener.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    /// The poller watches it.
    open: bool,
    pub(super) open_again: Option<Instant>,
}

/// Both listeners.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(super) http: Door,
    pub(super) https: Option<Door>,
}

/// By which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Http,
    Https,
}

impl Door {
    fn new(listener: OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            open: false,
            open_again: None,
        })
    }

    fn port(&self) -> Option<u16> {
        self.listener
            .local_addr()
            .as_ref()
            .map(SocketAddr::port)
            .ok()
    }
}

impl Doors {
    /// Around inherited listeners.
    pub(crate) fn new(http: OwnedFd, https: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            http: Door::new(http)?,
            https: https.map(Door::new).transpose()?,
        })
    }

    /// The ports, of HTTP first.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        Some((self.http.port()?, self.https.as_ref()?.port()?))
    }
}

impl Shell {
    fn door(&mut self, way: Way) -> Option<&mut Door> {
        match way {
            Way::Http => Some(&mut self.http),
            Way::Https => self.https.as_mut(),
        }
    }

    /// Listens from the first snapshot on, and with TLS from the first certificate on: before
    /// that nobody could be told from anybody, and who comes early waits in the backlog.
    pub(super) fn open_doors(&mut self) {
        if self.spec.is_none() {
            return;
        }
        let https = self.https.as_mut().filter(|_| self.tls.is_some());
        let doors = [(HTTP, Some(&mut self.http)), (HTTPS, https)];
        for (token, door) in doors {
            let Some(door) = door.filter(|door| !door.open && door.open_again.is_none()) else {
                continue;
            };
            match self.ctx.poller.add(&door.listener, token, Interest::READ) {
                Ok(()) => door.open = true,
                Err(error) => log::error!("watching a listener failed: {error}"),
            }
        }
    }

    pub(super) fn on_door(&mut self, way: Way) -> Result<(), RoleError> {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            let now = self.now();
            let Some(door) = self.door(way) else { break };
            match door.listener.accept() {
                Ok((socket, peer)) => self.admit(socket, peer.ip().to_canonical(), way),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log::warn!("accepting a connection failed: {error}");
                    door.open = false;
                    door.open_again = Some(now + ACCEPT_PAUSE);
                    let door = match way {
                        Way::Http => Some(&self.http),
                        Way::Https => self.https.as_ref(),
                    };
                    if let Some(door) = door {
                        self.ctx
                            .poller
                            .remove(&door.listener)
                            .map_err(RoleError::io("pausing a listener"))?;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a connection in, or drops it: the client then sees a reset.
    fn admit(&mut self, socket: TcpStream, peer: IpAddr, way: Way) {
        let Ok(local) = socket.local_addr().map(|a| a.ip().to_canonical()) else {
            return;
        };
        let Some(link) = self.link_of(local) else {
            return;
        };
        // One house for both doors: the bounds hold for them together.
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
        let now = self.now();
        let (machine, tls) = match (way, &self.tls) {
            (Way::Http, _) => (Connection::new(now, local), None),
            (Way::Https, None) => return,
            (Way::Https, Some(config)) => match Tls::new(config.clone()) {
                Ok(tls) => (Connection::with_handshake(now, local), Some(tls)),
                Err(error) => {
                    log::error!("beginning TLS failed: {error}");
                    return;
                }
            },
        };
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
            machine,
            tls,
            interest: Interest::READ,
            stream: None,
        };
        self.clients.insert(id, client);
    }
}
