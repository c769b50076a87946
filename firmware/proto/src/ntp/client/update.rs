//! From a new sample to the clock: who is believed, what follows for the clock, and whether it
//! counts as synchronised.

use embassy_time::{Duration, Instant};
use lintel_wire::ntp::ReferenceId;

use super::association::Association;
use super::discipline::Correction;
use super::select::{self, Agreement, Candidates};
use super::{
    AssociationId, Client, Event, HOLDOVER_DISTANCE_NS, Leap, Now, STEP_NS, ScaledPpm, Standing,
    State, System, leap,
};
use crate::ntp::TOLERANCE_PPB;

/// How long a clock is waited for at the start until all servers were heard: the first ones to
/// answer are not believed just because they were the first.
const HEAR_ALL_WAIT: Duration = Duration::from_secs(32);
/// A synchronised clock is stepped only after the majority wanted it for so long: a spike in the
/// network is shorter (RFC 5905 has 900 s, its successors 300 s).
const STEPOUT: Duration = Duration::from_secs(300);
/// A majority that is this far off, seconds, changed its mind (RFC 5905's PANICT).
const PANIC_S: f64 = 1_000.0;
/// The interval grows when offsets stay below this times the jitter (RFC 5905's PGATE), and when
/// the sum of that is beyond the limit.
const POLL_GATE: f64 = 4.0;
const POLL_LIMIT: i32 = 30;
/// Between two frequencies to keep: 24 small writes a day.
const KEEP_PAUSE: Duration = Duration::from_secs(3_600);
/// The first one comes when the frequency is known this well, a fraction.
const KEEP_SD_MAX: f64 = 1e-6;
/// Smaller differences are not worth a write.
const KEEP_PPM_MIN: f64 = 0.02;

const NS: f64 = 1e-9;

impl Client {
    /// `by` has a new sample.
    pub(super) fn update(&mut self, now: Now, by: AssociationId) {
        let Some(Agreement { chimers, low, high }) = self.select(now.mono) else {
            self.set_agreeing(0);
            return;
        };
        let agreeing = chimers.len();
        let (survivors, spread) = select::survivors(chimers);
        for one in &survivors {
            self.associations[one.index].standing = Standing::Survivor;
        }
        if !self.is_quorum(now.mono, agreeing) {
            self.set_agreeing(agreeing);
            return;
        }
        let peer = self.choose_peer(&survivors);
        self.associations[peer].standing = Standing::SystemPeer;
        if !survivors
            .iter()
            .any(|one| self.associations[one.index].id == by)
        {
            self.set_agreeing(agreeing);
            return;
        }
        let mut correction = self.combine(now.mono, &survivors);
        correction.offset = correction.offset.clamp(low, high);
        if self.is_to_wait(now.mono, &correction) {
            self.set_agreeing(agreeing);
            return;
        }
        let jitter = survivors
            .iter()
            .find(|one| one.index == peer)
            .map_or(self.precision, |one| one.jitter.hypot(spread));
        self.apply(now, correction);
        if self.associations[peer].id == by {
            self.adapt_poll(peer, correction.offset, jitter);
        }
        self.set_system(now, peer, &survivors, &correction, jitter);
        self.set_state(State::Synchronised { agreeing });
        self.keep_drift(now.mono);
    }

    /// The truechimers, and everybody else's standing.
    fn select(&mut self, now: Instant) -> Option<Agreement> {
        let discipline = &self.discipline;
        let candidates: Candidates = self
            .associations
            .iter()
            .enumerate()
            .filter_map(|(index, one)| {
                one.candidate(index, now, self.precision, |line| {
                    discipline.slope(std::iter::once(line))
                })
            })
            .collect();
        for one in &mut self.associations {
            one.standing = one.unselected();
        }
        for one in &candidates {
            self.associations[one.index].standing = Standing::Falseticker;
        }
        let agreement = select::agreement(&candidates)?;
        for one in &agreement.chimers {
            self.associations[one.index].standing = Standing::Outlier;
        }
        Some(agreement)
    }

    /// Whether those who agree are enough. Selection made sure that they are more than half of
    /// those who answer; at the start they must be more than half of those who are asked, and at
    /// all times as many as the configuration wants.
    fn is_quorum(&self, now: Instant, agreeing: usize) -> bool {
        let expected = self.expected();
        let wanted = match self.agreeing_min {
            0 if expected >= 3 => 2,
            0 => 1,
            wanted => wanted,
        };
        let starts = matches!(self.state, State::NotSynchronised { .. })
            && now.saturating_duration_since(self.since) < HEAR_ALL_WAIT;
        agreeing >= wanted && (!starts || agreeing * 2 > expected)
    }

