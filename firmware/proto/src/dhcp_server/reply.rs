//! What the server says: options in the order that the client asked for.

use std::net::Ipv4Addr;

use lintel_wire::dhcpv4::{
    ClientFqdn, MESSAGE_LEN_ASSUMED, MessageType, OpCode, Repr, code, encode_domain_search,
};
use smoltcp::wire::EthernetAddress;

use super::config::SubnetConfig;
use super::pool::ClientKey;

/// Octets of IPv4 and UDP header, which option 57 counts.
const HEADERS_LEN: usize = 28;
/// Smallest value of option 57 that is taken seriously (RFC 2132 section 9.10).
const OPTION_57_MIN: u16 = 576;
/// What a client without a parameter list gets.
const DEFAULT_PARAMETERS: [u8; 6] = [
    code::ROUTER,
    code::DNS_SERVERS,
    code::DOMAIN_NAME,
    code::BROADCAST_ADDRESS,
    code::INTERFACE_MTU,
    code::NTP_SERVERS,
];
/// Options that a reply cannot do without; the others go when it is too long.
const ESSENTIAL: [u8; 11] = [
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::LEASE_TIME,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::SUBNET_MASK,
    code::ROUTER,
    code::DNS_SERVERS,
    code::CLIENT_ID,
    code::CLIENT_FQDN,
    code::RELAY_AGENT,
];

/// A client's message with what every handler needs of it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The message.
    pub(super) message: Repr,
    /// Its `chaddr`.
    pub(super) mac: EthernetAddress,
    /// Its sender's identity in the subnet.
    pub(super) client: ClientKey,
    /// Index of the subnet it is about.
    pub(super) subnet: usize,
    /// Link it came in on.
    pub(super) link: u32,
}

impl Request {
    pub(super) fn is_relayed(&self) -> bool {
        !self.message.giaddr.is_unspecified()
    }

    pub(super) fn client_id(&self) -> Option<&[u8]> {
        client_id(&self.message)
    }

    /// Option 50; a malformed one counts as absent.
    pub(super) fn requested(&self) -> Option<Ipv4Addr> {
        self.message
            .options
            .addr(code::REQUESTED_ADDRESS)
            .ok()
            .flatten()
    }

    /// Option 54.
    pub(super) fn server_id(&self) -> Option<Ipv4Addr> {
        self.message.options.addr(code::SERVER_ID).ok().flatten()
    }

    /// Octets of DHCP message that the client takes.
    pub(super) fn len_max(&self) -> usize {
        match self.message.options.u16(code::MESSAGE_LEN_MAX) {
            Ok(Some(len)) if len >= OPTION_57_MIN => usize::from(len) - HEADERS_LEN,
            _ => MESSAGE_LEN_ASSUMED,
        }
    }
}

/// Option 61; an empty one identifies nobody.
pub(super) fn client_id(message: &Repr) -> Option<&[u8]> {
    message
        .options
        .get(code::CLIENT_ID)
        .filter(|id| !id.is_empty())
}

/// What a positive reply grants.
pub(super) struct Grant<'a> {
    /// `yiaddr`; unspecified in the answer to an INFORM.
    pub(super) address: Ipv4Addr,
    /// Lease time, seconds; `None` in the answer to an INFORM.
    pub(super) lease_s: Option<u32>,
    /// The client's name in DNS.
    pub(super) name: Option<&'a str>,
}

/// An OFFER or ACK (RFC 2131 table 3).
pub(super) fn grant(
    subnet: &SubnetConfig,
    request: &Request,
    kind: MessageType,
    grant: &Grant<'_>,
) -> Repr {
    let mut reply = answer(subnet, request, kind);
    reply.yiaddr = grant.address;
    if kind == MessageType::Ack {
        reply.ciaddr = request.message.ciaddr;
    }
    if let Some(lease_s) = grant.lease_s {
        reply.options.set_u32(code::LEASE_TIME, lease_s);
        reply.options.set_u32(code::RENEWAL_TIME, lease_s / 2);
        reply
            .options
            .set_u32(code::REBINDING_TIME, lease_s - lease_s / 8);
    }
    // Always, and before the routers (RFC 2132 section 3.3).
    reply
        .options
        .set_addr(code::SUBNET_MASK, subnet.network.netmask());
    let wanted = request.message.options.get(code::PARAMETER_LIST);
    for code in wanted.unwrap_or(&DEFAULT_PARAMETERS) {
        set_parameter(subnet, grant, *code, &mut reply);
    }
    if let Some(fqdn) = fqdn(subnet, request, grant) {
        reply.options.set(code::CLIENT_FQDN, &fqdn);
    }
    echo(request, &mut reply);
    reply
}

