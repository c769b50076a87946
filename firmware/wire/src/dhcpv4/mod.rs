//! DHCPv4 messages: RFC 2131 header, RFC 2132 options, overload, long options (RFC 3396).
//!
//! smoltcp's `Packet` is the view of the fixed header; its `Repr` keeps three resolvers, one
//! Ethernet client id and drops every option it does not know, so [`Repr`] here is ours.
//!
//! Contract: [`Repr::parse`] takes any bytes and never panics; what it returns holds only what
//! [`Repr::emit`] can write again, and `parse(emit(r)) == r`. Option values stay octets until
//! somebody asks for their meaning ([`Options`]): a malformed option that nobody reads harms
//! nobody. Buffers belong to the caller; results own their data.

mod names;
mod options;

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpHardware, DhcpFlags, DhcpPacket, EthernetAddress};

pub use names::{ClientFqdn, NameError, domain_search, encode_domain_search, sanitise_host_name};
pub use options::{ClasslessRoute, OptionError, Options, code};
pub use smoltcp::wire::{DhcpMessageType as MessageType, DhcpOpCode as OpCode};

/// UDP port of servers and relay agents.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// Longest message read or written, octets: nobody sends DHCP in IP fragments, and the bound
/// keeps the work per message small.
pub const MESSAGE_LEN_MAX: usize = 1472;
/// Length below which some BOOTP relays and clients ignore a message (RFC 1542 section 2.1).
pub const MESSAGE_LEN_MIN: usize = 300;
/// Longest message that every client must take (RFC 2131 section 2: 576 octets of datagram).
pub const MESSAGE_LEN_ASSUMED: usize = 548;

const MAGIC: u32 = 0x6382_5363;
const CHADDR: usize = 28;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const OPTIONS: usize = 240;

/// Why octets are no DHCPv4 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than the fixed header and the magic number.
    #[error("{0} octets are too short for a DHCP message")]
    TooShort(usize),
    /// Longer than [`MESSAGE_LEN_MAX`].
    #[error("{0} octets are too long for a DHCP message")]
    TooLong(usize),
    /// Plain BOOTP, or no BOOTP at all.
    #[error("magic number {0:#010x} is not that of DHCP")]
    BadMagic(u32),
    /// `hlen` is beyond the sixteen octets of `chaddr`.
    #[error("hardware address of {0} octets does not fit chaddr")]
    BadHardwareLen(u8),
    /// An option runs past the end of its field.
    #[error("option {0} runs past the end of its field")]
    TruncatedOption(u8),
    /// Option 52 holds something else than 1, 2 or 3.
    #[error("option overload has no valid value")]
    BadOverload,
}

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The options do not fit, not even with `file` and `sname` in use.
    #[error("options of {needed} octets do not fit a message of {max}")]
    DoesNotFit {
        /// Octets that the options take.
        needed: usize,
        /// Octets that the receiver takes.
        max: usize,
    },
}

/// `htype`, `hlen` and `chaddr` of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HardwareAddress {
    /// ARP hardware type, 1 is Ethernet.
    pub kind: u8,
    len: u8,
    octets: [u8; 16],
}

impl HardwareAddress {
    /// An Ethernet address.
    pub fn ethernet(address: EthernetAddress) -> Self {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&address.0);
        Self {
            kind: 1,
            len: 6,
            octets,
        }
    }

    /// An address of any kind; octets beyond the sixteenth are an error.
    pub fn new(kind: u8, address: &[u8]) -> Result<Self, ParseError> {
        let len = u8::try_from(address.len()).unwrap_or(u8::MAX);
        let mut octets = [0; 16];
        octets
            .get_mut(..address.len())
            .ok_or(ParseError::BadHardwareLen(len))?
            .copy_from_slice(address);
        Ok(Self { kind, len, octets })
    }

    /// The octets that `hlen` counts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// The Ethernet address, when it is one and not a group's.
    pub fn as_ethernet(&self) -> Option<EthernetAddress> {
        if self.kind != 1 || self.len != 6 {
            return None;
        }
        let address = EthernetAddress::from_bytes(&self.octets[..6]);
        address.is_unicast().then_some(address)
    }
}

impl std::fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:02x?}", self.kind, self.as_bytes())
    }
}

