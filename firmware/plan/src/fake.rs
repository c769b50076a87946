//! A kernel for tests: takes steps with the side effects that the real one has, refuses what
//! the real one refuses, and fails where a test wants it to.
//!
//! Side effects modelled: a link that goes takes its addresses, routes and sockets along and
//! frees its ports; a link that goes down loses its routes; an address that goes takes the
//! routes with it as source, and the last one of a link all routes there (`fib_disable_ip`).
//! Not modelled: carrier, neighbours, what conntrack does.

use std::net::IpAddr;

use lintel_model::desired::{AddressSpec, RouteSpec, SysctlSpec};
use lintel_model::nft::{
    Chain, Edit, Element, ElementValue, Expr, Set, Table, Transaction, Verdict,
};
use lintel_model::observed::{LinkStatus, ObservedState};
use lintel_model::step::{Action, Plan, Step};
use lintel_model::{IpNet, LinkName, MacAddr};

use crate::sysctls::{IP_FORWARD, link_of};

/// What the kernel answers to a step it does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The object is there already.
    #[error("EEXIST: {0}")]
    Exists(String),
    /// The object, or one that it refers to, is not there.
    #[error("ENOENT: {0}")]
    Missing(String),
    /// The request makes no sense now.
    #[error("EINVAL: {0}")]
    Invalid(String),
    /// The test wanted it.
    #[error("EIO: injected")]
    Injected,
}

/// The kernel.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    /// What a look at it shows.
    pub state: ObservedState,
    /// Steps taken since it was made.
    pub writes: u64,
    /// Refuse the step after this many more; counts down.
    pub fail_after: Option<u64>,
    /// Rules of the box that a step broke: a link that went up, or forwarding that went on,
    /// without the table.
    pub violations: Vec<String>,
}

impl FakeKernel {
    /// A kernel that holds `state`.
    pub fn new(state: ObservedState) -> Self {
        let mut kernel = Self {
            state,
            ..Self::default()
        };
        kernel.sort();
        kernel
    }

