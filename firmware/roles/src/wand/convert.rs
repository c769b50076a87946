//! Leases between the disk's wall clock and the machine's time since boot.

use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_model::lease::WanLease;
use lintel_model::{Ipv4Net, LinkName};
use lintel_proto::dhcp_client::Lease;
use lintel_wire::dhcpv4::ClasslessRoute;

use crate::now::Now;

/// The lease as controld keeps it.
pub fn to_disk(now: Now, link: &LinkName, lease: &Lease) -> WanLease {
    let age_s = now.mono.saturating_duration_since(lease.asked).as_secs();
    // A client that takes classless routes ignores the router option (RFC 3442).
    let router = if lease.routes.is_empty() {
        lease.routers.first().copied()
    } else {
        None
    };
    let route = |route: &ClasslessRoute| {
        let net = Ipv4Net::new(route.destination, route.prefix_len).ok()?;
        Some((net.trunc(), route.router))
    };
    WanLease {
        link: link.clone(),
        address: lease.address,
        prefix_len: lease.prefix_len,
        router,
        dns: lease.dns.clone(),
        ntp: lease.ntp.clone(),
        domain: lease.domain.clone(),
        mtu: lease.mtu,
        routes: lease.routes.iter().filter_map(route).collect(),
        server: lease.server,
        bound_unix_s: now.unix_s.saturating_sub(age_s),
        lease_s: lease.lease_s,
        renew_s: lease.renew_s,
        rebind_s: lease.rebind_s,
    }
}

/// What is left of a lease kept from before; `None` when it is over.
///
/// The time since boot cannot say when a lease of an earlier boot began, so what is left of it
/// begins now. A clock that stands before the lease's beginning is wrong; then the whole lease
/// is left, and asking the server about it (INIT-REBOOT) does no harm.
pub fn from_disk(now: Now, lease: WanLease) -> Option<Lease> {
    let elapsed = now.unix_s.saturating_sub(lease.bound_unix_s);
    let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
    let endless = lease.lease_s == u32::MAX;
    let left = |seconds: u32| {
        if endless {
            seconds
        } else {
            seconds.saturating_sub(elapsed)
        }
    };
    let lease_s = left(lease.lease_s);
    if lease_s == 0 {
        return None;
    }
    Some(Lease {
        address: lease.address,
        prefix_len: lease.prefix_len,
        routers: lease.router.into_iter().collect(),
        dns: lease.dns,
        ntp: lease.ntp,
        domain: lease.domain,
        search: Vec::new(),
        mtu: lease.mtu,
        routes: lease
            .routes
            .iter()
            .map(|(net, router): &(Ipv4Net, Ipv4Addr)| ClasslessRoute {
                destination: net.network(),
                prefix_len: net.prefix_len(),
                router: *router,
            })
            .collect(),
        server: lease.server,
        server_mac: None,
        asked: now.mono,
        lease_s,
        renew_s: left(lease.renew_s).min(lease_s),
        rebind_s: left(lease.rebind_s).min(lease_s),
        oddities: Vec::new(),
    })
}

/// When a lease ends is kept to the second; how long that is on a screen.
pub fn ends_in(now: Instant, lease: &Lease) -> String {
    let Some(end) = lease.expires() else {
        return "for ever".to_owned();
    };
    let left: Duration = end.saturating_duration_since(now);
    match left.as_secs() {
        s @ 0..120 => format!("for {s} seconds"),
        s @ 120..7200 => format!("for {} minutes", s / 60),
        s => format!("for {} hours", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> WanLease {
        WanLease {
            link: "wan0".parse().unwrap(),
            address: [198, 51, 100, 7].into(),
            prefix_len: 24,
            router: Some([198, 51, 100, 1].into()),
            dns: vec![[198, 51, 100, 1].into()],
            ntp: Vec::new(),
            domain: None,
            mtu: Some(1492),
            routes: Vec::new(),
            server: [198, 51, 100, 1].into(),
            bound_unix_s: 1_800_000_000,
            lease_s: 3600,
            renew_s: 1800,
            rebind_s: 3150,
        }
    }

    fn now(unix_s: u64) -> Now {
        Now {
            mono: Instant::from_secs(5),
            unix_s,
        }
    }

    #[test]
    fn what_is_left_of_a_lease_begins_with_the_boot() {
        let lease = from_disk(now(1_800_002_000), kept()).unwrap();
        assert_eq!(
            (lease.lease_s, lease.renew_s, lease.rebind_s),
            (1600, 0, 1150)
        );
        assert_eq!(lease.expires(), Some(Instant::from_secs(1605)));
        assert_eq!(from_disk(now(1_800_003_600), kept()), None);
        let wrong_clock = from_disk(now(0), kept()).unwrap();
        assert_eq!(wrong_clock.lease_s, 3600);
        assert_eq!(
            to_disk(now(1_800_000_000), &kept().link, &wrong_clock),
            kept()
        );
    }

    #[test]
    fn an_endless_lease_stays_endless() {
        let mut endless = kept();
        endless.lease_s = u32::MAX;
        let lease = from_disk(now(u64::MAX), endless).unwrap();
        assert_eq!(lease.expires(), None);
    }
}
