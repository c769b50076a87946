//! dnsd, unbound and dnsmasq, each with a thousand names in its cache.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use netns_tests::Proc;

use crate::Request;
use crate::error::BenchError;
use crate::load::{Exchange, Heard, Outcome, SLOTS_MAX, WINDOW_MAX};
use crate::measure::{cpu_ns, role_of, rss_kib};
use crate::place::{CLIENT, LINK, Place, SERVER, has, wait_for};
use crate::report::{self, Line, Round};

/// Names in the caches: what a household asks for in a day.
const NAMES: usize = 1_000;
/// Questions a second at which latencies are taken: below half of what the slowest gives.
const RATE: u32 = 10_000;
/// Longer than any bench.
const TTL_S: u32 = 86_400;

const UPSTREAM_PORT: u16 = 5300;

/// One server under test.
struct Server {
    line: Line,
    /// Kept until the bench ends.
    _proc: Proc,
    pids: Vec<u32>,
    to: String,
}

/// The whole bench.
pub(crate) fn bench(request: &Request) -> Result<(), BenchError> {
    let place = Place::with_address(LINK, request.real_time);
    let upstream = format!("{CLIENT}:{UPSTREAM_PORT}");
    let _upstream = place.aside("upstream", &["upstream", "dns", "--from", &upstream]);
    let mut servers = vec![ours(&place, request)?, unbound(&place), dnsmasq(&place)];
    for server in &mut servers {
        let warm = || {
            let outcome = ask(&place, &server.to, request, &["--pace", "once"]).ok()?;
            (outcome.done == NAMES as u64).then_some(outcome)
        };
        wait_for("a server knows every name", warm);
    }
    for _ in 0..request.rounds {
        for server in &mut servers {
            let full = format!("{WINDOW_MAX}");
            let before = cpu_ns(&server.pids);
            let outcome = ask(&place, &server.to, request, &["--window", &full])?;
            let cpu = cpu_ns(&server.pids) - before;
            server.line.judge(&outcome);
            server.line.rounds.push(Round {
                a_second: outcome.a_second,
                cpu_us: cpu as f64 / 1e3 / outcome.done as f64,
                ..Round::default()
            });
        }
        for server in &mut servers {
            let rate = RATE.to_string();
            let before = cpu_ns(&server.pids);
            let outcome = ask(&place, &server.to, request, &["--rate", &rate])?;
            let cpu = cpu_ns(&server.pids) - before;
            server.line.judge(&outcome);
            if let Some(round) = server.line.rounds.last_mut() {
                round.paced_cpu_us = cpu as f64 / 1e3 / outcome.done as f64;
                (round.p50_us, round.p99_us) = (outcome.p50_us, outcome.p99_us);
            }
        }
    }
    for server in &mut servers {
        server.line.rss_kib = rss_kib(&server.pids);
    }
    if has("dnsperf") {
        cross_check(&place, &servers)?;
    }
    let lines: Vec<Line> = servers.into_iter().map(|server| server.line).collect();
    println!("DNS, {NAMES} cached names, {WINDOW_MAX} questions under way");
    match report::print("answers", RATE, &lines) {
        true => Ok(()),
        false => Err(BenchError::Wrong("a server answered wrongly".to_owned())),
    }
}

fn ask(place: &Place, to: &str, request: &Request, pace: &[&str]) -> Result<Outcome, BenchError> {
    let (from, seconds) = (format!("{CLIENT}:0"), request.seconds.to_string());
    let mut words = vec![
        "load",
        "dns",
        "--from",
        &from,
        "--to",
        to,
        "--seconds",
        &seconds,
    ];
    words.extend_from_slice(pace);
    place.load(&words)
}

fn ours(place: &Place, request: &Request) -> Result<Server, BenchError> {
    let port = 5301;
    let config = place.dir.write(
        "lintel.toml",
        &format!(
            "[lan]\naddress = \"{SERVER}/16\"\n[dns]\nupstreams = [\"{CLIENT}:{UPSTREAM_PORT}\"]\n\
             [run]\ndns_port = {port}\n"
        ),
    );
    let (lintel, config) = (
        request.lintel.display().to_string(),
        config.display().to_string(),
    );
    let data = place.dir.path("data").display().to_string();
    let args = [&lintel, "run", "dnsd", "--config", &config, "--data", &data];
    let proc = place.serve("dnsd", &args);
    let pids = wait_for("dnsd runs", || role_of(proc.pid()));
    Ok(Server {
        line: Line::new("dnsd"),
        _proc: proc,
        pids,
        to: format!("{SERVER}:{port}"),
    })
}

