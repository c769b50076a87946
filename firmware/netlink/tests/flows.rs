//! Tracked flows against the real kernel.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do the IO

mod namespace;

use std::net::UdpSocket;

use lintel_netlink::flows;
use lintel_netlink::socket::Socket;
use namespace::{in_namespace, run};
use neli::consts::socket::NlFamily;

#[test]
fn flows_are_seen_and_ended_one_by_one() {
    in_namespace("flows_are_seen_and_ended_one_by_one", || {
        run("ip link set lo up");
        // A rule that asks for the state turns tracking on.
        run("nft add table ip t");
        run("nft add chain ip t c { type filter hook output priority 0 ; }");
        run("nft add rule ip t c ct state new counter");
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let senders: Vec<UdpSocket> = (0..3)
            .map(|_| {
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                sender.send_to(b"x", to).unwrap();
                sender
            })
            .collect();
        let mut socket = Socket::open(NlFamily::Netfilter).unwrap();
        let ports = |socket: &mut Socket| {
            let flows = flows::observe(socket).unwrap();
            assert!(
                flows
                    .iter()
                    .all(|f| f.original.ports.unwrap().1 == to.port())
            );
            assert!(flows.iter().all(|f| f.original.protocol == 17));
            let mut ports: Vec<u16> = flows.iter().map(|f| f.original.ports.unwrap().0).collect();
            ports.sort_unstable();
            (flows, ports)
        };
        let mut sent: Vec<u16> = senders
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        sent.sort_unstable();
        let (seen, from) = ports(&mut socket);
        assert_eq!(from, sent);
        flows::end(&mut socket, &seen[0]).unwrap();
        let gone = seen[0].original.ports.unwrap().0;
        sent.retain(|port| *port != gone);
        assert_eq!(ports(&mut socket).1, sent);
        let again = flows::end(&mut socket, &seen[0]).unwrap_err();
        assert_eq!(again.errno(), libc::ENOENT);
    });
}
