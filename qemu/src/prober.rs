//! A client without patience: it asks every 50 ms, so that a measurement shows when the box
//! could answer and not when a client's back-off let it ask.
//!
//! Runs inside a host's namespace as a process of its own and prints one word for each thing
//! that it got; the reader of those lines takes the times.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// A connection may take longer than that: its SYN is repeated only after a second.
const CONNECT_MAX: Duration = Duration::from_millis(500);

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Printed when the DHCPACK is there.
pub const GOT_LEASE: &str = "lease";
/// Printed when the name is resolved.
pub const GOT_NAME: &str = "name";
/// Between two devices that come for the first time.
const NEWCOMER_EVERY: Duration = Duration::from_secs(1);
/// A device that waits longer is given up.
const NEWCOMER_MAX: Duration = Duration::from_secs(10);
/// Where `ciaddr` stands (RFC 2131 section 2).
const CIADDR: usize = 12;

/// Printed with the time of each renewal.
pub const RENEWED: &str = "renewed";
/// Printed when a new device has its lease.
pub const JOINED: &str = "joined";
/// Printed when the page is there.
pub const GOT_PAGE: &str = "page";

/// Leases an address on `link`, resolves `name`, fetches the page at the address that came.
/// `None` when the time is over.
pub fn probe(link: &str, name: &str, page: &str, within: Duration) -> Option<()> {
    let end = Instant::now() + within;
    let lease = lease(link, end)?;
    println!("{GOT_LEASE} {}", lease.address);
    configure(link, &lease);
    let web = resolve(lease.dns, name, end)?;
    println!("{GOT_NAME} {web}");
    fetch(web, name, page, end)?;
    println!("{GOT_PAGE}");
    Some(())
}

/// Renews the lease of `address` at `server` without end, as its holder that sends client ids
/// of the usual kind; prints one [`RENEWED`] for each ACK.
pub fn renew(link: &str, address: Ipv4Addr, server: Ipv4Addr) {
    let mac = mac_of(link);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).expect("port 68 is free here");
    for xid in 1.. {
        let id = [&[61, 7, 1][..], &mac].concat();
        let mut message = dhcp_message(REQUEST, xid, mac, &id);
        message[CIADDR..CIADDR + 4].copy_from_slice(&address.octets());
        let _ = socket.send_to(&message, (server, 67));
        let next = Instant::now() + ASK_EVERY;
        while let Some(reply) = receive(&socket, next) {
            // A late one is an answer too.
            let id = reply
                .get(4..8)
                .map(|id| u32::from_be_bytes([id[0], id[1], id[2], id[3]]));
            if let Some(id) = id
                && dhcp_reply(&reply, id).is_some_and(|reply| reply.kind == ACK)
            {
                println!("{RENEWED} {}", unix_ms());
            }
        }
    }
}

/// Devices that were never here before, one after the other, without end: prints [`JOINED`] and
/// how long the device waited, in milliseconds.
pub fn newcomers(link: &str) {
    for number in 1_u32.. {
        let begun = Instant::now();
        let [_, b, c, d] = number.to_be_bytes();
        if lease_for(link, [0x52, 0x55, 0, b, c, d], begun + NEWCOMER_MAX).is_some() {
            println!("{JOINED} {} {}", unix_ms(), begun.elapsed().as_millis());
        }
        std::thread::park_timeout(
            (begun + NEWCOMER_EVERY).saturating_duration_since(Instant::now()),
        );
    }
}

/// Unix time in milliseconds: what different processes measure by.
pub fn unix_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is after 1970").as_millis()
}

struct Lease {
    address: Ipv4Addr,
    prefix_len: u32,
    router: Ipv4Addr,
    dns: Ipv4Addr,
}

fn lease(link: &str, end: Instant) -> Option<Lease> {
    lease_for(link, mac_of(link), end)
}

fn lease_for(link: &str, mac: [u8; 6], end: Instant) -> Option<Lease> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).expect("port 68 is free here");
    socket.set_broadcast(true).expect("a UDP socket");
    setsockopt(&socket, sockopt::BindToDevice, &link.into()).expect("the link exists");
    let xid = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    let mut offered: Option<(Ipv4Addr, Ipv4Addr)> = None;
    while Instant::now() < end {
        let message = match offered {
            None => dhcp_message(DISCOVER, xid, mac, &[]),
            Some((address, server)) => {
                let options =
                    [&[50, 4][..], &address.octets(), &[54, 4], &server.octets()].concat();
                dhcp_message(REQUEST, xid, mac, &options)
            }
        };
        // While the box's port is down there is nobody to hear it.
        let _ = socket.send_to(&message, (Ipv4Addr::BROADCAST, 67));
        let next = Instant::now() + ASK_EVERY;
        while let Some(reply) = receive(&socket, next) {
            let Some(reply) = dhcp_reply(&reply, xid) else {
                continue;
            };
            match reply.kind {
                OFFER if offered.is_none() => {
                    offered = Some((reply.address, reply.server));
                    break;
                }
                ACK => {
                    return Some(Lease {
                        address: reply.address,
                        prefix_len: u32::from(reply.mask).count_ones(),
                        router: reply.router,
                        dns: reply.dns,
                    });
                }
                _ => {}
            }
        }
    }
    None
}