/// A DHCPv4 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repr {
    /// `op`: request from clients, reply from servers.
    pub opcode: OpCode,
    /// Relays passed so far.
    pub hops: u8,
    /// Transaction id, chosen by the client.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client cannot take unicast before it has an address.
    pub broadcast: bool,
    /// Address that the client has and answers ARP for.
    pub ciaddr: Ipv4Addr,
    /// Address given to the client.
    pub yiaddr: Ipv4Addr,
    /// Next server of a network boot.
    pub siaddr: Ipv4Addr,
    /// Relay agent.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: HardwareAddress,
    /// `sname` up to its first zero; empty when overloaded with options.
    pub server_name: Vec<u8>,
    /// `file` up to its first zero; empty when overloaded with options.
    pub boot_file: Vec<u8>,
    /// Options in their order, whole, without pad, end and overload.
    pub options: Options,
}

impl Repr {
    /// A message with nothing in it but who it is about.
    pub fn new(opcode: OpCode, xid: u32, chaddr: HardwareAddress) -> Self {
        Self {
            opcode,
            hops: 0,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            server_name: Vec::new(),
            boot_file: Vec::new(),
            options: Options::default(),
        }
    }

    /// Option 53, when it holds one known type.
    pub fn message_type(&self) -> Option<MessageType> {
        match self.options.get(code::MESSAGE_TYPE) {
            Some(&[octet]) => match MessageType::from(octet) {
                MessageType::Unknown(_) => None,
                known => Some(known),
            },
            _ => None,
        }
    }

    /// Reads a message from the payload of a UDP datagram.
    pub fn parse(octets: &[u8]) -> Result<Self, ParseError> {
        if octets.len() > MESSAGE_LEN_MAX {
            return Err(ParseError::TooLong(octets.len()));
        }
        let packet =
            DhcpPacket::new_checked(octets).map_err(|_| ParseError::TooShort(octets.len()))?;
        if packet.magic_number() != MAGIC {
            return Err(ParseError::BadMagic(packet.magic_number()));
        }
        let hlen = packet.hardware_len();
        // The indices below are inside the fixed header that `new_checked` vouched for.
        let address = octets[CHADDR..SNAME.start]
            .get(..usize::from(hlen))
            .ok_or(ParseError::BadHardwareLen(hlen))?;
        let chaddr = HardwareAddress::new(octets[1], address)?;

        let mut options = Options::default();
        options.parse_field(&octets[OPTIONS..])?;
        let overload = match options.take(code::OVERLOAD).as_deref() {
            None => 0,
            Some(&[value @ 1..=3]) => value,
            Some(_) => return Err(ParseError::BadOverload),
        };
        // RFC 2131 section 4.1: `file` before `sname`.
        if overload & 1 != 0 {
            options.parse_field(&octets[FILE])?;
        }
        if overload & 2 != 0 {
            options.parse_field(&octets[SNAME])?;
        }
        let _nested = options.take(code::OVERLOAD);

        Ok(Self {
            opcode: packet.opcode(),
            hops: packet.hops(),
            xid: packet.transaction_id(),
            secs: packet.secs(),
            broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
            ciaddr: packet.client_ip(),
            yiaddr: packet.your_ip(),
            siaddr: packet.server_ip(),
            giaddr: packet.relay_agent_ip(),
            chaddr,
            server_name: if overload & 2 == 0 {
                until_zero(&octets[SNAME])
            } else {
                Vec::new()
            },
            boot_file: if overload & 1 == 0 {
                until_zero(&octets[FILE])
            } else {
                Vec::new()
            },
            options,
        })
    }

