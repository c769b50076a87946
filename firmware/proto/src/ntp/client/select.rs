//! Which servers tell the truth (RFC 5905 section 11.2): pure arithmetic over what each of them
//! says, all in seconds.

use super::ASSOCIATIONS_MAX;

/// Survivors are not thinned out below this number (RFC 5905's NMIN).
const SURVIVORS_MIN: usize = 3;
/// Weight of a stratum against a second of distance in the order of survivors (RFC 5905's
/// MAXDIST).
const STRATUM_WEIGHT: f64 = 1.5;

/// What a fit server says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Which, to the caller.
    pub(super) index: usize,
    /// Its time minus ours.
    pub(super) offset: f64,
    /// How wrong that can be (root distance), positive.
    pub(super) distance: f64,
    /// How its offsets vary.
    pub(super) jitter: f64,
    pub(super) stratum: u8,
}

/// Candidates that are kept; bounded as associations are.
pub(super) type Candidates = heapless::Vec<Candidate, ASSOCIATIONS_MAX>;

/// What a majority agrees on, seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Agreement {
    /// Those whose correctness interval has a share in the common part.
    pub(super) chimers: Candidates,
    /// The common part: the time is in here if most of the servers are right.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The smallest interval that is consistent with the correctness intervals of more than half of
/// all, and whose they are (section 11.2.1); `None` without such a majority.
///
/// RFC 5905 wants the midpoints in the common part too, and so finds no majority among honest
/// servers that scatter; its authors gave that up later. Here a midpoint may lie outside, and
/// what follows from all of them together may not ([`Agreement::low`]).
pub(super) fn agreement(all: &Candidates) -> Option<Agreement> {
    let (low, high) = intersection(all)?;
    let chimers: Candidates = all
        .iter()
        .filter(|one| one.offset - one.distance <= high && one.offset + one.distance >= low)
        .copied()
        .collect();
    (chimers.len() * 2 > all.len()).then_some(Agreement { chimers, low, high })
}

/// Assumes ever more falsetickers, as long as they are a minority, until the others' intervals
/// have a part in common.
fn intersection(all: &Candidates) -> Option<(f64, f64)> {
    let lows = || all.iter().map(|one| one.offset - one.distance);
    let highs = || all.iter().map(|one| one.offset + one.distance);
    let held_by = |point: f64| {
        let begun = lows().filter(|low| *low <= point).count();
        let ended = highs().filter(|high| *high < point).count();
        begun - ended
    };
    (0..all.len().div_ceil(2)).find_map(|falsetickers| {
        let wanted = all.len() - falsetickers;
        let low = lows()
            .filter(|point| held_by(*point) >= wanted)
            .min_by(f64::total_cmp)?;
        let high = highs()
            .filter(|point| held_by(*point) >= wanted)
            .max_by(f64::total_cmp)?;
        Some((low, high))
    })
}

