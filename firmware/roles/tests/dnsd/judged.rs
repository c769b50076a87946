//! What dig and kdig see, with unbound and dnsmasq upstream.

use super::*;

#[test]
fn unbound_upstream_judged_by_dig_and_kdig() {
    let unbound = unbound();
    let mut dnsd = Dnsd::start(&spec(&[unbound.address]));
    let first = dnsd.dig(&["+noall", "+answer", "+comments", "WWW.example.net", "A"]);
    assert!(
        first.contains("status: NOERROR") && first.contains("203.0.113.80"),
        "{first}"
    );
    assert!(
        first.contains("EDNS: version: 0, flags:; udp: 1232"),
        "{first}"
    );
    assert!(!first.contains("WARNING"), "{first}");
    let aaaa = dnsd.ask("kdig", &["+tcp", "+short", "www.example.net", "AAAA"]);
    assert_eq!(aaaa.trim(), "2001:db8::80");

    // From the cache, and its TTL runs down.
    until("the TTL runs down", || {
        let answer = dnsd.dig(&["+noall", "+answer", "www.example.net", "A"]);
        let ttl: u32 = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(ttl <= 300);
        ttl < 300
    });

    // Longer than what UDP may carry: truncated, then whole over TCP, on both sides of us.
    let cut = dnsd.dig(&["+ignore", "long.example.net", "TXT"]);
    assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
    let long = dnsd.dig(&["+short", "long.example.net", "TXT"]);
    assert_eq!(
        long.lines().filter(|line| line.len() > 250).count(),
        6,
        "{long}"
    );

    let missing = dnsd.dig(&["nothing.example.net", "A"]);
    assert!(
        missing.contains("status: NXDOMAIN") && missing.contains("SOA"),
        "{missing}"
    );
    let none = dnsd.dig(&["www.example.net", "MX"]);
    assert!(
        none.contains("status: NOERROR") && none.contains("ANSWER: 0"),
        "{none}"
    );
    let any = dnsd.dig(&["+noall", "+answer", "www.example.net", "ANY"]);
    assert!(any.contains("HINFO") && any.contains("RFC8482"), "{any}");
    let private = dnsd.dig(&["+short", "private.example.net", "A"]);
    assert_eq!(private, "");
    until("the rebinding is counted", || {
        dnsd.dropped("reply-rebind") == 1
    });

    // Without EDNS, with DO, with an unknown version, with another class.
    let plain = dnsd.dig(&["+noedns", "www.example.net", "A"]);
    assert!(
        plain.contains("203.0.113.80") && !plain.contains("EDNS:"),
        "{plain}"
    );
    let dnssec = dnsd.dig(&["+dnssec", "www.example.net", "A"]);
    assert!(
        dnssec.contains("203.0.113.80") && dnssec.contains("flags: do"),
        "{dnssec}"
    );
    let version = dnsd.dig(&["+edns=7", "+noednsnegotiation", "www.example.net", "A"]);
    assert!(version.contains("status: BADVERS"), "{version}");
    let chaos = dnsd.dig(&["version.bind", "CH", "TXT"]);
    assert!(chaos.contains("status: REFUSED"), "{chaos}");
    let statistics = dnsd.statistics().clone();
    assert!(
        statistics.cache_hits > 0 && statistics.cache_entries > 0,
        "{statistics:?}"
    );
    assert_eq!(statistics.upstreams[0].1, "good");
}

#[test]
fn local_names_judged_by_dig() {
    let dnsd = Dnsd::start(&spec(&[]));
    assert_eq!(dnsd.dig(&["+short", "lintel.lan"]).trim(), "192.168.1.1");
    assert_eq!(dnsd.dig(&["+short", "laptop"]).trim(), "192.168.1.20");
    assert_eq!(
        dnsd.dig(&["+short", "-x", "192.168.1.20"]).trim(),
        "laptop.lan."
    );
    let unknown = dnsd.dig(&["nobody.lan"]);
    assert!(
        unknown.contains("status: NXDOMAIN") && unknown.contains(" aa "),
        "{unknown}"
    );
    let private = dnsd.dig(&["-x", "10.1.2.3"]);
    assert!(
        private.contains("status: NXDOMAIN") && private.contains("10.in-addr.arpa."),
        "{private}"
    );
    let public = dnsd.dig(&["www.example.net"]);
    assert!(public.contains("status: SERVFAIL"), "no upstream: {public}");
}

#[test]
fn dnsmasq_takes_over_when_unbound_dies() {
    let (unbound, dnsmasq) = (unbound(), dnsmasq());
    let dnsd = Dnsd::start(&spec(&[unbound.address, dnsmasq.address]));
    drop(unbound);
    for _ in 0..3 {
        let answer = dnsd.dig(&["+short", "mail.example.net"]);
        assert_eq!(answer.trim(), "203.0.113.25");
    }
}
