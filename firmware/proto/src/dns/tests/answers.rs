//! What is answered: from the cache, from local names, once for all who ask.

use super::house::*;
use super::*;

#[test]
fn asked_once_then_from_the_cache_until_the_ttl_ends() {
    let mut house = House::new(config());
    assert_eq!(house.ask("WWW.example", RrType::A), None);
    let sent = house.last();
    assert_eq!(sent.to, UPSTREAM);
    assert_eq!(sent.query.edns.as_ref().unwrap().udp_len, 1232);
    house.answer(&sent, &good(&sent, 5, 300));
    let reply = house.reply();
    assert_eq!(
        (reply.id, address(&reply), reply.answers[0].ttl),
        (77, Some(5), 300)
    );
    assert_eq!(
        reply.question.unwrap().name,
        name("WWW.example"),
        "in the asker's letters"
    );
    assert!(reply.edns.is_none(), "the asker sent no OPT");
    assert_eq!(house.closed, [sent.slot]);

    house.pass_ms(100_000);
    let cached = house.ask("www.EXAMPLE", RrType::A).unwrap();
    assert_eq!((address(&cached), cached.answers[0].ttl), (Some(5), 200));
    assert_eq!(cached.question.unwrap().name, name("www.EXAMPLE"));
    house.pass_ms(200_000);
    assert_eq!(house.ask("www.example", RrType::A), None, "expired");
    assert_eq!(house.sent.len(), 2);
    assert_eq!(house.forwarder.counters().cache_hits, 1);
}

#[test]
fn negative_answers_are_kept_as_long_as_their_soa_says() {
    let mut house = House::new(config());
    house.ask("no.example", RrType::A);
    let sent = house.last();
    let mut reply = empty(&sent, Rcode::NXDOMAIN);
    reply.authorities = vec![soa("example", 30)];
    house.answer(&sent, &reply);
    assert_eq!(house.reply().rcode, Rcode::NXDOMAIN);
    house.pass_ms(29_000);
    let cached = house.ask("no.example", RrType::A).unwrap();
    assert_eq!(
        (cached.rcode, cached.authorities[0].ttl),
        (Rcode::NXDOMAIN, 1)
    );
    house.pass_ms(1_000);
    assert_eq!(house.ask("no.example", RrType::A), None);
}

#[test]
fn equal_questions_go_out_once() {
    let mut house = House::new(config());
    for n in 1..=5 {
        let mut query = query("www.example", RrType::A);
        query.id = u16::from(n);
        query.edns = Some(EdnsRepr {
            udp_len: 1232,
            version: 0,
            dnssec_ok: false,
            options: vec![],
        });
        assert_eq!(house.ask_as(asker(n), query), None);
    }
    house.ask("www.example", RrType::A);
    house.ask("www.example", RrType::A);
    assert_eq!(house.sent.len(), 1);
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 0));
    // Asker 1 sent two different questions and repeated one of them.
    assert_eq!(house.replies.len(), 6);
    for (asker, reply) in &house.replies[..5] {
        assert_eq!(
            (asker.peer.ip(), reply.id),
            (self::asker(reply.id as u8).peer.ip(), reply.id)
        );
        assert!(reply.edns.is_some());
    }
    assert_eq!(
        house.ask("www.example", RrType::A),
        None,
        "a TTL of zero is not kept"
    );
}

#[test]
fn private_addresses_from_outside_are_dropped_unless_allowed() {
    let private = |house: &mut House, text: &str| {
        house.ask(text, RrType::A);
        let sent = house.last();
        let mut reply = good(&sent, 1, 300);
        reply.answers[0].rdata = Rdata::A([192, 168, 1, 1].into());
        house.answer(&sent, &reply);
        house.reply().answers.len()
    };
    let mut house = House::new(Config {
        rebind_allowed: vec![name("work.example")],
        ..config()
    });
    assert_eq!(private(&mut house, "evil.example"), 0);
    assert_eq!(house.dropped(Reason::ReplyRebind), 1);
    assert_eq!(private(&mut house, "vpn.work.example"), 1);
    let mut house = House::new(Config {
        rebind_protection: false,
        ..config()
    });
    assert_eq!(private(&mut house, "evil.example"), 1);
}

fn local() -> Config {
    Config {
        hosts: vec![
            (name("lintel.lan"), "192.168.1.1".parse().unwrap()),
            (name("laptop.lan"), "192.168.1.20".parse().unwrap()),
            (name("laptop.lan"), "fd00::20".parse().unwrap()),
        ],
        records: vec![
            record(name("files.lan"), 300, Rdata::Cname(name("laptop.lan"))),
            record(name("a.deep.lan"), 300, Rdata::A([192, 168, 1, 30].into())),
            record(
                name("Printer.example.com"),
                300,
                Rdata::A([192, 168, 1, 31].into()),
            ),
            record(name("loop.lan"), 300, Rdata::Cname(name("loop.lan"))),
        ],
        ..config()
    }
}

