//! The whole router, kea-dhcp4 and dnsmasq, each giving and lengthening leases of two thousand
//! clients behind a relay agent.
//!
//! Every exchange has four messages and makes the server write: a client asks for a longer lease
//! each time. The router's ACK waits until the lease is on disk; kea's memfile and dnsmasq's file
//! are written without a sync, so what they acknowledged last is lost with the power.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use netns_tests::Proc;

use crate::Request;
use crate::error::BenchError;
use crate::load::{Exchange, Heard, Outcome, SLOTS_MAX, WINDOW_MAX};
use crate::measure::{cpu_ns, family, rss_kib};
use crate::place::{CLIENT, LINK, Place, SERVER, has, wait_for};
use crate::report::{self, Line, Round};

/// Clients: below half of what any of the pools has.
const CLIENTS: usize = 2_000;
/// Exchanges a second at which latencies are taken.
const RATE: u32 = 300;
/// Exchanges of the paced part of a round.
const PACED: usize = 600;

const POOL: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 7, 16, 0), Ipv4Addr::new(10, 7, 31, 255));
/// What clients ask for at first, seconds; each time a tenth more, so that no server can answer
/// from what it has stored.
const LEASE_S: f64 = 1_000.0;
const LEASE_GROWTH: f64 = 1.1;
/// Longest lease that the servers are configured to give.
const LEASE_S_MAX: u32 = 7 * 86_400;

/// One server under test, alone with its load.
struct Server {
    line: Line,
    place: Place,
    proc: Proc,
}

/// The whole bench.
pub(crate) fn bench(request: &Request) -> Result<(), BenchError> {
    let mut servers = vec![ours(request), kea(request), dnsmasq(request)];
    let mut pass = 0;
    for server in &mut servers {
        let ready = || {
            let outcome = ask(&server.place, pass, 1, &["--window", "1"]).ok()?;
            (outcome.done == 1).then_some(())
        };
        wait_for("a server gives its first lease", ready);
    }
    for _ in 0..request.rounds {
        pass += 1;
        for server in &mut servers {
            let (outcome, cpu) = server.measure(pass, CLIENTS, "--window", WINDOW_MAX)?;
            server.line.rounds.push(Round {
                a_second: outcome.a_second,
                cpu_us: cpu / outcome.done as f64,
                ..Round::default()
            });
        }
        pass += 1;
        for server in &mut servers {
            let (outcome, cpu) = server.measure(pass, PACED, "--rate", RATE as usize)?;
            if let Some(round) = server.line.rounds.last_mut() {
                round.paced_cpu_us = cpu / outcome.done as f64;
                (round.p50_us, round.p99_us) = (outcome.p50_us, outcome.p99_us);
            }
        }
    }
    for server in &mut servers {
        server.line.rss_kib = rss_kib(&family(server.proc.pid()));
    }
    if has("perfdhcp") {
        cross_check(&servers)?;
    }
    let lines: Vec<Line> = servers.into_iter().map(|server| server.line).collect();
    println!(
        "DHCP, exchanges of four messages, {CLIENTS} clients, {WINDOW_MAX} under way; \
         the router's leases are synced to disk, the others' are not"
    );
    match report::print("exchanges", RATE, &lines) {
        true => Ok(()),
        false => Err(BenchError::Wrong("a server answered wrongly".to_owned())),
    }
}

impl Server {
    fn measure(
        &mut self,
        pass: usize,
        clients: usize,
        pace: &str,
        much: usize,
    ) -> Result<(Outcome, f64), BenchError> {
        let pids = family(self.proc.pid());
        let before = cpu_ns(&pids);
        let outcome = ask(&self.place, pass, clients, &[pace, &much.to_string()])?;
        let cpu_us = (cpu_ns(&pids) - before) as f64 / 1e3;
        self.line.judge(&outcome);
        Ok((outcome, cpu_us))
    }
}

