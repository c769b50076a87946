//! What becomes of the clock.

use proptest::prelude::*;

use super::world::*;
use super::*;

#[test]
fn a_clock_that_is_years_off_is_right_within_ten_seconds() {
    for seed in 1..=5 {
        // Thirty years behind, as without a battery.
        let wrong = -30 * 365 * 86_400 * 1_000 * MS;
        let mut world = World::new(seed, wrong, 40.0, &[honest(), honest(), honest(), honest()]);
        world.run(10.0);
        assert!(world.is_synchronised(), "seed {seed}");
        assert!(world.error_ns().abs() < 2e6, "{seed}: {}", world.error_ns());
        assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 1);
        assert_eq!(
            world.count(|event| matches!(event, Event::Jumped { .. })),
            0
        );
    }
}

#[test]
fn the_clock_converges_and_its_frequency_is_known() {
    for seed in 1..=8 {
        let drift = [-80.0, -15.0, 0.0, 25.0, 90.0][seed as usize % 5];
        let models = [honest(), honest(), liar(300), honest()];
        let mut world = World::new(seed, 40 * MS, drift, &models);
        world.wander = 4e-10;
        world.run(1_200.0);
        let worst = world.run(3_600.0);
        println!(
            "seed {seed}: {worst:.0} ns, {:.3} ppm",
            world.client.drift().ppm() + drift
        );
        assert!(worst < 500e3, "{seed}: {worst}");
        assert!((world.client.drift().ppm() + drift).abs() < 0.5, "{seed}");
        assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 0);
        assert_eq!(world.standing(2), Some(Standing::Falseticker));
        assert!(world.count(|event| matches!(event, Event::KeepDrift(_))) >= 1);
    }
}

#[test]
fn on_a_lan_it_is_right_to_microseconds() {
    for seed in 1..=5 {
        let mut world = World::new(seed, 3 * MS, 30.0, &[lan(), lan(), lan(), lan()]);
        world.wander = 4e-10;
        let early = world.run(120.0);
        let worst = world.run(1_800.0);
        println!("seed {seed}: {early:.0} ns, {worst:.0} ns");
        assert!(worst < 30e3, "{seed}: {worst}");
    }
}

#[test]
fn a_foreign_step_is_noticed_and_undone() {
    // Years, both ways, and half a second.
    for by_ns in [
        -30 * 365 * 86_400_000 * MS,
        50 * 365 * 86_400_000 * MS,
        500 * MS,
    ] {
        let mut world = World::new(4, 0, 20.0, &[honest(), honest(), honest()]);
        world.run(600.0);
        assert!(world.is_synchronised());
        world.jump(by_ns);
        world.timeout();
        assert!(!world.is_synchronised());
        assert!(!world.client.system().is_synchronised());
        assert_eq!(
            world.count(|event| matches!(event, Event::Jumped { .. })),
            1
        );
        world.run(12.0);
        assert!(world.is_synchronised(), "{by_ns}");
        assert!(
            world.error_ns().abs() < 2e6,
            "{by_ns}: {}",
            world.error_ns()
        );
        // The frequency was not forgotten.
        assert!((world.client.drift().ppm() + 20.0).abs() < 2.0);
    }
}

#[test]
fn a_clock_is_set_by_hand_while_no_server_is_followed() {
    let silent = ServerModel {
        silent: true,
        ..honest()
    };
    let models = [silent.clone(), silent.clone(), silent];
    let mut world = World::new(7, -400 * 86_400_000 * MS, 20.0, &models);
    world.run(60.0);
    let to = START.plus_ns(60_000 * MS);
    world.set_by_hand(to).unwrap();
    assert!(world.error_ns().abs() < 1e3, "{}", world.error_ns());
    world.run(30.0);
    let jumped = |event: &Event| matches!(event, Event::Jumped { .. });
    assert_eq!(world.count(jumped), 0, "nobody else moved it");
    assert!(!world.is_synchronised() && !world.client.system().is_synchronised());

    // Before the software was written, or so late that it cannot be meant: as it was.
    let before = world.wall;
    let floor = START.plus_ns(-1_000_000_000_000);
    let early = world.set_by_hand(floor.plus_ns(-1));
    assert_eq!(early, Err(SetRefusal::BeforeFloor { floor }));
    let max = UnixNs::from_secs(4_102_444_800);
    let late = world.set_by_hand(max.plus_ns(1));
    assert_eq!(late, Err(SetRefusal::TooLate { max }));
    assert!(world.set_by_hand(UnixNs(i64::MIN)).is_err());
    assert_eq!(world.wall, before);

    // Who is wrong by hand is put right by the first servers that answer, and they stay.
    world.set_by_hand(to.plus_ns(86_400_000 * MS)).unwrap();
    for server in &mut world.servers {
        server.silent = false;
    }
    world.run(700.0);
    assert!(world.is_synchronised());
    assert!(world.error_ns().abs() < 2e6, "{}", world.error_ns());
    let again = world.set_by_hand(to);
    assert_eq!(again, Err(SetRefusal::Synchronised { agreeing: 3 }));
    assert!(world.error_ns().abs() < 2e6);
}