/// A NAK: the address is not the client's; it is to begin anew.
pub(super) fn refusal(subnet: &SubnetConfig, request: &Request, why: &str) -> Repr {
    let mut reply = answer(subnet, request, MessageType::Nak);
    reply.options.set(code::MESSAGE, why.as_bytes());
    // RFC 2131 section 4.3.2: through a relay, the client must hear it without an address.
    reply.broadcast |= request.is_relayed();
    echo(request, &mut reply);
    reply
}

/// The octets of a reply, without the options for which the client has no room.
pub(super) fn encode(mut reply: Repr, len_max: usize) -> Option<Vec<u8>> {
    loop {
        if let Ok(octets) = reply.emit(len_max) {
            return Some(octets);
        }
        let last = reply
            .options
            .iter()
            .map(|(code, _)| code)
            .filter(|code| !ESSENTIAL.contains(code))
            .last()?;
        reply.options.take(last);
    }
}

fn answer(subnet: &SubnetConfig, request: &Request, kind: MessageType) -> Repr {
    let message = &request.message;
    let mut reply = Repr::new(OpCode::Reply, message.xid, message.chaddr);
    reply.broadcast = message.broadcast;
    reply.giaddr = message.giaddr;
    reply.options.set(code::MESSAGE_TYPE, &[kind.into()]);
    reply.options.set_addr(code::SERVER_ID, subnet.address);
    reply
}

/// RFC 6842 wants the client id back, RFC 3046 the relay's information, and that last.
fn echo(request: &Request, reply: &mut Repr) {
    for code in [code::CLIENT_ID, code::RELAY_AGENT] {
        if let Some(value) = request.message.options.get(code) {
            reply.options.set(code, value);
        }
    }
}

fn set_parameter(subnet: &SubnetConfig, grant: &Grant<'_>, code: u8, reply: &mut Repr) {
    let options = &mut reply.options;
    match code {
        code::ROUTER => options.set_addrs(code, &subnet.routers),
        code::DNS_SERVERS => options.set_addrs(code, &subnet.dns),
        code::NTP_SERVERS => options.set_addrs(code, &subnet.ntp),
        code::BROADCAST_ADDRESS if subnet.network.prefix_len() < 31 => {
            options.set_addr(code, subnet.network.broadcast());
        }
        code::CLASSLESS_ROUTES => options.set_routes(&subnet.routes),
        code::INTERFACE_MTU => {
            if let Some(mtu) = subnet.mtu {
                options.set(code, &mtu.to_be_bytes());
            }
        }
        code::HOST_NAME => {
            if let Some(name) = grant.name {
                options.set(code, name.as_bytes());
            }
        }
        code::DOMAIN_NAME => {
            if let Some(domain) = &subnet.domain {
                options.set(code, domain.as_bytes());
            }
        }
        code::DOMAIN_SEARCH => {
            if let Ok(list) = encode_domain_search(&subnet.search)
                && !list.is_empty()
            {
                options.set(code, &list);
            }
        }
        _ => {}
    }
}

/// Answers option 81 in the form it came in: the name is ours to enter, whatever the client
/// wanted (RFC 4702 section 4).
fn fqdn(subnet: &SubnetConfig, request: &Request, grant: &Grant<'_>) -> Option<Vec<u8>> {
    let asked = ClientFqdn::parse(request.message.options.get(code::CLIENT_FQDN)?).ok()?;
    let name = grant.name?;
    let (name, complete) = match &subnet.domain {
        Some(domain) => (format!("{name}.{domain}"), true),
        None => (name.to_owned(), false),
    };
    ClientFqdn {
        server_updates: true,
        overridden: !asked.server_updates,
        wire_form: asked.wire_form,
        no_update: false,
        name,
        complete,
    }
    .emit()
    .ok()
}
