//! A provider, the router and its household, joined in a row.

use crate::client::Host;
use crate::isp::{DhcpServer, Isp};
use crate::namespace::Namespace;
use crate::router::Router;

/// A configuration whose provider is behind `wan0`.
pub const CONFIG: &str = "[wan]\nport = \"wan0\"\n\n[run]\n";

/// Everything from the provider to the last host.
#[derive(Debug)]
pub struct Street {
    /// The provider.
    pub isp: Isp,
    /// The router.
    pub router: Router,
    /// Its hosts; the first is on port `lan0`, each has the link `eth0`.
    pub hosts: Vec<Host>,
}

impl Street {
    /// Starts all of it but the hosts' DHCP clients.
    pub fn new(server: DhcpServer, config: &str, hosts: usize) -> Self {
        let (isp, router) = (Namespace::new("isp"), Namespace::new("router"));
        isp.join("cust0", &router, "wan0");
        let hosts = (0..hosts).map(|n| {
            let host = Namespace::new("host");
            router.join(&format!("lan{n}"), &host, "eth0");
            Host::new(host, "eth0")
        });
        let hosts = hosts.collect();
        Self {
            isp: Isp::start(isp, "cust0", server),
            router: Router::start(router, config),
            hosts,
        }
    }
}