#[test]
fn near_offsets_are_slewed_and_far_ones_stepped_at_the_start() {
    for (wrong_ms, steps) in [(100, 0), (-100, 0), (200, 1), (-200, 1)] {
        let mut world = World::new(2, wrong_ms * MS, 10.0, &[honest(), honest(), honest()]);
        world.run(60.0);
        let stepped = world.count(|event| matches!(event, Event::Step { .. }));
        assert_eq!(stepped, steps, "{wrong_ms}");
        assert!(world.error_ns().abs() < 2e6, "{wrong_ms}");
    }
}

#[test]
fn a_majority_that_moves_is_followed_after_five_minutes() {
    let mut world = World::new(3, 0, 10.0, &[honest(), honest(), honest()]);
    world.run(900.0);
    for server in &mut world.servers {
        server.error_ns = 700 * MS;
    }
    // Three replies of each are needed to doubt the old ones, and then five minutes pass.
    world.run(280.0);
    assert!(world.error_ns().abs() < 5e6, "{}", world.error_ns());
    assert!((world.client.drift().ppm() + 10.0).abs() < 1.0);
    assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 0);
    world.run(1_800.0);
    assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 1);
    assert_eq!(world.count(|event| matches!(event, Event::Panic { .. })), 0);
    assert!(
        (world.error_ns() - 700e6).abs() < 5e6,
        "{}",
        world.error_ns()
    );
    assert!(world.is_synchronised());
}

#[test]
fn a_majority_that_moves_by_an_hour_is_said_and_begins_anew() {
    let mut world = World::new(3, 0, 10.0, &[honest(), honest(), honest()]);
    world.run(900.0);
    for server in &mut world.servers {
        server.error_ns = 3_600_000 * MS;
    }
    world.run(2_400.0);
    assert_eq!(world.count(|event| matches!(event, Event::Panic { .. })), 1);
    let lost = |event: &Event| matches!(event, Event::System(system) if !system.is_synchronised());
    assert_eq!(world.count(lost), 1);
    assert!(world.is_synchronised());
    assert!(
        (world.error_ns() - 3_600e9).abs() < 5e6,
        "{}",
        world.error_ns()
    );
}

#[test]
fn without_servers_the_clock_is_kept_for_hours_and_then_not_vouched_for() {
    let mut world = World::new(5, 0, 30.0, &[honest(), honest(), honest()]);
    world.run(3_600.0);
    for server in &mut world.servers {
        server.silent = true;
    }
    world.run(12.0 * 3_600.0);
    assert!(world.is_synchronised());
    assert!(world.error_ns().abs() < 20e6, "{}", world.error_ns());
    world.run(8.0 * 3_600.0);
    assert!(!world.is_synchronised());
    let last = world.events.iter().rev().find_map(|event| match event {
        Event::SetStatus { synchronised, .. } => Some(*synchronised),
        _ => None,
    });
    assert_eq!(last, Some(false));
    for server in &mut world.servers {
        server.silent = false;
    }
    world.run(3_600.0);
    assert!(world.is_synchronised());
}

#[test]
fn a_clock_that_cannot_be_stepped_does_not_flood_the_servers() {
    let mut world = World::new(6, 5_000 * MS, 0.0, &[honest(), honest(), honest()]);
    world.cannot_step = true;
    world.run(3_600.0);
    // Bursts of at most eight a minute, from each of three.
    assert!(
        world.transmitted.len() < 3 * 60 * 9,
        "{}",
        world.transmitted.len()
    );
}

#[test]
fn the_interval_grows_with_a_quiet_clock_and_stays_within_its_bounds() {
    let mut world = World::new(7, 0, 5.0, &[honest(), honest(), honest()]);
    world.run(4.0 * 3_600.0);
    let polls: Vec<u8> = world.client.associations().map(|one| one.poll).collect();
    assert_eq!(polls, [8, 8, 8]);
    let before = world.transmitted.len();
    world.run(2_560.0);
    let asked = world.transmitted.len() - before;
    assert!((24..=33).contains(&asked), "{asked}");
}

#[test]
fn a_leap_second_is_announced_by_a_majority_and_armed_on_its_day() {
    let mut world = World::new(8, 0, 5.0, &[honest(), honest(), honest()]);
    for server in &mut world.servers[..2] {
        server.speaks = |reply| reply.leap = Leap::Insert;
    }
    world.run(60.0);
    assert_eq!(world.client.system().leap, Leap::Insert);
    let armed = |event: &Event| {
        matches!(
            event,
            Event::SetStatus {
                leap: Leap::Insert,
                ..
            }
        )
    };
    assert_eq!(world.count(armed), 0);
    // START is 21 June; the last day of the month begins nine days later.
    world.run(9.02 * 86_400.0);
    assert!(world.count(armed) > 0);
    world
        .servers
        .iter_mut()
        .for_each(|server| server.speaks = |_| ());
    world.run(3_600.0);
    assert_eq!(world.client.system().leap, Leap::None);
}