fn ask(place: &Place, pass: usize, clients: usize, pace: &[&str]) -> Result<Outcome, BenchError> {
    let (from, to) = (format!("{CLIENT}:67"), format!("{SERVER}:67"));
    let (pass, clients) = (pass.to_string(), clients.to_string());
    let mut words = vec![
        "load",
        "dhcp",
        "--from",
        &from,
        "--to",
        &to,
        "--seconds",
        "60",
        "--pass",
        &pass,
        "--clients",
        &clients,
    ];
    words.extend_from_slice(pace);
    place.load(&words)
}

fn ours(request: &Request) -> Server {
    let place = Place::with_link("p0", request.real_time);
    let (first, last) = POOL;
    let config = place.dir.write(
        "lintel.toml",
        &format!(
            "[wan]\nkind = \"none\"\n[lan]\naddress = \"{SERVER}/16\"\nports = [\"p0\"]\n\
             [dhcp]\nlease_s = {LEASE_S_MAX}\npool = {{ first = \"{first}\", last = \"{last}\" }}\n\
             [run]\n"
        ),
    );
    let path = |path: PathBuf| path.display().to_string();
    let (lintel, config, data) = (
        path(request.lintel.clone()),
        path(config),
        path(place.dir.path("data")),
    );
    let proc = place.serve(
        "lintel",
        &[&lintel, "run", "--config", &config, "--data", &data],
    );
    Server {
        line: Line::new("lintel"),
        place,
        proc,
    }
}

fn kea(request: &Request) -> Server {
    let place = Place::with_address(LINK, request.real_time);
    let (first, last) = POOL;
    let leases = place.dir.path("kea.leases").display().to_string();
    let config = place.dir.write(
        "kea.json",
        &format!(
            r#"{{"Dhcp4":{{
  "interfaces-config":{{"interfaces":["{LINK}"],"dhcp-socket-type":"udp"}},
  "lease-database":{{"type":"memfile","persist":true,"name":"{leases}","lfc-interval":0}},
  "valid-lifetime":3600,"min-valid-lifetime":60,"max-valid-lifetime":{LEASE_S_MAX},
  "subnet4":[{{"subnet":"10.7.0.0/16","pools":[{{"pool":"{first} - {last}"}}],
    "option-data":[{{"name":"routers","data":"{SERVER}"}},{{"name":"domain-name-servers","data":"{SERVER}"}}]}}],
  "loggers":[{{"name":"kea-dhcp4","output_options":[{{"output":"stdout"}}],"severity":"ERROR"}}]}}}}"#
        ),
    );
    // kea wants a place for its lock and PID files that it can write to.
    let dir = place.dir.path("").display().to_string();
    let (config, lock) = (
        config.display().to_string(),
        format!("KEA_LOCKFILE_DIR={dir}"),
    );
    let pid = format!("KEA_PIDFILE_DIR={dir}");
    let proc = place.serve("kea", &["env", &lock, &pid, "kea-dhcp4", "-c", &config]);
    Server {
        line: Line::new("kea-dhcp4"),
        place,
        proc,
    }
}

fn dnsmasq(request: &Request) -> Server {
    let place = Place::with_address(LINK, request.real_time);
    let (first, last) = POOL;
    let leases = place.dir.path("dnsmasq.leases").display().to_string();
    let proc = place.serve(
        "dnsmasq",
        &[
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--pid-file=",
            "--no-ping",
            "--quiet-dhcp",
            "--dhcp-authoritative",
            &format!("--dhcp-leasefile={leases}"),
            "--dhcp-lease-max=4096",
            &format!("--dhcp-range={first},{last},255.255.0.0,{LEASE_S_MAX}"),
        ],
    );
    Server {
        line: Line::new("dnsmasq"),
        place,
        proc,
    }
}

