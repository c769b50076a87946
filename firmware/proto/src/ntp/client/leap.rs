//! When a leap second is due.

use super::{Leap, UnixNs};

const DAY_S: i64 = 86_400;

/// What the kernel is to be told on this day. It inserts at the end of the day on which it is
/// told, while servers announce for the whole month: so only the last days of June and December
/// count, on which every leap second so far was.
pub(super) fn due(announced: Leap, now: UnixNs) -> Leap {
    match announced {
        Leap::Insert | Leap::Delete if is_leap_day(now) => announced,
        Leap::Unsynchronised => Leap::Unsynchronised,
        _ => Leap::None,
    }
}

fn is_leap_day(now: UnixNs) -> bool {
    let day = now.0.div_euclid(1_000_000_000).div_euclid(DAY_S);
    matches!(month_and_day(day), (6, 30) | (12, 31))
}

/// Of a day since 1970, by the Gregorian calendar: years are counted from March, so that the
/// leap day ends them.
fn month_and_day(day: i64) -> (i64, i64) {
    // Days since 1 March of the year 0, within an era of 400 years.
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_days_a_year() {
        let at = |secs| UnixNs::from_secs(secs);
        // From `date -u -d ... +%s`.
        let new_year_2017 = 1_483_228_800;
        assert_eq!(due(Leap::Insert, at(new_year_2017 - 1)), Leap::Insert);
        assert_eq!(due(Leap::Insert, at(new_year_2017 - DAY_S)), Leap::Insert);
        assert_eq!(due(Leap::Insert, at(new_year_2017)), Leap::None);
        assert_eq!(due(Leap::Insert, at(new_year_2017 - DAY_S - 1)), Leap::None);
        let july_2015 = 1_435_708_800;
        assert_eq!(due(Leap::Delete, at(july_2015 - 1)), Leap::Delete);
        assert_eq!(due(Leap::None, at(july_2015 - 1)), Leap::None);
    }

    #[test]
    fn every_month_has_its_length() {
        // 2024, a leap year, began on day 19723.
        let lengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut day = 19_723;
        for (month, length) in (1..).zip(lengths) {
            for of_month in 1..=length {
                assert_eq!(month_and_day(day), (month, of_month));
                day += 1;
            }
        }
    }
}
