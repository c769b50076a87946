//! Who is asked, and who is followed.

use super::world::*;
use super::*;

fn pool() -> SourceConfig {
    SourceConfig {
        kind: SourceKind::Pool,
        ..server_config(0)
    }
}

#[test]
fn the_first_to_answer_is_not_believed_for_that() {
    // The liar is near, and the honest ones answer later, some of them after losses.
    let mut near = liar(5_000);
    near.delay_ns = MS / 10;
    for seed in 1..=20 {
        let mut far = honest();
        far.lost_percent = 40;
        let models = [near.clone(), far.clone(), far.clone(), far];
        let mut world = World::new(seed, 0, 20.0, &models);
        world.run(90.0);
        assert_eq!(
            world.count(|event| matches!(event, Event::Step { .. })),
            0,
            "{seed}"
        );
        assert!(
            world.error_ns().abs() < 10e6,
            "{seed}: {}",
            world.error_ns()
        );
    }
}

#[test]
fn a_lone_falseticker_among_the_dead_is_not_followed() {
    let dead = ServerModel {
        silent: true,
        ..honest()
    };
    let mut world = World::new(1, 0, 0.0, &[liar(5_000), dead.clone(), dead.clone(), dead]);
    world.run(3_600.0);
    assert!(!world.is_synchronised());
    assert_eq!(world.client.state(), State::NotSynchronised { agreeing: 1 });
    assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 0);
}

#[test]
fn one_configured_server_is_enough_and_two_that_disagree_are_not() {
    let mut world = World::new(1, 700 * MS, 0.0, &[honest()]);
    world.run(15.0);
    assert_eq!(world.client.state(), State::Synchronised { agreeing: 1 });
    let mut world = World::new(1, 0, 0.0, &[honest(), liar(900)]);
    world.run(3_600.0);
    assert_eq!(world.client.state(), State::NotSynchronised { agreeing: 0 });
}

#[test]
fn the_configuration_may_want_more_to_agree() {
    let sources = (0..3).map(server_config).collect();
    let mut world = World::with_sources(1, 0, 0.0, &[honest(), honest(), liar(800)], sources);
    world.client.agreeing_min = 3;
    for n in 0..3 {
        world.resolve(SourceId(n), &[address(n as usize)]);
    }
    world.run(600.0);
    assert_eq!(world.client.state(), State::NotSynchronised { agreeing: 2 });
    world.servers[2].error_ns = 0;
    world.run(3_600.0);
    assert_eq!(world.client.state(), State::Synchronised { agreeing: 3 });
}

#[test]
fn nobody_votes_twice() {
    // Three names for one liar, one for an honest server.
    let sources = (0..4).map(server_config).collect();
    let mut world = World::with_sources(1, 0, 0.0, &[liar(800), honest()], sources);
    for n in 0..3 {
        world.resolve(SourceId(n), &[address(0)]);
    }
    world.resolve(SourceId(3), &[address(1)]);
    assert_eq!(world.client.associations().count(), 2);
    world.run(600.0);
    assert!(!world.is_synchronised());
}

#[test]
fn a_pool_is_asked_at_four_of_its_addresses_and_the_silent_are_replaced() {
    let mut models = vec![honest(); 8];
    for dead in [0, 1, 5] {
        models[dead].silent = true;
    }
    let mut world = World::with_sources(1, 0, 0.0, &models, vec![pool()]);
    let addresses: Vec<_> = (0..6).map(address).collect();
    world.resolve(SourceId(0), &addresses);
    assert_eq!(world.client.associations().count(), POOL_ASSOCIATIONS_MAX);
    world.run(200.0);
    let silent = |event: &Event| {
        matches!(
            event,
            Event::Closed {
                reason: ClosedReason::Silent,
                ..
            }
        )
    };
    assert!(world.count(silent) >= 2);
    assert!(world.count(|event| matches!(event, Event::ResolveAgain { .. })) >= 1);
    // The name stands for others now.
    world.resolve(SourceId(0), &[address(2), address(6), address(7)]);
    world.run(200.0);
    let mut asked: Vec<_> = world.client.associations().map(|one| one.to).collect();
    asked.sort();
    assert_eq!(asked, [2, 3, 4, 6].map(address));
    let heard = world.client.associations().filter(|one| one.reach != 0);
    assert_eq!(heard.count(), 4);
}