fn unbound(place: &Place) -> Server {
    let port = 5302;
    let config = place.dir.write(
        "unbound.conf",
        &format!(
            r#"server:
  interface: {SERVER}@{port}
  access-control: 10.7.0.0/16 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  pidfile: ""
  num-threads: 1
  msg-cache-size: 4m
  rrset-cache-size: 4m
  module-config: "iterator"
forward-zone:
  name: "."
  forward-addr: {CLIENT}@{UPSTREAM_PORT}
remote-control:
  control-enable: no
"#
        ),
    );
    let proc = place.serve(
        "unbound",
        &["unbound", "-d", "-c", &config.display().to_string()],
    );
    alone("unbound", proc, port)
}

fn dnsmasq(place: &Place) -> Server {
    let port = 5303;
    let (listen, upstream) = (
        format!("--listen-address={SERVER}"),
        format!("--server={CLIENT}#{UPSTREAM_PORT}"),
    );
    let args = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        &listen,
        &upstream,
        "--user=root",
        "--pid-file=",
        "--cache-size=10000",
        &format!("--port={port}"),
    ];
    alone("dnsmasq", place.serve("dnsmasq", &args), port)
}

/// A server that is one process: nsenter, nice and taskset become it.
fn alone(name: &'static str, proc: Proc, port: u16) -> Server {
    Server {
        line: Line::new(name),
        pids: vec![proc.pid()],
        _proc: proc,
        to: format!("{SERVER}:{port}"),
    }
}

/// dnsperf's view of the same servers, so that nobody has to believe our load.
fn cross_check(place: &Place, servers: &[Server]) -> Result<(), BenchError> {
    let names: String = (0..NAMES)
        .map(|n| format!("{} A\n", name_text(n)))
        .collect();
    let queries = place.dir.write("queries", &names).display().to_string();
    println!("dnsperf beside our load:");
    for server in servers {
        let port = server.to.rsplit(':').next().unwrap_or_default();
        let before = cpu_ns(&server.pids);
        let text = place.judge(&[
            "dnsperf", "-s", SERVER, "-p", port, "-l", "3", "-q", "128", "-c", "1", "-d", &queries,
        ])?;
        let cpu = cpu_ns(&server.pids) - before;
        let number = |what: &str| {
            let line = text.lines().find(|line| line.contains(what))?;
            line.split_whitespace()
                .find_map(|word| word.parse::<f64>().ok())
        };
        let (Some(rate), Some(done)) = (number("Queries per second"), number("Queries completed"))
        else {
            return Err(BenchError::Output {
                program: "dnsperf".to_owned(),
                said: text,
            });
        };
        println!(
            "  {:<10} {rate:.0} answers/s, {:.2} us CPU each",
            server.line.name,
            cpu as f64 / 1e3 / done
        );
    }
    Ok(())
}

/// Asks for the names in turn, each with its own address as the right answer.
pub(crate) struct Questions {
    next: usize,
    once: bool,
    /// By slot: the id of its question, and the name that was asked. Ids are slots with four bits
    /// that change each time, so that a late answer is known as one.
    asked: Vec<(u16, usize)>,
    names: Vec<Vec<u8>>,
}

impl Questions {
    /// `once`: each name a single time.
    pub(crate) fn new(once: bool) -> Self {
        Self {
            next: 0,
            once,
            asked: vec![(0, 0); SLOTS_MAX],
            names: (0..NAMES).map(|n| question(&name_text(n))).collect(),
        }
    }

