//! The clock: what timed is told, what is shown, what is kept.

use lintel_ipc::dhcpd::FromDhcpd;
use lintel_ipc::timed::{ClockSet, FromTimed};
use lintel_model::clock::{ClockReport, TimeSource};
use lintel_model::lease::Binding;

use super::*;

fn source(state: &str) -> TimeSource {
    TimeSource {
        address: "192.0.2.1:123".parse().unwrap(),
        origin: "a\u{7}b".to_owned(),
        state: state.to_owned(),
        stratum: 2,
        reach: 255,
        poll_s: 64,
        offset_ns: 5,
        delay_ns: 6,
        jitter_ns: 7,
    }
}

fn report() -> ClockReport {
    ClockReport {
        synchronised: true,
        agreed: true,
        stratum: 3,
        leap: "none".to_owned(),
        offset_ns: -12,
        sources: ["followed", "agrees", "falseticker"].map(source).into(),
        ..ClockReport::default()
    }
}

#[test]
fn the_status_says_how_the_clock_stands_and_no_more_when_timed_is_gone() {
    let mut bench = Bench::settled();
    let clock = bench.status().system.clock;
    assert!(!clock.synchronised && !clock.agreed && clock.offset_ns.is_none());
    bench.events.clear();
    bench.input(Input::Timed(FromTimed::Report(Box::new(report()))));
    bench.pass_ms(1_000);
    assert!(bench.events.iter().any(|event| {
        event.data["type"] == "clock.trust" && event.data["synchronised"] == true
    }));
    let clock = bench.status().system.clock;
    assert!(clock.synchronised && clock.agreed);
    assert_eq!((clock.offset_ns, clock.sources), (Some(-12), 2));
    let shown = bench.core.clock_report();
    assert_eq!(shown.sources[0].origin, "ab", "a control character");
    bench.input(Input::SessionEnded(RoleName::Timed));
    assert!(!bench.status().system.clock.synchronised);
    assert_eq!(bench.core.clock_report().stratum, 16);
}

#[test]
fn a_report_is_cut_to_its_bounds() {
    let mut bench = Bench::settled();
    let long = ClockReport {
        sources: vec![source(&"x".repeat(1_000)); 1_000],
        dropped: vec![("y".repeat(1_000), 1); 1_000],
        ..report()
    };
    bench.input(Input::Timed(FromTimed::Report(Box::new(long))));
    let shown = bench.core.clock_report();
    assert!(shown.sources.len() <= 32 && shown.dropped.len() <= 32);
    assert!(shown.sources[0].state.len() <= 64);
}