#[test]
fn local_names() {
    let mut house = House::new(local());
    let mut ask = |text: &str, rr_type| {
        let reply = house
            .ask(text, rr_type)
            .unwrap_or_else(|| panic!("{text} was forwarded"));
        assert!(reply.flags.authoritative && reply.flags.recursion_available);
        let data = |record: &RecordRepr| match &record.rdata {
            Rdata::A(a) => a.to_string(),
            Rdata::Aaaa(a) => a.to_string(),
            Rdata::Ptr(n) | Rdata::Cname(n) => n.to_string(),
            other => other.rr_type().to_string(),
        };
        let soa = reply
            .authorities
            .first()
            .map(|record| record.name.to_string())
            .unwrap_or_default();
        let answers: Vec<_> = reply.answers.iter().map(data).collect();
        (reply.rcode, answers.join(" "), soa)
    };
    let ok = |answers: &str, soa: &str| (Rcode::NOERROR, answers.to_owned(), soa.to_owned());
    let no = |soa: &str| (Rcode::NXDOMAIN, String::new(), soa.to_owned());
    let (a, aaaa, ptr) = (RrType::A, RrType::AAAA, RrType::PTR);
    assert_eq!(ask("Lintel.LAN", a), ok("192.168.1.1", ""));
    assert_eq!(ask("lintel.lan", aaaa), ok("", "lan."));
    assert_eq!(ask("laptop.lan", aaaa), ok("fd00::20", ""));
    assert_eq!(ask("laptop", a), ok("192.168.1.20", ""));
    assert_eq!(ask("nobody", a), no(""));
    assert_eq!(ask("nobody.lan", a), no("lan."));
    assert_eq!(ask("x.nobody.lan", RrType::HTTPS), no("lan."));
    assert_eq!(ask("files.lan", a), ok("laptop.lan. 192.168.1.20", ""));
    assert_eq!(ask("files.lan", RrType::CNAME), ok("laptop.lan.", ""));
    assert_eq!(
        ask("deep.lan", a),
        ok("", "lan."),
        "a name with names below it exists"
    );
    assert_eq!(ask("lan", RrType::SOA), ok("SOA", ""));
    assert_eq!(ask("lan", a), ok("", "lan."));
    assert_eq!(ask("printer.EXAMPLE.com", a), ok("192.168.1.31", ""));
    assert_eq!(ask("1.1.168.192.in-addr.arpa", ptr), ok("lintel.lan.", ""));
    assert_eq!(
        ask("9.1.168.192.in-addr.arpa", ptr),
        no("168.192.in-addr.arpa.")
    );
    assert_eq!(
        ask("1.168.192.in-addr.arpa", ptr),
        ok("", "168.192.in-addr.arpa.")
    );
    assert_eq!(ask("1.0.0.127.in-addr.arpa", ptr), ok("localhost.", ""));
    assert_eq!(ask("x.localhost", a), ok("127.0.0.1", ""));
    assert_eq!(ask("localhost", aaaa), ok("::1", ""));
    assert_eq!(ask("abc.onion", a), no("onion."));
    assert_eq!(ask("x.home.arpa", a), no("home.arpa."));
    assert_eq!(ask("home.arpa", a), ok("", "home.arpa."));
    assert_eq!(ask("example.com", RrType::ANY), ok("HINFO", ""), "RFC 8482");
    assert_eq!(ask("loop.lan", a).0, Rcode::NOERROR);
    assert!(house.sent.is_empty());
    assert_eq!(
        house.ask("com", RrType::DS),
        None,
        "zones at the top are public"
    );
    assert_eq!(house.ask("8.8.8.8.in-addr.arpa", ptr), None);
}

#[test]
fn a_new_snapshot_replaces_names_and_moves_open_questions() {
    let mut house = House::new(local());
    assert_eq!(house.ask("www.example", RrType::A), None);
    let old = house.last();
    let config = Config {
        upstreams: vec![SECOND],
        hosts: vec![],
        ..local()
    };
    house.forwarder.configure(house.now, config, &mut house.rng);
    house.drain();
    assert_eq!(
        house.ask("laptop.lan", RrType::A).unwrap().rcode,
        Rcode::NXDOMAIN
    );
    let new = house.last();
    assert_eq!((new.to, house.closed.clone()), (SECOND, vec![old.slot]));
    house.answer(&new, &good(&new, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    house.ask("other.example", RrType::A);
    house.forwarder.configure(
        house.now,
        Config {
            upstreams: vec![],
            ..config_of(&house)
        },
        &mut house.rng,
    );
    house.drain();
    assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
    assert_eq!(
        house.ask("third.example", RrType::A).unwrap().rcode,
        Rcode::SERVFAIL
    );
}

fn config_of(_: &House) -> Config {
    local()
}
