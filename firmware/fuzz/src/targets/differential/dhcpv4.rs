//! DHCPv4 messages, beside dhcproto.

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable, Decoder};
use lintel_wire::dhcpv4::{MESSAGE_LEN_MAX, OpCode, OptionError, ParseError, Repr, code};

use crate::Tally;

/// dhcproto and we read the same in a message. Allowed differences:
/// - dhcproto takes any magic number and any length, and stops at a malformed option without a
///   word; we refuse these;
/// - it knows neither overload (RFC 2132, 9.3) nor options in several pieces (RFC 3396): of
///   messages with either only the header is compared, and what we write of them is;
/// - of a value that is longer than its type's it reads the beginning; we read nothing;
/// - it has its own view of `hlen` above 16, which we refuse.
pub fn diff_dhcpv4(data: &[u8]) -> Tally {
    let theirs = Message::decode(&mut Decoder::new(data));
    match (Repr::parse(data), theirs) {
        (Ok(ours), Ok(theirs)) => {
            same_header(&ours, &theirs);
            if is_plain(data) {
                for (ours, theirs) in [
                    (&ours.server_name, theirs.sname()),
                    (&ours.boot_file, theirs.fname()),
                ] {
                    // A name that fills its field without a zero is none to them.
                    let whole = ours.len() == 64 || ours.len() == 128;
                    assert!(whole || *ours == until_zero(theirs), "{ours:?} {theirs:?}");
                }
                same_options(&ours, &theirs);
            }
            // And what we write they read, when nothing had to move.
            if let Ok(written) = ours.emit(MESSAGE_LEN_MAX)
                && is_plain(&written)
            {
                let again = Message::decode(&mut Decoder::new(&written));
                let again = again.expect("they read what we write");
                same_header(&ours, &again);
                same_options(&ours, &again);
            }
            Tally::ACCEPTED
        }
        (Ok(ours), Err(error)) => panic!("they refuse: {error}\n{ours:?}"),
        (Err(ParseError::TooShort(_)), Ok(theirs)) => panic!("too short for us: {theirs:?}"),
        (Err(_), _) => Tally::REFUSED,
    }
}

/// They keep the zero that ends a name.
fn until_zero(field: Option<&[u8]>) -> &[u8] {
    let field = field.unwrap_or_default();
    field.split(|octet| *octet == 0).next().unwrap_or_default()
}

/// Each option once, none overloaded.
fn is_plain(data: &[u8]) -> bool {
    let (mut seen, mut rest) = ([false; 256], &data[240..]);
    while let [option, tail @ ..] = rest {
        match (*option, tail) {
            (code::PAD, _) => rest = tail,
            (code::OVERLOAD, _) => return false,
            (code::END, _) | (_, []) => break,
            (option, [len, value @ ..]) => {
                if std::mem::replace(&mut seen[usize::from(option)], true) {
                    return false;
                }
                rest = value.get(usize::from(*len)..).unwrap_or_default();
            }
        }
    }
    true
}

fn same_header(ours: &Repr, theirs: &Message) {
    let opcode: u8 = theirs.opcode().into();
    assert_eq!(ours.opcode, OpCode::from(opcode));
    assert_eq!(
        (ours.xid, ours.secs, ours.hops),
        (theirs.xid(), theirs.secs(), theirs.hops())
    );
    assert_eq!(ours.broadcast, theirs.flags().broadcast());
    assert_eq!(ours.chaddr.as_bytes(), theirs.chaddr());
    assert_eq!(ours.chaddr.kind, u8::from(theirs.htype()));
    assert_eq!(
        (ours.ciaddr, ours.yiaddr),
        (theirs.ciaddr(), theirs.yiaddr())
    );
    assert_eq!(
        (ours.siaddr, ours.giaddr),
        (theirs.siaddr(), theirs.giaddr())
    );
}

/// Of every option that they read, the value is ours too. Where the value is malformed they stop,
/// and so do we.
fn same_options(ours: &Repr, theirs: &Message) {
    let options = &ours.options;
    for (option, value) in theirs.opts().iter() {
        let option = u8::from(*option);
        match value {
            DhcpOption::SubnetMask(address)
            | DhcpOption::RequestedIpAddress(address)
            | DhcpOption::ServerIdentifier(address)
            | DhcpOption::BroadcastAddr(address) => {
                same(options.addr(option), *address);
            }
            DhcpOption::Router(addresses)
            | DhcpOption::DomainNameServer(addresses)
            | DhcpOption::NtpServers(addresses)
                if !addresses.is_empty() =>
            {
                // They drop what does not make a whole address.
                if let Ok(read) = options.addrs(option, usize::MAX) {
                    assert_eq!(&read, addresses);
                }
            }
            DhcpOption::AddressLeaseTime(seconds)
            | DhcpOption::Renewal(seconds)
            | DhcpOption::Rebinding(seconds) => {
                same(options.u32(option), *seconds);
            }
            DhcpOption::MaxMessageSize(octets) | DhcpOption::InterfaceMtu(octets) => {
                same(options.u16(option), *octets);
            }
            DhcpOption::ClientIdentifier(octets) => {
                assert_eq!(options.get(option), Some(&octets[..]));
            }
            DhcpOption::MessageType(kind) => {
                let first = options.get(option).and_then(<[u8]>::first);
                assert_eq!(first, Some(&u8::from(*kind)));
            }
            DhcpOption::ParameterRequestList(codes) => {
                let codes: Vec<u8> = codes.iter().map(|code| u8::from(*code)).collect();
                assert_eq!(options.get(option), Some(&codes[..]));
            }
            DhcpOption::Hostname(name) => {
                assert_eq!(options.get(option), Some(name.as_bytes()));
            }
            // What is 37 on the wire they call 23.
            DhcpOption::DefaultIpTtl(_) => {}
            _ => assert!(options.contains(option), "{:?}", OptionCode::from(option)),
        }
    }
}

/// What we read is what they read; a value of another length we do not read.
fn same<T: PartialEq + std::fmt::Debug>(ours: Result<Option<T>, OptionError>, theirs: T) {
    if let Ok(ours) = ours {
        assert_eq!(ours, Some(theirs));
    }
}
