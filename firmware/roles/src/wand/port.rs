//! One link with its client and its socket.

use std::os::fd::OwnedFd;

use embassy_time::Instant;
use lintel_model::services::WanLink;
use lintel_proto::dhcp_client::{Client, Input};

use super::KernelRng;

/// A link that wand was told of.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) link: WanLink,
    pub(super) client: Client,
    pub(super) socket: Option<OwnedFd>,
    up: bool,
}

impl Port {
    pub(super) fn new(link: WanLink, client: Client) -> Self {
        Self {
            link,
            client,
            socket: None,
            up: false,
        }
    }

    /// The client is up when the link has a carrier and we have a socket on it.
    pub(super) fn settle(&mut self, now: Instant, rng: &mut KernelRng) {
        let up = self.link.carrier && self.socket.is_some();
        if up != self.up {
            self.up = up;
            let input = if up { Input::LinkUp } else { Input::LinkDown };
            self.client.handle_input(now, input, rng);
        }
    }

    /// A frame leaves at once or is lost, as on any wire.
    pub(super) fn send(&self, octets: &[u8]) {
        let Some(socket) = &self.socket else { return };
        if let Err(errno) = nix::unistd::write(socket, octets) {
            log::debug!("a frame was not sent on {}: {errno}", self.link.name);
        }
    }
}