    fn judge(&self, reply: &[u8]) -> Result<Heard, String> {
        let head = reply.first_chunk::<12>().ok_or("cut")?;
        let id = u16::from_be_bytes([head[0], head[1]]);
        let slot = usize::from(id) % SLOTS_MAX;
        let (asked, name) = self.asked[slot];
        if id != asked {
            return Ok(Heard::Late);
        }
        let question = self.names.get(name).ok_or("an unknown name")?;
        if head[2] & 0x80 == 0 || head[3] & 0x0f != 0 {
            return Err(format!(
                "no positive answer: flags {:02x}{:02x}",
                head[2], head[3]
            ));
        }
        let rest = reply
            .get(12..)
            .and_then(|rest| rest.strip_prefix(question.as_slice()))
            .ok_or("another question")?;
        if u16::from_be_bytes([head[6], head[7]]) != 1 {
            return Err("not one record".to_owned());
        }
        // The owner is the question's name, in full or as a pointer to it.
        let name_len = question.len() - 4;
        let rest = rest
            .strip_prefix(&[0xc0, 12])
            .or_else(|| rest.strip_prefix(&question[..name_len]))
            .ok_or("another owner")?;
        let fixed = rest.first_chunk::<14>().ok_or("cut")?;
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let right = address_of(&question[..name_len]).octets();
        if fixed[..4] != [0, 1, 0, 1] || fixed[8..10] != [0, 4] || fixed[10..] != right {
            return Err(format!("another record: {fixed:02x?}"));
        }
        if ttl == 0 || ttl > TTL_S {
            return Err(format!("a TTL of {ttl}"));
        }
        Ok(Heard::Done(slot))
    }
}

impl Exchange for Questions {
    fn ask(&mut self, slot: usize, _begins: bool, out: &mut Vec<u8>) -> bool {
        if self.once && self.next == NAMES {
            return false;
        }
        let name = self.next % NAMES;
        self.next += 1;
        let id = self.asked[slot].0.wrapping_add(SLOTS_MAX as u16) & !(SLOTS_MAX as u16 - 1);
        let id = id | slot as u16;
        self.asked[slot] = (id, name);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.names[name]);
        true
    }

    fn hear(&mut self, reply: &[u8]) -> Heard {
        self.judge(reply).unwrap_or_else(Heard::Wrong)
    }
}

/// Answers every question with an address made from its name, until it is killed.
pub(crate) fn upstream(listen: SocketAddrV4) -> Result<(), BenchError> {
    let socket = UdpSocket::bind(listen).map_err(BenchError::io("binding the upstream"))?;
    let mut message = [0; 1500];
    loop {
        let (len, from) = socket
            .recv_from(&mut message)
            .map_err(BenchError::io("receiving a question"))?;
        if let Some(answer) = answer(&message[..len]) {
            // Lost answers are asked for again.
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(*query.get(end)?);
    }
    let (name, kind) = (query.get(12..=end)?, query.get(end + 1..end + 5)?);
    let is_a = kind == [0, 1, 0, 1];
    let mut out = query.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    out.extend_from_slice(name);
    out.extend_from_slice(kind);
    if is_a {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        out.extend_from_slice(&TTL_S.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address_of(name).octets());
    }
    Some(out)
}

/// A public address that only this name has, whatever the case of its letters.
fn address_of(name: &[u8]) -> Ipv4Addr {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, octet| {
        (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    });
    let [_, a, b, c] = hash.to_be_bytes();
    Ipv4Addr::new(20, a, b, c)
}

fn name_text(n: usize) -> String {
    format!("host{n}.lintel-bench.net")
}

/// Name, type and class as they stand in a message.
fn question(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_counts() {
        let mut questions = Questions::new(false);
        let mut query = Vec::new();
        assert!(questions.ask(7, true, &mut query));
        let right = answer(&query).unwrap();
        assert_eq!(questions.hear(&right), Heard::Done(7));
        assert!(questions.ask(7, true, &mut Vec::new()));
        assert_eq!(questions.hear(&right), Heard::Late);
        let mut query = Vec::new();
        assert!(questions.ask(7, true, &mut query));
        let right = answer(&query).unwrap();
        for at in [3, 13, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            assert!(
                matches!(questions.hear(&wrong), Heard::Wrong(_)),
                "octet {at}"
            );
        }
        for len in 0..right.len() {
            assert!(
                matches!(questions.hear(&right[..len]), Heard::Wrong(_)),
                "{len} octets"
            );
        }
    }
}
