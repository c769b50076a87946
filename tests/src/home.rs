//! A household on its running router: hosts with addresses, sessions and tokens.

use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::client::{DhcpClient, Host, Lease};
use crate::isp::DhcpServer;
use crate::namespace::{Proc, Workdir};
use crate::router::Router;
use crate::session::Session;
use crate::street::{CONFIG, Street};

/// The box as its household calls it, without a slash at the end.
pub const BASE: &str = "http://192.168.1.1";
/// The owner's, where a test has no other.
pub const PASSWORD: &str = "seven green bottles";
/// Nothing takes longer on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A street whose first host has an address.
#[derive(Debug)]
pub struct Home {
    /// The DHCP clients that run, in the order in which they came. They end before the hosts'
    /// namespaces do.
    pub clients: Vec<Proc>,
    /// From the provider to the last host.
    pub street: Street,
    /// What each host's browser keeps; the first is the owner's.
    pub sessions: Vec<Session>,
    /// Files of the test.
    pub dir: Workdir,
}

impl Home {
    /// A box that nobody owns; `annes-laptop` is its first host.
    pub fn new(hosts: usize) -> Self {
        let mut home = Self {
            clients: Vec::new(),
            street: Street::new(DhcpServer::Dnsmasq, CONFIG, hosts),
            sessions: (0..hosts).map(|_| Session::new()).collect(),
            dir: Workdir::new("home"),
        };
        home.join(0, "annes-laptop");
        home
    }

    /// The same with an owner, who is logged in on the first host.
    pub fn claimed(hosts: usize) -> Self {
        let home = Self::new(hosts);
        home.claim(PASSWORD);
        home
    }

    /// Another host gets an address and goes on renewing it.
    pub fn join(&mut self, host: usize, name: &str) -> Lease {
        let host = &self.street.hosts[host];
        self.clients.push(host.dhcp(DhcpClient::Udhcpc, name));
        host.lease(PATIENCE)
    }

    /// Makes the first host the owner's.
    pub fn claim(&self, password: &str) {
        let password = json!({ "password": password });
        let setup = self.owner().send("POST", "/api/auth/setup", &password);
        assert_eq!((setup.status, setup.body.as_str()), (200, "{}"));
    }

    /// The router.
    pub fn router(&self) -> &Router {
        &self.street.router
    }

    /// The first host.
    pub fn host(&self) -> &Host {
        &self.street.hosts[0]
    }

    /// A token of this scope, made on the box.
    pub fn token(&self, scope: &str) -> String {
        let words = ["auth", "tokens", "create", scope, scope];
        let made = self.router().cli_json(&words);
        made["token"].as_str().expect("a token").to_owned()
    }

    /// The browser of this host.
    pub fn caller(&self, host: usize) -> Caller<'_> {
        Caller::session(&self.street.hosts[host], &self.sessions[host])
    }

    /// The owner's browser on the first host.
    pub fn owner(&self) -> Caller<'_> {
        self.caller(0)
    }

    /// A program on the first host that has a token.
    pub fn program<'h>(&'h self, token: &'h str) -> Caller<'h> {
        Caller::token(self.host(), token)
    }

    /// Somebody on the first host who has nothing to show.
    pub fn nobody(&self) -> Caller<'_> {
        Caller::nobody(self.host())
    }
}