#[test]
fn the_kernels_leap_second_is_no_jump() {
    let mut world = World::new(8, 0, 5.0, &[honest(), honest(), honest()]);
    for server in &mut world.servers {
        server.speaks = |reply| reply.leap = Leap::Insert;
    }
    world.run(9.5 * 86_400.0);
    world.jump(-1_000 * MS);
    world.timeout();
    assert_eq!(
        world.count(|event| matches!(event, Event::Jumped { .. })),
        0
    );
    assert!(world.is_synchronised());
}

#[test]
fn a_kept_frequency_is_used_from_the_first_moment() {
    let now = Now {
        mono: Instant::from_secs(1),
        wall: START,
    };
    let config = ClientConfig {
        sources: Vec::new(),
        floor: START,
        drift: Some(ScaledPpm::from_ppm(-33.5)),
        precision: -24,
        agreeing_min: 0,
    };
    let mut client = Client::new(now, config);
    let first = client.poll_output();
    let expected = Event::SetRate {
        rate: ScaledPpm::from_ppm(-33.5),
        slewing_ns: 0,
    };
    assert_eq!(first, Output::Event(expected));
    assert_eq!(client.poll_output(), Output::Timeout(None));
}

#[test]
fn frequencies_to_keep_come_at_most_hourly() {
    let mut world = World::new(9, 0, 50.0, &[lan(), lan(), lan()]);
    world.wander = 1.2e-8;
    world.run(10.0 * 3_600.0);
    let kept = world.count(|event| matches!(event, Event::KeepDrift(_)));
    assert!((2..=11).contains(&kept), "{kept}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the wall clock says from one call to the next, nothing panics, nothing piles up,
    /// and when it comes to rest it is put right.
    #[test]
    fn a_clock_that_says_anything_is_survived(
        walls in proptest::collection::vec((any::<i64>(), 0.0f64..20.0), 1..12),
    ) {
        let mut world = World::new(1, 0, 0.0, &[honest(), honest(), honest()]);
        for (wall, secs) in walls {
            world.set_wall(UnixNs(wall));
            world.timeout();
            world.run(secs);
        }
        world.set_wall(START.plus_ns(world.truth as i64));
        // A burst is owed once a minute.
        world.run(400.0);
        prop_assert!(world.is_synchronised());
        prop_assert!(world.error_ns().abs() < 20e6, "{}", world.error_ns());
    }
}

/// A box with a drift of its own that asks these four at the longest intervals.
fn patient(seed: u64, models: &[ServerModel; 4]) -> World {
    let drift = (seed as f64 - 10.0) * 6.0;
    let sources = (0..4).map(|n| SourceConfig {
        poll_min: 6,
        poll_max: 10,
        ..server_config(n)
    });
    let mut world = World::with_sources(seed, 5_000 * MS, drift, models, sources.collect());
    for n in 0..4 {
        world.resolve(SourceId(n as u32), &[address(n)]);
    }
    world
}

#[test]
fn the_first_minutes_after_a_burst_are_good_already() {
    // Without a kept frequency, and with the longest intervals: mean errors of many boxes.
    let mut sum = 0.0;
    for seed in 1..=20 {
        let models = [lan(), lan(), lan(), liar(3_000)];
        let mut world = patient(seed, &models);
        world.run(30.0);
        for _ in 0..30 {
            world.run(1.0);
            sum += world.error_ns().abs();
        }
        // Ten requests to each of four: no flood.
        assert!(world.transmitted.len() <= 40, "{}", world.transmitted.len());
    }
    let mean = sum / (20.0 * 30.0);
    println!("mean error in the second half-minute: {mean:.0} ns");
    assert!(mean < 15e3, "{mean}");
}

#[test]
fn a_busy_machine_that_answers_late_does_not_turn_the_clock() {
    let busy = ServerModel {
        wait_ns: 10 * MS,
        ..lan()
    };
    let mut sum = 0.0;
    for seed in 1..=20 {
        let models = [busy.clone(), busy.clone(), busy.clone(), liar(3_000)];
        let mut world = patient(seed, &models);
        world.run(120.0);
        for _ in 0..30 {
            world.run(10.0);
            sum += world.error_ns().abs();
        }
    }
    let mean = sum / (20.0 * 30.0);
    println!("mean error in the third to seventh minute: {mean:.0} ns");
    assert!(mean < 30e3, "{mean}");
}
