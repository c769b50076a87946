//! The clock, as timed tells of it, and what is kept of it.
//!
//! A box without a battery wakes up in the past. What it notes until timed has set the clock is
//! noted by a wrong one: when the clock then leaps forward, leases given since the start would
//! seem to be over, and their addresses free. When it leaps back, they would seem to last for
//! years. So their times leap with the clock.

use std::collections::BTreeMap;

use lintel_api::types::{ClockStatus, Event};
use lintel_ipc::init::Start;
use lintel_ipc::timed::{FromTimed, ToTimed};
use lintel_model::RoleName;
use lintel_model::clock::{ClockReport, TIME_SOURCES_MAX};
use lintel_model::lease::Binding;
use lintel_store::{ClockNote, Notes, Store};

use super::core::{Core, Now, Output, bounded_drops};
use super::time_calls::Setting;
use crate::now::signed;

/// Longest word believed of a role, characters.
const WORD_CHARS_MAX: usize = 64;
/// Largest frequency correction believed, 2^-16 ppm: what the kernel takes.
const DRIFT_MAX: i64 = 500 << 16;

/// A smaller leap of the clock is none for leases: they count whole seconds, and so do both clocks
/// that tell when the box started.
const LEAP_S_MIN: u64 = 2;

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct Clock {
    report: Option<ClockReport>,
    /// What timed's clock shows beyond the machine's, seconds: nothing, but where it is pretended.
    pub(super) ahead_s: i64,
    /// Whoever waits for it to be set, and how often somebody has.
    pub(super) setting: Option<Setting>,
    pub(super) sets: u64,
    /// For timed's next start.
    drift: Option<i64>,
    /// When the box started, Unix seconds, by the clock that the leases were noted by: what the
    /// clocks differ by, whatever they show.
    start_s: i64,
}

impl Clock {
    /// A leap is told from `noted` on, not from the first input: the clock may be set between.
    pub(super) fn new(drift: Option<i64>, noted: Now) -> Self {
        Self {
            report: None,
            ahead_s: 0,
            setting: None,
            sets: 0,
            drift,
            start_s: noted.start_unix_s(),
        }
    }
}

impl Core {
    pub(super) fn send_ntp(&mut self) {
        if self.up.contains(&RoleName::Timed) {
            let spec = self.resolved.ntp.clone();
            let drift = self.clock.drift;
            self.say(Output::Timed(ToTimed::Spec { spec, drift }));
        }
    }

    /// Lets what was noted since the start follow a leap of the clock, in either direction. What was
    /// noted is told by its time, so a leap that went unfollowed would hide it from the next.
    pub(super) fn follow_clock(&mut self, now: Now) {
        let up_s = signed(now.mono.as_secs());
        let start_s = now.start_unix_s();
        let noted_s = self.clock.start_s;
        let by_s = start_s.saturating_sub(noted_s);
        if by_s.unsigned_abs() < LEAP_S_MIN {
            return;
        }
        self.clock.start_s = start_s;
        self.leases_told_until = now.unix_s;
        let ahead_s = signed(super::leases::AHEAD_S_MAX);
        let noted_until_s = noted_s.saturating_add(up_s).saturating_add(ahead_s);
        let since_start = |bound: u64| (noted_s..=noted_until_s).contains(&signed(bound));
        let followed: BTreeMap<_, _> = self
            .bindings
            .iter()
            .filter(|(_, binding)| since_start(binding.bound_unix_s))
            .map(|(address, binding)| (*address, moved(binding.clone(), by_s)))
            .collect();
        log::info!(
            "the clock leapt by {by_s} s; {} leases follow it",
            followed.len()
        );
        let rows: Vec<_> = followed
            .values()
            .map(|binding| {
                let held = self.held.get(&binding.address);
                let held = held.map_or(0, |held| held.saturating_add_signed(by_s));
                let expires_unix_s = binding.expires_unix_s.max(held);
                Binding {
                    expires_unix_s,
                    ..binding.clone()
                }
            })
            .collect();
        // Whatever the disk says: a renewal is not held any more then, and writes it.
        self.bindings.extend(followed);
        let note = clock_note(&self.start, now);
        let written = self.stored("following the clock", |store| {
            store.follow_clock(&note, &rows, now.unix_s)
        });
        if written.is_some() {
            self.hold_rows(&rows);
        }
        if let Some(lease) = &mut self.facts.wan_lease
            && since_start(lease.bound_unix_s)
        {
            lease.bound_unix_s = lease.bound_unix_s.saturating_add_signed(by_s);
            self.note(now);
        }
        self.lan_since_unix_s = self.lan_since_unix_s.saturating_add_signed(by_s);
        // What waits for a time of the wall clock.
        self.lease_end_at = Some(now.mono);
        self.leaving_due = Some(now.mono);
        self.dns_changed(now);
        let unsigned = |at_s: i64| u64::try_from(at_s).unwrap_or(0);
        self.people_leap(unsigned(noted_s), unsigned(noted_until_s), by_s);
    }

