//! timed and chronyd, each asked by sixty-five thousand addresses in turn, so that no limit for one
//! address decides what is measured.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{SystemTime, UNIX_EPOCH};

use netns_tests::Proc;

use crate::Request;
use crate::error::BenchError;
use crate::load::{Exchange, Heard, Outcome, SLOTS_MAX, WINDOW_MAX};
use crate::measure::{cpu_ns, role_of, rss_kib};
use crate::place::{CLIENT, LINK, Place, SERVER, has, wait_for};
use crate::report::{self, Line, Round};

/// Requests a second at which latencies are taken.
const RATE: u32 = 10_000;
/// The addresses that ask, a /16.
const ASKERS: &str = "10.8.0.0/16";
const ASKER: u32 = 0x0a08_0000;
const ASKERS_MAX: u32 = 1 << 16;
/// How far a server's clock may be from this machine's, seconds.
const OFF_S_MAX: f64 = 1.0;

/// One server under test, alone with its load.
struct Server {
    line: Line,
    place: Place,
    _procs: Vec<Proc>,
    pids: Vec<u32>,
}

/// The whole bench.
pub(crate) fn bench(request: &Request) -> Result<(), BenchError> {
    if !has("chronyd") {
        return Err(BenchError::Usage(
            "chronyd is missing: package chrony".to_owned(),
        ));
    }
    let mut servers = [ours(request), chronyd(request)];
    for server in &servers {
        server
            .place
            .client
            .ok(["ip", "route", "add", "local", ASKERS, "dev", "lo"]);
        server
            .place
            .server
            .ok(["ip", "route", "add", ASKERS, "via", CLIENT]);
        let ready = || {
            let outcome = ask(&server.place, "1", &["--rate", "10"]).ok()?;
            (outcome.done > 0 && outcome.wrong == 0).then_some(())
        };
        wait_for("a server tells the time", ready);
    }
    let seconds = request.seconds.to_string();
    for _ in 0..request.rounds {
        for server in &mut servers {
            let window = WINDOW_MAX.to_string();
            let before = cpu_ns(&server.pids);
            let outcome = ask(&server.place, &seconds, &["--window", &window])?;
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
            let outcome = ask(&server.place, &seconds, &["--rate", &rate])?;
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
    println!("NTP, version 4 clients, {WINDOW_MAX} requests under way");
    let lines = servers.map(|server| server.line);
    match report::print("answers", RATE, &lines) {
        true => Ok(()),
        false => Err(BenchError::Wrong("a server answered wrongly".to_owned())),
    }
}

fn ask(place: &Place, seconds: &str, pace: &[&str]) -> Result<Outcome, BenchError> {
    let (from, to) = (format!("{CLIENT}:1123"), format!("{SERVER}:123"));
    let mut words = vec![
        "load",
        "ntp",
        "--from",
        &from,
        "--to",
        &to,
        "--seconds",
        seconds,
    ];
    words.extend_from_slice(pace);
    place.load(&words)
}

/// timed says nothing before it knows the time, so there is a server for it to ask.
fn ours(request: &Request) -> Server {
    let place = Place::with_address(LINK, request.real_time);
    let config = place
        .dir
        .write("upstream.conf", &chrony_config(&place, "upstream", CLIENT));
    let upstream = place.beside("upstream", &chronyd_args(&config.display().to_string()));
    let config = place.dir.write(
        "lintel.toml",
        &format!(
            "[lan]\naddress = \"{SERVER}/16\"\n[ntp]\nservers = [\"{CLIENT}\"]\npools = []\n[run]\n"
        ),
    );
    let data = place.dir.path("data").display().to_string();
    let (lintel, config) = (
        request.lintel.display().to_string(),
        config.display().to_string(),
    );
    let proc = place.serve(
        "timed",
        &[
            &lintel, "run", "timed", "--config", &config, "--data", &data,
        ],
    );
    let pids = wait_for("timed runs", || role_of(proc.pid()));
    Server {
        line: Line::new("timed"),
        place,
        _procs: vec![proc, upstream],
        pids,
    }
}

fn chronyd(request: &Request) -> Server {
    let place = Place::with_address(LINK, request.real_time);
    let config = place
        .dir
        .write("chrony.conf", &chrony_config(&place, "chrony", SERVER));
    let proc = place.serve("chronyd", &chronyd_args(&config.display().to_string()));
    Server {
        line: Line::new("chronyd"),
        place,
        pids: vec![proc.pid()],
        _procs: vec![proc],
    }
}

fn chrony_config(place: &Place, name: &str, address: &str) -> String {
    let pid = place.dir.path(&format!("{name}.pid"));
    format!(
        "local stratum 3\nallow all\nbindaddress {address}\ncmdport 0\nbindcmdaddress /\npidfile {}\n",
        pid.display()
    )
}

/// In the foreground, and with its hands off the machine's clock.
fn chronyd_args(config: &str) -> [&str; 7] {
    ["chronyd", "-d", "-x", "-u", "root", "-f", config]
}

/// Requests of many addresses, each with its own number as the time it left.
pub(crate) struct Requests {
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// By slot: what its reply must hand back.
    sent: Vec<u64>,
    next: u64,
}

impl Requests {
    /// To `to`, from the port of `from` at addresses in turn.
    pub(crate) fn new(from: SocketAddrV4, to: SocketAddrV4) -> Self {
        Self {
            from,
            to,
            sent: vec![0; SLOTS_MAX],
            next: 1,
        }
    }

    fn judge(&self, reply: &[u8]) -> Result<Heard, String> {
        let reply = <&[u8; 48]>::try_from(reply).map_err(|_| format!("{} octets", reply.len()))?;
        let stamp = |at: usize| {
            reply[at..at + 8]
                .iter()
                .fold(0u64, |all, octet| all << 8 | u64::from(*octet))
        };
        let (origin, receive, transmit) = (stamp(24), stamp(32), stamp(40));
        let slot = (origin >> 8) as usize % SLOTS_MAX;
        if origin != self.sent[slot] {
            return Ok(Heard::Late);
        }
        let (leap, version, mode) = (reply[0] >> 6, reply[0] >> 3 & 7, reply[0] & 7);
        if leap == 3 || version != 4 || mode != 4 || !(1..=15).contains(&reply[1]) {
            return Err(format!("first octets {:02x?}", &reply[..2]));
        }
        if receive > transmit {
            return Err("it left before it came".to_owned());
        }
        let off_s = (transmit as f64 - now_ntp()) / 2f64.powi(32);
        if off_s.abs() > OFF_S_MAX {
            return Err(format!("{off_s} s off"));
        }
        Ok(Heard::Done(slot))
    }
}

impl Exchange for Requests {
    fn spoofs(&self) -> bool {
        true
    }

    fn ask(&mut self, slot: usize, _begins: bool, out: &mut Vec<u8>) -> bool {
        let number = self.next;
        self.next += 1;
        // The low octet stays free, since some servers look at the last bits of a time.
        self.sent[slot] = (number << 20 | (slot as u64) << 8) | 0x5a;
        let asker = Ipv4Addr::from(ASKER + number as u32 % ASKERS_MAX);
        // RFC 791 and 768; the kernel adds IP's checksum, and UDP's may be absent.
        out.extend_from_slice(&[0x45, 0, 0, 76, 0, 0, 0, 0, 64, 17, 0, 0]);
        out.extend_from_slice(&asker.octets());
        out.extend_from_slice(&self.to.ip().octets());
        out.extend_from_slice(&self.from.port().to_be_bytes());
        out.extend_from_slice(&self.to.port().to_be_bytes());
        out.extend_from_slice(&[0, 56, 0, 0]);
        out.push(0x23);
        out.extend_from_slice(&[0; 39]);
        out.extend_from_slice(&self.sent[slot].to_be_bytes());
        true
    }

    fn hear(&mut self, reply: &[u8]) -> Heard {
        self.judge(reply).unwrap_or_else(Heard::Wrong)
    }
}

/// This machine's time in units of 2^-32 s since 1900.
fn now_ntp() -> f64 {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (unix.as_secs_f64() + 2_208_988_800.0) * 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_reply_counts() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 123);
        let mut requests = Requests::new(address, address);
        let mut packet = Vec::new();
        assert!(requests.ask(5, true, &mut packet));
        assert_eq!(packet.len(), 76);
        let mut reply = [0; 48];
        reply[..2].copy_from_slice(&[0x24, 3]);
        reply[24..32].copy_from_slice(&packet[68..]);
        let now = (now_ntp() as u64).to_be_bytes();
        reply[32..40].copy_from_slice(&now);
        reply[40..].copy_from_slice(&now);
        assert_eq!(requests.hear(&reply), Heard::Done(5));
        for (at, octet) in [(0, 0xe4), (0, 0x23), (1, 0), (40, 0), (32, 0xff)] {
            let mut wrong = reply;
            wrong[at] = octet;
            assert!(
                matches!(requests.hear(&wrong), Heard::Wrong(_)),
                "octet {at}"
            );
        }
        reply[31] ^= 1;
        assert_eq!(requests.hear(&reply), Heard::Late);
    }
}
