mod world;

use world::*;

use super::*;

/// A wide area network: 8 ms each way, half a millisecond of queues.
fn honest() -> ServerModel {
    ServerModel::default()
}

fn lan() -> ServerModel {
    ServerModel {
        delay_ns: 100_000,
        jitter_ns: 20_000,
        ..ServerModel::default()
    }
}

fn liar(error_ms: i64) -> ServerModel {
    ServerModel {
        error_ns: error_ms * MS,
        ..ServerModel::default()
    }
}

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
        world.wander = 1e-10;
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
        world.wander = 1e-10;
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