/// The last frequency that timed was started with.
fn told(bench: &mut Bench) -> Option<i64> {
    bench.ntp.clear();
    bench.input(Input::Session(RoleName::Timed));
    match bench.ntp.last() {
        Some(ToTimed::Spec { drift, .. }) => *drift,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_frequency_outlives_timed_and_the_boot_and_is_written_now_and_then() {
    let mut bench = Bench::settled();
    assert_eq!(told(&mut bench), None);
    bench.input(Input::Timed(FromTimed::Drift(1_234)));
    assert_eq!(told(&mut bench), Some(1_234));
    assert_eq!(bench.core.store.drift().unwrap(), None, "not yet");
    bench.pass_ms(4 * 3_600_000);
    assert_eq!(bench.core.store.drift().unwrap(), Some(1_234));
    let before = bench.core.store.writes();
    for drift in 0..1_000 {
        bench.input(Input::Timed(FromTimed::Drift(drift)));
    }
    bench.input(Input::Timed(FromTimed::Drift(i64::MAX)));
    assert_eq!(bench.core.store.writes(), before);
    bench.input(Input::Stop);
    let mut again = Bench::new(start(), bench.core.store);
    again.input(Input::Session(RoleName::Netd));
    assert_eq!(
        told(&mut again),
        Some(500 << 16),
        "no more than the kernel takes"
    );
}

#[test]
fn timed_asks_the_providers_servers_once_there_is_a_way_to_them() {
    let mut bench = Bench::settled();
    let last = |bench: &Bench| match bench.ntp.last() {
        Some(ToTimed::Spec { spec, .. }) => spec.clone(),
        other => panic!("timed was told {other:?}"),
    };
    let spec = last(&bench);
    assert!(!spec.online && spec.provider.is_empty());
    assert_eq!(spec.resolver, Some("127.0.0.1:53".parse().unwrap()));
    assert_eq!(spec.links.len(), 1);
    let mut lease = super::leases::wan_lease(UNIX_S);
    lease.ntp = vec![Ipv4Addr::new(203, 0, 113, 123)];
    bench.input(Input::Wand(lintel_ipc::wand::FromWand::Lease(lease)));
    let spec = last(&bench);
    assert!(spec.online);
    assert_eq!(spec.provider, [Ipv4Addr::new(203, 0, 113, 123)]);
}

#[test]
fn leases_given_since_the_start_leap_with_the_clock_and_older_ones_do_not() {
    let mut bench = Bench::settled();
    let young = super::leases::binding(1, Some("laptop"));
    let (young_bound_s, young_expires_s) = (young.bound_unix_s, young.expires_unix_s);
    let old = Binding {
        // Of an earlier boot, with the right time, and long over.
        bound_unix_s: UNIX_S - 100_000,
        expires_unix_s: UNIX_S - 50_000,
        ..super::leases::binding(2, None)
    };
    bench.core.bindings.insert(old.address, old.clone());
    bench.pass_ms(2_000);
    bench.input(Input::Dhcpd(vec![super::leases::bind(1, young.clone())]));
    // The end of a year, in one step.
    bench.leap_s = 31_536_000;
    bench.input(Input::Timed(FromTimed::Stepped {
        by_ms: 31_536_000_000,
    }));
    let followed = Binding {
        bound_unix_s: young.bound_unix_s + 31_536_000,
        expires_unix_s: young.expires_unix_s + 31_536_000,
        ..young
    };
    let stored = bench.core.store.bindings().unwrap();
    let lasts = followed.expires_unix_s - followed.bound_unix_s;
    let held = Binding {
        expires_unix_s: followed.expires_unix_s + lasts,
        ..followed.clone()
    };
    assert_eq!(stored, [held]);
    assert_eq!(bench.core.bindings[&followed.address], followed);
    assert_eq!(bench.core.bindings[&old.address], old);
    assert_eq!(bench.status().leases.active, 1, "still its own");
    // Nothing follows a second time, nor time that passes.
    let writes = bench.core.store.writes();
    bench.pass_ms(60_000);
    assert_eq!(bench.core.store.writes(), writes);
    // Years back, years forward again: each leap finds what the one before moved.
    for by_s in [-63_072_000, 31_530_000, -5_000] {
        bench.leap_s += by_s;
        bench.pass_ms(1_000);
    }
    let moved_s = bench.leap_s;
    let followed = Binding {
        bound_unix_s: young_bound_s.saturating_add_signed(moved_s),
        expires_unix_s: young_expires_s.saturating_add_signed(moved_s),
        ..followed
    };
    let held = Binding {
        expires_unix_s: followed.expires_unix_s + lasts,
        ..followed.clone()
    };
    assert_eq!(bench.core.store.bindings().unwrap(), [held]);
    assert_eq!(bench.core.bindings[&followed.address], followed);
    assert_eq!(bench.core.bindings[&old.address], old);
    assert_eq!(bench.status().leases.active, 1, "still its own");
}

#[test]
fn a_binding_that_the_clock_leaps_behind_does_not_last_for_years() {
    let mut before = Bench::settled();
    let laptop = super::leases::binding(1, Some("laptop"));
    before.input(Input::Dhcpd(vec![super::leases::bind(1, laptop)]));
    // The next boot finds it, ten years later by a clock that is wrong.
    let mut bench = Bench::at(10_000, 315_360_000, next_boot(), before.core.store);
    bench.join_all();
    assert_eq!(bench.status().leases.active, 0);
    bench.leap_s -= 630_720_000;
    bench.pass_ms(1_000);
    assert_eq!(bench.status().leases.active, 0, "nobody has it so long");
}

#[test]
fn a_renewal_by_a_clock_of_the_past_survives_the_leap_and_a_crash() {
    const LEASE_S: u64 = 3600;
    let renew = |bench: &mut Bench| {
        let now = bench.now().unix_s;
        let binding = Binding {
            bound_unix_s: now,
            expires_unix_s: now + LEASE_S,
            ..super::leases::binding(1, Some("laptop"))
        };
        let binding = FromDhcpd::Bind {
            token: 1,
            binding,
            start_unix_s: START_UNIX_S + bench.leap_s,
        };
        bench.input(Input::Dhcpd(vec![binding]));
    };
    let mut before = Bench::settled();
    before.pass_ms(1_000_000);
    renew(&mut before);
    // Without power for a day; the clock goes on from where it was kept.
    let mut bench = Bench::at(10_000, 1_100, next_boot(), before.core.store);
    bench.join_all();
    bench.pass_ms(5_000);
    renew(&mut bench);
    renew(&mut bench);
    let given = bench.ms;
    // controld is killed, and timed sets the clock when the next one runs.
    let mut again = Bench::at(given, 1_100, next_boot(), bench.core.store);
    again.join_all();
    again.leap_s += 86_400;
    again.pass_ms(1_000);
    let ends = again.core.bindings.values().map(|b| b.expires_unix_s);
    let told_s = again.now().unix_s + LEASE_S - 2;
    assert!(ends.clone().all(|end| end >= told_s), "{:?}", ends.max());
    assert_eq!(again.status().leases.active, 1);
    let stored = again.core.store.bindings().unwrap();
    assert!(stored.iter().all(|row| row.expires_unix_s >= told_s));
    // Nor does each restart make it longer.
    assert!(stored[0].expires_unix_s <= told_s + 2 * LEASE_S);
}

#[test]
fn a_clock_that_is_set_before_the_first_message_is_followed() {
    let mut before = Bench::settled();
    let laptop = super::leases::binding(1, Some("laptop"));
    before.input(Input::Dhcpd(vec![super::leases::bind(1, laptop.clone())]));
    let mut bench = Bench::at(20_000, 0, start(), before.core.store);
    bench.leap_s = 31_536_000;
    bench.join_all();
    let moved = &bench.core.bindings[&laptop.address];
    assert_eq!(moved.bound_unix_s, laptop.bound_unix_s + 31_536_000);
}

#[test]
fn a_clock_that_is_set_while_controld_is_away_is_followed_by_the_next_one() {
    let mut before = Bench::settled();
    let laptop = super::leases::binding(1, Some("laptop"));
    before.input(Input::Dhcpd(vec![super::leases::bind(1, laptop.clone())]));
    for leap_s in [31_536_000, -63_072_000] {
        let ms = before.ms + 1_000;
        let mut bench = Bench::at(ms, before.leap_s + leap_s, start(), before.core.store);
        bench.join_all();
        let kept = &bench.core.bindings[&laptop.address];
        let bound_s = laptop.bound_unix_s.saturating_add_signed(bench.leap_s);
        assert_eq!(kept.bound_unix_s, bound_s);
        assert_eq!(bench.status().leases.active, 1);
        let stored = bench.core.store.bindings().unwrap();
        assert_eq!(stored[0].bound_unix_s, bound_s);
        before = bench;
    }
}

#[test]
fn times_that_were_on_their_way_when_the_clock_leapt_are_read_by_their_own_clock() {
    let mut bench = Bench::settled();
    bench.leap_s = 31_536_000;
    bench.pass_ms(1_000);
    let late = super::leases::binding(1, Some("laptop"));
    bench.input(Input::Dhcpd(vec![super::leases::bind(1, late.clone())]));
    let kept = &bench.core.bindings[&late.address];
    assert_eq!(kept.expires_unix_s, late.expires_unix_s + 31_536_000);
    assert_eq!(bench.status().leases.active, 1);
}

#[test]
fn a_binding_of_the_future_lasts_as_long_as_it_was_to_last() {
    let mut before = Bench::at(10_000, 31_536_000, next_boot(), Store::memory().unwrap());
    before.join_all();
    let wrong = Binding {
        bound_unix_s: UNIX_S + 31_536_000,
        expires_unix_s: UNIX_S + 31_536_000 + 3600,
        ..super::leases::binding(1, Some("laptop"))
    };
    before.input(Input::Dhcpd(vec![FromDhcpd::Bind {
        token: 1,
        binding: wrong.clone(),
        start_unix_s: START_UNIX_S + 31_536_000,
    }]));
    let bench = Bench::new(start(), before.core.store);
    let kept = &bench.core.bindings[&wrong.address];
    assert_eq!(kept.bound_unix_s, UNIX_S - 10, "the box's start");
    // What is on disk lasts twice as long.
    assert_eq!(kept.expires_unix_s, UNIX_S + 2 * 3600);
}

/// Somebody sets the clock; what timed is asked for, and the number of the call.
fn sets(bench: &mut Bench, time: &str) -> (u64, Option<(u64, u64)>) {
    bench.ntp.clear();
    let params = serde_json::json!({ "time": time, "reason": "no internet here" });
    let call = bench.send(
        Via::Control(1),
        "system.time.set",
        params,
        Caller::default(),
    );
    let asked = match bench.ntp.last() {
        Some(ToTimed::Set { id, to_unix_ms }) => Some((*id, *to_unix_ms)),
        _ => None,
    };
    (call, asked)
}

fn problem_of(bench: &Bench, call: u64) -> Problem {
    bench.reply(call).result.clone().unwrap_err()
}

#[test]
fn a_clock_set_by_hand_is_timeds_to_set_and_answered_with_what_it_shows_then() {
    let mut bench = Bench::settled();
    let shown = bench.local("system.time.show", Value::Null).unwrap();
    assert_eq!(shown["unix_s"], UNIX_S);
    assert_eq!(shown["rfc3339"], "2023-11-14T22:13:20Z");
    assert_eq!(
        (&shown["can_be_set"], &shown["synchronised"]),
        (&true.into(), &false.into())
    );
    let (call, asked) = sets(&mut bench, "2026-11-22T01:30:05.5+01:00");
    let (id, to_unix_ms) = asked.unwrap();
    assert_eq!(to_unix_ms, 1_795_307_405_500);
    assert!(!bench.replies.contains_key(&call), "timed has not answered");

    // Another one waits for its turn.
    let (second, asked) = sets(&mut bench, "1795307405");
    assert_eq!(asked, None);
    assert_eq!(problem_of(&bench, second).kind, "busy");

    bench.leap_s = 1_795_307_405 - i64::try_from(bench.now().unix_s).unwrap();
    let by_ms = bench.leap_s * 1000;
    bench.input(Input::Timed(FromTimed::Stepped { by_ms }));
    let other = FromTimed::Set {
        id: id + 1,
        outcome: ClockSet::Failed,
    };
    bench.input(Input::Timed(other));
    assert!(
        !bench.replies.contains_key(&call),
        "an answer to something else"
    );
    let done = FromTimed::Set {
        id,
        outcome: ClockSet::Done,
    };
    bench.input(Input::Timed(done));
    let answer = bench.reply(call).result.clone().unwrap();
    assert_eq!(answer["rfc3339"], "2026-11-22T00:30:05Z");
    assert_eq!(answer["uptime_s"], 10);
    bench.pass_ms(1_000);
    assert!(
        bench
            .events
            .iter()
            .any(|event| event.data["type"] == "clock.set")
    );
    let trail = bench.local("audit.list", Value::Null).unwrap();
    let lines = trail["items"].as_array().unwrap();
    let line = lines.iter().find(|line| line["outcome"] == "done").unwrap();
    assert_eq!(line["method"], "system.time.set");
    assert_eq!(line["reason"], "no internet here");
    let again = FromTimed::Set {
        id,
        outcome: ClockSet::Done,
    };
    bench.input(Input::Timed(again));
    bench.reply(call);
}

#[test]
fn what_timed_refuses_is_told_with_its_reason() {
    let mut bench = Bench::settled();
    for (outcome, status, says) in [
        (
            ClockSet::Synchronised { agreeing: 3 },
            409,
            "3 of them agree",
        ),
        (
            ClockSet::Synchronised { agreeing: 1 },
            409,
            "One is followed",
        ),
        (
            ClockSet::TooEarly { min_unix_s: UNIX_S },
            422,
            "no time before 2023-11-14T22:13:20Z",
        ),
        (
            ClockSet::TooLate {
                max_unix_s: 4_102_444_800,
            },
            422,
            "no time after 2100-01-01",
        ),
        (ClockSet::Failed, 503, "logs timed"),
    ] {
        let (call, asked) = sets(&mut bench, "1795307405");
        let (id, _) = asked.unwrap();
        bench.input(Input::Timed(FromTimed::Set { id, outcome }));
        let problem = problem_of(&bench, call);
        assert_eq!(problem.status, status, "{problem:?}");
        let hint = problem.errors.first().map_or("", |error| &error.hint);
        assert!(
            (problem.detail.clone() + hint).contains(says),
            "{problem:?}"
        );
    }
    // What is no time never gets there.
    for text in [
        "",
        "now",
        "-1",
        "2026-02-30T00:00:00Z",
        "99999999999999999999",
        "1e9",
    ] {
        let (call, asked) = sets(&mut bench, text);
        assert_eq!(
            (asked, problem_of(&bench, call).status),
            (None, 422),
            "{text}"
        );
    }
    // Nor does it wait for ever, for a timed that hangs or is gone.
    let (call, _) = sets(&mut bench, "1795307405");
    bench.pass_ms(3_000);
    assert_eq!(problem_of(&bench, call).status, 503);
    let (call, _) = sets(&mut bench, "1795307405");
    bench.input(Input::SessionEnded(RoleName::Timed));
    assert_eq!(problem_of(&bench, call).kind, "role-away");
    let (call, asked) = sets(&mut bench, "1795307405");
    assert_eq!((asked, problem_of(&bench, call).status), (None, 503));
    let shown = bench.local("system.time.show", Value::Null).unwrap();
    assert_eq!(shown["can_be_set"], false);
}
