//! wand: the real client on each port that it is told of; what its shell does around it.

use std::collections::BTreeMap;

use lintel_ipc::netd::HandOver;
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_model::lease::WanLease;
use lintel_model::services::{WanLink, WanSpec};
use lintel_model::{LinkName, RoleName};
use lintel_proto::dhcp_client::{Client, ClientConfig, Event, Input, Output, StateName};
use lintel_proto::rng::SeededRng;
use lintel_roles::wand::convert::{from_disk, to_disk};
use lintel_wire::frame::EthernetAddress;

use super::{LAN_PORT, Router, WAN_PORT};
use crate::isp::Conversation;
use crate::plant::RoleRng;
use crate::properties::{Property, Violation};
use crate::world::{Alarm, Event as Happening, Octets, Outside, Said, Who};

/// The role.
#[derive(Debug)]
pub struct Wand {
    lives: u64,
    alive: bool,
    ports: BTreeMap<LinkName, Port>,
    /// Links with a packet socket.
    sockets: BTreeMap<u32, LinkName>,
    rng: RoleRng,
    /// How often a lease was lost, or was one of another address than before.
    pub changes: u64,
    had: Option<std::net::Ipv4Addr>,
    alarm: Alarm,
}

impl Default for Wand {
    fn default() -> Self {
        Self {
            lives: 0,
            alive: false,
            ports: BTreeMap::new(),
            sockets: BTreeMap::new(),
            rng: RoleRng::new(SeededRng::new(0), None),
            changes: 0,
            had: None,
            alarm: Alarm::default(),
        }
    }
}

#[derive(Debug)]
struct Port {
    link: WanLink,
    client: Client,
    up: bool,
    detect: bool,
    conversation: Conversation,
}

impl Wand {
    /// Its life, when it runs.
    pub fn life(&self) -> Option<u64> {
        self.alive.then_some(self.lives)
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            lives: self.lives,
            changes: self.changes,
            had: self.had,
            ..Self::default()
        };
    }

    pub(super) fn start(&mut self, out: &mut Outside) {
        self.lives += 1;
        self.alive = true;
        self.rng = RoleRng::new(out.dice.rng(), out.plant);
    }

    /// The address that it has of the provider.
    pub fn leased(&self) -> Option<std::net::Ipv4Addr> {
        let mut leases = self.ports.values().filter_map(|port| port.client.lease());
        leases.next().map(|lease| lease.address)
    }
}

impl Router {
    pub(super) fn wand_told(&mut self, out: &mut Outside, message: ToWand) {
        // Nobody tests the network of a simulated box.
        let ToWand::Spec { spec, lease } = message else {
            return;
        };
        let (links, detect, host_name) = match spec {
            WanSpec::Off => (Vec::new(), false, None),
            WanSpec::Detect { links } => (links, true, None),
            WanSpec::Dhcp { link, hostname } => {
                (vec![link], false, Some(hostname.as_str().to_owned()))
            }
        };
        self.wand
            .ports
            .retain(|name, _| links.iter().any(|link| link.name == *name));
        for link in links {
            let kept = lease.clone().filter(|lease| lease.link == link.name);
            self.wand_opens(out, link, detect, host_name.clone(), kept);
        }
        self.wand_drains(out);
        let names: Vec<LinkName> = self.wand.ports.keys().cloned().collect();
        for name in names {
            self.tell_lease(out, &name);
            self.tell_state(out, &name);
            self.tell_seen(out, &name);
        }
    }

    fn wand_opens(
        &mut self,
        out: &mut Outside,
        link: WanLink,
        detect: bool,
        host_name: Option<String>,
        kept: Option<WanLease>,
    ) {
        let clocks = self.clocks(out.now);
        let now = clocks.mono;
        let name = link.name.clone();
        let fits = self.wand.ports.get(&name).is_some_and(|port| {
            port.link.mac == link.mac && port.link.index == link.index && (port.detect || !detect)
        });
        if !fits {
            let config = ClientConfig {
                mac: EthernetAddress(link.mac.0),
                host_name,
                detect,
            };
            let kept = kept.and_then(|lease| from_disk(clocks.now(), lease));
            let port = Port {
                link: link.clone(),
                client: Client::new(now, config, kept),
                up: false,
                detect,
                conversation: Conversation::default(),
            };
            self.wand.ports.insert(name.clone(), port);
        }
        let Some(port) = self.wand.ports.get_mut(&name) else {
            return;
        };
        if !detect {
            port.detect = false;
            port.client
                .handle_input(now, Input::Claim, &mut self.wand.rng);
        }
        port.link = link;
        self.settle(out, &name);
    }

    /// A client is up when its link has a carrier and it has a socket there.
    fn settle(&mut self, out: &mut Outside, name: &LinkName) {
        let now = self.clocks(out.now).mono;
        let Some(port) = self.wand.ports.get_mut(name) else {
            return;
        };
        let up = port.link.carrier && self.wand.sockets.contains_key(&port.link.index);
        if up != port.up {
            port.up = up;
            let input = if up { Input::LinkUp } else { Input::LinkDown };
            port.client.handle_input(now, input, &mut self.wand.rng);
        }
    }

    pub(super) fn wand_socket(&mut self, out: &mut Outside, what: HandOver) {
        match what {
            HandOver::Socket { spec, index } => {
                self.wand.sockets.insert(index, spec.link.clone());
                self.settle(out, &spec.link);
            }
            HandOver::Gone { spec } => {
                self.wand.sockets.retain(|_, link| *link != spec.link);
                self.settle(out, &spec.link);
            }
        }
        self.wand_drains(out);
    }

