//! The time, shown and set by hand. timed sets it, for it alone owns the clock; whoever asked waits
//! for its word.

use embassy_time::{Duration, Instant};
use lintel_api::types::{TimeParams, TimeStatus};
use lintel_ipc::call::Problem;
use lintel_ipc::timed::{ClockSet, ToTimed};
use lintel_model::RoleName;
use lintel_model::date;

use super::calls::{Answer, Outcome, away, bad_field, problem};
use super::core::{Core, Now, Output, Waiter};

/// How long timed is waited for: it answers in one turn of its loop.
const SET_WAIT: Duration = Duration::from_secs(3);
const TIME_HINT: &str = "write 2026-11-22T00:30:00Z, or Unix seconds";

/// A clock that is being set; one at a time.
#[derive(Debug)]
pub(super) struct Setting {
    id: u64,
    waiter: Waiter,
    pub(super) until: Instant,
}

impl Core {
    pub(super) fn time_shown(&self, now: Now) -> TimeStatus {
        let clock = self.clock_status(now);
        let report = self.clock_report();
        let unix_s = now.unix_s.saturating_add_signed(self.clock.ahead_s);
        TimeStatus {
            unix_s,
            rfc3339: date::rfc3339(unix_s),
            synchronised: clock.synchronised,
            agreed: clock.agreed,
            offset_ns: clock.offset_ns,
            updated_unix_s: report.updated_unix_s,
            sources_asked: u32::try_from(report.sources.len()).unwrap_or(u32::MAX),
            sources_agreeing: clock.sources,
            uptime_s: now.mono.as_secs(),
            can_be_set: self.up.contains(&RoleName::Timed) && !clock.synchronised,
        }
    }

    pub(super) fn time_set(&mut self, now: Now, waiter: Waiter, params: &TimeParams) -> Answer {
        let to_unix_ms = read_time(&params.time)?;
        if !self.up.contains(&RoleName::Timed) {
            return Err(away("timed"));
        }
        if self.clock.setting.is_some() {
            return Err(problem(
                503,
                "busy",
                "The clock is just being set",
                "Try again in a moment.",
            ));
        }
        self.clock.sets += 1;
        let id = self.clock.sets;
        self.clock.setting = Some(Setting {
            id,
            waiter,
            until: now.mono + SET_WAIT,
        });
        self.say(Output::Timed(ToTimed::Set { id, to_unix_ms }));
        Ok(Outcome::Later)
    }

    /// timed's word.
    pub(super) fn time_was_set(&mut self, now: Now, id: u64, outcome: ClockSet) {
        let Some(setting) = self.clock.setting.take_if(|setting| setting.id == id) else {
            return;
        };
        let shown = date::rfc3339;
        let refused = match outcome {
            ClockSet::Done => {
                let status = self.time_shown(now);
                return self.reply_value(setting.waiter, &status);
            }
            ClockSet::Synchronised { agreeing } => problem(
                409,
                "clock-synchronised",
                "The clock follows time servers",
                &format!(
                    "{} and would put it right again within seconds. To set it by hand, take the \
                     servers out of [ntp] first.",
                    match agreeing {
                        1 => "One is followed".to_owned(),
                        n => format!("{n} of them agree"),
                    }
                ),
            ),
            ClockSet::TooEarly { min_unix_s } => bad_field(
                "time",
                "this software is younger",
                &format!("no time before {}", shown(min_unix_s)),
            ),
            ClockSet::TooLate { max_unix_s } => bad_field(
                "time",
                "it is too far away to be meant",
                &format!("no time after {}", shown(max_unix_s)),
            ),
            ClockSet::Failed => problem(
                503,
                "clock-not-set",
                "The clock could not be set",
                "The log of timed says why: lintel logs timed",
            ),
        };
        self.reply(setting.waiter, Err(refused), None);
    }

    /// timed is gone, or said nothing in time.
    pub(super) fn end_setting(&mut self) {
        if let Some(setting) = self.clock.setting.take() {
            self.reply(setting.waiter, Err(away("timed")), None);
        }
    }
}

/// Milliseconds of Unix time.
fn read_time(text: &str) -> Result<u64, Problem> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let read = match digits {
        true => text.parse().ok().and_then(|s: u64| s.checked_mul(1000)),
        false => date::parse_rfc3339(text),
    };
    read.ok_or_else(|| bad_field("time", "it is no time", TIME_HINT))
}
