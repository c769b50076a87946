//! The same octets read by us and by somebody else: hickory-proto for DNS, dhcproto for DHCPv4,
//! netlink-packet-route for rtnetlink. Where both take them they must say the same; where only
//! one does, the reason must be one of those written down at the target.

mod dhcpv4;
mod dns;
mod rtnl;

pub use dhcpv4::diff_dhcpv4;
pub use dns::diff_dns;
pub use rtnl::diff_rtnl;