    /// A frame on one of the ports; `answers` is the packet that it answers, when it is genuine.
    pub fn wand_frame(
        &mut self,
        out: &mut Outside,
        link: &str,
        octets: &[u8],
        answers: Option<u64>,
    ) {
        if !self.on || !self.wand.alive || !self.link(link).is_some_and(|link| link.up) {
            return;
        }
        let now = self.clocks(out.now).mono;
        let Some((name, port)) = self
            .wand
            .ports
            .iter_mut()
            .find(|(name, _)| name.as_str() == link)
        else {
            return;
        };
        if !self.wand.sockets.contains_key(&port.link.index) {
            return;
        }
        let before = port.client.drops();
        let state = port.client.state().as_str();
        port.client
            .handle_input(now, Input::Frame(octets), &mut self.wand.rng);
        // What was not dropped was believed.
        if port.client.drops() == before
            && let Some(text) = port.conversation.believed(octets, answers)
        {
            let text = format!("wand, {state} on {name}, believes {text}");
            let property = Property::Genuine;
            out.breaks(Violation { property, text });
        }
        self.wand_drains(out);
    }

    /// wand's deadline has come.
    pub fn wand_wakes(&mut self, out: &mut Outside) {
        self.wand.alarm.rang(out.now);
        let now = self.clocks(out.now).mono;
        for port in self.wand.ports.values_mut() {
            port.client.handle_timeout(now, &mut self.wand.rng);
        }
        self.wand_drains(out);
    }

    /// Does what the machines want.
    fn wand_drains(&mut self, out: &mut Outside) {
        if !self.wand.alive {
            return;
        }
        let clocks = self.clocks(out.now);
        let names: Vec<LinkName> = self.wand.ports.keys().cloned().collect();
        let mut deadline = None;
        for name in names {
            while let Some(port) = self.wand.ports.get_mut(&name) {
                match port.client.poll_output() {
                    Output::Transmit(octets) => self.wand_sends(out, &name, &octets),
                    Output::Event(event) => self.wand_event(out, &name, event),
                    Output::Timeout(at) => {
                        deadline = [deadline, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        let at = clocks.true_time(deadline);
        self.wand.alarm.set(out, Who::Role(RoleName::Wand), at);
    }

    fn wand_sends(&mut self, out: &mut Outside, name: &LinkName, octets: &[u8]) {
        let up = self.link(name.as_str()).is_some_and(|link| link.up);
        let Some(port) = self.wand.ports.get_mut(name) else {
            return;
        };
        out.packets += 1;
        let packet = out.packets;
        port.conversation.sent(packet, octets);
        if !up || !self.wand.sockets.contains_key(&port.link.index) {
            return;
        }
        match name.as_str() {
            LAN_PORT => out.send_lan(None, octets),
            WAN_PORT => {
                out.note("wand", || crate::host::frame_in_words("says", octets));
                let frame: Octets = octets.into();
                for delay in out.wan.deliveries(&mut out.dice) {
                    let frame = frame.clone();
                    out.after(delay, Happening::ToIsp { frame, packet });
                }
            }
            _ => {}
        }
    }

    fn wand_event(&mut self, out: &mut Outside, name: &LinkName, event: Event) {
        out.note("wand", || match &event {
            Event::Bound { lease, confirmed } => format!(
                "{name} has {} for {} s{}",
                lease.address,
                lease.lease_s,
                if *confirmed { "" } else { ", unconfirmed" }
            ),
            other => format!("{name}: {other:?}"),
        });
        match event {
            Event::Bound { lease, .. } => {
                let had = self.wand.had.replace(lease.address);
                self.wand.changes += u64::from(had != Some(lease.address));
                if crate::isp::is_forged(lease.address) {
                    out.breaks(Violation {
                        property: Property::Genuine,
                        text: format!("wand has {} on {name}, which was forged", lease.address),
                    });
                }
                self.tell_lease(out, name);
            }
            Event::Lost(reason) => {
                self.wand.changes += 1;
                let link = name.clone();
                let reason = format!("{reason:?}");
                let lost = FromWand::Lost { link, reason };
                self.tell(out, RoleName::Wand, Said::FromWand(lost));
            }
            Event::State(_) => self.tell_state(out, name),
            Event::ServerSeen { .. } => {
                let link = name.clone();
                let seen = FromWand::ServerSeen { link };
                self.tell(out, RoleName::Wand, Said::FromWand(seen));
            }
            Event::Refused(_) => {}
        }
    }

    fn tell_lease(&mut self, out: &mut Outside, name: &LinkName) {
        let clocks = self.clocks(out.now);
        let lease = self
            .wand
            .ports
            .get(name)
            .and_then(|port| port.client.lease())
            .map(|lease| to_disk(clocks.now(), name, lease));
        if let Some(lease) = lease {
            self.tell(out, RoleName::Wand, Said::FromWand(FromWand::Lease(lease)));
        }
    }

    fn tell_seen(&mut self, out: &mut Outside, name: &LinkName) {
        let port = self.wand.ports.get(name);
        if port.is_some_and(|port| port.client.state() == StateName::Detected) {
            let seen = FromWand::ServerSeen { link: name.clone() };
            self.tell(out, RoleName::Wand, Said::FromWand(seen));
        }
    }

    fn tell_state(&mut self, out: &mut Outside, name: &LinkName) {
        let Some(port) = self.wand.ports.get(name) else {
            return;
        };
        let state = FromWand::State {
            link: name.clone(),
            state: port.client.state().as_str().to_owned(),
            text: String::new(),
        };
        self.tell(out, RoleName::Wand, Said::FromWand(state));
    }
}
