//! Tests of the network: judged here, done by wand, shown as tasks.
//!
//! wand and not this role, since what answers is anybody's; and wand rather than dnsd, since it is the
//! one that speaks with the world outside in other ways than names. One at a time: the box is no
//! tool for making traffic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lintel_api::types::NetworkTestParams;
use lintel_ipc::call::Problem;
use lintel_ipc::wand::ToWand;
use lintel_model::RoleName;
use lintel_model::probe::{
    HOP_TRIES, HOPS_MAX, PING_DATA_BYTES, PING_DATA_BYTES_MAX, PING_PACKETS, PING_PACKETS_MAX,
    ProbeKind, ProbeNews, ProbeReport, ProbeSpec, ProbeState, RECORD_CHARS_MAX, RECORDS_MAX,
};
use lintel_wire::dns::{Name, RrType};
use lintel_wire::frame::is_host_address;

use super::calls::{Answer, at_once, away, bad_field, problem};
use super::core::{Core, Now, Output};
use super::tasks::{Heard, Progress, Step, Work};

/// Longest name, characters.
const TARGET_CHARS_MAX: usize = 253;

/// A test at work.
#[derive(Debug)]
pub(super) struct NetworkTest {
    /// As wand knows it.
    pub(super) id: u64,
    spec: ProbeSpec,
    asked: bool,
    progress: Progress,
    pub(super) report: Option<ProbeReport>,
}