    /// What a look at it shows that asks for these values of `/proc/sys` too, as netd looks: those
    /// of links that are not there are not there either.
    pub fn looked_at<'a>(&self, sysctls: impl IntoIterator<Item = &'a String>) -> ObservedState {
        let mut state = self.state.clone();
        for path in sysctls {
            let mut parts = path.split('/').skip_while(|part| *part != "conf").skip(1);
            let there = parts.next().is_none_or(|link| {
                matches!(link, "all" | "default")
                    || state.links.iter().any(|l| l.name.as_str() == link)
            });
            if there && !state.sysctls.iter().any(|sysctl| sysctl.path == *path) {
                state.sysctls.push(SysctlSpec {
                    path: path.clone(),
                    value: "as the kernel began".to_owned(),
                });
            }
        }
        state.sysctls.sort();
        state
    }

    /// Takes a plan up to the first refusal.
    ///
    /// # Errors
    /// The index of the step and why it was refused.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), (usize, Refusal)> {
        for (index, step) in plan.steps.iter().enumerate() {
            self.step(step).map_err(|refusal| (index, refusal))?;
        }
        Ok(())
    }

    /// Takes one step.
    ///
    /// # Errors
    /// Why not; the state is then as before.
    pub fn step(&mut self, step: &Step) -> Result<(), Refusal> {
        match &mut self.fail_after {
            Some(0) => {
                self.fail_after = None;
                return Err(Refusal::Injected);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.act(&step.action)?;
        self.writes += 1;
        self.sort();
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::CreateBridge { name, mac } => self.create_bridge(name, *mac),
            Action::DeleteLink { name } => self.delete_link(name),
            Action::SetLink {
                name,
                up,
                master,
                mtu,
                mac,
            } => self.set_link(name, *up, master.as_ref(), *mtu, *mac),
            Action::AddAddress(address) => self.add_address(address),
            Action::DeleteAddress(address) => self.delete_address(address),
            Action::ReplaceRoute(route) => self.replace_route(route),
            Action::DeleteRoute(route) => {
                let at = position(&self.state.routes, |old| old == route)
                    .ok_or_else(|| Refusal::Missing(format!("route {route}")))?;
                self.state.routes.remove(at);
                Ok(())
            }
            Action::SetSysctl(spec) => self.set_sysctl(spec),
            Action::Nft(transaction) => {
                self.state.nft = nft(self.state.nft.clone(), transaction)?;
                if self.state.nft.is_none() && self.forwards() {
                    self.violations.push("forwards without rules".to_owned());
                }
                Ok(())
            }
            Action::OpenSocket(socket) => {
                self.link(&socket.link)?;
                if self.state.sockets.contains(socket) {
                    return Err(Refusal::Exists(format!("{socket:?}")));
                }
                self.state.sockets.push(socket.clone());
                Ok(())
            }
            Action::CloseSocket(socket) => {
                let at = position(&self.state.sockets, |old| old == socket)
                    .ok_or_else(|| Refusal::Missing(format!("{socket:?}")))?;
                self.state.sockets.remove(at);
                Ok(())
            }
        }
    }

    fn forwards(&self) -> bool {
        let mut sysctls = self.state.sysctls.iter();
        sysctls.any(|spec| spec.path == IP_FORWARD && spec.value == "1")
    }

    fn link(&mut self, name: &LinkName) -> Result<&mut LinkStatus, Refusal> {
        let mut links = self.state.links.iter_mut();
        links
            .find(|link| link.name == *name)
            .ok_or_else(|| Refusal::Missing(format!("link {name}")))
    }

    fn create_bridge(&mut self, name: &LinkName, mac: Option<MacAddr>) -> Result<(), Refusal> {
        if self.link(name).is_ok() {
            return Err(Refusal::Exists(format!("link {name}")));
        }
        let index = self.state.links.iter().map(|link| link.index).max();
        let index = index.unwrap_or(1) + 1;
        let mut link = port(name.clone(), index);
        link.kind = "bridge".to_owned();
        link.permanent_mac = None;
        link.mac = mac.or(link.mac);
        self.state.links.push(link);
        Ok(())
    }

    fn delete_link(&mut self, name: &LinkName) -> Result<(), Refusal> {
        if self.link(name)?.kind.is_empty() {
            return Err(Refusal::Invalid(format!("{name} is hardware")));
        }
        let state = &mut self.state;
        state.links.retain(|link| link.name != *name);
        for link in &mut state.links {
            link.master = link.master.take().filter(|master| master != name);
        }
        state.addresses.retain(|address| address.link != *name);
        state.routes.retain(|route| route.link != *name);
        state.sockets.retain(|socket| socket.link != *name);
        state
            .sysctls
            .retain(|spec| link_of(&spec.path) != Some(name.as_str()));
        Ok(())
    }

    fn set_link(
        &mut self,
        name: &LinkName,
        up: Option<bool>,
        master: Option<&Option<LinkName>>,
        mtu: Option<u32>,
        mac: Option<MacAddr>,
    ) -> Result<(), Refusal> {
        self.link(name)?;
        if let Some(Some(master)) = master
            && self.link(master)?.kind != "bridge"
        {
            return Err(Refusal::Invalid(format!("{master} is no bridge")));
        }
        if mtu.is_some_and(|mtu| mtu < 68) {
            return Err(Refusal::Invalid("MTU too small".to_owned()));
        }
        let guarded = self.state.nft.is_some();
        let link = self.link(name)?;
        if let Some(master) = master {
            link.master.clone_from(master);
        }
        link.mtu = mtu.unwrap_or(link.mtu);
        link.mac = mac.or(link.mac);
        link.up = up.unwrap_or(link.up);
        match up {
            Some(true) if !guarded => self.violations.push(format!("{name} up without rules")),
            Some(false) => self.state.routes.retain(|route| route.link != *name),
            _ => {}
        }
        Ok(())
    }

    fn add_address(&mut self, address: &AddressSpec) -> Result<(), Refusal> {
        self.link(&address.link)?;
        if self.state.addresses.contains(address) {
            return Err(Refusal::Exists(format!("{address:?}")));
        }
        self.state.addresses.push(address.clone());
        Ok(())
    }

    fn delete_address(&mut self, address: &AddressSpec) -> Result<(), Refusal> {
        let at = position(&self.state.addresses, |old| old == address)
            .ok_or_else(|| Refusal::Missing(format!("{address:?}")))?;
        self.state.addresses.remove(at);
        let gone = address.address.addr();
        if !self.is_local(gone) {
            self.state.routes.retain(|route| route.source != Some(gone));
        }
        if !self.state.addresses.iter().any(|a| a.link == address.link) {
            self.state.routes.retain(|route| route.link != address.link);
        }
        Ok(())
    }

    fn is_local(&self, address: IpAddr) -> bool {
        let mut addresses = self.state.addresses.iter();
        addresses.any(|spec| spec.address.addr() == address)
    }

    fn replace_route(&mut self, route: &RouteSpec) -> Result<(), Refusal> {
        if !self.link(&route.link)?.up {
            return Err(Refusal::Invalid(format!("{} is down", route.link)));
        }
        if let Some(source) = route.source.filter(|source| !self.is_local(*source)) {
            return Err(Refusal::Invalid(format!("{source} is not ours")));
        }
        if let Some(gateway) = route.gateway.filter(|_| !route.onlink) {
            let connected = self.state.addresses.iter();
            let connected = connected
                .filter(|address| address.link == route.link)
                .any(|address| address.address.trunc().contains(&IpNet::from(gateway)));
            if !connected {
                return Err(Refusal::Invalid(format!("{gateway} is not reached")));
            }
        }
        let key = |r: &RouteSpec| (r.destination, r.metric, r.table);
        self.state.routes.retain(|old| key(old) != key(route));
        self.state.routes.push(route.clone());
        Ok(())
    }

    fn set_sysctl(&mut self, spec: &SysctlSpec) -> Result<(), Refusal> {
        if let Some(link) = link_of(&spec.path)
            && !self.state.links.iter().any(|l| l.name.as_str() == link)
        {
            return Err(Refusal::Missing(spec.path.clone()));
        }
        self.state.sysctls.retain(|old| old.path != spec.path);
        self.state.sysctls.push(spec.clone());
        if self.forwards() && self.state.nft.is_none() {
            self.violations.push("forwards without rules".to_owned());
        }
        Ok(())
    }

    fn sort(&mut self) {
        let state = &mut self.state;
        state.links.sort_by(|a, b| a.name.cmp(&b.name));
        state.addresses.sort();
        state.routes.sort();
        state.sysctls.sort();
        state.sockets.sort();
    }
}

