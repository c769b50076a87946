//! What browsers, and whoever is no browser, send to webd's front; and what its application says.

use std::net::{IpAddr, Ipv4Addr};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_ipc::webd::Happened;
use lintel_roles::webd::front::answer::{self, Answer};
use lintel_roles::webd::front::connection::{Connection, Input, Output, Surroundings};
use lintel_roles::webd::front::events::History;
use lintel_roles::webd::front::head::{self, Found, Hosts, METHODS, PASSED_ON};
use lintel_roles::webd::front::limits;
use lintel_roles::webd::urls;

use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));

fn hosts() -> Hosts {
    Hosts::new(["192.168.1.1", "lintel", "lintel.lan:80"])
}

/// A head ends where it is found to end, however it is cut; what is taken has a known method, a
/// plain path, a `Host` of ours, each field once, and a body within its bound.
pub fn http_head(data: &[u8]) -> Tally {
    let end = match head::find_end(data) {
        Ok(Found::Whole(end)) => end,
        Ok(Found::Partial) => {
            assert!(data.len() < limits::HEAD_BYTES_MAX);
            return Tally::REFUSED;
        }
        Err(_) => return Tally::REFUSED,
    };
    assert!(end <= limits::HEAD_BYTES_MAX && data[..end].ends_with(b"\r\n\r\n"));
    // Nothing shorter is a head, and nothing behind it matters.
    assert_eq!(head::find_end(&data[..end - 1]), Ok(Found::Partial));
    assert_eq!(head::find_end(&data[..end]), Ok(Found::Whole(end)));
    let Ok(head) = head::parse(&data[..end], &hosts(), LOCAL) else {
        return Tally::REFUSED;
    };
    assert!(METHODS.contains(&head.method) && head.path.starts_with('/'));
    assert!(head.path.bytes().all(|octet| octet.is_ascii_graphic()));
    assert!(hosts().allow(&head.host, LOCAL));
    assert!(head.body_bytes <= limits::CONFIG_BODY_BYTES_MAX);
    assert!(head.body_bytes == 0 || !matches!(head.method, "GET" | "HEAD"));
    let mut names: Vec<_> = head.fields.iter().map(|(name, _)| *name).collect();
    assert!(names.iter().all(|name| PASSED_ON.contains(name)));
    names.dedup();
    assert_eq!(names.len(), head.fields.len());
    for (_, value) in &head.fields {
        assert!(
            value
                .bytes()
                .all(|b| b == b'\t' || (0x20..0x7f).contains(&b))
        );
    }
    Tally::ACCEPTED
}

/// Percent-encoding and forms: what is decoded is no longer than what was sent, and what needs no
/// decoding stays as it is.
pub fn http_form(data: &[u8]) -> Tally {
    let Ok(text) = std::str::from_utf8(data) else {
        return Tally::REFUSED;
    };
    if let Some(decoded) = urls::decode(text) {
        assert!(decoded.len() <= text.len());
        assert!(text.contains('%') || decoded == text);
    }
    let Some(pairs) = urls::pairs(text) else {
        return Tally::REFUSED;
    };
    let octets: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(octets <= text.len() && pairs.len() <= 32);
    Tally::one(!pairs.is_empty())
}

/// What the front writes it reads again, whatever the answer; an answer that is not whole is
/// waited for, and what stands behind it is left.
pub fn http_answer(data: &[u8]) -> Tally {
    let mut rest = data.to_vec();
    let Ok(Some(answer)) = answer::take(&mut rest) else {
        assert_eq!(rest, data, "what was not taken is touched");
        return Tally::REFUSED;
    };
    assert!(rest.len() < data.len() && data.ends_with(&rest));
    assert!(answer.body.len() <= limits::ANSWER_BYTES_MAX);
    let mut written = Vec::new();
    answer::write(&answer, true, false, &mut written);
    let head = &written[..written.len() - answer.body.len()];
    assert!(head.ends_with(b"\r\n\r\n"));
    let mut part = written[..written.len() - usize::from(!answer.body.is_empty())].to_vec();
    let mut again = written.clone();
    let read = answer::take(&mut again);
    let Ok(Some(read)) = read else {
        // A status that no reader takes is the application's own.
        assert!(!(100..1000).contains(&answer.status), "{answer:?} {read:?}");
        return Tally::ACCEPTED;
    };
    assert!(again.is_empty());
    assert_eq!((read.status, &read.body), (answer.status, &answer.body));
    // A field that could end its line does not leave; the others do, in their order.
    let mut sent = answer.fields.iter();
    assert!(
        read.fields
            .iter()
            .all(|field| sent
                .any(|other| { other.0 == field.0 && other.1.trim() == field.1.trim() }))
    );
    if !answer.body.is_empty() {
        assert_eq!(answer::take(&mut part), Ok(None));
    }
    Tally::ACCEPTED
}