/// perfdhcp's view, with clients of its own that are new to each server. It has no window, only
/// a rate, which a server keeps up with or not.
fn cross_check(servers: &[Server]) -> Result<(), BenchError> {
    println!("perfdhcp, 1,500 new clients at 500 a second, beside our load:");
    for server in servers {
        let pids = family(server.proc.pid());
        let before = cpu_ns(&pids);
        let text = server.place.judge_any(&[
            "perfdhcp",
            "-4",
            "-l",
            CLIENT,
            "-r",
            "500",
            "-n",
            "1500",
            "-R",
            "1500",
            "-b",
            "mac=02:77:00:00:00:01",
            "-W",
            "1000000",
            SERVER,
        ])?;
        let cpu_us = (cpu_ns(&pids) - before) as f64 / 1e3;
        // The second block counts REQUESTs and ACKs.
        let received = text.rsplit("received packets:").next();
        let acked = received
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<f64>().ok())
            .filter(|_| text.contains("REQUEST-ACK"))
            .ok_or_else(|| BenchError::Output {
                program: "perfdhcp".to_owned(),
                said: text.clone(),
            })?;
        println!(
            "  {:<10} {acked:.0} of 1500 acknowledged, {:.1} us CPU each",
            server.line.name,
            cpu_us / acked.max(1.0)
        );
    }
    Ok(())
}

/// Clients behind a relay agent, each in turn from DISCOVER to ACK.
pub(crate) struct Clients {
    next: usize,
    count: usize,
    lease_s: u32,
    relay: Ipv4Addr,
    /// By slot.
    open: Vec<Open>,
    given: HashMap<Ipv4Addr, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    xid: u32,
    client: usize,
    /// Server id and address of the offer, once there is one.
    offer: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Clients {
    /// The first `count` clients, on their `pass`th round through here.
    pub(crate) fn new(count: usize, pass: i32, relay: Ipv4Addr) -> Self {
        let none = Open {
            xid: 0,
            client: 0,
            offer: None,
        };
        Self {
            next: 0,
            count,
            lease_s: (LEASE_S * LEASE_GROWTH.powi(pass)) as u32,
            relay,
            open: vec![none; SLOTS_MAX],
            given: HashMap::new(),
        }
    }

    fn judge(&mut self, reply: &[u8]) -> Result<Heard, String> {
        let head = reply.first_chunk::<HEAD_LEN>().ok_or("cut")?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let xid = word(4);
        let slot = xid as usize % SLOTS_MAX;
        let open = &mut self.open[slot];
        if xid != open.xid {
            return Ok(Heard::Late);
        }
        if head[0] != 2 || head[28..34] != mac(open.client) || word(236) != MAGIC {
            return Err("not a reply to this client".to_owned());
        }
        let options = options(&reply[HEAD_LEN..]).ok_or("options that run past the end")?;
        let four = |code: u8| {
            let value = options
                .get(&code)
                .and_then(|value| <[u8; 4]>::try_from(*value).ok());
            value.ok_or(format!("no option {code}"))
        };
        // Somebody else got what was offered: dnsmasq offers one address to several clients.
        if options.get(&53) == Some(&&[6][..]) && open.offer.take().is_some() {
            return Ok(Heard::GoOn(slot));
        }
        let address = Ipv4Addr::from(word(16));
        if !(POOL.0..=POOL.1).contains(&address) {
            return Err(format!("{address} is not of the pool"));
        }
        let lease_s = u32::from_be_bytes(four(51)?);
        // A server may count the time that its disk took.
        if lease_s > self.lease_s + 10 || lease_s + 10 < self.lease_s {
            return Err(format!(
                "a lease of {lease_s} s where {} were asked for",
                self.lease_s
            ));
        }
        let server = Ipv4Addr::from(four(54)?);
        match (options.get(&53), open.offer) {
            (Some([2]), None) => {
                open.offer = Some((server, address));
                Ok(Heard::GoOn(slot))
            }
            (Some([5]), Some((_, offered))) if offered == address => {
                let owner = *self.given.entry(address).or_insert(open.client);
                if owner != open.client {
                    return Err(format!("{address} was given twice"));
                }
                Ok(Heard::Done(slot))
            }
            (kind, offer) => Err(format!("message type {kind:?} after offer {offer:?}")),
        }
    }
}

impl Exchange for Clients {
    fn ask(&mut self, slot: usize, begins: bool, out: &mut Vec<u8>) -> bool {
        if begins {
            if self.next == self.count {
                return false;
            }
            let generation = self.open[slot].xid / SLOTS_MAX as u32 + 1;
            self.open[slot] = Open {
                xid: generation * SLOTS_MAX as u32 + slot as u32,
                client: self.next,
                offer: None,
            };
            self.next += 1;
        }
        let open = self.open[slot];
        out.extend_from_slice(&[1, 1, 6, 1]);
        out.extend_from_slice(&open.xid.to_be_bytes());
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.relay.octets());
        out.extend_from_slice(&mac(open.client));
        out.resize(236, 0);
        out.extend_from_slice(&MAGIC.to_be_bytes());
        let mut option = |code: u8, value: &[u8]| {
            out.extend_from_slice(&[code, value.len() as u8]);
            out.extend_from_slice(value);
        };
        option(53, &[if open.offer.is_some() { 3 } else { 1 }]);
        option(51, &self.lease_s.to_be_bytes());
        option(55, &[1, 3, 6, 15, 51, 54]);
        if let Some((server, address)) = open.offer {
            option(54, &server.octets());
            option(50, &address.octets());
        }
        out.push(255);
        out.resize(out.len().max(300), 0);
        true
    }

