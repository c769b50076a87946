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
    /// Its client looks for a server and takes no lease.
    pub(super) detect: bool,
    up: bool,
}

impl Port {
    pub(super) fn new(link: WanLink, client: Client, detect: bool) -> Self {
        Self {
            link,
            client,
            socket: None,
            detect,
            up: false,
        }
    }

    /// Whether its client can do what is wanted on this link. One that looked for a server can go
    /// on to a lease; one that holds a lease cannot go back to looking.
    pub(super) fn fits(&self, link: &WanLink, detect: bool) -> bool {
        self.link.mac == link.mac && self.link.index == link.index && (self.detect || !detect)
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

#[cfg(test)]
mod tests {
    use lintel_model::MacAddr;
    use lintel_proto::dhcp_client::ClientConfig;
    use lintel_wire::frame::EthernetAddress;

    use super::*;

    #[test]
    fn who_holds_a_lease_does_not_go_back_to_looking() {
        let link = WanLink {
            name: "eth1".parse().unwrap(),
            index: 3,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            carrier: true,
            mtu: 1500,
        };
        let port = |detect| {
            let config = ClientConfig {
                mac: EthernetAddress(link.mac.0),
                host_name: None,
                detect,
            };
            let client = Client::new(Instant::from_secs(1), config, None);
            Port::new(link.clone(), client, detect)
        };
        assert!(port(true).fits(&link, true) && port(true).fits(&link, false));
        assert!(port(false).fits(&link, false));
        // Nobody would ever hear that a provider answers there.
        assert!(!port(false).fits(&link, true));
        let other = WanLink {
            index: 4,
            ..link.clone()
        };
        assert!(!port(true).fits(&other, true));
    }
}
