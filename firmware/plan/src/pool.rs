//! The pool of a household that configured none.

use std::net::Ipv4Addr;

use lintel_model::Ipv4Net;

/// First and last address: `.100` to `.249` of a /24, else the network's upper half, without the
/// box's own address. `None` when the network has no room.
pub(crate) fn default_pool(lan: Ipv4Net) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let base = u32::from(lan.network());
    let end = u32::from(lan.broadcast());
    let own = u32::from(lan.addr());
    let (first, last) = if lan.prefix_len() == 24 {
        (base + 100, base + 249)
    } else {
        (base + (end - base) / 2 + 1, end.checked_sub(1)?)
    };
    let around = |first: u32, last: u32| {
        if !(first..=last).contains(&own) {
            return Some((first, last)).filter(|(first, last)| first <= last);
        }
        // The larger side of the box's address.
        let (below, above) = (own - first, last - own);
        match below.max(above) {
            0 => None,
            _ if below > above => Some((first, own - 1)),
            _ => Some((own + 1, last)),
        }
    };
    let whole = || around(base.checked_add(1)?, end.checked_sub(1)?);
    let (first, last) = around(first, last).or_else(whole)?;
    Some((Ipv4Addr::from(first), Ipv4Addr::from(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(lan: &str) -> String {
        match default_pool(lan.parse().unwrap()) {
            Some((first, last)) => format!("{first}-{last}"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn the_pool_spares_the_box() {
        assert_eq!(pool("192.168.1.1/24"), "192.168.1.100-192.168.1.249");
        assert_eq!(pool("192.168.1.120/24"), "192.168.1.121-192.168.1.249");
        assert_eq!(pool("192.168.1.249/24"), "192.168.1.100-192.168.1.248");
        assert_eq!(pool("10.0.0.1/8"), "10.128.0.0-10.255.255.254");
        assert_eq!(pool("10.0.0.1/30"), "10.0.0.2-10.0.0.2");
        assert_eq!(pool("10.0.0.2/30"), "10.0.0.1-10.0.0.1");
        assert_eq!(
            pool("255.255.255.253/30"),
            "255.255.255.254-255.255.255.254"
        );
        assert_eq!(pool("10.0.0.1/32"), "none");
        assert_eq!(pool("10.0.0.1/31"), "none");
        assert_eq!(pool("0.0.0.0/0"), "128.0.0.0-255.255.255.254");
    }
}
