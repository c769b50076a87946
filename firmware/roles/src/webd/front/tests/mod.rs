//! The front as a table of attacks.

mod any;

use std::net::IpAddr;

use embassy_time::{Duration, Instant};

use super::answer::{self, Answer};
use super::connection::{Connection, Input, Output, Request, Standing, Surroundings};
use super::head::{self, Found, Hosts, Refusal};
use super::limits;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 1));

fn hosts() -> Hosts {
    Hosts::new(["192.168.1.1", "lintel", "lintel.lan:80"])
}

fn parse(text: &str) -> Result<head::RequestHead, Refusal> {
    match head::find_end(text.as_bytes())? {
        Found::Whole(n) => head::parse(&text.as_bytes()[..n], &hosts(), LOCAL),
        Found::Partial => panic!("not whole: {text:?}"),
    }
}

#[test]
fn framing_that_two_readers_could_read_differently_is_refused() {
    let ok = "Host: lintel\r\n";
    let table: &[(&str, &str, u16)] = &[
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "two equal lengths",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1, 1\r\n\r\n",
            400,
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "a hexadecimal length",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 0x1\r\n\r\n",
            400,
        ),
        (
            "an empty length",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: \r\n\r\n",
            400,
        ),
        (
            "a length beyond numbers",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 99999999999999999999\r\n\r\n",
            400,
        ),
        (
            "length and chunked",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "chunked alone",
            "POST / HTTP/1.1\r\nHost: lintel\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        (
            "another coding",
            "POST / HTTP/1.1\r\nHost: lintel\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "an obscured coding",
            "POST / HTTP/1.1\r\nHost: lintel\r\nTransfer-Encoding: xchunked\r\n\r\n",
            501,
        ),
        (
            "two codings",
            "POST / HTTP/1.1\r\nHost: lintel\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            501,
        ),
        (
            "blank before the colon",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length : 1\r\n\r\n",
            400,
        ),
        (
            "a folded line",
            "GET / HTTP/1.1\r\nHost: lintel\r\nAccept: a\r\n b\r\n\r\n",
            400,
        ),
        (
            "a folded first line",
            "GET / HTTP/1.1\r\n Host: lintel\r\n\r\n",
            400,
        ),
        ("bare line feeds", "GET / HTTP/1.1\nHost: lintel\n\n", 400),
        (
            "one bare line feed",
            "GET / HTTP/1.1\r\nHost: lintel\nX: y\r\n\r\n",
            400,
        ),
        (
            "a bare carriage return",
            "GET / HTTP/1.1\r\nHost: lintel\rX: y\r\n\r\n",
            400,
        ),
        (
            "NUL in a value",
            "GET / HTTP/1.1\r\nHost: lintel\r\nX: a\0b\r\n\r\n",
            400,
        ),
        (
            "NUL in the target",
            "GET /\0 HTTP/1.1\r\nHost: lintel\r\n\r\n",
            400,
        ),
        (
            "an empty line first",
            "\r\nGET / HTTP/1.1\r\nHost: lintel\r\n\r\n",
            400,
        ),
        ("no Host", "GET / HTTP/1.1\r\nAccept: a\r\n\r\n", 400),
        (
            "no Host in HTTP/1.0",
            "GET / HTTP/1.0\r\nAccept: a\r\n\r\n",
            400,
        ),
        (
            "two Hosts",
            "GET / HTTP/1.1\r\nHost: lintel\r\nHost: lintel\r\n\r\n",
            400,
        ),
        ("an empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
        (
            "Host with a user",
            "GET / HTTP/1.1\r\nHost: a@lintel\r\n\r\n",
            400,
        ),
        (
            "Host with a path",
            "GET / HTTP/1.1\r\nHost: lintel/x\r\n\r\n",
            400,
        ),
        (
            "a rebound name",
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            421,
        ),
        (
            "a name that ends like ours",
            "GET / HTTP/1.1\r\nHost: evil-lintel.lan\r\n\r\n",
            421,
        ),
        (
            "another address",
            "GET / HTTP/1.1\r\nHost: 192.168.1.2\r\n\r\n",
            421,
        ),
        (
            "absolute-form elsewhere",
            "GET http://evil.example/ HTTP/1.1\r\nHost: lintel\r\n\r\n",
            421,
        ),
        (
            "absolute-form with a user",
            "GET http://lintel@evil.example/ HTTP/1.1\r\nHost: lintel\r\n\r\n",
            421,
        ),
        (
            "authority-form",
            "GET lintel:80 HTTP/1.1\r\nHost: lintel\r\n\r\n",
            400,
        ),
        (
            "asterisk-form",
            "GET * HTTP/1.1\r\nHost: lintel\r\n\r\n",
            400,
        ),
        (
            "a fragment",
            "GET /#x HTTP/1.1\r\nHost: lintel\r\n\r\n",
            400,
        ),
        (
            "CONNECT",
            "CONNECT lintel:22 HTTP/1.1\r\nHost: lintel\r\n\r\n",
            501,
        ),
        (
            "an unknown method",
            "BREW / HTTP/1.1\r\nHost: lintel\r\n\r\n",
            501,
        ),
        (
            "a lower-case method",
            "get / HTTP/1.1\r\nHost: lintel\r\n\r\n",
            501,
        ),
        ("HTTP/2", "GET / HTTP/2.0\r\nHost: lintel\r\n\r\n", 505),
        ("HTTP/0.9", "GET /\r\n\r\n", 400),
        (
            "a body without meaning",
            "GET / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (
            "a body too large",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 65537\r\n\r\n",
            413,
        ),
        (
            "another expectation",
            "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n",
            417,
        ),
        (
            "two cookies",
            "GET / HTTP/1.1\r\nHost: lintel\r\nCookie: a=b\r\nCookie: a=c\r\n\r\n",
            400,
        ),
        (
            "two origins",
            "POST / HTTP/1.1\r\nHost: lintel\r\nOrigin: a\r\nOrigin: b\r\n\r\n",
            400,
        ),
        (
            "a cookie beyond ASCII",
            "GET / HTTP/1.1\r\nHost: lintel\r\nCookie: a=\u{e4}\r\n\r\n",
            400,
        ),
    ];
    for (name, text, status) in table {
        assert_eq!(parse(text).map_err(Refusal::status), Err(*status), "{name}");
    }
    let many = format!(
        "GET / HTTP/1.1\r\n{ok}{}\r\n",
        "X: y\r\n".repeat(limits::HEADERS_MAX)
    );
    assert_eq!(parse(&many), Err(Refusal::HeadTooLarge));
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(limits::HEAD_BYTES_MAX));
    assert_eq!(head::find_end(long.as_bytes()), Err(Refusal::HeadTooLarge));
}

