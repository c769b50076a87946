//! DHCPv4 messages and options.

use arbitrary::Unstructured;
use lintel_wire::dhcpv4::{
    ClasslessRoute, ClientFqdn, HardwareAddress, MESSAGE_LEN_ASSUMED, MESSAGE_LEN_MAX,
    MESSAGE_LEN_MIN, OpCode, Options, Repr, code, domain_search, encode_domain_search,
    sanitise_host_name,
};
use lintel_wire::frame::EthernetAddress;

use crate::Tally;
use crate::entropy::{any, below, ipv4, number, octets, once_in, pick, text};

/// `parse(emit(r)) == r` in the longest message and in the shortest that all options fit, and no
/// emitted message is longer than it was told.
pub fn dhcpv4_message(data: &[u8]) -> Tally {
    let Ok(repr) = Repr::parse(data) else {
        return Tally::REFUSED;
    };
    assert!(data.len() <= MESSAGE_LEN_MAX);
    for len_max in [
        MESSAGE_LEN_MAX,
        MESSAGE_LEN_ASSUMED,
        MESSAGE_LEN_MIN,
        0,
        usize::MAX,
    ] {
        if let Ok(written) = repr.emit(len_max) {
            assert!(written.len() <= len_max.clamp(MESSAGE_LEN_MIN, MESSAGE_LEN_MAX));
            assert_eq!(Repr::parse(&written).as_ref(), Ok(&repr));
        }
    }
    read_options(&repr.options);
    Tally::ACCEPTED
}

/// Every typed reader on every value; what one reads, its writer writes the same.
pub fn dhcpv4_options(data: &[u8]) -> Tally {
    let mut accepted = false;
    if let Ok(fqdn) = ClientFqdn::parse(data) {
        assert!(fqdn.name.len() <= 253 && fqdn.name.is_ascii());
        let written = fqdn.emit().expect("what was read fits");
        assert_eq!(ClientFqdn::parse(&written), Ok(fqdn));
        accepted = true;
    }
    if let Ok(names) = domain_search(data) {
        assert!(names.len() <= 16);
        if let Ok(written) = encode_domain_search(&names) {
            assert_eq!(domain_search(&written), Ok(names));
        }
        accepted = true;
    }
    if let Some(label) = sanitise_host_name(data) {
        assert!((1..=63).contains(&label.len()));
        assert!(!label.starts_with('-') && !label.ends_with('-'));
        assert!(
            label
                .bytes()
                .all(|o| o.is_ascii_lowercase() || o.is_ascii_digit() || o == b'-')
        );
        assert_eq!(sanitise_host_name(label.as_bytes()), Some(label));
        accepted = true;
    }
    for option in [
        code::ROUTER,
        code::CLASSLESS_ROUTES,
        code::LEASE_TIME,
        code::DOMAIN_NAME,
    ] {
        let mut options = Options::default();
        options.set(option, data);
        read_options(&options);
    }
    Tally::one(accepted)
}

fn read_options(options: &Options) {
    for (option, value) in options.iter() {
        assert!(!matches!(option, code::PAD | code::END | code::OVERLOAD));
        assert_eq!(options.get(option), Some(value));
        let mut again = Options::default();
        if let Ok(Some(address)) = options.addr(option) {
            again.set_addr(option, address);
            assert_eq!(again.get(option), Some(value));
        }
        if let Ok(addresses) = options.addrs(option, usize::MAX) {
            again.set_addrs(option, &addresses);
            assert_eq!(again.get(option), Some(value));
            assert_eq!(options.addrs(option, 1).map(|few| few.len()), Ok(1));
        }
        if let Ok(Some(number)) = options.u32(option) {
            again.set_u32(option, number);
            assert_eq!(again.get(option), Some(value));
        }
        let _ = options.u16(option);
        if let Ok(Some(text)) = options.text(option) {
            assert!(!text.is_empty() && text.bytes().all(|o| (b' '..=b'~').contains(&o)));
        }
    }
    if let Ok(routes) = options.routes(usize::MAX) {
        let mut again = Options::default();
        again.set_routes(&routes);
        assert_eq!(again.routes(usize::MAX), Ok(routes));
    }
}