    /// Writes the message, at most `len_max` octets (never more than [`MESSAGE_LEN_MAX`]),
    /// padded to [`MESSAGE_LEN_MIN`]. Options that do not fit their field go to `file` and
    /// `sname` when these are free.
    pub fn emit(&self, len_max: usize) -> Result<Vec<u8>, EmitError> {
        let len_max = len_max.clamp(MESSAGE_LEN_MIN, MESSAGE_LEN_MAX);
        let fields = self.lay_out(len_max)?;

        let len = (OPTIONS + fields.options.len()).max(MESSAGE_LEN_MIN);
        let mut octets = vec![0; len];
        let mut packet = DhcpPacket::new_unchecked(&mut octets[..]);
        packet.set_opcode(self.opcode);
        packet.set_hardware_type(ArpHardware::from(u16::from(self.chaddr.kind)));
        packet.set_hardware_len(self.chaddr.len);
        packet.set_hops(self.hops);
        packet.set_transaction_id(self.xid);
        packet.set_secs(self.secs);
        packet.set_flags(if self.broadcast {
            DhcpFlags::BROADCAST
        } else {
            DhcpFlags::empty()
        });
        packet.set_client_ip(self.ciaddr);
        packet.set_your_ip(self.yiaddr);
        packet.set_server_ip(self.siaddr);
        packet.set_relay_agent_ip(self.giaddr);
        packet.set_magic_number(MAGIC);
        octets[CHADDR..SNAME.start].copy_from_slice(&self.chaddr.octets);
        fill(&mut octets[SNAME], &fields.sname);
        fill(&mut octets[FILE], &fields.file);
        fill(&mut octets[OPTIONS..], &fields.options);
        Ok(octets)
    }

    /// Decides which option goes to which field. An option never moves back to an earlier
    /// field, so the reader finds them in our order.
    fn lay_out(&self, len_max: usize) -> Result<Fields, EmitError> {
        let needed = self.options.encoded_len();
        if OPTIONS + needed < len_max {
            let mut options = Vec::with_capacity(needed + 1);
            for (code, value) in self.options.iter() {
                options::encode(code, value, &mut options);
            }
            options.push(code::END);
            return Ok(Fields {
                options,
                file: self.boot_file.clone(),
                sname: self.server_name.clone(),
            });
        }
        let error = EmitError::DoesNotFit {
            needed,
            max: len_max,
        };
        if !self.boot_file.is_empty() || !self.server_name.is_empty() {
            return Err(error);
        }
        // Room for the option overload itself and for each field's end mark.
        let capacities = [len_max - OPTIONS - 4, FILE.len() - 1, SNAME.len() - 1];
        let mut areas: [Vec<u8>; 3] = Default::default();
        let mut area = 0;
        for (code, value) in self.options.iter() {
            let len = options::encoded_len(value);
            while areas[area].len() + len > capacities[area] {
                area += 1;
                if area == areas.len() {
                    return Err(error);
                }
            }
            options::encode(code, value, &mut areas[area]);
        }
        let [main, mut file, mut sname] = areas;
        let mut overload = 0;
        for (field, bit) in [(&mut file, 1), (&mut sname, 2)] {
            if !field.is_empty() {
                field.push(code::END);
                overload |= bit;
            }
        }
        let mut options = Vec::with_capacity(main.len() + 4);
        if overload != 0 {
            options::encode(code::OVERLOAD, &[overload], &mut options);
        }
        options.extend_from_slice(&main);
        options.push(code::END);
        Ok(Fields {
            options,
            file,
            sname,
        })
    }
}

/// The three places where options can stand, ready to be copied.
struct Fields {
    options: Vec<u8>,
    file: Vec<u8>,
    sname: Vec<u8>,
}

fn until_zero(field: &[u8]) -> Vec<u8> {
    field.iter().copied().take_while(|&o| o != 0).collect()
}

