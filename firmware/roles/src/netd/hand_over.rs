//! Sockets that netd opened for others, and the one-way channels by which they go there.
//!
//! netd keeps a descriptor of each socket, so that a user that was restarted gets it again. A socket
//! lives as long as its link: when the link with that index is gone, so is the socket's use.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use lintel_ipc::netd::HandOver;
use lintel_model::RoleName;
use lintel_model::desired::{SocketKind, SocketSpec};
use lintel_model::observed::LinkStatus;
use lintel_rt::channel::Channel;
use lintel_rt::poller::Event;

/// A channel to one user. It sends nothing back: whatever arrives ends the channel.
pub(super) type ToUser = Channel<HandOver, ()>;

#[derive(Default)]
pub(super) struct HandOvers {
    held: BTreeMap<SocketSpec, Held>,
    channels: BTreeMap<RoleName, ToUser>,
}

struct Held {
    index: u32,
    fd: OwnedFd,
}

impl HandOvers {
    /// What is open, sorted.
    pub(super) fn specs(&self) -> Vec<SocketSpec> {
        self.held.keys().cloned().collect()
    }

    /// The channel to a user, while there is one.
    pub(super) fn channel(&self, user: RoleName) -> Option<&ToUser> {
        self.channels.get(&user)
    }

    /// A user is there, new or again: everything of its own goes to it.
    pub(super) fn begin(&mut self, user: RoleName, channel: ToUser) {
        self.channels.insert(user, channel);
        let own: Vec<SocketSpec> = self
            .held
            .keys()
            .filter(|s| user_of(s) == user)
            .cloned()
            .collect();
        for spec in own {
            self.send(&spec);
        }
    }

    /// The channel to a user is no more.
    pub(super) fn forget(&mut self, user: RoleName) {
        self.channels.remove(&user);
    }

    /// Takes a socket that was opened and hands it over, in place of an older one.
    pub(super) fn open(&mut self, spec: SocketSpec, index: u32, fd: OwnedFd) {
        self.held.insert(spec.clone(), Held { index, fd });
        self.send(&spec);
    }

    /// Closes a socket and tells its user.
    pub(super) fn close(&mut self, spec: &SocketSpec) {
        if self.held.remove(spec).is_some() {
            let message = HandOver::Gone { spec: spec.clone() };
            self.send_message(user_of(spec), &message, Vec::new());
        }
    }

    /// Closes what belongs to links that are gone, or are others under the same name.
    pub(super) fn keep_only(&mut self, links: &[LinkStatus]) {
        let stale: Vec<SocketSpec> = self
            .held
            .iter()
            .filter(|(spec, held)| {
                !links
                    .iter()
                    .any(|link| link.name == spec.link && link.index == held.index)
            })
            .map(|(spec, _)| spec.clone())
            .collect();
        for spec in stale {
            log::info!("{} is gone, and the socket on it", spec.link);
            self.close(&spec);
        }
    }

    /// Sends what waits; the channel ends when the other end did.
    pub(super) fn on_event(&mut self, user: RoleName, event: &Event) {
        let Some(channel) = self.channels.get_mut(&user) else {
            return;
        };
        let flushed = channel.flush();
        if event.hangup || flushed.is_err() || (event.readable && channel.recv().is_err()) {
            self.forget(user);
        }
    }

    fn send(&mut self, spec: &SocketSpec) {
        let Some(held) = self.held.get(spec) else {
            return;
        };
        let message = HandOver::Socket {
            spec: spec.clone(),
            index: held.index,
        };
        match held.fd.try_clone() {
            Ok(fd) => self.send_message(user_of(spec), &message, vec![fd]),
            Err(error) => log::warn!("the socket on {} stays here: {error}", spec.link),
        }
    }

    fn send_message(&mut self, user: RoleName, message: &HandOver, fds: Vec<OwnedFd>) {
        if let Some(channel) = self.channels.get_mut(&user)
            && let Err(error) = channel.send_with(message, fds)
        {
            log::info!("the channel to {user} ended: {error}");
            self.forget(user);
        }
    }
}

fn user_of(spec: &SocketSpec) -> RoleName {
    match spec.kind {
        SocketKind::DhcpClient => RoleName::Wand,
        SocketKind::DhcpServer => RoleName::Dhcpd,
    }
}