    /// A binding that was written by the clock of a box that started then, by ours.
    pub(super) fn by_our_clock(&self, binding: Binding, start_unix_s: i64) -> Binding {
        let by_s = self.clock.start_s.saturating_sub(start_unix_s);
        // Both read it apart, to the second.
        match by_s.unsigned_abs() < LEAP_S_MIN {
            true => binding,
            false => moved(binding, by_s),
        }
    }

    pub(super) fn timed(&mut self, now: Now, message: FromTimed) {
        match message {
            FromTimed::Report(report) => {
                let report = bounded(*report);
                let known = |report: &ClockReport| (report.synchronised, report.agreed);
                let before = self.clock.report.as_ref().map(known).unwrap_or_default();
                let (synchronised, agreed) = known(&report);
                if before != (synchronised, agreed) {
                    self.tell(
                        now,
                        Event::ClockTrust {
                            synchronised,
                            agreed,
                        },
                    );
                }
                if self.facts.run {
                    let shows_s = signed(report.unix_ms / 1000);
                    self.clock.ahead_s = shows_s.saturating_sub(signed(now.unix_s));
                }
                self.clock.report = Some(report);
            }
            FromTimed::Drift(drift) => {
                self.clock.drift = Some(drift.clamp(-DRIFT_MAX, DRIFT_MAX));
            }
            FromTimed::Stepped { by_ms } => {
                log::info!("timed has set the clock by {by_ms} ms");
                self.certify(now);
                self.tell(now, Event::ClockSet { by_ms });
            }
            FromTimed::Set { id, outcome } => self.time_was_set(now, id, outcome),
        }
    }

    /// timed is gone: the clock runs on, and nobody vouches for it.
    pub(super) fn clock_lost(&mut self, now: Now) {
        self.end_setting();
        let trusted = |report: ClockReport| report.synchronised || report.agreed;
        if self.clock.report.take().is_some_and(trusted) {
            let lost = Event::ClockTrust {
                synchronised: false,
                agreed: false,
            };
            self.tell(now, lost);
        }
    }

    /// Keeps, now and then and whatever is said in between, what nobody waits for: the time, the
    /// frequency, and that the WAN's lease got longer.
    pub(super) fn note(&mut self, now: Now) {
        let drift = self.clock.drift;
        let longer = self.facts.wan_lease.clone();
        let longer = longer.filter(|lease| self.stored_lease.as_ref() != Some(lease));
        let done = self.stored("noting the time", |store| {
            store.note(&Notes {
                last_time: now.unix_s,
                drift,
                wan_lease: longer.as_ref(),
            })
        });
        if done.is_some() && longer.is_some() {
            self.stored_lease = longer;
        }
    }

    pub(super) fn clock_report(&self) -> ClockReport {
        self.clock.report.clone().unwrap_or_else(|| ClockReport {
            stratum: 16,
            leap: "unsynchronised".to_owned(),
            ..ClockReport::default()
        })
    }

    pub(super) fn clock_status(&self, now: Now) -> ClockStatus {
        let report = self.clock.report.as_ref();
        ClockStatus {
            unix_s: now.unix_s,
            synchronised: report.is_some_and(|report| report.synchronised),
            agreed: report.is_some_and(|report| report.agreed),
            offset_ns: report.filter(|r| r.synchronised).map(|r| r.offset_ns),
            sources: self.agreeing(),
        }
    }

    /// How many sources agree.
    pub(super) fn agreeing(&self) -> u32 {
        let sources = self.clock.report.iter().flat_map(|report| &report.sources);
        let agreeing = sources.filter(|s| matches!(s.state.as_str(), "followed" | "agrees"));
        u32::try_from(agreeing.count()).unwrap_or(u32::MAX)
    }
}

/// Now by the clock that bindings were counted by when the process before this one ended, if that
/// was in the same boot: it may have been set meanwhile. At a box's start it is ours, and noted.
pub(super) fn counted_by(
    note: Option<ClockNote>,
    store: &mut Store,
    start: &Start,
    now: Now,
) -> Now {
    match note {
        Some(note) if note.boot_id == start.boot_id => {
            Now::since_start(now.mono, note.start_unix_s)
        }
        _ => {
            if let Err(error) = store.note_clock(&clock_note(start, now)) {
                log::warn!("noting the clock: {error}");
            }
            now
        }
    }
}

fn clock_note(start: &Start, now: Now) -> ClockNote {
    ClockNote {
        boot_id: start.boot_id.clone(),
        start_unix_s: now.start_unix_s(),
    }
}

/// A binding whose times leap.
fn moved(mut binding: Binding, by_s: i64) -> Binding {
    binding.bound_unix_s = binding.bound_unix_s.saturating_add_signed(by_s);
    binding.expires_unix_s = binding.expires_unix_s.saturating_add_signed(by_s);
    binding
}

/// As much as a role that parses foreign bytes is believed.
fn bounded(mut report: ClockReport) -> ClockReport {
    let word = |text: &mut String| {
        let clean = text.chars().filter(|c| !c.is_control());
        *text = clean.take(WORD_CHARS_MAX).collect();
    };
    word(&mut report.leap);
    report.dropped = bounded_drops(report.dropped);
    report.sources.truncate(TIME_SOURCES_MAX);
    for source in &mut report.sources {
        word(&mut source.origin);
        word(&mut source.state);
    }
    report
}