    /// The best survivor, or the one from before when no better stratum is there: changing
    /// without need only adds noise.
    fn choose_peer(&mut self, survivors: &Candidates) -> usize {
        let best = survivors.first();
        let kept = survivors.iter().find(|one| {
            Some(self.associations[one.index].id) == self.peer
                && best.is_some_and(|best| one.stratum <= best.stratum)
        });
        let index = kept.or(best).map_or(0, |one| one.index);
        let id = self.associations[index].id;
        if self.peer != Some(id) {
            self.peer = Some(id);
            self.push(Event::SystemPeer(Some(id)));
        }
        index
    }

    /// What the survivors say together: the slope is that of one line through the samples of all
    /// of them, the offset the mean of theirs, weighed by their distance (RFC 5905 section
    /// 11.2.3).
    fn combine(&self, now: Instant, survivors: &Candidates) -> Correction {
        let lines: heapless::Vec<_, { super::ASSOCIATIONS_MAX }> = survivors
            .iter()
            .filter_map(|one| {
                let line = self.associations[one.index]
                    .samples
                    .line(now, self.precision)?;
                Some((line, one.distance))
            })
            .collect();
        let (frequency, frequency_sd) = self.discipline.slope(lines.iter().map(|(line, _)| line));
        let weights: f64 = lines.iter().map(|(_, distance)| distance.recip()).sum();
        let share = |distance: f64| distance.recip() / weights;
        Correction {
            offset: lines
                .iter()
                .map(|(line, distance)| line.offset_now(frequency) * share(*distance))
                .sum(),
            offset_sd: lines
                .iter()
                .map(|(line, distance)| (line.offset_sd(frequency_sd) * share(*distance)).powi(2))
                .sum::<f64>()
                .sqrt(),
            frequency,
            frequency_sd,
        }
    }

    /// Holds a synchronised clock still when the majority says that it is far off, until they
    /// said so for five minutes. Then a step is due, or, when they are a thousand seconds away
    /// from what they said themselves, everything is.
    fn is_to_wait(&mut self, now: Instant, correction: &Correction) -> bool {
        let is_far = correction.offset.abs() > STEP_NS as f64 * NS;
        if !is_far || matches!(self.state, State::NotSynchronised { .. }) {
            self.far_since = None;
            return false;
        }
        let since = *self.far_since.get_or_insert(now);
        if now.saturating_duration_since(since) < STEPOUT {
            return true;
        }
        self.far_since = None;
        if correction.offset.abs() <= PANIC_S {
            return false;
        }
        let offset_ns = (correction.offset / NS) as i64;
        self.push(Event::Panic { offset_ns });
        self.begin_anew(now);
        true
    }

    /// Steps what is far, slews what is near, and tunes the frequency.
    fn apply(&mut self, now: Now, correction: Correction) {
        for one in &mut self.associations {
            one.samples
                .shift(now.mono, correction.offset, correction.frequency);
        }
        let total = correction.offset + self.discipline.remaining(now.mono);
        let by_ns = (total / NS) as i64;
        if by_ns.unsigned_abs() <= STEP_NS.unsigned_abs() {
            self.discipline.correct(now.mono, correction);
            self.set_rate(self.discipline.remaining(now.mono));
            return;
        }
        self.discipline.stop(now.mono);
        let frequency = Correction {
            offset: 0.0,
            ..correction
        };
        self.discipline.correct(now.mono, frequency);
        self.set_rate(0.0);
        self.push(Event::Step { by_ns });
        // What is under way left by the old clock.
        self.associations.iter_mut().for_each(Association::miss);
        self.last.wall = self.last.wall.plus_ns(by_ns);
    }

    /// Asks less often as long as offsets drown in jitter (RFC 5905 section 13, clock_adjust).
    fn adapt_poll(&mut self, peer: usize, offset: f64, jitter: f64) {
        let (min, max) = self.associations[peer].poll_bounds();
        self.poll = self.poll.clamp(min, max);
        let step = i32::from(self.poll.max(1));
        self.poll_counter += if offset.abs() < POLL_GATE * jitter {
            step
        } else {
            -2 * step
        };
        if self.poll_counter > POLL_LIMIT {
            self.poll = (self.poll + 1).min(max);
            self.poll_counter = 0;
        } else if self.poll_counter < -POLL_LIMIT {
            self.poll = self.poll.saturating_sub(1).max(min);
            self.poll_counter = 0;
        }
    }

