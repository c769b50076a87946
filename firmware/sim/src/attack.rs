//! A host that means no good: it speaks for others, asks under thousands of names, says nonsense.

use std::net::{Ipv4Addr, SocketAddrV4};

use lintel_proto::rng::Rng;
use lintel_wire::dhcpv4::{HardwareAddress, MessageType, OpCode, Repr, code};
use lintel_wire::dns::{Name, Repr as DnsRepr, RrType};
use lintel_wire::frame::{self, EthernetAddress};

use crate::world::{Outside, host_mac};

const BOX_MAC: EthernetAddress = EthernetAddress([0x02, 0x30, 0, 0, 0, 0]);
/// The attacker's own address, which nobody gave it.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 99);

/// One message under the name of one of its many selves.
pub fn strike(out: &mut Outside, number: u32) {
    let mac = {
        let [a, b, c, d] = number.to_be_bytes();
        EthernetAddress([0x02, 0x40, a, b, c, d])
    };
    match out.dice.range(0, 9) {
        0..=3 => {
            let discover = message(mac, MessageType::Discover, number);
            send(out, mac, &discover);
        }
        4..=6 => {
            let mut request = message(mac, MessageType::Request, number);
            let last = out.dice.range(90, 220) as u8;
            let wanted = Ipv4Addr::new(192, 168, 1, last);
            request.options.set_addr(code::REQUESTED_ADDRESS, wanted);
            send(out, mac, &request);
        }
        7 => ask(out, mac, number),
        8 => ask(out, mac, number ^ 0x5555),
        _ => nonsense(out, mac),
    }
}

/// Releases or declines what another host has.
pub fn speak_for(out: &mut Outside, victim: usize, kind: MessageType) {
    let Some(address) = out.addresses.get(victim).copied().flatten() else {
        return;
    };
    let mac = EthernetAddress(host_mac(victim));
    let mut message = message(mac, kind, 0);
    message.options.take(code::CLIENT_ID);
    let mut id = [1; 7];
    if let Some(place) = id.get_mut(1..) {
        place.copy_from_slice(&mac.0);
    }
    message.options.set(code::CLIENT_ID, &id);
    if kind == MessageType::Decline {
        message.options.set_addr(code::REQUESTED_ADDRESS, address);
    } else {
        message.ciaddr = address;
    }
    out.note("attacker", || format!("says {kind:?} for host {victim}"));
    send(out, mac, &message);
}

/// Octets that are no message.
pub fn nonsense(out: &mut Outside, mac: EthernetAddress) {
    let len = out.dice.range(0, 400) as usize;
    let mut payload = vec![0; len];
    out.dice.rng().fill(&mut payload);
    let port = out.dice.one(&[67, 53]).unwrap_or(67);
    let octets = frame::udp(
        (mac, SocketAddrV4::new(OWN, 68)),
        (BOX_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, port)),
        &payload,
    );
    out.send_lan(Some(usize::MAX), &octets);
}

fn ask(out: &mut Outside, mac: EthernetAddress, number: u32) {
    let Ok(name) = Name::from_text(&format!("host-{number}-of-an-attacker.example.net")) else {
        return;
    };
    let Ok(query) = DnsRepr::query(number as u16, name, RrType::A).to_vec() else {
        return;
    };
    // Many addresses, so that no bound for one asker is what holds.
    let asker = Ipv4Addr::new(192, 168, 1, (number % 200) as u8);
    let octets = frame::udp(
        (mac, SocketAddrV4::new(asker, 5353)),
        (
            BOX_MAC,
            SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 53),
        ),
        &query,
    );
    out.send_lan(Some(usize::MAX), &octets);
}

fn message(mac: EthernetAddress, kind: MessageType, number: u32) -> Repr {
    let mut message = Repr::new(OpCode::Request, number, HardwareAddress::ethernet(mac));
    message.options.set(code::MESSAGE_TYPE, &[kind.into()]);
    let mut id = vec![0xff];
    id.extend(number.to_be_bytes());
    message.options.set(code::CLIENT_ID, &id);
    message
}

fn send(out: &mut Outside, mac: EthernetAddress, message: &Repr) {
    let Ok(payload) = message.emit(1400) else {
        return;
    };
    let octets = frame::udp(
        (mac, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68)),
        (BOX_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)),
        &payload,
    );
    out.send_lan(Some(usize::MAX), &octets);
}