/// A connection under any octets, answers, streams and times: memory keeps its bounds, a request
/// leaves whole, a deadline that has passed was met, and a closed connection stays closed.
pub fn http_connection(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let hosts = hosts();
    let mut now = Instant::from_secs(100);
    let mut history = History::default();
    let mut connection = if any(&mut u) {
        Connection::with_handshake(now, LOCAL)
    } else {
        Connection::new(now, LOCAL)
    };
    if !once_in(&mut u, 3) {
        let around = Surroundings {
            hosts: &hosts,
            bodies_bytes_left: 0,
        };
        connection.handle_input(now, Input::Secured, around);
    }
    let mut closed = false;
    while !u.is_empty() {
        tally.inputs += 1;
        let around = Surroundings {
            hosts: &hosts,
            bodies_bytes_left: if once_in(&mut u, 8) {
                100
            } else {
                limits::BODIES_BYTES_MAX
            },
        };
        match below(&mut u, 14) {
            0..=4 => {
                let piece = if once_in(&mut u, 3) {
                    piece(&mut u).to_vec()
                } else {
                    request_octets(&mut u)
                };
                // As a shell that reads now and then too much.
                if connection.interest().0 || once_in(&mut u, 8) {
                    connection.handle_input(now, Input::Received(&piece), around);
                }
            }
            5..=7 => {
                let pending = connection.pending().len();
                let sent = pending.min(pick(&mut u, &[1, 100, usize::MAX]));
                if sent > 0 {
                    connection.handle_input(now, Input::Sent(sent), around);
                }
            }
            8 => {
                let answer = Answer {
                    status: pick(&mut u, &[200, 303, 404, 503, 0, 65_535]),
                    fields: vec![("location", text(&mut u, b"/a\r\n ", 6))],
                    body: vec![b'x'; pick(&mut u, &[0, 1, 20_000])],
                };
                connection.handle_input(now, Input::Answer(&answer), around);
            }
            9 => {
                let id = format!("boot.{}-{}", below(&mut u, 3), number(&mut u));
                let first = history.resume(any::<bool>(&mut u).then_some(&*id));
                connection.handle_input(now, Input::Stream(&first), around);
            }
            10 => {
                let filling = "x".repeat(pick(&mut u, &[0, 100, 17_000]));
                let of = u64::from(number(&mut u) % 100);
                let event = history.push(&Happened {
                    id: of,
                    topic: "lease".to_owned(),
                    data: serde_json::json!({ "x": filling }),
                });
                connection.handle_input(now, Input::Event(event), around);
            }
            11 => match below(&mut u, 3) {
                0 => connection.handle_input(now, Input::Secured, around),
                1 => connection.handle_input(now, Input::ReadEnd, around),
                _ => {
                    let more = pick(&mut u, &[0, 1, 517, 9_000]);
                    connection.handle_input(now, Input::Handshake(more), around);
                }
            },
            12 => now += Duration::from_millis(pick(&mut u, &[1, 900, 12_000, 40_000])),
            _ => {
                // Exactly at the deadline, as the shell's timer has it.
                if let Some(deadline) = connection.deadline() {
                    now = now.max(deadline);
                }
            }
        }
        connection.handle_timeout(now);
        loop {
            match connection.poll_output() {
                Output::Nothing => break,
                Output::Close => closed = true,
                Output::EndSending => {}
                Output::Request(request) => {
                    tally.accepted += 1;
                    assert!(!closed, "asks after its end");
                    assert_eq!(request.body.len(), request.head.body_bytes);
                }
            }
        }
        assert!(connection.answer_bytes() < 400_000);
        assert!(connection.body_bytes() <= limits::CONFIG_BODY_BYTES_MAX);
        assert_eq!(
            closed,
            connection.deadline().is_none() && !is_streaming(&connection)
        );
        assert!(
            connection.deadline().is_none_or(|deadline| deadline > now),
            "a deadline that has passed would be met for ever: {connection:?}"
        );
        if closed {
            assert_eq!(connection.interest(), (false, false));
            break;
        }
    }
    tally
}

