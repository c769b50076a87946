//! `RTM_*LINK`.

use crate::nl::{Attrs, Malformed, Writer, u16_at, u32_at, u64_at};

/// Bytes of `struct ifinfomsg`.
const HEADER_LEN: usize = 16;

mod attr {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const STATS64: u16 = 23;
    pub(super) const CARRIER: u16 = 33;
    pub(super) const PERM_ADDRESS: u16 = 54;
    pub(super) const PARENT_DEV_NAME: u16 = 56;
    pub(super) const PARENT_DEV_BUS_NAME: u16 = 57;
    pub(super) const INFO_KIND: u16 = 1;
}

/// `IFF_*`.
pub mod link_flags {
    /// Administratively up.
    pub const UP: u32 = 0x1;
    /// `lo`.
    pub const LOOPBACK: u32 = 0x8;
    /// Carrier, as the stack sees it.
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// `ARPHRD_*`.
pub mod hardware {
    /// Ethernet.
    pub const ETHER: u16 = 1;
    /// `lo`.
    pub const LOOPBACK: u16 = 772;
}

/// A link, or a request about one: then `change` says which of `flags` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkRepr<'a> {
    /// Kernel index; 0 in a request that names the link.
    pub index: u32,
    /// `ARPHRD_*`.
    pub hardware_type: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// Mask of the flags to change; not read back.
    pub change: u32,
    /// `IFLA_IFNAME`.
    pub name: Option<&'a str>,
    /// `IFLA_INFO_KIND`: `bridge`, `veth`; none for hardware.
    pub kind: Option<&'a str>,
    /// Current Ethernet address; none for other lengths.
    pub mac: Option<[u8; 6]>,
    /// The address burnt in, when the driver knows one.
    pub permanent_mac: Option<[u8; 6]>,
    /// Octets.
    pub mtu: Option<u32>,
    /// Index of the bridge it is a port of; in a request 0 takes it out.
    pub master: Option<u32>,
    /// Whether the lower layer is up; the kernel reports it only while the link is up.
    pub carrier: Option<bool>,
    /// Device on its bus (`0000:00:03.0`).
    pub parent_device: Option<&'a str>,
    /// The bus (`pci`).
    pub parent_bus: Option<&'a str>,
    /// Counters since the link exists.
    pub stats: Option<LinkStats>,
}

/// The head of `struct rtnl_link_stats64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets received.
    pub rx_bytes: u64,
    /// Octets sent.
    pub tx_bytes: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped on the way in.
    pub rx_dropped: u64,
    /// Packets dropped on the way out.
    pub tx_dropped: u64,
}

impl<'a> LinkRepr<'a> {
    /// Reads the payload of a `NEWLINK` or `DELLINK`.
    ///
    /// # Errors
    /// [`Malformed`] when it is shorter than `ifinfomsg`.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let short = || Malformed("ifinfomsg");
        let mut link = Self {
            hardware_type: u16_at(payload, 2).ok_or_else(short)?,
            index: u32_at(payload, 4).ok_or_else(short)?,
            flags: u32_at(payload, 8).ok_or_else(short)?,
            ..Self::default()
        };
        payload.get(..HEADER_LEN).ok_or_else(short)?;
        for a in Attrs::after(payload, HEADER_LEN) {
            match a.kind {
                attr::ADDRESS => link.mac = a.mac(),
                attr::IFNAME => link.name = a.str(),
                attr::MTU => link.mtu = a.u32(),
                attr::MASTER => link.master = a.u32(),
                attr::LINKINFO => {
                    link.kind = a.nested().find(attr::INFO_KIND).and_then(|k| k.str())
                }
                attr::STATS64 => link.stats = LinkStats::parse(a.data),
                attr::CARRIER => link.carrier = a.u8().map(|c| c != 0),
                attr::PERM_ADDRESS => link.permanent_mac = a.mac(),
                attr::PARENT_DEV_NAME => link.parent_device = a.str(),
                attr::PARENT_DEV_BUS_NAME => link.parent_bus = a.str(),
                _ => {}
            }
        }
        Ok(link)
    }

    /// Appends a message of this type.
    pub fn emit(&self, w: &mut Writer, kind: u16, message_flags: u16) -> u32 {
        let mut header = [0; HEADER_LEN];
        header[2..4].copy_from_slice(&self.hardware_type.to_ne_bytes());
        header[4..8].copy_from_slice(&self.index.to_ne_bytes());
        header[8..12].copy_from_slice(&self.flags.to_ne_bytes());
        header[12..].copy_from_slice(&self.change.to_ne_bytes());
        let seq = w.begin(kind, message_flags, &header);
        self.emit_attrs(w);
        w.end();
        seq
    }

    fn emit_attrs(&self, w: &mut Writer) {
        if let Some(name) = self.name {
            w.str(attr::IFNAME, name);
        }
        if let Some(mac) = self.mac {
            w.attr(attr::ADDRESS, &mac);
        }
        if let Some(mtu) = self.mtu {
            w.u32(attr::MTU, mtu);
        }
        if let Some(master) = self.master {
            w.u32(attr::MASTER, master);
        }
        if let Some(carrier) = self.carrier {
            w.u8(attr::CARRIER, carrier.into());
        }
        if let Some(mac) = self.permanent_mac {
            w.attr(attr::PERM_ADDRESS, &mac);
        }
        if let Some(device) = self.parent_device {
            w.str(attr::PARENT_DEV_NAME, device);
        }
        if let Some(bus) = self.parent_bus {
            w.str(attr::PARENT_DEV_BUS_NAME, bus);
        }
        if let Some(stats) = &self.stats {
            w.attr(attr::STATS64, &stats.octets());
        }
        if let Some(kind) = self.kind {
            w.nest(attr::LINKINFO, |w| w.str(attr::INFO_KIND, kind));
        }
    }
}

impl LinkStats {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let field = |n: usize| u64_at(bytes, n * 8);
        Some(Self {
            rx_packets: field(0)?,
            tx_packets: field(1)?,
            rx_bytes: field(2)?,
            tx_bytes: field(3)?,
            rx_errors: field(4)?,
            tx_errors: field(5)?,
            rx_dropped: field(6)?,
            tx_dropped: field(7)?,
        })
    }

    fn octets(&self) -> Vec<u8> {
        [
            self.rx_packets,
            self.tx_packets,
            self.rx_bytes,
            self.tx_bytes,
            self.rx_errors,
            self.tx_errors,
            self.rx_dropped,
            self.tx_dropped,
        ]
        .iter()
        .flat_map(|n| n.to_ne_bytes())
        .collect()
    }
}
