//! Bounds of the tables, whoever fills them and with what.

use super::house::*;
use super::*;

#[test]
fn an_asker_and_the_table_have_bounds() {
    let mut house = House::new(config());
    let mut refused = 0;
    for n in 0..150 {
        let reply = house.ask(&format!("n{n}.example"), RrType::A);
        refused += usize::from(reply.is_some_and(|reply| reply.rcode == Rcode::REFUSED));
    }
    assert_eq!((refused, house.forwarder.open_questions()), (50, 100));
    for n in 0..1_000 {
        house.ask_as(
            asker(2 + (n % 200) as u8),
            query(&format!("m{n}.example"), RrType::A),
        );
    }
    assert_eq!(house.forwarder.open_questions(), 256);
    assert!(house.dropped(Reason::TableFull) > 0);
    assert!(house.sent.iter().all(|sent| sent.slot.index < 512));
    house.pass_ms(5_000);
    assert_eq!(house.forwarder.open_questions(), 0);
    assert_eq!(house.ask("again.example", RrType::A), None);
}

#[test]
fn askers_that_hang_up_are_forgotten() {
    let mut house = House::new(config());
    let over_tcp = Asker {
        transport: Transport::Tcp { connection: 4 },
        ..asker(1)
    };
    house.ask_as(over_tcp, query("www.example", RrType::A));
    house.input(Input::AskerGone { connection: 4 });
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 300));
    assert!(house.replies.is_empty());
    assert!(
        house.ask("www.example", RrType::A).is_some(),
        "kept for others all the same"
    );
}

#[test]
fn a_hundred_thousand_names_stay_within_the_bounds() {
    let mut house = House::new(Config {
        cache_bytes_max: 1 << 20,
        ..config()
    });
    for n in 0..100_000u32 {
        house.ask(&format!("n{n}.example"), RrType::A);
        let sent = house.sent.pop().unwrap();
        house.answer(&sent, &good(&sent, n as u8, 3_600));
        house.replies.clear();
        house.closed.clear();
    }
    let (entries, bytes) = house.forwarder.cache_size();
    assert!(
        bytes <= 1 << 20 && entries > 1_000,
        "{entries} entries, {bytes} octets"
    );
    assert_eq!(house.forwarder.open_questions(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any octets on any socket leave the machine alive and the question open.
    #[test]
    fn any_bytes_from_anywhere(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let mut house = House::new(config());
        house.ask("www.example", RrType::A);
        let mut out = [0; 1232];
        for message in &messages {
            let slot = house.last().slot;
            house.input(Input::UpstreamDatagram { slot, from: UPSTREAM, message });
            let now = house.now;
            house.forwarder.handle_query(now, asker(9), message, &mut out, &mut house.rng);
            house.drain();
        }
        let sent = house.last();
        house.answer(&sent, &good(&sent, 5, 300));
        prop_assert!(!house.replies.is_empty());
    }
}
