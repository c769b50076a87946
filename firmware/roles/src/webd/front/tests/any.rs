//! What must hold for any bytes and any order of events.

use embassy_time::Duration;
use proptest::prelude::*;

use super::*;

/// Pieces that make heads, and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /api/config HTTP/1.1\r\n",
        b"HEAD /x?y HTTP/1.0\r\n",
        b"Host: lintel\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"\n",
        b"hello",
    ];
    prop_oneof![
        4 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..64),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    Receive(Vec<u8>),
    End,
    Handshake(usize),
    Secured,
    Sent(usize),
    Answer,
    Stream,
    Event,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => piece().prop_map(Act::Receive),
        1 => Just(Act::End),
        1 => (0usize..9_000).prop_map(Act::Handshake),
        1 => Just(Act::Secured),
        4 => (0usize..2_000).prop_map(Act::Sent),
        2 => Just(Act::Answer),
        1 => Just(Act::Stream),
        1 => Just(Act::Event),
        2 => (0u64..20_000).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes in proptest::collection::vec(piece(), 0..12)) {
        let bytes = bytes.concat();
        if let Ok(Found::Whole(n)) = head::find_end(&bytes) {
            let _ = head::parse(&bytes[..n], &hosts(), LOCAL);
        }
        let _ = answer::take(&mut bytes.clone());
    }

    /// Whatever happens in whatever order: no panic, and memory stays below the bounds.
    #[test]
    fn no_order_of_events_breaks_the_machine(
        acts in proptest::collection::vec(act(), 0..60),
        secure in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        if secure {
            bench.machine = Connection::with_handshake(bench.now, LOCAL);
        }
        for act in acts {
            match act {
                Act::Receive(bytes) => bench.input(Input::Received(&bytes)),
                Act::End => bench.input(Input::ReadEnd),
                Act::Handshake(n) => bench.input(Input::Handshake(n)),
                Act::Secured => bench.input(Input::Secured),
                Act::Sent(n) => {
                    let n = n.min(bench.machine.pending().len());
                    if n > 0 {
                        bench.input(Input::Sent(n));
                    }
                }
                Act::Answer => bench.input(Input::Answer(&answer_of("x"))),
                Act::Stream => bench.input(Input::Stream(b"data: x\n\n")),
                Act::Event => bench.input(Input::Event(b"data: x\n\n")),
                Act::Pass(ms) => bench.pass(Duration::from_millis(ms)),
            }
            loop {
                match bench.machine.poll_output() {
                    Output::Nothing => break,
                    Output::Close => return Ok(()),
                    Output::Request(request) => {
                        prop_assert_eq!(request.body.len(), request.head.body_bytes);
                    }
                    Output::EndSending => {}
                }
            }
            prop_assert!(bench.machine.answer_bytes() < 400_000);
            prop_assert!(bench.machine.body_bytes() <= limits::CONFIG_BODY_BYTES_MAX);
            let _ = (bench.machine.deadline(), bench.machine.standing());
        }
    }
}