fn is_streaming(connection: &Connection) -> bool {
    use lintel_roles::webd::front::connection::Standing;
    connection.standing() == Standing::Streaming
}

/// A part of a head or of a body.
fn piece(u: &mut Unstructured<'_>) -> &'static [u8] {
    pick(
        u,
        &[
            b"GET / HTTP/1.1\r\n",
            b"POST /api/config HTTP/1.1\r\n",
            b"Host: lintel\r\n",
            b"Content-Length: 5\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"\n",
            b"hello",
            b"",
        ],
    )
}

/// A request, mostly right.
pub fn request_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let method = pick(
        u,
        &[
            "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "get", "",
        ],
    );
    let path = match below(u, 8) {
        0 => "/api/config".to_owned(),
        1 => format!("/static/{}", text(u, b"abc./%", 10)),
        2 => format!("http://lintel/{}", text(u, b"a?=&", 6)),
        3 => text(u, b"/a*#? \x7f", 6),
        _ => "/".to_owned(),
    };
    let version = pick(u, &["1.1", "1.1", "1.1", "1.0", "2.0"]);
    let host = if once_in(u, 6) {
        pick(u, &["[::1]:443", "evil.example", "LINTEL.lan.", ""])
    } else {
        pick(u, &["lintel", "192.168.1.1:80"])
    };
    let mut request = format!("{method} {path} HTTP/{version}\r\nHost: {host}\r\n");
    let mut body = Vec::new();
    if !matches!(method, "GET" | "HEAD") && any(u) {
        body = octets(u, 40);
        let said = if once_in(u, 8) {
            number(u) as usize
        } else {
            body.len()
        };
        request += &format!("Content-Length: {said}\r\n");
    }
    for _ in 0..below(u, 4) {
        request += pick(
            u,
            &[
                "Accept: text/html\r\n",
                "Cookie: a=b; lintel_session=0af\r\n",
                "Authorization: Bearer 0af\r\n",
                "Connection: close\r\n",
                "Content-Type: application/json; charset=utf-8\r\n",
                "Expect: 100-continue\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Last-Event-ID: boot.0-3\r\n",
                "Sec-Fetch-Site: cross-site\r\n",
                "X: y\r\n y\r\n",
            ],
        );
    }
    request += "\r\n";
    let mut request = request.into_bytes();
    request.append(&mut body);
    request
}

/// A form's body or a query.
pub fn form_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let pairs: Vec<String> = (0..below(u, 36))
        .map(|_| {
            let value = match below(u, 3) {
                0 => format!("%{:02x}", any::<u8>(u)),
                1 => text(u, b"ab+ %&=", 8),
                _ => "hunter2".to_owned(),
            };
            format!("{}={value}", text(u, b"abc", 4))
        })
        .collect();
    pairs.join("&").into_bytes()
}

/// An answer as tiny_http writes it.
pub fn answer_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let body = octets(u, 60);
    let status = pick(u, &[200, 303, 404, 422, 500, 0, 99, 999]);
    let mut answer = format!("HTTP/1.1 {status:03} OK\r\nServer: tiny-http\r\n");
    for _ in 0..below(u, 4) {
        answer += pick(
            u,
            &[
                "Content-Type: text/html\r\n",
                "Set-Cookie: a=b; HttpOnly\r\n",
                "Location: /\t\r\n",
                "ETag: \"x\"\r\n",
                "Cache-Control:\r\n",
            ],
        );
    }
    let said = if once_in(u, 8) {
        number(u) as usize
    } else {
        body.len()
    };
    answer += &format!("Content-Length: {said}\r\n\r\n");
    let mut answer = answer.into_bytes();
    answer.extend(body);
    answer
}
