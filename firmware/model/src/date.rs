//! Dates of the Gregorian calendar, in UTC: the box keeps no time zones.

use std::fmt;

const S_PER_DAY: u64 = 86_400;
/// Days from 0000-03-01, with which years of this reckoning begin, to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats itself.
const DAYS_OF_ERA: u64 = 146_097;

/// A second as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The day's.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// Second of the day, 0 to 86,399.
    pub second: u64,
}

impl Date {
    /// The date of a Unix time.
    pub fn of(unix_s: u64) -> Self {
        // Counted in years that begin in March, so that the leap day is the last of its year.
        let days = unix_s / S_PER_DAY + DAYS_BEFORE_1970;
        let era = days / DAYS_OF_ERA;
        let of_era = days % DAYS_OF_ERA;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * month_from_march + 2) / 5 + 1,
            second: unix_s % S_PER_DAY,
        }
    }

    /// Its Unix time; `None` for a day that the calendar does not have, or one before 1970.
    pub fn unix_s(self) -> Option<u64> {
        let months = (1..=12).contains(&self.month);
        if !months || self.day == 0 || self.second >= S_PER_DAY || self.year > 9999 {
            return None;
        }
        let year = self.year.checked_sub(u64::from(self.month <= 2))?;
        let (era, year_of_era) = (year / 400, year % 400);
        let of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        let days = (era * DAYS_OF_ERA + of_era).checked_sub(DAYS_BEFORE_1970)?;
        let unix_s = days * S_PER_DAY + self.second;
        // The thirtieth of February is another day.
        (Self::of(unix_s) == self).then_some(unix_s)
    }
}

impl fmt::Display for Date {
    /// `2026-11-22 00:30:05`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute) = (self.second / 3600, self.second / 60 % 60);
        write!(
            f,
            "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{:02}",
            self.year,
            self.month,
            self.day,
            self.second % 60
        )
    }
}

/// `2026-11-22T00:30:05Z` (RFC 3339).
pub fn rfc3339(unix_s: u64) -> String {
    format!("{}Z", Date::of(unix_s)).replace(' ', "T")
}

/// Milliseconds of Unix time of `2026-11-22T00:30:05.25+01:00` (RFC 3339 section 5.6, where a
/// blank may stand for the T); `None` for any other text. A leap second is the one after it.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let text = text.as_bytes();
    let (date, rest) = text.split_at_checked(10)?;
    let (mark, rest) = rest.split_first()?;
    let (time, rest) = rest.split_at_checked(8)?;
    if !matches!(mark, b'T' | b't' | b' ') || date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let second = clock(time, 60)?;
    let (ms, zone) = match rest.strip_prefix(b".") {
        None => (0, rest),
        Some(rest) => {
            let len = rest.iter().take_while(|c| c.is_ascii_digit()).count();
            let (digits, zone) = rest.split_at_checked(len)?;
            let mut three = digits.iter().chain(b"000").take(3);
            let ms = three.try_fold(0, |ms, digit| Some(ms * 10 + u64::from(digit - b'0')));
            (ms.filter(|_| len > 0)?, zone)
        }
    };
    let date = Date {
        year: number(&date[..4])?,
        month: number(&date[5..7])?,
        day: number(&date[8..])?,
        second: 0,
    };
    let here = date.unix_s()? + second;
    let unix_s = match zone {
        b"Z" | b"z" => here,
        [b'+', east @ ..] => here.checked_sub(clock(east, 59)?)?,
        [b'-', west @ ..] => here + clock(west, 59)?,
        _ => return None,
    };
    Some(unix_s * 1000 + ms)
}

/// Seconds of `hh:mm` or `hh:mm:ss`.
fn clock(text: &[u8], second_max: u64) -> Option<u64> {
    let (hour, minute, second) = match text {
        [a, b, b':', c, d] => (number(&[*a, *b])?, number(&[*c, *d])?, 0),
        [a, b, b':', c, d, b':', e, f] => {
            let second = number(&[*e, *f])?;
            (number(&[*a, *b])?, number(&[*c, *d])?, second)
        }
        _ => return None,
    };
    let fits = hour < 24 && minute < 60 && second <= second_max;
    fits.then_some(hour * 3600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, c| {
        let digit = c.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(number * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read_in_every_spelling_of_the_rfc() {
        // By date(1) of coreutils.
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696_000),
            ("2026-11-22T00:30:05Z", 1_795_307_405_000),
            ("2026-11-22t00:30:05z", 1_795_307_405_000),
            ("2026-11-22 00:30:05.5Z", 1_795_307_405_500),
            ("2026-11-22T01:30:05.123456789+01:00", 1_795_307_405_123),
            ("2026-11-21T16:00:05-08:30", 1_795_307_405_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "now",
            "1795307405",
            "2026-11-22",
            "2026-11-22T00:30Z",
            "2026-11-22T00:30:05",
            "2026-11-22T00:30:05.Z",
            "2026-11-22T00:30:05+0100",
            "2026-11-22T00:30:05+24:00",
            "2026-11-22T24:00:00Z",
            "2026-11-22T00:60:00Z",
            "2026-11-22T00:00:61Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-22T00:30:05Z ",
            "2026/11/22T00:30:05Z",
            "+026-11-22T00:30:05Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(unix_s in 0..253_402_300_800_u64) {
            let text = rfc3339(unix_s);
            prop_assert_eq!(parse_rfc3339(&text), Some(unix_s * 1000), "{}", text);
            prop_assert_eq!(Date::of(unix_s).unix_s(), Some(unix_s));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9T:Zz+.é -]{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