#[test]
fn plain_requests_pass() {
    let head = parse("GET /a/b?c=d HTTP/1.1\r\nhost: LINTEL.lan.:80\r\nAccept: text/html\r\n\r\n");
    let head = head.unwrap();
    assert_eq!((head.path.as_str(), head.query.as_str()), ("/a/b", "c=d"));
    assert!(head.keep_alive && head.wants_html());
    for host in [
        "192.168.1.1",
        "192.168.1.1:8080",
        "localhost:8080",
        "[::1]",
        "127.0.0.1",
    ] {
        assert!(
            parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(),
            "{host}"
        );
    }
    let absolute = parse("GET http://lintel/x?y HTTP/1.1\r\nHost: lintel\r\n\r\n").unwrap();
    assert_eq!(
        (absolute.path.as_str(), absolute.query.as_str()),
        ("/x", "y")
    );
    let config = "PUT /api/config HTTP/1.1\r\nHost: lintel\r\nContent-Length: 262144\r\n\r\n";
    assert_eq!(
        parse(config).unwrap().body_bytes,
        limits::CONFIG_BODY_BYTES_MAX
    );
    let close = "GET / HTTP/1.1\r\nHost: lintel\r\nConnection: x, Close\r\n\r\n";
    assert!(!parse(close).unwrap().keep_alive);
    assert!(
        !parse("GET / HTTP/1.0\r\nHost: lintel\r\n\r\n")
            .unwrap()
            .keep_alive
    );
}

