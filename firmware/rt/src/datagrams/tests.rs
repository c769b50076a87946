//! Sockets as roles inherit them, and peers on the loopback.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use lintel_ipc::init::SocketName;

use super::*;
use crate::sockets::{Addresses, open};

fn server(name: SocketName, address: &str) -> OwnedFd {
    let addresses = Addresses {
        address: address.parse().unwrap(),
        dns_port: 0,
        dhcp_port: 0,
        http_port: 0,
        https_port: 0,
        ntp_port: 0,
        run_dir: std::env::temp_dir(),
    };
    open(name, &addresses).unwrap()
}

fn port_of(fd: &OwnedFd) -> u16 {
    let socket = UdpSocket::from(fd.try_clone().unwrap());
    socket.local_addr().unwrap().port()
}

#[test]
fn replies_come_from_the_address_that_was_asked() {
    for (bind, asked, ours) in [
        ("::", "127.0.0.7", "127.0.0.1"),
        ("::", "::1", "::1"),
        ("127.0.0.9", "127.0.0.9", "127.0.0.1"),
    ] {
        let fd = server(SocketName::DnsUdp, bind);
        let client = UdpSocket::bind((ours, 0)).unwrap();
        client.connect((asked, port_of(&fd))).unwrap();
        let timeout = Some(std::time::Duration::from_secs(5));
        client.set_read_timeout(timeout).unwrap();
        client.send(b"one").unwrap();
        client.send(b"two").unwrap();
        let mut batch = Batch::new(512);
        assert_eq!(batch.receive(&fd).unwrap(), 2);
        for at in 0..2 {
            let datagram = batch.datagram(at).unwrap();
            assert_eq!(datagram.meta.local, asked.parse::<IpAddr>().unwrap());
            assert_eq!(
                (datagram.meta.peer, datagram.meta.link),
                (client.local_addr().unwrap(), 1)
            );
            let len = datagram.bytes.len();
            datagram.reply[..len].copy_from_slice(datagram.bytes);
            batch.queue(at, len);
        }
        let meta = Meta {
            peer: client.local_addr().unwrap(),
            local: asked.parse().unwrap(),
            link: 1,
        };
        assert!(batch.push(&meta, b"three"));
        assert!(!batch.push(&meta, &[0; 513]), "longer than its room");
        assert_eq!(batch.send(&fd), 0);
        send_one(&fd, &meta, &mut b"four".to_owned()).unwrap();
        let mut bytes = [0; 16];
        for want in [&b"one"[..], b"two", b"three", b"four"] {
            let len = client.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], want);
        }
    }
}

#[test]
fn datagrams_are_stamped_when_they_come_and_when_they_leave() {
    let now_ns = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_nanos()).unwrap()
    };
    let server = server(SocketName::NtpUdp, "::");
    let client = self::server(SocketName::NtpClientUdp, "::");
    let meta = Meta {
        peer: ("127.0.0.1".parse::<IpAddr>().unwrap(), port_of(&server)).into(),
        local: Ipv4Addr::UNSPECIFIED.into(),
        link: 0,
    };
    let mut batch = Batch::new(64);
    let mut frame = [0; 256];
    // The kernel switches stamps of arrival on behind the back of the first who asks.
    let found = (0..10_000).find_map(|_| {
        let before = now_ns();
        send_one(&client, &meta, &mut b"question".to_owned()).unwrap();
        assert_eq!(batch.receive(&server).unwrap(), 1);
        let came = batch.datagram(0).unwrap().received_ns;
        let (len, left) = departure(&client, &mut frame).unwrap().unwrap();
        assert!(frame[..len].ends_with(b"question"));
        assert_eq!(departure(&client, &mut frame).unwrap(), None);
        Some((before, left, came?))
    });
    let (before, left, came) = found.unwrap();
    assert!(before <= left && left <= came && came <= now_ns());
}

#[test]
fn nothing_waits() {
    let fd = server(SocketName::DnsUdp, "::");
    let error = Batch::new(512).receive(&fd).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn too_long_datagrams_read_as_empty() {
    let fd = server(SocketName::DnsUdp, "127.0.0.1");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .send_to(&[1; 600], ("127.0.0.1", port_of(&fd)))
        .unwrap();
    let mut batch = Batch::new(512);
    assert_eq!(batch.receive(&fd).unwrap(), 1);
    assert!(batch.datagram(0).unwrap().bytes.is_empty());
}

#[test]
fn a_connection_knows_its_link() {
    for (bind, asked) in [
        ("::", "::1"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        let listener = TcpListener::from(server(SocketName::DnsTcp, bind));
        listener.set_nonblocking(false).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect((asked, port)).unwrap();
        let (connection, _) = listener.accept().unwrap();
        assert_eq!(arrival_link(&connection), Some(1), "{bind} {asked}");
    }
}