/// RFC 2131 section 2, with the broadcast flag, for we have no address yet.
fn dhcp_message(kind: u8, xid: u32, mac: [u8; 6], options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend(xid.to_be_bytes());
    message.extend([0, 0, 0x80, 0]);
    message.extend([0; 16]);
    message.extend(mac);
    message.extend([0; 10 + 64 + 128]);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind, 55, 3, 1, 3, 6]);
    message.extend(options);
    message.push(255);
    message
}

struct DhcpReply {
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
    mask: Ipv4Addr,
    router: Ipv4Addr,
    dns: Ipv4Addr,
}

fn dhcp_reply(message: &[u8], xid: u32) -> Option<DhcpReply> {
    if message.first() != Some(&2) || message.get(4..8)? != xid.to_be_bytes() {
        return None;
    }
    let option = |wanted: u8| {
        let mut rest = message.get(240..)?;
        loop {
            match rest {
                [0, tail @ ..] => rest = tail,
                [code, len, tail @ ..] if *code != 255 => {
                    let value = tail.get(..usize::from(*len))?;
                    if *code == wanted {
                        return Some(value);
                    }
                    rest = &tail[usize::from(*len)..];
                }
                _ => return None,
            }
        }
    };
    let address = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?));
    let or_none = |code: u8| {
        option(code)
            .and_then(address)
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    };
    Some(DhcpReply {
        kind: *option(53)?.first()?,
        address: address(message.get(16..20)?)?,
        server: or_none(54),
        mask: or_none(1),
        router: or_none(3),
        dns: or_none(6),
    })
}

fn configure(link: &str, lease: &Lease) {
    let run = |args: &[&str]| {
        let status = Command::new("ip").args(args).status();
        assert!(status.is_ok_and(|s| s.success()), "ip {args:?}");
    };
    let address = format!("{}/{}", lease.address, lease.prefix_len);
    run(&["address", "replace", &address, "dev", link]);
    run(&[
        "route",
        "replace",
        "default",
        "via",
        &lease.router.to_string(),
    ]);
}

fn resolve(server: Ipv4Addr, name: &str, end: Instant) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
    for id in 1_u16.. {
        if Instant::now() >= end {
            break;
        }
        let _ = socket.send_to(&question(id, name), (server, 53));
        let next = Instant::now() + ASK_EVERY;
        while let Some(reply) = receive(&socket, next) {
            if let Some(address) = first_address(&reply, name) {
                return Some(address);
            }
        }
    }
    None
}

/// A question for the A records of `name`, recursion desired (RFC 1035 section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The address in an answer whose first record is an A record with a compressed owner.
fn first_address(reply: &[u8], name: &str) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes([*reply.get(6)?, *reply.get(7)?]);
    let rcode = reply.get(3)? & 0x0f;
    let record = reply.get(12 + name.len() + 2 + 4..)?;
    let owner_len = if record.first()? & 0xc0 == 0xc0 {
        2
    } else {
        name.len() + 2
    };
    let fixed = record.get(owner_len..owner_len + 10)?;
    let data = record.get(owner_len + 10..owner_len + 14)?;
    let is_address = fixed[..4] == [0, 1, 0, 1] && fixed[8..10] == [0, 4];
    (answers > 0 && rcode == 0 && is_address)
        .then(|| Ipv4Addr::new(data[0], data[1], data[2], data[3]))
}

fn fetch(web: Ipv4Addr, name: &str, page: &str, end: Instant) -> Option<()> {
    let address = SocketAddr::V4(SocketAddrV4::new(web, 80));
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = TcpStream::connect_timeout(&address, CONNECT_MAX).and_then(|mut stream| {
            stream.set_read_timeout(Some(CONNECT_MAX))?;
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        if answer.is_ok_and(|answer| answer.ends_with(page)) {
            return Some(());
        }
        std::thread::park_timeout((begun + ASK_EVERY).saturating_duration_since(Instant::now()));
    }
    None
}

/// The next datagram, or `None` at `until`.
fn receive(socket: &UdpSocket, until: Instant) -> Option<Vec<u8>> {
    let mut buffer = [0; 1500];
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return None;
    }
    socket.set_read_timeout(Some(left)).expect("not zero");
    match socket.recv(&mut buffer) {
        Ok(len) => Some(buffer[..len].to_vec()),
        Err(_) => {
            // An ICMP error ends the wait early; the pause before the next question stays.
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            None
        }
    }
}

fn mac_of(link: &str) -> [u8; 6] {
    let output = Command::new("ip")
        .args(["-j", "link", "show", "dev", link])
        .output()
        .expect("iproute2 is installed");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("ip prints JSON");
    let text = json[0]["address"].as_str().expect("a link has an address");
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("hexadecimal");
    }
    mac
}
