//! Ours beside the programs of the field, in one run on one machine.
//!
//! `cargo xtask bench WHAT` builds the router and calls this. Each bench makes its namespaces,
//! starts every server on one core and the load on the other, and takes turns between the servers
//! round by round, so that what else the machine does hits all of them alike. An answer that is
//! wrong takes its server's ratios off the report.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a host program: processes, sockets and the clock are its work

mod dhcp;
mod dns;
mod error;
mod load;
mod measure;
mod ntp;
mod place;
mod plan;
mod report;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use crate::error::BenchError;

const USAGE: &str = "\
lintel-bench dns|dhcp|ntp|plan --lintel FILE [--rounds N] [--seconds N] [--real-time yes]

Called by `cargo xtask bench`; needs root's rights, or those of `unshare -Urmn`.";

/// What the command line asks for.
struct Request {
    words: Vec<String>,
    lintel: PathBuf,
    rounds: usize,
    seconds: u64,
    real_time: bool,
    to: Option<SocketAddrV4>,
    from: Option<SocketAddrV4>,
    pace: load::Pace,
    pass: i32,
    clients: usize,
}

fn main() -> ExitCode {
    match parse().and_then(|request| run(&request)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lintel-bench: {}", error.chain());
            match error {
                BenchError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(request: &Request) -> Result<(), BenchError> {
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["dns"] => dns::bench(request),
        ["dhcp"] => dhcp::bench(request),
        ["ntp"] => ntp::bench(request),
        ["plan"] => plan::bench(request),
        // What the benches start in their namespaces.
        ["upstream", "dns"] => dns::upstream(request.address(request.from, "--from")?),
        ["rounds", file] => plan::rounds(file, request.rounds),
        ["apply", "once"] => plan::apply(false).map(|_| ()),
        ["apply", "and-look"] => plan::apply(true).map(|_| ()),
        ["apply", "nothing"] => match plan::apply(true)? {
            0 => Ok(()),
            writes => Err(BenchError::Wrong(format!("{writes} needless writes"))),
        },
        ["load", protocol] => {
            let from = request.address(request.from, "--from")?;
            let to = request.address(request.to, "--to")?;
            let mut exchange: Box<dyn load::Exchange> = match *protocol {
                "dns" => Box::new(dns::Questions::new(request.pace == load::Pace::Once)),
                "dhcp" => Box::new(dhcp::Clients::new(
                    request.clients,
                    request.pass,
                    *from.ip(),
                )),
                "ntp" => Box::new(ntp::Requests::new(from, to)),
                _ => return Err(BenchError::Usage(USAGE.to_owned())),
            };
            load::run(
                from,
                to,
                &request.pace,
                Duration::from_secs(request.seconds),
                exchange.as_mut(),
            )
        }
        _ => Err(BenchError::Usage(USAGE.to_owned())),
    }
}

impl Request {
    fn address(&self, given: Option<SocketAddrV4>, name: &str) -> Result<SocketAddrV4, BenchError> {
        given.ok_or_else(|| BenchError::Usage(format!("{name} is missing\n{USAGE}")))
    }
}

fn parse() -> Result<Request, BenchError> {
    let mut request = Request {
        words: Vec::new(),
        lintel: PathBuf::new(),
        rounds: 7,
        seconds: 2,
        real_time: false,
        to: None,
        from: None,
        pace: load::Pace::Window(load::WINDOW_MAX),
        pass: 0,
        clients: 1,
    };
    let usage = |error: lexopt::Error| BenchError::Usage(format!("{error}\n{USAGE}"));
    let mut args = Parser::from_env();
    while let Some(arg) = args.next().map_err(usage)? {
        let name = match &arg {
            Arg::Long(name) => (*name).to_owned(),
            Arg::Value(word) => {
                request.words.push(word.to_string_lossy().into_owned());
                continue;
            }
            Arg::Short(_) => return Err(usage(arg.unexpected())),
        };
        let value = args.value().map_err(usage)?;
        match name.as_str() {
            "lintel" => request.lintel = value.into(),
            "rounds" => request.rounds = value.parse().map_err(usage)?,
            "seconds" => request.seconds = value.parse().map_err(usage)?,
            "real-time" => request.real_time = value == "yes",
            "to" => request.to = Some(value.parse().map_err(usage)?),
            "from" => request.from = Some(value.parse().map_err(usage)?),
            "pass" => request.pass = value.parse().map_err(usage)?,
            "clients" => request.clients = value.parse().map_err(usage)?,
            "window" => request.pace = load::Pace::Window(value.parse().map_err(usage)?),
            "rate" => request.pace = load::Pace::Rate(value.parse().map_err(usage)?),
            "pace" if value == "once" => request.pace = load::Pace::Once,
            _ => return Err(BenchError::Usage(format!("no option --{name}\n{USAGE}"))),
        }
    }
    Ok(request)
}
