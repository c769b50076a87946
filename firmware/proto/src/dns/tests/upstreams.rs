//! Upstreams that are silent, fail, or know no EDNS.

use super::house::*;
use super::*;

#[test]
fn silence_fails_over_and_the_first_may_still_answer() {
    let mut house = House::new(two());
    house.ask("www.example", RrType::A);
    let first = house.last();
    house.pass_ms(1_000);
    let second = house.last();
    assert_ne!(second.to, first.to);
    assert_ne!(second.slot, first.slot);
    house.answer(&first, &good(&first, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.closed.len(), 2);
}

#[test]
fn a_silent_upstream_ends_in_servfail_in_time_and_recovers_at_once() {
    let mut house = House::new(config());
    for round in 0..3 {
        house.ask("www.example", RrType::A);
        house.pass_ms(4_499);
        assert!(house.replies.is_empty());
        house.pass_ms(1);
        assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
        assert_eq!(house.forwarder.open_questions(), 0);
        // Kept for 1, 2, 4 seconds: whoever asks meanwhile hears it without a packet.
        let before = house.sent.len();
        assert_eq!(
            house.ask("www.example", RrType::A).unwrap().rcode,
            Rcode::SERVFAIL
        );
        assert_eq!(house.sent.len(), before);
        assert!(before <= (round + 1) * 8);
        house.pass_ms(1_000 << round);
    }
    assert_eq!(house.events, [Event::UpstreamDown(UPSTREAM)]);
    assert!(!house.forwarder.upstream_status().next().unwrap().good);
    house.ask("www.example", RrType::A);
    house.pass_ms(4_500);
    house.reply();
    // It returns: another name is answered, and the failure is not believed any more.
    house.ask("mail.example", RrType::A);
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.events.last(), Some(&Event::UpstreamBack(UPSTREAM)));
    assert_eq!(house.ask("www.example", RrType::A), None);
}

#[test]
fn a_failing_upstream_is_followed_by_the_next_at_once() {
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
        let mut house = House::new(two());
        house.ask("www.example", RrType::A);
        let first = house.last();
        house.answer(&first, &empty(&first, rcode));
        let second = house.last();
        assert_ne!(second.to, first.to);
        house.answer(&second, &empty(&second, rcode));
        assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
        assert_eq!(
            house.ask("www.example", RrType::A).unwrap().rcode,
            Rcode::SERVFAIL
        );
        house.pass_ms(5_000);
        assert_eq!(house.ask("www.example", RrType::A), None);
    }
    let mut house = House::new(two());
    house.ask("www.example", RrType::A);
    let first = house.last();
    house.input(Input::UpstreamFailed { slot: first.slot });
    assert_ne!(house.last().to, first.to);
    house.input(Input::UpstreamFailed {
        slot: house.last().slot,
    });
    assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
}

#[test]
fn servers_without_edns_are_asked_without() {
    for header_only in [false, true] {
        let mut house = House::new(config());
        house.ask("www.example", RrType::A);
        let sent = house.last();
        let mut refused = empty(&sent, Rcode::FORMERR);
        refused.edns = None;
        if header_only {
            refused.question = None;
        }
        house.answer(&sent, &refused);
        let again = house.last();
        assert!(again.query.edns.is_none());
        assert_ne!((again.slot, again.query.id), (sent.slot, sent.query.id));
        house.answer(&again, &good(&again, 5, 300));
        assert_eq!(address(&house.reply()), Some(5));
        assert_eq!(house.events, [Event::UpstreamRefusesEdns(UPSTREAM)]);
    }
}