/// Copies `from` to the start of `field`; what is too long is cut.
fn fill(field: &mut [u8], from: &[u8]) {
    for (to, &octet) in field.iter_mut().zip(from) {
        *to = octet;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chaddr() -> HardwareAddress {
        HardwareAddress::ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]))
    }

    fn discover() -> Repr {
        let mut repr = Repr::new(OpCode::Request, 7, chaddr());
        repr.options
            .set(code::MESSAGE_TYPE, &[MessageType::Discover.into()]);
        repr
    }

    #[test]
    fn short_messages_are_padded_to_the_bootp_minimum() {
        let octets = discover().emit(MESSAGE_LEN_ASSUMED).unwrap();
        assert_eq!(octets.len(), MESSAGE_LEN_MIN);
        assert_eq!(Repr::parse(&octets).unwrap(), discover());
    }

    #[test]
    fn long_options_are_split_and_joined() {
        let mut repr = discover();
        let value: Vec<u8> = (0..600u16).map(|n| n as u8).collect();
        repr.options.set(code::DOMAIN_SEARCH, &value);
        let octets = repr.emit(1400).unwrap();
        let pieces = octets.windows(2).filter(|w| w == &[119, 255]).count();
        assert_eq!(pieces, 2);
        assert_eq!(Repr::parse(&octets).unwrap(), repr);
    }

    #[test]
    fn options_flow_over_into_file_and_sname() {
        let mut repr = discover();
        for code in 200..203 {
            repr.options.set(code, &[code; 90]);
        }
        for code in 203..206 {
            repr.options.set(code, &[code; 50]);
        }
        let octets = repr.emit(MESSAGE_LEN_ASSUMED).unwrap();
        assert_eq!(&octets[OPTIONS..OPTIONS + 3], &[52, 1, 3]);
        assert_eq!(Repr::parse(&octets).unwrap(), repr);
        repr.options.set(210, &[0; 100]);
        assert!(repr.emit(MESSAGE_LEN_ASSUMED).is_err());
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let mut octets = discover().emit(MESSAGE_LEN_ASSUMED).unwrap();
        assert_eq!(Repr::parse(&octets[..239]), Err(ParseError::TooShort(239)));
        octets[2] = 17;
        assert_eq!(Repr::parse(&octets), Err(ParseError::BadHardwareLen(17)));
        octets[2] = 6;
        octets.truncate(OPTIONS);
        octets.extend([61, 20, 1]);
        assert_eq!(Repr::parse(&octets), Err(ParseError::TruncatedOption(61)));
        octets.truncate(OPTIONS);
        octets.extend([52, 1, 4]);
        assert_eq!(Repr::parse(&octets), Err(ParseError::BadOverload));
        octets[236] = 0;
        assert!(matches!(Repr::parse(&octets), Err(ParseError::BadMagic(_))));
        assert_eq!(Repr::parse(&[0; 2000]), Err(ParseError::TooLong(2000)));
    }

    prop_compose! {
        fn any_repr()(
            reply: bool, hops: u8, xid: u32, secs: u16, broadcast: bool,
            addresses: [[u8; 4]; 4],
            kind: u8,
            chaddr in proptest::collection::vec(any::<u8>(), 0..=16),
            sname in proptest::collection::vec(1u8.., 0..=64),
            file in proptest::collection::vec(1u8.., 0..=128),
            named: bool,
            options in proptest::collection::vec(
                ((1u8..=254).prop_filter("overload", |c| *c != 52),
                 proptest::collection::vec(any::<u8>(), 0..300)), 0..12),
        ) -> Repr {
            let mut repr = Repr::new(
                if reply { OpCode::Reply } else { OpCode::Request },
                xid,
                HardwareAddress::new(kind, &chaddr).unwrap(),
            );
            repr.hops = hops;
            repr.secs = secs;
            repr.broadcast = broadcast;
            let [ciaddr, yiaddr, siaddr, giaddr] = addresses.map(Ipv4Addr::from);
            (repr.ciaddr, repr.yiaddr, repr.siaddr, repr.giaddr) = (ciaddr, yiaddr, siaddr, giaddr);
            if named {
                repr.server_name = sname;
                repr.boot_file = file;
            }
            for (code, value) in options {
                repr.options.set(code, &value);
            }
            repr
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(repr in any_repr(), len_max in 300usize..1600) {
            if let Ok(octets) = repr.emit(len_max) {
                prop_assert!(octets.len() <= len_max.max(MESSAGE_LEN_MIN));
                prop_assert_eq!(Repr::parse(&octets).unwrap(), repr);
            }
        }

        #[test]
        fn parse_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Repr::parse(&octets);
        }

        #[test]
        fn parse_never_panics_behind_a_good_header(
            options in proptest::collection::vec(any::<u8>(), 0..400),
            sname in proptest::collection::vec(any::<u8>(), 64),
        ) {
            let mut octets = discover().emit(MESSAGE_LEN_ASSUMED).unwrap();
            octets.truncate(OPTIONS);
            octets[SNAME].copy_from_slice(&sname);
            octets.extend(options);
            if let Ok(repr) = Repr::parse(&octets) {
                let _ = ClientFqdn::parse(repr.options.get(code::CLIENT_FQDN).unwrap_or_default());
                if let Ok(again) = repr.emit(MESSAGE_LEN_MAX) {
                    prop_assert_eq!(Repr::parse(&again).unwrap(), repr);
                }
            }
        }
    }
}
