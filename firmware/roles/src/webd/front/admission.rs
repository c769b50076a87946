//! Who may connect, and who makes room for it.
//!
//! A source that is at its bound displaces its own oldest connection that has not asked for
//! anything yet; so a thousand half-sent requests of one host cost that host alone. When the
//! house is full, the source with the most connections pays.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use embassy_time::Instant;

use super::connection::Standing;
use super::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_SOURCE_MAX};

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 address, of which one host
/// has as many as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
            v4 => Self(v4),
        }
    }
}

/// A connection as admission sees it.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// The shell's name for it.
    pub id: u64,
    /// Where it comes from.
    pub source: Source,
    /// What it does.
    pub standing: Standing,
    /// Since when.
    pub since: Instant,
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is room.
    Admit,
    /// There is room once this connection is closed.
    Replace(u64),
    /// There is none.
    Refuse,
}

/// Decides about a newcomer from `source`.
pub fn decide(source: Source, residents: &[Resident]) -> Verdict {
    let own = residents.iter().filter(|r| r.source == source).count();
    if own >= CONNECTIONS_PER_SOURCE_MAX {
        return replace_oldest(residents, source);
    }
    if residents.len() < CONNECTIONS_MAX {
        return Verdict::Admit;
    }
    let mut counts: HashMap<Source, usize> = HashMap::new();
    for resident in residents {
        if resident.standing == Standing::Waiting {
            *counts.entry(resident.source).or_default() += 1;
        }
    }
    // Ties go by address, so that the choice does not depend on the map's order.
    let largest = counts.into_iter().max_by_key(|(s, n)| (*n, s.0));
    largest.map_or(Verdict::Refuse, |(source, _)| {
        replace_oldest(residents, source)
    })
}

fn replace_oldest(residents: &[Resident], source: Source) -> Verdict {
    residents
        .iter()
        .filter(|r| r.source == source && r.standing == Standing::Waiting)
        .min_by_key(|r| (r.since, r.id))
        .map_or(Verdict::Refuse, |r| Verdict::Replace(r.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(id: u64, source: [u8; 4], standing: Standing) -> Resident {
        Resident {
            id,
            source: IpAddr::from(source).into(),
            standing,
            since: Instant::from_millis(id),
        }
    }

    #[test]
    fn a_greedy_source_displaces_its_own_oldest() {
        let us = [192, 0, 2, 1];
        let mut all: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX as u64)
            .map(|id| resident(id, us, Standing::Waiting))
            .collect();
        all[0].standing = Standing::Busy;
        assert_eq!(decide(IpAddr::from(us).into(), &all), Verdict::Replace(1));
        let other = IpAddr::from([192, 0, 2, 2]).into();
        assert_eq!(decide(other, &all), Verdict::Admit);
        all.iter_mut().for_each(|r| r.standing = Standing::Busy);
        assert_eq!(decide(IpAddr::from(us).into(), &all), Verdict::Refuse);
    }

    #[test]
    fn a_full_house_takes_from_the_largest() {
        let id = |n: usize| n as u64;
        let mut all: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|n| resident(id(n), [10, 0, (n / 40) as u8, 1], Standing::Waiting))
            .collect();
        all.truncate(CONNECTIONS_MAX);
        let newcomer = IpAddr::from([10, 9, 9, 9]).into();
        assert!(matches!(decide(newcomer, &all), Verdict::Replace(id) if id % 40 == 0));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let a: Source = IpAddr::from("2001:db8::1".parse::<Ipv6Addr>().unwrap()).into();
        let b: Source = IpAddr::from("2001:db8::ffff:1".parse::<Ipv6Addr>().unwrap()).into();
        let c: Source = IpAddr::from("2001:db8:0:1::1".parse::<Ipv6Addr>().unwrap()).into();
        assert_eq!(a, b);
        assert_ne!(a, c);
    }
}
