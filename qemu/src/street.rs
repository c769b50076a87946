//! The topology: a provider, the box, hosts on its LAN.
//!
//! QEMU runs in a namespace of its own with two taps. Each is a port of a bridge there, and
//! veth pairs lead from the bridges to the provider and to the hosts: so these keep their
//! addresses while the box loses its power, and a LAN can have any number of hosts.

use std::path::PathBuf;
use std::process::Command;

use netns_tests::client::Host;
use netns_tests::isp::{DhcpServer, Isp};
use netns_tests::{Namespace, Workdir};

use crate::machine::{Boot, Machine};

/// Where the hosts find their link.
pub const HOST_LINK: &str = "eth0";
/// Where the provider finds the line to the box.
pub const LINE: &str = "cust0";
/// The box's first port, which becomes LAN.
pub const LAN_PATH: &str = "pci-0000:00:03.0";
/// The box's second port, at whose far end the provider is.
pub const WAN_PATH: &str = "pci-0000:00:04.0";

/// To where a port of the box leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To the hosts.
    Lan,
    /// To the provider.
    Wan,
    /// To a switch at which there is nobody else.
    Nowhere,
}

/// A port of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its place on the bus, which is the end of its hardware address as well.
    pub slot: u8,
    /// What it is plugged into.
    pub leads: Leads,
}

impl Port {
    /// What QEMU is told of it.
    fn arguments(self, card: &str) -> [String; 4] {
        let slot = self.slot;
        let tap = |tap: &str| format!("tap,id=port{slot},ifname={tap},script=no,downscript=no");
        let netdev = match self.leads {
            Leads::Lan => tap("tap-lan"),
            Leads::Wan => tap("tap-wan"),
            Leads::Nowhere => format!("hubport,id=port{slot},hubid={slot}"),
        };
        let mac = format!("52:54:00:12:34:{slot:02x}");
        let device = format!("{card},netdev=port{slot},addr=0x{slot:x},mac={mac},romfile=");
        ["-netdev".to_owned(), netdev, "-device".to_owned(), device]
    }
}

/// A provider, a box and its LAN.
#[derive(Debug)]
pub struct Street {
    /// What the box boots.
    pub boot: Boot,
    /// The box's ports; each of [`Leads::Lan`] and [`Leads::Wan`] once at most.
    pub ports: Vec<Port>,
    /// QEMU's name of the card behind each; a port of virtio has its path on that bus, which does
    /// not tell its slot.
    pub card: &'static str,
    /// The box's disk and logs.
    pub dir: Workdir,
    /// The provider.
    pub isp: Isp,
    /// The box; `None` while it has no power.
    pub machine: Option<Machine>,
    cabinet: Namespace,
    disk: Option<PathBuf>,
    hosts: usize,
}

impl Street {
    /// Everything but the power.
    pub fn new(boot: Boot, server: DhcpServer) -> Self {
        let dir = Workdir::new("appliance");
        let cabinet = Namespace::new("cabinet");
        // What happens here is wiring; the bridges themselves have nothing to say.
        cabinet.ok(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        for (bridge, tap) in [("lan", "tap-lan"), ("wan", "tap-wan")] {
            cabinet.ok([
                "ip",
                "link",
                "add",
                bridge,
                "type",
                "bridge",
                "forward_delay",
                "0",
                "mcast_snooping",
                "0",
            ]);
            cabinet.ok(["ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr"]);
            cabinet.ok(["ip", "link", "set", tap, "master", bridge]);
            cabinet.ok(["ip", "link", "set", tap, "up"]);
            cabinet.ok(["ip", "link", "set", bridge, "up"]);
        }
        let provider = Namespace::new("isp");
        provider.join(LINE, &cabinet, "line");
        cabinet.ok(["ip", "link", "set", "line", "master", "wan"]);
        let isp = Isp::start(provider, LINE, server);
        let disk = Machine::disk(&boot, &dir);
        let port = |slot, leads| Port { slot, leads };
        Self {
            boot,
            ports: vec![port(3, Leads::Lan), port(4, Leads::Wan)],
            card: "virtio-net-pci",
            dir,
            isp,
            machine: None,
            cabinet,
            disk,
            hosts: 0,
        }
    }

    /// One more host on the LAN, without an address.
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let ns = Namespace::new("host");
        let plug = format!("plug{}", self.hosts);
        ns.join(HOST_LINK, &self.cabinet, &plug);
        self.cabinet
            .ok(["ip", "link", "set", &plug, "master", "lan"]);
        Host::new(ns, HOST_LINK)
    }

    /// Switches the box on.
    pub fn power_on(&mut self) -> &mut Machine {
        let qemu: Command = self.cabinet.command(["qemu-system-x86_64"]);
        let ports: Vec<String> = self
            .ports
            .iter()
            .copied()
            .flat_map(|port| port.arguments(self.card))
            .collect();
        let machine = Machine::launch(qemu, &self.boot, self.disk.as_deref(), &self.dir, &ports);
        self.machine.insert(machine)
    }

    /// Switches another machine on, whose only port is on the provider's line.
    pub fn neighbour(&self, boot: &Boot, dir: &Workdir) -> Machine {
        let tap = "tap-next";
        self.cabinet
            .ok(["ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr"]);
        self.cabinet.ok(["ip", "link", "set", tap, "master", "wan"]);
        self.cabinet.ok(["ip", "link", "set", tap, "up"]);
        let qemu = self.cabinet.command(["qemu-system-x86_64"]);
        let ports = [
            "-netdev".to_owned(),
            format!("tap,id={tap},ifname={tap},script=no,downscript=no"),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev={tap},mac=52:54:00:12:34:99,romfile="),
        ];
        Machine::launch(qemu, boot, None, dir, &ports)
    }

    /// The box, which has power.
    pub fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("the box has power")
    }

    /// The file that the box's disk is.
    pub fn disk(&self) -> &std::path::Path {
        self.disk.as_deref().expect("it boots with an image")
    }

    /// Where the provider and the rest of the world are.
    pub fn isp_ns(&self) -> &Namespace {
        &self.isp.ns
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        // Before its disk and its taps go.
        self.machine = None;
    }
}