#[test]
fn wishes_for_addresses_come_ever_less_often() {
    let mut world = World::with_sources(1, 0, 0.0, &[], vec![pool()]);
    world.run(63.0);
    let wishes = |world: &World| world.count(|event| matches!(event, Event::ResolveAgain { .. }));
    assert_eq!(wishes(&world), 0);
    world.run(2.0);
    assert_eq!(wishes(&world), 1);
    world.run(86_400.0);
    assert!((20..=30).contains(&wishes(&world)), "{}", wishes(&world));
}

#[test]
fn offline_nothing_is_sent_and_online_everything_at_once() {
    let mut world = World::new(1, 0, 0.0, &[honest(), honest(), honest()]);
    world.input(Input::Online(false));
    let asked = world.transmitted.len();
    world.run(3_600.0);
    assert_eq!(world.transmitted.len(), asked);
    world.input(Input::Online(true));
    assert_eq!(world.transmitted.len(), asked + 3);
    world.run(10.0);
    assert!(world.is_synchronised());
}

#[test]
fn sources_that_stay_keep_their_associations() {
    let mut world = World::new(1, 0, 0.0, &[honest(), honest(), honest()]);
    world.run(60.0);
    let kept = world.client.associations().next().unwrap().association;
    let changed = SourceConfig {
        poll_max: 9,
        ..server_config(2)
    };
    world.input(Input::Sources(&[server_config(0), changed]));
    let left: Vec<_> = world
        .client
        .associations()
        .map(|one| one.association)
        .collect();
    assert_eq!(left, [kept]);
    let removed = |event: &Event| {
        matches!(
            event,
            Event::Closed {
                reason: ClosedReason::Removed,
                ..
            }
        )
    };
    assert_eq!(world.count(removed), 2);
    world.resolve(SourceId(2), &[address(2)]);
    assert_eq!(world.client.associations().count(), 2);
}

#[test]
fn everything_has_a_bound() {
    let sources: Vec<_> = (0..100)
        .map(|n| SourceConfig {
            kind: SourceKind::Pool,
            ..server_config(n)
        })
        .collect();
    let denies = ServerModel {
        speaks: |reply| {
            (reply.stratum, reply.reference_id) = (0, lintel_wire::ntp::ReferenceId(*b"DENY"));
        },
        ..lan()
    };
    let mut world = World::with_sources(1, 0, 0.0, &vec![denies; 200], sources);
    for round in 0..20 {
        for n in 0..100u32 {
            let addresses: Vec<_> = (0..100)
                .map(|m| address(round * 7 + n as usize + m))
                .collect();
            world.resolve(SourceId(n), &addresses);
        }
        world.run(10.0);
        assert!(world.client.sources.len() <= SOURCES_MAX);
        assert!(world.client.associations.len() <= ASSOCIATIONS_MAX);
        assert!(world.client.denied.len() <= 32);
        assert!(world.client.outputs.is_empty());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    /// Whatever a minority says, the clock stays with the majority.
    #[test]
    fn a_minority_never_moves_the_clock(
        seed in 0u64..1_000_000,
        honest_count in 2usize..5,
        lies_ms in proptest::collection::vec(-900_000i64..900_000, 1..4),
        wrong_ms in -100i64..100,
    ) {
        proptest::prop_assume!(lies_ms.len() < honest_count);
        let mut models = vec![honest(); honest_count];
        models.extend(lies_ms.iter().map(|ms| liar(*ms)));
        let mut world = World::new(seed, wrong_ms * MS, 20.0, &models);
        world.run(300.0);
        let worst = world.run(600.0);
        proptest::prop_assert!(world.is_synchronised());
        // Small lies are within what the network allows.
        proptest::prop_assert!(worst < 20e6, "{}", worst);
        proptest::prop_assert_eq!(world.count(|event| matches!(event, Event::Step { .. })), 0);
    }
}