impl NetworkTest {
    pub(super) fn step(&mut self, core: &mut Core, heard: Heard) -> Step {
        if !self.asked {
            self.asked = true;
            core.say(Output::Wand(ToWand::Probe {
                id: self.id,
                spec: self.spec.clone(),
            }));
            return Step::Wait;
        }
        match heard {
            Heard::Probe(Some(news)) => {
                let news = bounded(*news);
                self.report = news.report;
                self.progress = (news.done.into(), news.total.into(), news.text.clone());
                match (news.state, &self.report) {
                    (ProbeState::Running, _) => Step::Wait,
                    (ProbeState::Done, Some(report)) => {
                        let text = match report.is_good() {
                            true => "Done.",
                            false => "Done: it does not work.",
                        };
                        Step::Told(text.to_owned())
                    }
                    (ProbeState::Done, None) => Step::Failed("Nothing came of it.".to_owned()),
                    (ProbeState::Failed, _) => Step::Failed(news.text),
                }
            }
            Heard::Probe(None) => Step::Failed("wand ended meanwhile.".to_owned()),
            _ => Step::Wait,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Core {
    pub(super) fn network_test(&mut self, now: Now, params: &NetworkTestParams) -> Answer {
        let spec = self.probe_spec(params)?;
        if !self.up.contains(&RoleName::Wand) {
            return Err(away("wand"));
        }
        if self.tasks.network_test().is_some() {
            return Err(problem(
                409,
                "test-running",
                "Another test is being done",
                "One at a time. Wait for it, or end it: lintel tasks shows it.",
            ));
        }
        self.network_tests += 1;
        let work = NetworkTest {
            id: self.network_tests,
            progress: (0, 1, format!("Testing {}.", spec.target)),
            spec,
            asked: false,
            report: None,
        };
        let begun = self.begin_task(now, "network.test", Work::Network(Box::new(work)))?;
        at_once(&begun)
    }

    /// wand tells of a test, or is gone.
    pub(super) fn probe_told(&mut self, now: Now, id: Option<u64>, news: Option<Box<ProbeNews>>) {
        if let Some((task, running)) = self.tasks.network_test()
            && id.is_none_or(|id| id == running)
        {
            self.task_heard(now, task, Heard::Probe(news));
        }
    }

    fn probe_spec(&self, params: &NetworkTestParams) -> Result<ProbeSpec, Problem> {
        let kind = kind(params)?;
        let target = params.target.trim().trim_end_matches('.');
        let bad = |reason: &str, hint: &str| Err(bad_field("target", reason, hint));
        if target.is_empty() || target.chars().count() > TARGET_CHARS_MAX {
            return bad("it is empty or too long", "write a name or an IPv4 address");
        }
        match target.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) if is_host_address(v4) => {}
            Ok(IpAddr::V4(_)) => {
                return bad("no host has this address", "write that of a single host");
            }
            Ok(IpAddr::V6(_)) => {
                return bad("the box has no IPv6 yet", "write a name or an IPv4 address");
            }
            Err(_) if Name::from_text(target).is_err() || target.contains(char::is_whitespace) => {
                return bad("it is no name", "write a name or an IPv4 address");
            }
            Err(_) => {}
        }
        // The household's devices are called by their first names.
        let first_name = !target.contains('.') && !matches!(kind, ProbeKind::Resolve { .. });
        let target = match first_name {
            true => format!("{target}.{}", self.active.config.lan.domain),
            false => target.to_owned(),
        };
        match self.resolved.ntp.resolver {
            Some(SocketAddr::V4(resolver)) => Ok(ProbeSpec {
                target,
                kind,
                resolver,
            }),
            _ => Err(away("dnsd")),
        }
    }
}

fn kind(params: &NetworkTestParams) -> Result<ProbeKind, Problem> {
    let number = |name: &str, value: Option<u32>, usual: u32, max: u32| {
        let value = value.unwrap_or(usual);
        match (1..=max).contains(&value) {
            true => Ok(value),
            false => {
                let hint = format!("write a whole number from 1 to {max}");
                Err(bad_field(name, "it is out of bounds", &hint))
            }
        }
    };
    Ok(match params.kind.as_str() {
        "ping" => ProbeKind::Ping {
            count: number("count", params.count, PING_PACKETS, PING_PACKETS_MAX)?,
            size: number("size", params.size, PING_DATA_BYTES, PING_DATA_BYTES_MAX)?,
        },
        "traceroute" => ProbeKind::Traceroute {
            hops: number("hops", params.hops, HOPS_MAX, HOPS_MAX)?,
        },
        "path-mtu" => ProbeKind::PathMtu,
        "port" => match params.port.map(u16::try_from) {
            Some(Ok(port)) if port > 0 => ProbeKind::Port { port },
            _ => {
                let hint = "write a TCP port from 1 to 65535";
                return Err(bad_field("port", "it is missing or wrong", hint));
            }
        },
        "resolve" => {
            let record_type = params.record_type.as_deref().unwrap_or("A");
            let known = RrType::from_text(record_type).filter(|known| {
                // Whole zones, and what stands in no zone.
                let none = [RrType::AXFR, RrType::IXFR, RrType::OPT, RrType::TSIG];
                !none.contains(known)
            });
            let Some(known) = known else {
                let hint = "write A, AAAA, MX, TXT, PTR, another type or TYPE with its number";
                return Err(bad_field("type", "there is no such type", hint));
            };
            ProbeKind::Resolve {
                record_type: known.to_string(),
                server: params.server.map(server).transpose()?,
            }
        }
        _ => {
            let hint = "write ping, traceroute, resolve, port or path-mtu";
            return Err(bad_field("kind", "there is no such test", hint));
        }
    })
}

fn server(server: Ipv4Addr) -> Result<Ipv4Addr, Problem> {
    let hint = "write the address of a name server, or leave it out for the box's own";
    match is_host_address(server) {
        true => Ok(server),
        false => Err(bad_field("server", "no host has this address", hint)),
    }
}

/// As much as a role that reads anybody's packets is believed.
fn bounded(mut news: ProbeNews) -> ProbeNews {
    let word = |text: &mut String| {
        let clean = text.chars().filter(|c| !c.is_control());
        *text = clean.take(RECORD_CHARS_MAX).collect();
    };
    word(&mut news.text);
    match &mut news.report {
        Some(ProbeReport::Ping(ping)) => {
            ping.packets.truncate(PING_PACKETS_MAX as usize);
            let errors = ping.packets.iter_mut().filter_map(|p| p.error.as_mut());
            errors.for_each(word);
        }
        Some(ProbeReport::Traceroute(trace)) => {
            trace.hops.truncate(HOPS_MAX as usize);
            for hop in &mut trace.hops {
                hop.rtt_us.truncate(HOP_TRIES);
                hop.error.iter_mut().for_each(word);
            }
        }
        Some(ProbeReport::Resolve(resolve)) => {
            word(&mut resolve.code);
            resolve.records.truncate(RECORDS_MAX);
            for record in &mut resolve.records {
                word(&mut record.name);
                word(&mut record.record_type);
                word(&mut record.value);
            }
        }
        Some(ProbeReport::Port(port)) => word(&mut port.state),
        Some(ProbeReport::PathMtu(_)) | None => {}
    }
    news
}
