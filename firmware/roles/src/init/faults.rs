//! Faults on purpose, at the console of a box that was booted with `lintel.test=1`: signals to
//! roles, and the processes as the kernel has them, which is the judge of what init tells.
//!
//! Who stands at the console is root anyway; the word on the command line keeps a householder
//! from breaking things by a typing error.

use std::fs;
use std::path::Path;

use lintel_model::RoleName;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cmdline::KernelCommandLine;

/// Below `run_dir`: what init shall do to itself or to a role.
pub const FILE: &str = "fault";

/// Does `test WORDS...` and says what came of it.
pub fn run(words: &[String]) -> String {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !KernelCommandLine::parse(&line).test {
        return "this is no test boot\r\n".to_owned();
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["processes"] => processes(),
        ["kill", role] => signal(role, Signal::SIGKILL),
        ["freeze", role] => signal(role, Signal::SIGSTOP),
        ["leak", role] => ask_init(&format!("leak {role}")),
        ["hang"] => ask_init("hang"),
        _ => "test processes, kill ROLE, freeze ROLE, leak ROLE, hang\r\n".to_owned(),
    }
}

/// Leaves the words where init looks when this signal comes.
fn ask_init(words: &str) -> String {
    let told = fs::write(Path::new("/run/lintel").join(FILE), words)
        .and_then(|()| kill(Pid::from_raw(1), Signal::SIGUSR1).map_err(Into::into));
    match told {
        Ok(()) => format!("test: told init: {words}\r\n"),
        Err(error) => format!("test: init was not told: {error}\r\n"),
    }
}

fn signal(role: &str, signal: Signal) -> String {
    let Some(process) = all().into_iter().find(|process| process.role == role) else {
        return format!("test: no process is {role}\r\n");
    };
    match kill(Pid::from_raw(process.pid), signal) {
        Ok(()) => format!("test: {signal} to {role}, process {}\r\n", process.pid),
        Err(errno) => format!("test: {signal} to {role} failed: {errno}\r\n"),
    }
}

fn processes() -> String {
    let mut text = String::new();
    for Process {
        role, pid, state, ..
    } in all()
    {
        text.push_str(&format!("test: process {role} {pid} {state}\r\n"));
    }
    text.push_str("test: that is all\r\n");
    text
}

/// A role's process, by /proc.
struct Process {
    role: String,
    pid: i32,
    /// `State:` of proc_pid_status(5), its letter.
    state: String,
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split('\0').skip(1);
    let role = match (words.next()?, words.next()?) {
        ("role", role) => role.parse::<RoleName>().ok()?,
        _ => return None,
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let state = status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))?;
    Some(Process {
        role: role.to_string(),
        pid,
        state: state.split_whitespace().next()?.to_owned(),
    })
}