/// A port as hardware shows it: down, with a hardware address made from its index.
pub fn port(name: LinkName, index: u32) -> LinkStatus {
    let [_, b, c, d] = index.to_be_bytes();
    let mac = MacAddr([0x52, 0x54, 0x00, b, c, d]);
    LinkStatus {
        name,
        index,
        kind: String::new(),
        mac: Some(mac),
        permanent_mac: Some(mac),
        bus_path: Some(format!("pci-0000:00:{index:02x}.0")),
        up: false,
        carrier: true,
        mtu: 1500,
        master: None,
        ethernet: true,
        rx_bytes: 0,
        tx_bytes: 0,
    }
}

/// A link that is nobody's business: WireGuard, up, of somebody else.
pub fn tunnel(name: LinkName, index: u32) -> LinkStatus {
    LinkStatus {
        kind: "wireguard".to_owned(),
        ethernet: false,
        up: true,
        ..port(name, index)
    }
}

/// The table after a transaction, or why the kernel refuses the whole of it.
fn nft(table: Option<Table>, transaction: &Transaction) -> Result<Option<Table>, Refusal> {
    let mut table = match transaction {
        Transaction::DeleteTable => {
            return table
                .map(|_| None)
                .ok_or_else(|| Refusal::Missing("table".to_owned()));
        }
        Transaction::ReplaceTable(table) => table.clone(),
        Transaction::Edit(edits) => {
            let mut table = table.ok_or_else(|| Refusal::Missing("table".to_owned()))?;
            for edit in edits {
                change(&mut table, edit)?;
                whole(&table)?;
            }
            table
        }
    };
    whole(&table)?;
    table.chains.sort_by(|a, b| a.name.cmp(&b.name));
    table.sets.sort_by(|a, b| a.name.cmp(&b.name));
    for set in &mut table.sets {
        set.elements.sort();
    }
    Ok(Some(table))
}