/// The survivors, best first (section 11.2.2): while there are more than three, the one whose
/// offset is farthest from the others' goes, unless the noise of the best of them is larger than
/// that anyway. With them the spread of their offsets (selection jitter).
pub(super) fn survivors(mut chimers: Candidates) -> (Candidates, f64) {
    let merit = |one: &Candidate| f64::from(one.stratum) * STRATUM_WEIGHT + one.distance;
    chimers.sort_unstable_by(|a, b| {
        merit(a)
            .total_cmp(&merit(b))
            .then_with(|| a.index.cmp(&b.index))
    });
    loop {
        let worst = (0..chimers.len())
            .map(|n| (n, spread(&chimers, n)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let quietest = chimers.iter().map(|one| one.jitter).min_by(f64::total_cmp);
        let (Some((worst, spread)), Some(quietest)) = (worst, quietest) else {
            return (chimers, 0.0);
        };
        if chimers.len() <= SURVIVORS_MIN || spread < quietest {
            return (chimers, spread);
        }
        chimers.remove(worst);
    }
}

/// Root mean square of the distance of the others' offsets from the offset of `n`.
fn spread(chimers: &Candidates, n: usize) -> f64 {
    let Some(of) = chimers.get(n).filter(|_| chimers.len() > 1) else {
        return 0.0;
    };
    let squares: f64 = chimers
        .iter()
        .map(|one| (one.offset - of.offset).powi(2))
        .sum();
    (squares / (chimers.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(of: &[(f64, f64)]) -> Candidates {
        of.iter()
            .enumerate()
            .map(|(index, (offset, distance))| Candidate {
                index,
                offset: *offset,
                distance: *distance,
                jitter: 0.001,
                stratum: 2,
            })
            .collect()
    }

    fn chosen(of: &[(f64, f64)]) -> Vec<usize> {
        agreement(&candidates(of))
            .map(|agreed| agreed.chimers.iter().map(|one| one.index).collect())
            .unwrap_or_default()
    }

    #[test]
    fn a_majority_is_believed_and_a_minority_is_not() {
        // What is said, and who is believed.
        type Case = (&'static [(f64, f64)], &'static [usize]);
        let cases: [Case; 10] = [
            (&[], &[]),
            (&[(0.3, 0.01)], &[0]),
            (&[(0.0, 0.01), (0.005, 0.01)], &[0, 1]),
            // Two that contradict each other are no majority.
            (&[(0.0, 0.01), (1.0, 0.01)], &[]),
            (&[(0.0, 0.01), (0.001, 0.01), (1.0, 0.01)], &[0, 1]),
            (
                &[(0.0, 0.01), (5.0, 0.01), (0.002, 0.01), (0.001, 0.01)],
                &[0, 2, 3],
            ),
            // Two against two.
            (
                &[(0.0, 0.01), (0.001, 0.01), (1.0, 0.01), (1.001, 0.01)],
                &[],
            ),
            // One that can be right is not called wrong.
            (&[(0.0, 0.01), (0.001, 0.01), (0.4, 0.5)], &[0, 1, 2]),
            (&[(0.0, 0.01), (0.001, 0.01), (0.6, 0.5)], &[0, 1]),
            // Midpoints outside of the common part, but every interval holds it.
            (&[(0.0, 0.001), (0.8, 50.0), (2.0, 50.0)], &[0, 1, 2]),
        ];
        for (said, believed) in cases {
            assert_eq!(chosen(said), believed, "{said:?}");
        }
    }

    #[test]
    fn clustering_leaves_three_and_drops_the_farthest() {
        let all = candidates(&[
            (0.0, 0.1),
            (0.001, 0.1),
            (0.05, 0.1),
            (0.0, 0.1),
            (0.002, 0.1),
        ]);
        let (left, spread) = survivors(all);
        assert_eq!(left.len(), 3);
        assert!(left.iter().all(|one| one.index != 2));
        assert!(spread < 0.003);
        // A lower stratum comes first, whatever its distance.
        let mut all = candidates(&[(0.0, 0.01), (0.001, 0.9)]);
        all[1].stratum = 1;
        assert_eq!(survivors(all).0[0].index, 1);
    }

    proptest! {
        /// Liars, however they conspire, are not followed while they are a minority of those
        /// who answer: what is chosen is consistent with an honest server.
        #[test]
        fn a_minority_of_falsetickers_is_never_believed(
            honest in proptest::collection::vec((-0.004f64..0.004, 0.005f64..0.02), 1..8),
            liars in proptest::collection::vec((-2.0f64..2.0, 0.0005f64..0.5), 0..7),
        ) {
            prop_assume!(liars.len() < honest.len());
            // True time is zero: an honest interval holds it.
            let mut said = honest.clone();
            said.extend(&liars);
            let all = candidates(&said);
            let Some(Agreement { chimers, low, high }) = agreement(&all) else {
                return Err(TestCaseError::fail("the honest ones share a point"));
            };
            // More than half share each end, so an honest one is among them.
            let holds = |point: f64| honest.iter().any(|(offset, distance)| {
                (point - offset).abs() <= distance + 1e-12
            });
            prop_assert!(holds(low) && holds(high), "{} {}", low, high);
            prop_assert!(chimers.len() * 2 > all.len());
        }

        #[test]
        fn survivors_are_some_of_the_chimers(
            said in proptest::collection::vec((-1.0f64..1.0, 0.001f64..1.0), 0..16),
        ) {
            let all = candidates(&said);
            let (left, _) = survivors(all.clone());
            prop_assert!(left.len() >= all.len().min(3));
            prop_assert!(left.iter().all(|one| all.contains(one)));
        }
    }
}
