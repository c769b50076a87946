//! What controld is told of the clock.

use lintel_model::clock::{ClockReport, TIME_SOURCES_MAX, TimeSource};
use lintel_proto::ntp::client::{AssociationStatus, Client, Standing, State};
use lintel_proto::ntp::{Leap, Now, ScaledPpm};

use super::lan::Lan;
use super::sources::Sources;

/// Sources that must have agreed before certificates are judged by the clock: one alone proves
/// nothing.
const AGREEING_MIN: usize = 2;

/// The report of now. `agreed` is what was known before.
pub(super) fn report(
    now: Now,
    client: &Client,
    lan: &Lan,
    sources: &Sources,
    agreed: bool,
) -> ClockReport {
    let system = client.system();
    let followed = client
        .associations()
        .find(|status| status.standing == Standing::SystemPeer);
    let counters = lan.counters();
    let served = [
        ("request-malformed", counters.malformed),
        ("request-not-client", counters.not_client),
        ("request-unsynchronised", counters.unsynchronised),
        ("request-rate", counters.rate + counters.kisses),
        ("request-link-foreign", lan.foreign()),
    ];
    let drops = client.drops();
    let dropped = drops
        .iter()
        .map(|(reason, count)| (format!("reply-{}", reason.as_str()), count))
        .chain(served.map(|(reason, count)| (reason.to_owned(), count)));
    ClockReport {
        unix_ms: u64::try_from(now.wall.0 / 1_000_000).unwrap_or(0),
        synchronised: system.is_synchronised(),
        agreed: agreed || has_agreed(client),
        stratum: system.stratum,
        leap: match system.leap {
            Leap::None => "none",
            Leap::Insert => "insert",
            Leap::Delete => "delete",
            Leap::Unsynchronised => "unsynchronised",
        }
        .to_owned(),
        reference: followed.map(|status| status.to),
        offset_ns: client.offset_ns(now),
        jitter_ns: followed.map_or(0, |status| status.jitter_ns),
        root_delay_ns: system.root_delay_ns,
        root_dispersion_ns: system.root_dispersion_ns_at(now.mono),
        frequency_ppb: ppb(client.drift()),
        updated_unix_s: (system.reference.0 > 0)
            .then(|| u64::try_from(system.reference.0 / 1_000_000_000).unwrap_or(0)),
        sources: client
            .associations()
            .take(TIME_SOURCES_MAX)
            .map(|status| source(&status, sources))
            .collect(),
        served: counters.replies,
        dropped: dropped.filter(|(_, count)| *count > 0).collect(),
    }
}

/// Whether more than one source vouches for the clock.
pub(super) fn has_agreed(client: &Client) -> bool {
    matches!(client.state(), State::Synchronised { agreeing } if agreeing >= AGREEING_MIN)
}

fn source(status: &AssociationStatus, sources: &Sources) -> TimeSource {
    TimeSource {
        address: status.to,
        origin: sources
            .get(status.source)
            .map_or_else(String::new, |source| source.origin.clone()),
        state: match status.standing {
            Standing::Unreachable => "unreachable",
            Standing::Unfit => "unfit",
            Standing::Falseticker => "falseticker",
            Standing::Outlier => "candidate",
            Standing::Survivor => "agrees",
            Standing::SystemPeer => "followed",
        }
        .to_owned(),
        stratum: status.stratum,
        reach: status.reach,
        poll_s: 1_u32.checked_shl(status.poll.into()).unwrap_or(u32::MAX),
        offset_ns: status.offset_ns,
        delay_ns: status.delay_ns,
        jitter_ns: status.jitter_ns,
    }
}

/// In parts per billion, of which the kernel's unit has 65.536.
fn ppb(rate: ScaledPpm) -> i64 {
    rate.0.saturating_mul(1_000) >> 16
}
