//! The judges judged: each foreign server serves each foreign client without us between, so
//! that a failure elsewhere is ours.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::{Namespace, until};

fn straight_to_the_isp(server: DhcpServer, client: DhcpClient) {
    let (isp, host) = (Namespace::new("isp"), Namespace::new("host"));
    isp.join("cust0", &host, "eth0");
    let isp = Isp::start(isp, "cust0", server);
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(client, "judge");
    let lease = host.lease(Duration::from_secs(30));
    assert_eq!(lease.router, isp::GATEWAY);
    assert_eq!(host.dig(&lease.dns, &[isp::NAME]), [isp::WEB]);
    assert_eq!(
        host.fetch(&format!("http://{}/", isp::WEB)).unwrap(),
        isp::PAGE
    );
    // lighttpd writes its log every few seconds.
    until(
        "the web server logs who asked",
        Duration::from_secs(15),
        || isp.web_log().contains("198.51.100.1"),
    );
}

#[test]
fn dnsmasq_serves_udhcpc() {
    straight_to_the_isp(DhcpServer::Dnsmasq, DhcpClient::Udhcpc);
}

#[test]
fn kea_serves_dhclient() {
    straight_to_the_isp(DhcpServer::Kea, DhcpClient::Dhclient);
}