/// A connection with its surroundings and a clock that only the test moves.
struct Bench {
    hosts: Hosts,
    now: Instant,
    machine: Connection,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_secs(100);
        Self {
            hosts: hosts(),
            now,
            machine: Connection::new(now, LOCAL),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: limits::BODIES_BYTES_MAX,
        };
        self.machine.handle_input(self.now, input, around);
    }

    fn receive(&mut self, text: &str) {
        self.input(Input::Received(text.as_bytes()));
    }

    fn request(&mut self) -> Request {
        match self.machine.poll_output() {
            Output::Request(request) => *request,
            other => panic!("no request but {other:?}"),
        }
    }

    /// Takes everything that waits to be sent.
    fn sent(&mut self) -> String {
        let text = String::from_utf8_lossy(self.machine.pending()).into_owned();
        let n = self.machine.pending().len();
        self.input(Input::Sent(n));
        text
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.machine.handle_timeout(self.now);
    }

    fn closed(&mut self) -> bool {
        self.machine.poll_output() == Output::Close
    }
}

fn answer_of(text: &str) -> Answer {
    Answer {
        status: 200,
        fields: vec![("content-type", "text/plain".to_owned())],
        body: text.as_bytes().to_vec(),
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let mut bench = Bench::new();
    bench.receive("POST /a HTTP/1.1\r\nHost: lintel\r\nContent-Length: 3\r\n\r\nab");
    assert_eq!(bench.machine.poll_output(), Output::Nothing);
    // The rest of the body and a whole second request.
    bench.receive("cGET /b HTTP/1.1\r\nHost: lintel\r\n\r\n");
    assert_eq!(bench.request().body, b"abc");
    assert_eq!(bench.machine.poll_output(), Output::Nothing);
    assert!(!bench.machine.interest().0, "nothing is read meanwhile");
    bench.input(Input::Answer(&answer_of("one")));
    assert!(bench.sent().ends_with("connection: keep-alive\r\n\r\none"));
    assert_eq!(bench.request().head.path, "/b");
    bench.input(Input::Answer(&answer_of("two")));
    assert!(bench.sent().ends_with("two"));
    bench.pass(limits::IDLE_DEADLINE);
    assert!(bench.closed());
}

#[test]
fn a_refusal_ends_the_connection_and_lets_the_client_read_it() {
    let mut bench = Bench::new();
    bench.receive("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let text = bench.sent();
    assert!(text.starts_with("HTTP/1.1 421 "), "{text}");
    assert!(text.contains("connection: close"));
    assert_eq!(bench.machine.poll_output(), Output::EndSending);
    bench.receive("more");
    assert_eq!(bench.machine.poll_output(), Output::Nothing);
    bench.pass(limits::LINGER_DEADLINE);
    assert!(bench.closed());
}

#[test]
fn deadlines_end_what_is_slow() {
    // A head, octet by octet.
    let mut bench = Bench::new();
    for _ in 0..9 {
        bench.receive("G");
        bench.pass(Duration::from_secs(1));
        assert!(bench.machine.pending().is_empty());
    }
    bench.pass(Duration::from_secs(1));
    assert!(bench.sent().starts_with("HTTP/1.1 408 "));

    // A body below the least rate.
    let mut bench = Bench::new();
    bench.receive("POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 60000\r\n\r\n");
    for _ in 0..4 {
        bench.receive("x");
        bench.pass(Duration::from_secs(1));
        assert!(bench.machine.pending().is_empty());
    }
    bench.pass(Duration::from_secs(2));
    assert!(bench.sent().starts_with("HTTP/1.1 408 "));

    // No answer.
    let mut bench = Bench::new();
    bench.receive("GET / HTTP/1.1\r\nHost: lintel\r\n\r\n");
    bench.request();
    bench.pass(limits::ANSWER_DEADLINE);
    assert!(bench.sent().starts_with("HTTP/1.1 503 "));

    // A reader that takes nothing.
    let mut bench = Bench::new();
    bench.receive("GET / HTTP/1.1\r\nHost: lintel\r\n\r\n");
    bench.request();
    bench.input(Input::Answer(&answer_of(&"x".repeat(100_000))));
    bench.input(Input::Sent(10));
    bench.pass(limits::SEND_GRACE - Duration::from_millis(1));
    assert!(!bench.closed());
    bench.pass(Duration::from_secs(1));
    assert!(bench.closed());
}

#[test]
fn a_stream_is_bounded_and_ends_when_nobody_reads() {
    let mut bench = Bench::new();
    bench.receive("GET /api/events HTTP/1.1\r\nHost: lintel\r\n\r\n");
    bench.request();
    bench.input(Input::Stream(&answer::stream_head()));
    assert!(bench.sent().contains("text/event-stream"));
    assert_eq!(bench.machine.standing(), Standing::Streaming);
    assert_eq!(bench.machine.deadline(), None);
    bench.input(Input::Event(b": \n\n"));
    bench.input(Input::Sent(2));
    bench.pass(limits::STREAM_STALL_DEADLINE);
    assert!(bench.closed());

    let mut bench = Bench::new();
    bench.receive("GET /api/events HTTP/1.1\r\nHost: lintel\r\n\r\n");
    bench.request();
    bench.input(Input::Stream(&answer::stream_head()));
    let event = vec![b'x'; limits::EVENT_BYTES_MAX];
    let taken = (0..1_000).position(|_| {
        bench.input(Input::Event(&event));
        bench.closed()
    });
    assert!(taken.is_some_and(|n| n < 40), "{taken:?}");
}

#[test]
fn continue_is_said_once_and_only_for_a_body_that_is_wanted() {
    let mut bench = Bench::new();
    bench.receive(
        "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(bench.sent(), "HTTP/1.1 100 Continue\r\n\r\n");
    bench.receive("ab");
    assert_eq!(bench.request().body, b"ab");

    let mut bench = Bench::new();
    bench.receive(
        "POST / HTTP/1.1\r\nHost: lintel\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n",
    );
    assert!(bench.sent().starts_with("HTTP/1.1 413 "));
}

#[test]
fn answers_of_the_application_are_read_whole() {
    let text = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabcHTTP";
    for cut in 0..text.len() - 4 {
        assert_eq!(answer::take(&mut text[..cut].to_vec()), Ok(None), "{cut}");
    }
    let mut bytes = text.to_vec();
    let answer = answer::take(&mut bytes).unwrap().unwrap();
    assert_eq!(answer, answer_of("abc"));
    assert_eq!(bytes, b"HTTP");
    let mut without = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    assert!(answer::take(&mut without).is_err());
}

#[test]
fn a_value_cannot_end_its_line() {
    let mut answer = answer_of("");
    answer
        .fields
        .push(("location", "/x\r\nset-cookie: a=b".to_owned()));
    let mut out = Vec::new();
    answer::write(&answer, false, false, &mut out);
    assert!(!String::from_utf8_lossy(&out).contains("set-cookie"));
}

#[test]
fn a_handshake_has_its_time_and_its_size_and_the_first_head_has_the_rest() {
    let hosts = hosts();
    let around = Surroundings {
        hosts: &hosts,
        bodies_bytes_left: limits::BODIES_BYTES_MAX,
    };
    let start = Instant::from_secs(100);
    let mut slow = Connection::with_handshake(start, LOCAL);
    assert_eq!(slow.interest(), (true, false));
    assert_eq!(slow.standing(), Standing::Waiting);
    let late = start + limits::HANDSHAKE_DEADLINE;
    assert_eq!(slow.deadline(), Some(late));
    slow.handle_input(late, Input::Handshake(1), around);
    slow.handle_timeout(late);
    assert_eq!(slow.poll_output(), Output::Close);

    let mut long = Connection::with_handshake(start, LOCAL);
    long.handle_input(start, Input::Handshake(limits::HANDSHAKE_BYTES_MAX), around);
    assert_eq!(long.poll_output(), Output::Nothing);
    long.handle_input(start, Input::Handshake(1), around);
    assert_eq!(long.poll_output(), Output::Close);

    let mut good = Connection::with_handshake(start, LOCAL);
    let secured = start + Duration::from_secs(4);
    good.handle_input(secured, Input::Secured, around);
    assert_eq!(good.deadline(), Some(secured + limits::IDLE_DEADLINE));
    let asked = secured + Duration::from_secs(20);
    good.handle_input(asked, Input::Received(b"GET / HT"), around);
    assert_eq!(good.deadline(), Some(asked + Duration::from_secs(6)));
    good.handle_input(
        asked,
        Input::Received(b"TP/1.1\r\nHost: lintel\r\n\r\n"),
        around,
    );
    assert!(matches!(good.poll_output(), Output::Request(_)));
    good.handle_input(
        asked,
        Input::Answer(&Answer {
            status: 200,
            ..Answer::default()
        }),
        around,
    );
    let all = good.pending().len();
    good.handle_input(asked, Input::Sent(all), around);
    good.handle_input(asked, Input::Received(b"G"), around);
    assert_eq!(good.deadline(), Some(asked + limits::HEAD_DEADLINE));
}
