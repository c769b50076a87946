//! Starting a role: its sockets, its channel, its pipe, its process.

use std::io;
use std::os::fd::OwnedFd;

use lintel_ipc::init::{FromInit, SocketName, Start, ToInit};
use lintel_model::RoleName;
use lintel_rt::channel::{self, Channel};
use lintel_rt::poller::{Interest, Token};
use lintel_rt::sockets;
use lintel_rt::spawn::{self, Pace};
use lintel_rt::table::{RolePolicy, policy};

use super::{CHANNEL, NO_FIRST_LEASE, PIPE, Shell, chain};
use crate::init::logs::Lines;
use crate::init::supervise::Input;

impl Shell {
    pub(super) fn spawn(&mut self, role: RoleName) {
        let now = self.clock.now();
        let input = match self.try_spawn(role) {
            Ok(pid) => Input::Spawned { role, pid },
            Err(error) => {
                log::error!("{role} could not be started: {error}");
                if role == RoleName::Controld {
                    self.after_controld();
                }
                let why = format!("not started: {error}");
                Input::NotSpawned { role, why }
            }
        };
        self.supervisor.handle_input(now, input);
    }

    fn try_spawn(&mut self, role: RoleName) -> io::Result<u32> {
        let policy: &'static RolePolicy =
            policy(role).ok_or_else(|| io::Error::other("it has no policy"))?;
        let mut names = Vec::new();
        let mut fds = Vec::new();
        for &name in policy.sockets {
            match self.open_socket(name) {
                Ok(fd) => {
                    names.push(name);
                    fds.push(fd);
                }
                Err(error) => log::error!("{role} starts without a socket: {}", chain(&error)),
            }
        }
        let (ours, theirs) = channel::pair()?;
        let (log_write, log_read) = spawn::log_pipe()?;
        let mut channel: Channel<FromInit, ToInit> = Channel::new(ours)?;
        let start = Start {
            role,
            sockets: names,
            ..self.setup.start.clone()
        };
        channel
            .send_with(&FromInit::Start(Box::new(start)), fds)
            .map_err(io::Error::other)?;
        let at = self
            .seats
            .iter()
            .position(|seat| seat.role == role)
            .ok_or_else(|| io::Error::other("it has no seat"))?;
        let interest = Interest {
            read: true,
            write: channel.wants_write(),
        };
        self.poller.add(&channel, CHANNEL + at as Token, interest)?;
        self.poller
            .add(&log_read, PIPE + at as Token, Interest::READ)?;
        let pace = if self.supervisor.is_missed(role) {
            Pace::Hurried
        } else if self.supervisor.is_first(role) && NO_FIRST_LEASE.contains(&role) {
            Pace::Patient
        } else {
            Pace::Usual
        };
        let pid = spawn::spawn(
            &self.setup.exe,
            policy,
            self.setup.isolation,
            pace,
            theirs,
            log_write,
        )?;
        if let Some(groups) = &mut self.setup.groups
            && let Err(error) = groups.enter(policy, pid)
        {
            log::warn!("{role} has no bound of its memory: {error}");
        }
        if let Some(seat) = self.seats.get_mut(at) {
            seat.watched_for_write = interest.write;
            seat.channel = Some(channel);
            seat.pipe = Some(log_read.into());
            seat.lines = Lines::default();
        }
        Ok(pid)
    }

    /// A copy of a wildcard socket, which is opened at its first use and stays open while its
    /// role is away, so that nobody else takes the port.
    pub(super) fn open_socket(
        &mut self,
        name: SocketName,
    ) -> Result<OwnedFd, sockets::SocketError> {
        let failed = |source| sockets::SocketError {
            name,
            place: "a copy".to_owned(),
            source,
        };
        if let Some(fd) = self.sockets.get(&name) {
            return fd.try_clone().map_err(failed);
        }
        let fd = sockets::open(name, &self.setup.addresses)?;
        let copy = fd.try_clone().map_err(failed)?;
        self.sockets.insert(name, fd);
        Ok(copy)
    }
}