    fn set_system(
        &mut self,
        now: Now,
        peer: usize,
        survivors: &Candidates,
        correction: &Correction,
        jitter: f64,
    ) {
        let peer = &self.associations[peer];
        let Some((says, filtered)) = peer
            .says()
            .zip(peer.samples.filtered(now.mono, self.precision))
        else {
            return;
        };
        let slewing = self.discipline.remaining(now.mono).abs();
        let est_error = correction.offset_sd + jitter;
        let dispersion = filtered.dispersion + est_error + slewing;
        self.system = System {
            leap: self.announced_leap(survivors),
            stratum: says.stratum + 1,
            reference_id: ReferenceId::of(peer.to.ip()),
            reference: self.last.wall,
            root_delay_ns: says.root_delay_ns + (filtered.delay / NS) as i64,
            root_dispersion_ns: says.root_dispersion_ns + (dispersion / NS) as i64,
            as_of: now.mono,
            precision: self.system.precision,
        };
        let event = Event::SetStatus {
            leap: leap::due(self.system.leap, self.last.wall),
            max_error_ns: self.system.root_distance_ns_at(now.mono),
            est_error_ns: (est_error / NS) as i64,
            synchronised: true,
        };
        self.push(event);
        self.push(Event::System(self.system));
    }

    /// What more than half of the survivors say about a leap second.
    fn announced_leap(&self, survivors: &Candidates) -> Leap {
        let says = |leap: Leap| {
            let of = |one: &select::Candidate| self.associations[one.index].says();
            let count = survivors
                .iter()
                .filter(|one| of(one).is_some_and(|says| says.leap == leap))
                .count();
            count * 2 > survivors.len()
        };
        [Leap::Insert, Leap::Delete]
            .into_iter()
            .find(|leap| says(*leap))
            .unwrap_or(Leap::None)
    }

    fn keep_drift(&mut self, now: Instant) {
        let drift = self.discipline.frequency();
        let is_worth = self.kept.is_none_or(|(at, kept)| {
            let differs = ScaledPpm(drift.0 - kept.0).ppm().abs() >= KEEP_PPM_MIN;
            differs && now.saturating_duration_since(at) >= KEEP_PAUSE
        });
        if is_worth && self.discipline.frequency_sd() < KEEP_SD_MAX {
            self.kept = Some((now, drift));
            self.push(Event::KeepDrift(drift));
        }
    }

    fn set_agreeing(&mut self, agreeing: usize) {
        self.set_state(match self.state {
            State::NotSynchronised { .. } => State::NotSynchronised { agreeing },
            State::Synchronised { .. } => State::Synchronised { agreeing },
        });
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.push(Event::State(state));
        }
    }

    /// The clock is worth nothing any more.
    pub(super) fn desynchronise(&mut self, now: Instant) {
        if self.peer.take().is_some() {
            self.push(Event::SystemPeer(None));
        }
        if let State::NotSynchronised { .. } = self.state {
            return;
        }
        self.system = System::unsynchronised(now, self.system.precision);
        self.push(Event::SetStatus {
            leap: Leap::Unsynchronised,
            max_error_ns: HOLDOVER_DISTANCE_NS,
            est_error_ns: HOLDOVER_DISTANCE_NS,
            synchronised: false,
        });
        self.push(Event::System(self.system));
        self.set_state(State::NotSynchronised { agreeing: 0 });
    }

    /// When the clock, left to itself, may be wrong by a second.
    pub(super) fn holdover_deadline(&self) -> Option<Instant> {
        let State::Synchronised { .. } = self.state else {
            return None;
        };
        let left_ns = HOLDOVER_DISTANCE_NS - self.system.root_distance_ns_at(self.system.as_of);
        let left_us = u64::try_from(left_ns / TOLERANCE_PPB * 1_000_000).unwrap_or(0);
        Some(self.system.as_of + Duration::from_micros(left_us))
    }

    pub(super) fn end_holdover(&mut self, now: Instant) {
        if self.holdover_deadline().is_some_and(|at| at <= now) {
            self.desynchronise(now);
            self.since = now;
        }
    }
}
