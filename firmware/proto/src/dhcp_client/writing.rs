//! The messages that the client writes.

use super::{Client, LostReason, Output, PARAMETERS, State};
use crate::rng::Rng;
use embassy_time::Instant;
use lintel_wire::dhcpv4::{
    CLIENT_PORT, HardwareAddress, MESSAGE_LEN_ASSUMED, MESSAGE_LEN_MAX, MessageType, OpCode, Repr,
    SERVER_PORT, code,
};
use lintel_wire::frame;
use lintel_wire::frame::EthernetAddress;
use std::net::{Ipv4Addr, SocketAddrV4};

impl Client {
    pub(super) fn release(&mut self, now: Instant, rng: &mut dyn Rng) {
        if let Some(lease) = self.lease().cloned()
            && let Some(server_mac) = lease.server_mac
        {
            self.xid = rng.next_u32();
            let mut release = self.message(now, MessageType::Release);
            for absent in [code::PARAMETER_LIST, code::MESSAGE_LEN_MAX, code::HOST_NAME] {
                release.options.take(absent);
            }
            release.ciaddr = lease.address;
            release.options.set_addr(code::SERVER_ID, lease.server);
            self.send(now, &release, lease.address, (server_mac, lease.server));
        }
        self.lose(LostReason::Released);
        self.enter(State::Down);
    }

    pub(super) fn message(&self, now: Instant, kind: MessageType) -> Repr {
        let chaddr = HardwareAddress::ethernet(self.config.mac);
        let mut message = Repr::new(OpCode::Request, self.xid, chaddr);
        let secs = now
            .checked_duration_since(self.began)
            .map_or(0, |d| d.as_secs());
        message.secs = u16::try_from(secs).unwrap_or(u16::MAX);
        let options = &mut message.options;
        options.set(code::MESSAGE_TYPE, &[kind.into()]);
        // Hardware type and address: what providers that bind a line to a modem expect.
        let mut id = [1; 7];
        id[1..].copy_from_slice(&self.config.mac.0);
        options.set(code::CLIENT_ID, &id);
        let len_max = MESSAGE_LEN_MAX as u16 + 28;
        options.set(code::MESSAGE_LEN_MAX, &len_max.to_be_bytes());
        options.set(code::PARAMETER_LIST, &PARAMETERS);
        if let Some(name) = &self.config.host_name {
            options.set(code::HOST_NAME, name.as_bytes());
        }
        message
    }

    pub(super) fn broadcast(&mut self, now: Instant, message: Repr) {
        let to = (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST);
        self.send(now, &message, Ipv4Addr::UNSPECIFIED, to);
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        message: &Repr,
        source: Ipv4Addr,
        to: (EthernetAddress, Ipv4Addr),
    ) {
        // Ours always fit: a host name is a label of at most 63 octets.
        let Ok(payload) = message.emit(MESSAGE_LEN_ASSUMED) else {
            return;
        };
        self.asked = now;
        self.outputs.push_back(Output::Transmit(frame::udp(
            (self.config.mac, SocketAddrV4::new(source, CLIENT_PORT)),
            (to.0, SocketAddrV4::new(to.1, SERVER_PORT)),
            &payload,
        )));
    }
}
