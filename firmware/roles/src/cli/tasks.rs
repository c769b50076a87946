//! Long work that ends with a file: its progress, its end by Ctrl-C, and where the file goes.

use std::fs::File;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use data_encoding::BASE64;
use lintel_api::MethodId;
use lintel_api::types::{Task, TaskBegun, TaskResult, TaskState};
use lintel_model::probe::ProbeReport;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::Client;
use super::network;
use super::text::{clean, io_words};
use super::upkeep::per_cent;
use super::{Failure, complain, failed, mutter, say};

/// What `--to` is for.
pub(super) const TO_SUMMARY: &str = "where to write the file; - is standard output";
/// Between two looks at how far it is.
const LOOK_EVERY_MS: u16 = 200;
/// How wide the line of the progress is, columns.
const LINE_COLUMNS: usize = 70;

/// Whether the call leads to a file.
pub(super) fn makes_file(id: MethodId) -> bool {
    matches!(
        id,
        MethodId::LogsExport | MethodId::SupportCollect | MethodId::TasksResult
    )
}

/// Waits for the work that a call began, and writes its file.
pub(super) fn fetch(
    client: &mut Client,
    invocation: &Invocation,
    answer: &Value,
) -> Result<(), ExitCode> {
    let fail = |failure: Failure| failed(invocation, &failure);
    if invocation.method.id == MethodId::TasksResult {
        let id = invocation.params.get("id").and_then(Value::as_u64);
        let task = ask(client, MethodId::TasksShow, id.unwrap_or(0)).map_err(fail)?;
        return write(invocation, &task, answer);
    }
    let begun: TaskBegun = read(answer)?;
    let task = wait(client, begun.task).map_err(fail)?;
    match task.state {
        TaskState::Done => {
            let file: Value = ask(client, MethodId::TasksResult, begun.task).map_err(fail)?;
            write(invocation, &task, &file)
        }
        state => {
            complain(&format!("{}: {}", state.as_str(), clean(&task.text)));
            Err(ExitCode::FAILURE)
        }
    }
}

/// Waits for the test of the network that a call began, and tells what came of it.
pub(super) fn test(
    client: &mut Client,
    invocation: &Invocation,
    answer: &Value,
) -> Result<(), ExitCode> {
    let begun: TaskBegun = read(answer)?;
    let task = wait(client, begun.task).map_err(|failure| failed(invocation, &failure))?;
    if let Some(report) = &task.report {
        say(&network::report(report));
    }
    let good = task.report.as_ref().is_some_and(ProbeReport::is_good);
    match task.state {
        TaskState::Done if good => Ok(()),
        TaskState::Done => Err(ExitCode::FAILURE),
        state => {
            complain(&format!("{}: {}", state.as_str(), clean(&task.text)));
            Err(ExitCode::FAILURE)
        }
    }
}

/// Until it ends, which Ctrl-C hastens.
fn wait(client: &mut Client, id: u64) -> Result<Task, Failure> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    // Without them Ctrl-C ends this process alone, and the box does its work in vain.
    let blocked = set.thread_block().is_ok();
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&set, flags).ok().filter(|_| blocked);
    let shows = stderr().is_terminal();
    let ended = loop {
        let interrupted = match &signals {
            Some(signals) => {
                let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(LOOK_EVERY_MS));
                matches!(signals.read_signal(), Ok(Some(_)))
            }
            None => {
                let pause = std::time::Duration::from_millis(LOOK_EVERY_MS.into());
                std::thread::sleep(pause);
                false
            }
        };
        let method = match interrupted {
            true => MethodId::TasksCancel,
            false => MethodId::TasksShow,
        };
        let task: Task = match ask(client, method, id) {
            Ok(task) => task,
            Err(failure) => break Err(failure),
        };
        if shows {
            let line = format!("{:3} %  {}", per_cent(&task), clean(&task.text));
            let line: String = line.chars().take(LINE_COLUMNS).collect();
            let _ = write!(stderr(), "\r{line}\x1b[K");
        }
        if task.state != TaskState::Running {
            break Ok(task);
        }
    };
    if shows {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    if blocked {
        let _ = set.thread_unblock();
    }
    ended
}

fn ask<T: DeserializeOwned>(client: &mut Client, method: MethodId, id: u64) -> Result<T, Failure> {
    let method = lintel_api::by_id(method);
    let answer = client.call(method, &json!({ "id": id }));
    let value = answer
        .map_err(Failure::Unreachable)?
        .map_err(Failure::Refused)?;
    serde_json::from_value(value).map_err(|error| Failure::Unreachable(error.into()))
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ExitCode> {
    serde_json::from_value(value.clone()).map_err(|error| {
        complain(&format!("the box gave an answer that is none: {error}"));
        ExitCode::FAILURE
    })
}

/// Never over a file that is there, unless it was named.
fn write(invocation: &Invocation, task: &Task, file: &Value) -> Result<(), ExitCode> {
    let file: TaskResult = read(file)?;
    let content = BASE64.decode(file.content_base64.as_bytes());
    let content = content.map_err(|error| {
        complain(&format!("the box gave a file that is none: {error}"));
        ExitCode::FAILURE
    })?;
    let to = match &invocation.to {
        Some(to) => to.clone(),
        None => own_name(task),
    };
    if to == Path::new("-") {
        let mut stdout = stdout();
        let written = stdout.write_all(&content).and_then(|()| stdout.flush());
        return written.map_err(|_| ExitCode::FAILURE);
    }
    let opened = match invocation.to.is_some() {
        true => File::create(&to),
        false => File::create_new(&to),
    };
    let written = opened.and_then(|mut file| file.write_all(&content));
    if let Err(error) = written {
        complain(&format!(
            "{} cannot be written: {}",
            to.display(),
            io_words(&error)
        ));
        mutter(&format!(
            "It is still on the box: lintel tasks result {} --to FILE\n",
            task.id
        ));
        return Err(ExitCode::FAILURE);
    }
    say(&format!(
        "{} ({} KiB)\n",
        to.display(),
        content.len().div_ceil(1024)
    ));
    Ok(())
}

/// What the box calls it, as a name in this directory and nothing else.
fn own_name(task: &Task) -> PathBuf {
    let name = task
        .result
        .as_ref()
        .map_or("", |file| file.file_name.as_str());
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    let name: String = name.chars().filter(plain).collect();
    match name.trim_start_matches('.') {
        "" => PathBuf::from(format!("lintel-task-{}", task.id)),
        name => PathBuf::from(name),
    }
}
