//! What comes from another than was asked, and what leads to TCP.

use super::house::*;
use super::*;

#[test]
fn forged_replies_are_dropped_and_counted() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    let real = good(&sent, 5, 300);
    let forged = |change: &dyn Fn(&mut Repr)| {
        let mut forged = good(&sent, 66, 300);
        change(&mut forged);
        forged
    };
    let other_port = SocketAddr::new(UPSTREAM.ip(), 5353);
    house.answer_from(&sent, SECOND, &forged(&|_| {}));
    house.answer_from(&sent, other_port, &forged(&|_| {}));
    assert_eq!(house.dropped(Reason::ReplySource), 2);
    house.answer(&sent, &forged(&|repr| repr.id ^= 1));
    assert_eq!(house.dropped(Reason::ReplyId), 1);
    house.answer(&sent, &forged(&|repr| repr.flags.response = false));
    assert_eq!(house.dropped(Reason::ReplyMalformed), 1);
    house.answer(
        &sent,
        &forged(&|repr| repr.question.as_mut().unwrap().name = name("evil.example")),
    );
    house.answer(
        &sent,
        &forged(&|repr| repr.question.as_mut().unwrap().rr_type = RrType::MX),
    );
    assert_eq!(house.dropped(Reason::ReplyQuestion), 2);
    let stale = SocketSlot {
        index: sent.slot.index,
        generation: sent.slot.generation.wrapping_sub(1),
    };
    let message = forged(&|_| {}).to_vec().unwrap();
    house.input(Input::UpstreamDatagram {
        slot: stale,
        from: UPSTREAM,
        message: &message,
    });
    assert_eq!(house.dropped(Reason::ReplyStale), 1);
    assert!(house.replies.is_empty());
    house.answer(&sent, &real);
    assert_eq!(address(&house.reply()), Some(5));
}

#[test]
fn after_many_misses_the_question_goes_over_tcp() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    for n in 1..=8 {
        let mut forged = good(&sent, 66, 300);
        forged.id = forged.id.wrapping_add(n);
        house.answer(&sent, &forged);
    }
    let again = house.last();
    assert!(again.tcp);
    house.answer(&sent, &good(&sent, 66, 300));
    assert!(house.replies.is_empty(), "the guessed socket is closed");
    house.answer(&again, &good(&again, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
}

#[test]
fn letters_in_another_case_lead_to_tcp_and_are_remembered() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    let asked = sent.query.question.clone().unwrap().name;
    assert!(asked != name("www.example") && asked.eq_ignore_case(&name("www.example")));
    let folded = |sent: &Sent, n| {
        let mut reply = good(sent, n, 300);
        reply.question.as_mut().unwrap().name = name("www.example");
        reply
    };
    house.answer(&sent, &folded(&sent, 66));
    assert!(house.replies.is_empty());
    assert_eq!(house.dropped(Reason::ReplyCase), 1);
    let tcp = house.last();
    assert!(tcp.tcp);
    house.answer(&tcp, &folded(&tcp, 5));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.events, [Event::UpstreamChangesCase(UPSTREAM)]);
    house.ask("mail.example", RrType::A);
    let next = house.last();
    assert!(!next.tcp);
    assert_eq!(
        next.query.question.unwrap().name,
        name("mail.example"),
        "no more random letters"
    );
}

#[test]
fn truncated_replies_are_asked_again_over_tcp() {
    let mut house = House::new(config());
    house.ask("big.example", RrType::TXT);
    let sent = house.last();
    let mut cut = empty(&sent, Rcode::NOERROR);
    cut.flags.truncated = true;
    house.answer(&sent, &cut);
    let tcp = house.last();
    assert!(tcp.tcp && tcp.to == UPSTREAM);
    let mut whole = empty(&tcp, Rcode::NOERROR);
    let owner = tcp.query.question.clone().unwrap().name;
    whole.answers = (0..10)
        .map(|n| record(owner.clone(), 60, Rdata::Txt(vec![vec![n; 200]])))
        .collect();
    house.answer(&tcp, &whole);
    // The asker takes 512 octets over UDP: it hears TC, comes over TCP and gets all of it.
    let reply = house.reply();
    assert!(reply.flags.truncated && reply.answers.is_empty());
    let over_tcp = Asker {
        transport: Transport::Tcp { connection: 9 },
        ..asker(1)
    };
    let reply = house
        .ask_as(over_tcp, query("big.example", RrType::TXT))
        .unwrap();
    assert_eq!((reply.flags.truncated, reply.answers.len()), (false, 10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A forger who knows everything but the id, or everything but the letters, gets nothing in,
    /// whatever it sends and however often.
    #[test]
    fn forgers_who_guess_wrong_get_nothing_in(
        seed in any::<u64>(),
        guesses in proptest::collection::vec((any::<u16>(), any::<[u8; 4]>(), any::<bool>()), 1..40),
    ) {
        let mut house = House::new(config());
        house.rng = SeededRng::new(seed);
        house.ask("www.example.com", RrType::A);
        for (id, bits, keep_id) in guesses {
            let sent = house.last();
            if sent.tcp {
                break;
            }
            let mut forged = good(&sent, 66, 300);
            let truth = sent.query.question.clone().unwrap().name;
            let guess = truth.with_case_bits(&bits);
            if keep_id && guess != truth {
                forged.question.as_mut().unwrap().name = guess;
            } else if id != sent.query.id {
                forged.id = id;
            } else {
                continue;
            }
            house.answer(&sent, &forged);
            prop_assert!(house.replies.is_empty());
        }
        let sent = house.last();
        house.answer(&sent, &good(&sent, 5, 300));
        prop_assert_eq!(address(&house.reply()), Some(5));
    }
}
