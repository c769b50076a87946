//! Hosts on the LAN: foreign DHCP clients and what they learned.

use std::time::Duration;

use crate::namespace::{Namespace, Proc, Workdir};
use crate::wait::until_some;

/// What a DHCP client wrote down when it was bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The host's address with its length.
    pub address: String,
    /// Default router.
    pub router: String,
    /// First resolver.
    pub dns: String,
    /// Domain.
    pub domain: String,
}

/// A host with one link.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub ns: Namespace,
    link: &'static str,
    pub(crate) dir: Workdir,
}

/// Which client a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpClient {
    /// busybox's.
    Udhcpc,
    /// ISC's.
    Dhclient,
}

impl Host {
    /// A host whose `link` leads to the router.
    pub fn new(ns: Namespace, link: &'static str) -> Self {
        Self {
            ns,
            link,
            dir: Workdir::new("host"),
        }
    }

    /// Starts a DHCP client that goes on renewing.
    pub fn dhcp(&self, client: DhcpClient, name: &str) -> Proc {
        let log = self.dir.path("dhcp.log");
        let _ = std::fs::remove_file(self.dir.path("lease"));
        match client {
            DhcpClient::Udhcpc => {
                let script = self.dir.script("udhcpc.sh", &self.udhcpc_script());
                let script = script.to_str().expect("UTF-8");
                self.ns.spawn(
                    &log,
                    [
                        "udhcpc",
                        "-f",
                        "-i",
                        self.link,
                        "-s",
                        script,
                        "-t",
                        "20",
                        "-T",
                        "1",
                        "-x",
                        &format!("hostname:{name}"),
                    ],
                )
            }
            DhcpClient::Dhclient => {
                let script = self.dir.script("dhclient.sh", &self.dhclient_script());
                let config = self.dir.write(
                    "dhclient.conf",
                    &format!("send host-name \"{name}\";\ninitial-interval 1;\ninitial-delay 0;\nrequest subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, host-name, interface-mtu;\n"),
                );
                let path = |name: &str| self.dir.path(name).to_str().expect("UTF-8").to_owned();
                self.ns.spawn(
                    &log,
                    [
                        "dhclient",
                        "-d",
                        "-sf",
                        script.to_str().expect("UTF-8"),
                        "-cf",
                        config.to_str().expect("UTF-8"),
                        "-lf",
                        &path("dhclient.leases"),
                        "-pf",
                        &path("dhclient.pid"),
                        self.link,
                    ],
                )
            }
        }
    }

    /// Waits until the client is bound.
    pub fn lease(&self, within: Duration) -> Lease {
        until_some("the DHCP client is bound", within, || {
            let text = std::fs::read_to_string(self.dir.path("lease")).ok()?;
            let mut lines = text.lines().map(str::to_owned);
            Some(Lease {
                address: lines.next()?,
                router: lines.next()?,
                dns: lines.next()?,
                domain: lines.next()?,
            })
        })
    }

    /// Answer lines of `dig +short`.
    pub fn dig(&self, server: &str, args: &[&str]) -> Vec<String> {
        let server = format!("@{server}");
        let mut all = vec!["dig", "+short", "+time=2", "+tries=2", &server];
        all.extend(args);
        let output = self.ns.run(all);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// A page, or `None`.
    pub fn fetch(&self, url: &str) -> Option<String> {
        let output = self.ns.run(["curl", "-sf", "-m", "5", url]);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn udhcpc_script(&self) -> String {
        format!(
            "#!/bin/sh\ncase \"$1\" in\nbound|renew)\n  ip address replace \"$ip/$mask\" dev \"$interface\"\n  \
             ip route replace default via \"$router\"\n  \
             printf '%s\\n' \"$ip/$mask\" \"$router\" \"${{dns%% *}}\" \"$domain\" > {0}.new && mv {0}.new {0};;\n\
             deconfig) ip address flush dev \"$interface\" scope global; rm -f {0};;\nesac\n",
            self.dir.path("lease").display()
        )
    }

    fn dhclient_script(&self) -> String {
        format!(
            "#!/bin/sh\ncase \"$reason\" in\nBOUND|RENEW|REBIND|REBOOT)\n  \
             len=$(python3 -c \"import ipaddress;print(ipaddress.ip_network('0.0.0.0/$new_subnet_mask').prefixlen)\")\n  \
             ip address replace \"$new_ip_address/$len\" dev \"$interface\"\n  \
             ip route replace default via \"${{new_routers%% *}}\"\n  \
             printf '%s\\n' \"$new_ip_address/$len\" \"${{new_routers%% *}}\" \"${{new_domain_name_servers%% *}}\" \"$new_domain_name\" > {0}.new && mv {0}.new {0};;\n\
             PREINIT) ip link set \"$interface\" up;;\nEXPIRE|FAIL|RELEASE|STOP) ip address flush dev \"$interface\" scope global; rm -f {0};;\nesac\nexit 0\n",
            self.dir.path("lease").display()
        )
    }
}