fn change(table: &mut Table, edit: &Edit) -> Result<(), Refusal> {
    match edit {
        Edit::AddSet(set) => {
            if table.sets.iter().any(|old| old.name == set.name) {
                return Err(Refusal::Exists(set.name.clone()));
            }
            table.sets.push(set.clone());
        }
        Edit::DeleteSet { name } => {
            let at = position(&table.sets, |set| set.name == *name)
                .ok_or_else(|| Refusal::Missing(name.clone()))?;
            table.sets.remove(at);
        }
        Edit::AddElements { set, elements } => {
            let old = set_mut(table, &set.name)?;
            for element in elements {
                if old.elements.iter().any(|e| e.key == element.key) {
                    return Err(Refusal::Exists(format!("{element:?}")));
                }
                old.elements.push(element.clone());
            }
        }
        Edit::DeleteElements { set, elements } => {
            let old = set_mut(table, &set.name)?;
            for element in elements {
                let at = position(&old.elements, |e| e == element)
                    .ok_or_else(|| Refusal::Missing(format!("{element:?}")))?;
                old.elements.remove(at);
            }
        }
        Edit::AddChain { name, base } => {
            if table.chains.iter().any(|old| old.name == *name) {
                return Err(Refusal::Exists(name.clone()));
            }
            table.chains.push(Chain {
                name: name.clone(),
                base: *base,
                rules: Vec::new(),
            });
        }
        Edit::DeleteChain { name } => {
            let at = position(&table.chains, |chain| chain.name == *name)
                .ok_or_else(|| Refusal::Missing(name.clone()))?;
            table.chains.remove(at);
        }
        Edit::ReplaceRules { chain, rules } => {
            let mut chains = table.chains.iter_mut();
            chains
                .find(|old| old.name == *chain)
                .ok_or_else(|| Refusal::Missing(chain.clone()))?
                .rules
                .clone_from(rules);
        }
    }
    Ok(())
}

fn set_mut<'t>(table: &'t mut Table, name: &str) -> Result<&'t mut Set, Refusal> {
    let mut sets = table.sets.iter_mut();
    sets.find(|set| set.name == name)
        .ok_or_else(|| Refusal::Missing(name.to_owned()))
}

/// Whether everything that rules and maps refer to is there, and no ranges of a set overlap.
fn whole(table: &Table) -> Result<(), Refusal> {
    let target = |verdict: &Verdict| match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => {
            let known = table.chains.iter().any(|c| c.name == *chain);
            known
                .then_some(())
                .ok_or_else(|| Refusal::Missing(chain.clone()))
        }
        _ => Ok(()),
    };
    for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
        for expr in &rule.exprs {
            match expr {
                Expr::Verdict(verdict) => target(verdict)?,
                Expr::Lookup { set, .. } if !table.sets.iter().any(|s| s.name == *set) => {
                    return Err(Refusal::Missing(set.clone()));
                }
                _ => {}
            }
        }
    }
    for set in table.sets.iter().filter(|set| set.interval) {
        let end = |element: &Element| element.key_end.clone().unwrap_or(element.key.clone());
        let mut ranges: Vec<_> = set.elements.iter().map(|e| (&e.key, end(e))).collect();
        ranges.sort();
        let overlap = ranges.windows(2).any(|pair| match pair {
            [(_, end), (next, _)] => *next <= end,
            _ => false,
        });
        if overlap {
            return Err(Refusal::Exists(format!("a range of {}", set.name)));
        }
    }
    for element in table.sets.iter().flat_map(|set| &set.elements) {
        if let Some(ElementValue::Verdict(verdict)) = &element.value {
            target(verdict)?;
        }
    }
    Ok(())
}

fn position<T>(list: &[T], found: impl FnMut(&T) -> bool) -> Option<usize> {
    list.iter().position(found)
}
