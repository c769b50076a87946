//! Upstreams that are silent, truncate, lie or fold letters, and clients that crowd.

use super::*;

#[test]
fn a_silent_upstream_that_returns() {
    let awake = Arc::new(AtomicBool::new(false));
    let heard = awake.clone();
    let upstream = Scripted::start(
        move |socket, from, query| {
            if heard.load(Ordering::Relaxed) {
                socket
                    .send_to(&answer(&query, 7).to_vec().unwrap(), from)
                    .unwrap();
            }
        },
        |query| answer(&query, 7),
    );
    let mut dnsd = Dnsd::start(&spec(&[upstream.address]));
    let asked = Instant::now();
    let failed = dnsd.dig(&["www.example.net"]);
    assert!(failed.contains("status: SERVFAIL"), "{failed}");
    assert!(
        asked.elapsed() < Duration::from_millis(6_500),
        "{:?}",
        asked.elapsed()
    );
    until("the upstream is told to fail", || {
        dnsd.statistics().upstreams[0].1 == "failing"
    });
    awake.store(true, Ordering::Relaxed);
    assert_eq!(
        dnsd.dig(&["+short", "mail.example.net"]).trim(),
        "203.0.113.7"
    );
    // The failure of the other name is not believed any more either.
    assert_eq!(
        dnsd.dig(&["+short", "www.example.net"]).trim(),
        "203.0.113.7"
    );
    until("the upstream is told to be good", || {
        dnsd.statistics().upstreams[0].1 == "good"
    });
}

#[test]
fn an_upstream_that_truncates_everything() {
    let upstream = Scripted::start(
        |socket, from, query| {
            let mut cut = answer(&query, 66);
            cut.answers.clear();
            cut.flags.truncated = true;
            socket.send_to(&cut.to_vec().unwrap(), from).unwrap();
        },
        |query| answer(&query, 7),
    );
    let dnsd = Dnsd::start(&spec(&[upstream.address]));
    assert_eq!(
        dnsd.dig(&["+short", "www.example.net"]).trim(),
        "203.0.113.7"
    );
}

#[test]
fn forged_replies_do_not_get_in() {
    let upstream = Scripted::start(
        |socket, from, query| {
            // From another socket, to the very port: the kernel drops it.
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            let bytes = answer(&query, 66).to_vec().unwrap();
            let _ = other.send_to(&bytes, from);
            // From the right one, but a bit is wrong.
            let mut forged = answer(&query, 66);
            forged.id ^= 0x0100;
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            let mut forged = answer(&query, 66);
            forged.question.as_mut().unwrap().name = Name::from_text("evil.example").unwrap();
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            let mut forged = answer(&query, 66);
            forged.flags.response = false;
            socket.send_to(&forged.to_vec().unwrap(), from).unwrap();
            socket.send_to(&[0xff; 40], from).unwrap();
            socket
                .send_to(&answer(&query, 7).to_vec().unwrap(), from)
                .unwrap();
        },
        |query| answer(&query, 66),
    );
    let mut dnsd = Dnsd::start(&spec(&[upstream.address]));
    for n in 0..10 {
        let name = format!("n{n}.example.net");
        assert_eq!(dnsd.dig(&["+short", &name]).trim(), "203.0.113.7");
    }
    let reasons = ["reply-id", "reply-question", "reply-malformed"];
    until("each of the forged ones is counted", || {
        reasons
            .iter()
            .map(|reason| dnsd.dropped(reason))
            .sum::<u64>()
            == 40
    });
}

#[test]
fn a_server_that_folds_letters_is_asked_over_tcp_once() {
    let datagrams = Arc::new(AtomicU32::new(0));
    let streams = Arc::new(AtomicU32::new(0));
    let (count_datagrams, count_streams) = (datagrams.clone(), streams.clone());
    let fold = |mut reply: Repr| {
        let question = reply.question.as_mut().unwrap();
        question.name = question.name.to_lowercase();
        reply
    };
    let upstream = Scripted::start(
        move |socket, from, query| {
            count_datagrams.fetch_add(1, Ordering::Relaxed);
            socket
                .send_to(&fold(answer(&query, 7)).to_vec().unwrap(), from)
                .unwrap();
        },
        move |query| {
            count_streams.fetch_add(1, Ordering::Relaxed);
            fold(answer(&query, 7))
        },
    );
    let dnsd = Dnsd::start(&spec(&[upstream.address]));
    for name in [
        "some-quite-long-name.example.net",
        "another-long-name.example.net",
    ] {
        assert_eq!(dnsd.dig(&["+short", name]).trim(), "203.0.113.7");
    }
    assert_eq!(datagrams.load(Ordering::Relaxed), 2);
    assert_eq!(streams.load(Ordering::Relaxed), 1);
}

#[test]
fn tcp_clients_are_bounded_and_pipelines_answered() {
    let mut dnsd = Dnsd::start(&spec(&[]));
    let query = |id, text: &str| {
        let name = Name::from_text(text).unwrap();
        Repr::query(id, name, lintel_wire::dns::RrType::A)
            .to_vec()
            .unwrap()
    };
    let address = ("127.0.0.1", dnsd.port);
    // Two questions in one write, cut in an odd place.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    for (id, name) in [(1, "lintel.lan"), (2, "nobody.lan")] {
        let query = query(id, name);
        bytes.extend((query.len() as u16).to_be_bytes());
        bytes.extend(query);
    }
    stream.write_all(&bytes[..15]).unwrap();
    stream.write_all(&bytes[15..]).unwrap();
    let first = read(&receive(&mut stream));
    assert_eq!((first.id, first.answers.len()), (1, 1));
    let second = read(&receive(&mut stream));
    assert_eq!((second.id, second.rcode), (2, Rcode::NXDOMAIN));
    // Half a question is no reason to wait for ever, nor to keep others out.
    let idle: Vec<_> = (0..60)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    until("those over the limit are refused", || {
        dnsd.dropped("tcp-over-limit") == 29
    });
    assert_eq!(dnsd.dig(&["+short", "lintel.lan"]).trim(), "192.168.1.1");
    // Idle ones are closed; then there is room again.
    let mut oldest = &idle[0];
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(oldest.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(
        dnsd.dig(&["+tcp", "+short", "lintel.lan"]).trim(),
        "192.168.1.1"
    );
}