/// A message as clients and servers send it.
pub fn message_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let len_max = pick(u, &[MESSAGE_LEN_MIN, MESSAGE_LEN_ASSUMED, MESSAGE_LEN_MAX]);
    message(u).emit(len_max).unwrap_or_default()
}

/// Any message with options that mostly have their form.
pub fn message(u: &mut Unstructured<'_>) -> Repr {
    let chaddr = if once_in(u, 8) {
        HardwareAddress::new(any(u), &octets(u, 16)).expect("sixteen octets fit")
    } else {
        HardwareAddress::ethernet(EthernetAddress([2, 0, 0, 0, 0, any(u)]))
    };
    let mut repr = Repr::new(pick(u, &[OpCode::Request, OpCode::Reply]), any(u), chaddr);
    repr.secs = any(u);
    repr.broadcast = any(u);
    for address in [
        &mut repr.ciaddr,
        &mut repr.yiaddr,
        &mut repr.siaddr,
        &mut repr.giaddr,
    ] {
        if once_in(u, 3) {
            *address = ipv4(u);
        }
    }
    if once_in(u, 8) {
        repr.server_name = text(u, b"abc", 64).into_bytes();
        repr.boot_file = text(u, b"abc", 128).into_bytes();
    }
    repr.options
        .set(code::MESSAGE_TYPE, &[1 + below(u, 8) as u8]);
    for _ in 0..below(u, 10) {
        option(u, &mut repr.options);
    }
    repr
}

fn option(u: &mut Unstructured<'_>, options: &mut Options) {
    match below(u, 14) {
        0 => options.set_addr(code::REQUESTED_ADDRESS, ipv4(u)),
        1 => options.set_addr(code::SERVER_ID, ipv4(u)),
        2 => options.set_addr(code::SUBNET_MASK, (u32::MAX << below(u, 32)).into()),
        3 => {
            let addresses: Vec<_> = (0..=below(u, 5)).map(|_| ipv4(u)).collect();
            options.set_addrs(
                pick(u, &[code::ROUTER, code::DNS_SERVERS, code::NTP_SERVERS]),
                &addresses,
            );
        }
        4 => {
            let code = pick(
                u,
                &[code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME],
            );
            options.set_u32(code, number(u));
        }
        5 => options.set(code::MESSAGE_LEN_MAX, &(number(u) as u16).to_be_bytes()),
        6 => options.set(code::HOST_NAME, text(u, b"abcXYZ019-_. ", 40).as_bytes()),
        7 => options.set(code::CLIENT_ID, &octets(u, 20)),
        8 => options.set(code::PARAMETER_LIST, &octets(u, 20)),
        9 => {
            let routes: Vec<_> = (0..below(u, 5))
                .map(|_| ClasslessRoute {
                    destination: ipv4(u),
                    prefix_len: below(u, 34) as u8,
                    router: ipv4(u),
                })
                .collect();
            options.set_routes(&routes);
        }
        10 => options.set(code::CLIENT_FQDN, &option_octets(u)),
        11 => options.set(code::DOMAIN_SEARCH, &option_octets(u)),
        12 => options.set(any(u), &octets(u, 300)),
        _ => options.set(any(u), &octets(u, 8)),
    }
}

/// The value of an option that holds names.
pub fn option_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let names: Vec<String> = (0..=below(u, 3))
        .map(|_| {
            let labels: Vec<_> = (0..=below(u, 3)).map(|_| text(u, b"abc-XY01", 8)).collect();
            labels.join(".")
        })
        .collect();
    let mut value = if once_in(u, 2) {
        vec![any::<u8>(u) & 0xf, 0, 0]
    } else {
        Vec::new()
    };
    value.extend(encode_domain_search(&names).unwrap_or_default());
    if once_in(u, 3) {
        value.extend([0xc0, below(u, 20) as u8]);
    }
    value
}