    fn hear(&mut self, reply: &[u8]) -> Heard {
        self.judge(reply).unwrap_or_else(Heard::Wrong)
    }
}

const HEAD_LEN: usize = 240;
const MAGIC: u32 = 0x6382_5363;

fn mac(client: usize) -> [u8; 6] {
    let [.., a, b, c] = (client as u32).to_be_bytes();
    [2, 0x77, 1, a, b, c]
}

fn options(mut octets: &[u8]) -> Option<HashMap<u8, &[u8]>> {
    let mut found = HashMap::new();
    loop {
        match octets {
            [] | [255, ..] => return Some(found),
            [0, rest @ ..] => octets = rest,
            [code, len, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                found.insert(*code, value);
                octets = rest;
            }
            [_] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server would say to `query`.
    fn reply(query: &[u8], kind: u8, address: Ipv4Addr, lease_s: u32) -> Vec<u8> {
        let mut out = query[..HEAD_LEN].to_vec();
        out[0] = 2;
        out[16..20].copy_from_slice(&address.octets());
        out.extend_from_slice(&[53, 1, kind, 51, 4]);
        out.extend_from_slice(&lease_s.to_be_bytes());
        out.extend_from_slice(&[54, 4, 10, 7, 0, 1, 255]);
        out
    }

    #[test]
    fn an_exchange_ends_with_the_ack_of_what_was_offered() {
        let mut clients = Clients::new(2, 0, Ipv4Addr::new(10, 7, 0, 2));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        assert!(clients.ask(0, true, &mut one) && clients.ask(1, true, &mut two));
        let address = POOL.0;
        assert_eq!(
            clients.hear(&reply(&one, 2, address, 1_000)),
            Heard::GoOn(0)
        );
        assert_eq!(
            clients.hear(&reply(&two, 2, address, 1_000)),
            Heard::GoOn(1)
        );
        assert_eq!(
            clients.hear(&reply(&one, 5, address, 1_000)),
            Heard::Done(0)
        );
        let wrong = [
            reply(&two, 5, address, 1_000),
            reply(&two, 5, POOL.1, 1_000),
            reply(&two, 5, address, 900),
            two.clone(),
        ];
        for wrong in wrong {
            assert!(matches!(clients.hear(&wrong), Heard::Wrong(_)));
        }
        let refused = reply(&two, 6, Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(clients.hear(&refused), Heard::GoOn(1));
        assert!(matches!(clients.hear(&refused), Heard::Wrong(_)));
        assert!(!clients.ask(0, true, &mut Vec::new()));
    }
}
