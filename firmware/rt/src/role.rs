//! How a role comes to life and talks to init.
//!
//! init spawns the binary with its own end of a channel as descriptor 3. The role takes
//! `Start` from it, opens what it needs, closes its sandbox, says `Ready` and enters its loop,
//! in which it watches [`RoleContext::init`] under [`INIT_TOKEN`] and hands what arrives to
//! [`RoleContext::on_init`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use lintel_ipc::init::{
    ChannelKind, FromInit, InitReply, InitRequest, ServiceStatus, SocketName, Start, ToInit,
};
use lintel_model::RoleName;
use lintel_model::facts::DataState;
use lintel_model::reset::Reset;

use crate::channel::{Channel, ChannelError};
use crate::clock::Clock;
use crate::escape;
use crate::poller::{Interest, Poller, Token};

/// The descriptor on which a role finds init.
pub const INIT_FD: RawFd = 3;
/// Under which the channel to init is watched; a role's own tokens are smaller.
pub const INIT_TOKEN: Token = u64::MAX;

/// What a role has when its `main` begins.
#[derive(Debug)]
pub struct RoleContext {
    /// What init said.
    pub start: Start,
    /// The wildcard sockets that came along.
    pub sockets: Vec<(SocketName, OwnedFd)>,
    /// The clock.
    pub clock: Clock,
    /// The loop; init's channel is in it already.
    pub poller: Poller,
    init: Channel<ToInit, FromInit>,
}

/// What a role hears from init; pings are answered on the way.
#[derive(Debug)]
pub enum InitEvent {
    /// A new session (or hand-over channel); the old one, if any, is over.
    Channel {
        /// The role at the other end.
        with: RoleName,
        /// What it is for.
        kind: ChannelKind,
        /// Our end.
        fd: OwnedFd,
    },
    /// Answer to [`RoleContext::request`].
    Reply {
        /// The request's number.
        id: u64,
        /// The answer.
        reply: InitReply,
    },
    /// /data changed its state.
    Data(DataState),
    /// Somebody at the box wants this.
    Reset(Reset),
    /// Some role is elsewhere in its life: all of them.
    Services(Vec<ServiceStatus>),
    /// Finish and return from `main`.
    Stop,
}

/// Why a role cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// init's channel broke: init is gone or confused, so the role ends.
    #[error("the channel to init failed")]
    Init(#[source] ChannelError),
    /// The first message was not `Start`, or had the wrong number of descriptors.
    #[error("init sent no proper start: {0}")]
    NoStart(&'static str),
    /// The kernel refused something that the role cannot do without.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl RoleError {
    /// For `map_err`: says what was attempted.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl RoleContext {
    /// Takes descriptor 3 and waits for `Start`. To be called once, first thing in the process.
    pub fn from_init() -> Result<Self, RoleError> {
        // SAFETY: init made descriptor 3 for this process before exec, and nothing in this
        // process has touched it yet.
        let socket = unsafe { OwnedFd::from_raw_fd(INIT_FD) };
        Self::from_channel(socket)
    }

    /// The same over any channel end, for tests and for roles run alone.
    pub fn from_channel(socket: OwnedFd) -> Result<Self, RoleError> {
        let poller = Poller::new().map_err(RoleError::io("making the poll loop"))?;
        let mut init: Channel<ToInit, FromInit> =
            Channel::new(socket).map_err(RoleError::io("taking init's channel"))?;
        poller
            .add(&init, INIT_TOKEN, Interest::READ)
            .map_err(RoleError::io("watching init's channel"))?;
        let mut events = Vec::new();
        let (start, fds) = loop {
            poller
                .wait(None, &mut events)
                .map_err(RoleError::io("waiting for init"))?;
            match init.recv().map_err(RoleError::Init)? {
                Some((FromInit::Start(start), fds)) => break (*start, fds),
                Some(_) => return Err(RoleError::NoStart("another message came first")),
                None => {}
            }
        };
        if fds.len() != start.sockets.len() {
            return Err(RoleError::NoStart("descriptors and names differ in number"));
        }
        let sockets = start.sockets.iter().copied().zip(fds).collect();
        Ok(Self {
            start,
            sockets,
            clock: Clock,
            poller,
            init,
        })
    }

    /// Takes a wildcard socket out of the context.
    pub fn take_socket(&mut self, name: SocketName) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(n, _)| *n == name)?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// Tells init that the role serves.
    pub fn ready(&mut self) -> Result<(), RoleError> {
        self.init.send(&ToInit::Ready).map_err(RoleError::Init)
    }

    /// Asks init; for controld alone.
    pub fn request(&mut self, id: u64, request: InitRequest) -> Result<(), RoleError> {
        self.init
            .send(&ToInit::Request { id, request })
            .map_err(RoleError::Init)
    }

    /// Takes the next message of init when [`INIT_TOKEN`] is readable; call until `None`.
    pub fn on_init(&mut self) -> Result<Option<InitEvent>, RoleError> {
        loop {
            let Some((message, mut fds)) = self.init.recv().map_err(RoleError::Init)? else {
                return Ok(None);
            };
            match message {
                FromInit::Ping { n } => {
                    self.init
                        .send(&ToInit::Pong { n })
                        .map_err(RoleError::Init)?;
                }
                FromInit::Channel { with, kind } => {
                    let fd = fds
                        .pop()
                        .ok_or(RoleError::NoStart("a channel without descriptor"))?;
                    return Ok(Some(InitEvent::Channel { with, kind, fd }));
                }
                FromInit::Reply { id, reply } => return Ok(Some(InitEvent::Reply { id, reply })),
                FromInit::Services(list) => return Ok(Some(InitEvent::Services(list))),
                FromInit::Reset(reset) => return Ok(Some(InitEvent::Reset(reset))),
                FromInit::Data(state) => return Ok(Some(InitEvent::Data(state))),
                FromInit::Stop => return Ok(Some(InitEvent::Stop)),
                FromInit::Probe => self.probe()?,
                FromInit::Leak => self.leak(),
                FromInit::Start(_) => return Err(RoleError::NoStart("it came twice")),
            }
        }
    }

    /// The memory limit's test: only where `Start` said that this boot is a test.
    fn leak(&self) {
        /// Taken at once, octets.
        const LEAK_BYTES: usize = 1 << 20;
        if !self.start.test {
            return;
        }
        loop {
            // Written to, so that it is memory and not a promise of the kernel.
            std::mem::forget(std::hint::black_box(vec![0xa5_u8; LEAK_BYTES]));
        }
    }

    /// The escape test: only where `Start` said that this boot is a test.
    fn probe(&mut self) -> Result<(), RoleError> {
        if !self.start.test {
            log::warn!("a probe was asked for outside a test boot");
            return Ok(());
        }
        let results = escape::attempt_all(&self.start);
        for (probe, allowed) in results.into_iter().chain([(escape::DONE, false)]) {
            let probe = probe.to_owned();
            self.init
                .send(&ToInit::Probed { probe, allowed })
                .map_err(RoleError::Init)?;
        }
        Ok(())
    }

    /// init's channel, for the sandbox's list of what stays open.
    pub fn init_fd(&self) -> BorrowedFd<'_> {
        self.init.as_fd()
    }
}
