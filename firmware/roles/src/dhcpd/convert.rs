//! Bindings between the disk's wall clock and the machine's time since boot.
//!
//! What ended or began before this boot is told as the boot's own beginning: the machine only
//! compares, and the order of such bindings is kept by sorting them first.

use embassy_time::Instant;
use lintel_model::MacAddr;
use lintel_model::lease;
use lintel_proto::dhcp_server::{Binding, BindingState};
use lintel_wire::frame::EthernetAddress;

use crate::now::Now;

/// A binding may seem to begin this much later than now, seconds: the machine puts one a second
/// behind the one before.
const AHEAD_S_MAX: u64 = 60;

/// What controld had on disk, in the order in which it was acknowledged. What was bound since the
/// start comes last: other times may be those of a clock that was years ahead in an earlier boot.
pub fn from_disk(now: Now, mut bindings: Vec<lease::Binding>) -> Vec<Binding> {
    let start_s = now.unix_s.saturating_sub(now.mono.as_secs());
    let end_s = now.unix_s.saturating_add(AHEAD_S_MAX);
    let is_young = |binding: &lease::Binding| (start_s..=end_s).contains(&binding.bound_unix_s);
    bindings.sort_by_key(|binding| (is_young(binding), binding.bound_unix_s));
    let convert = |binding: lease::Binding| Binding {
        bound: match is_young(&binding) {
            true => now.instant(binding.bound_unix_s),
            false => Instant::MIN,
        },
        address: binding.address,
        mac: EthernetAddress(binding.mac.0),
        client_id: Some(binding.client_id).filter(|id| !id.is_empty()),
        name: binding.host_name,
        expires: now.instant(binding.expires_unix_s),
        state: match binding.state {
            lease::BindingState::Bound => BindingState::Bound,
            lease::BindingState::Released => BindingState::Released,
            lease::BindingState::Declined => BindingState::Declined,
        },
    };
    let mut converted: Vec<Binding> = bindings.iter().cloned().map(convert).collect();
    // Those that ended before this boot would all end at its beginning; the longest expired
    // must stay the first to be given to others, so they end in their order, a tick apart.
    let mut ended: Vec<usize> = (0..bindings.len())
        .filter(|at| bindings[*at].expires_unix_s <= now.unix_s)
        .collect();
    ended.sort_by_key(|at| bindings[*at].expires_unix_s);
    for (rank, at) in ended.into_iter().enumerate() {
        converted[at].expires = Instant::from_ticks(rank as u64).min(now.mono);
    }
    converted
}

/// What controld shall write.
pub fn to_disk(now: Now, binding: Binding) -> lease::Binding {
    lease::Binding {
        address: binding.address,
        mac: MacAddr(binding.mac.0),
        client_id: binding.client_id.unwrap_or_default(),
        host_name: binding.name,
        bound_unix_s: now.unix_s_at(binding.bound),
        expires_unix_s: now.unix_s_at(binding.expires),
        state: match binding.state {
            BindingState::Bound => lease::BindingState::Bound,
            BindingState::Released => lease::BindingState::Released,
            BindingState::Declined => lease::BindingState::Declined,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_survives_the_way_to_the_disk_and_back() {
        let now = Now {
            mono: Instant::from_secs(100),
            unix_s: 1_800_000_000,
        };
        let binding = lease::Binding {
            address: [192, 168, 1, 100].into(),
            mac: MacAddr([2, 0, 0x5e, 0, 0x53, 1]),
            client_id: vec![1, 2],
            host_name: Some("laptop".into()),
            bound_unix_s: 1_799_999_950,
            expires_unix_s: 1_800_043_150,
            state: lease::BindingState::Bound,
        };
        let machine = from_disk(now, vec![binding.clone()]).remove(0);
        assert_eq!(machine.expires, Instant::from_secs(100 + 43_150));
        assert_eq!(to_disk(now, machine), binding);
    }

    #[test]
    fn the_longest_expired_stays_the_first() {
        let now = Now {
            mono: Instant::from_secs(3),
            unix_s: 1_800_000_000,
        };
        let binding = |last: u8, expires_unix_s| lease::Binding {
            address: [192, 168, 1, last].into(),
            mac: MacAddr([2, 0, 0x5e, 0, 0x53, last]),
            client_id: Vec::new(),
            host_name: None,
            bound_unix_s: expires_unix_s - 3600,
            expires_unix_s,
            state: lease::BindingState::Bound,
        };
        let mut machine = from_disk(
            now,
            vec![
                binding(1, 1_799_000_000),
                binding(2, 1_798_000_000),
                binding(3, 1_800_000_500),
            ],
        );
        machine.sort_by_key(|binding| binding.expires);
        let order: Vec<u8> = machine.iter().map(|b| b.address.octets()[3]).collect();
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn what_was_bound_since_the_start_is_the_latest_whatever_a_clock_said_before() {
        let now = Now {
            mono: Instant::from_secs(100),
            unix_s: 1_800_000_000,
        };
        let binding = |last: u8, bound_unix_s| lease::Binding {
            address: [192, 168, 1, last].into(),
            mac: MacAddr([2, 0, 0x5e, 0, 0x53, last]),
            client_id: Vec::new(),
            host_name: None,
            bound_unix_s,
            expires_unix_s: 1_900_000_000,
            state: lease::BindingState::Bound,
        };
        let machine = from_disk(
            now,
            vec![
                binding(1, 1_830_000_000),
                binding(2, 1_799_999_990),
                binding(3, 1_700_000_000),
                binding(4, 1_800_000_001),
            ],
        );
        assert!(machine.is_sorted_by_key(|binding| binding.bound));
        let order: Vec<u8> = machine.iter().map(|b| b.address.octets()[3]).collect();
        assert_eq!(order, [3, 1, 2, 4]);
    }
}
