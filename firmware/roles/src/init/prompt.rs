//! `lintel` at the console: reads a line, runs it as the CLI would, and asks again.
//!
//! Nothing is printed before the first Enter, so that a console nobody looks at stays a log.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::setsid;

use super::faults;

/// Longest line taken; more is a serial line making noise.
const LINE_BYTES_MAX: u64 = 512;

/// Runs until the line ends (`exit`, or a console that hangs up); init starts the next one.
pub fn main() -> ExitCode {
    // init opened the console without waiting for a carrier; we do want to wait for keys.
    if let Err(errno) = fcntl(io::stdin().as_fd(), FcntlArg::F_SETFL(OFlag::empty())) {
        say(&format!("this console cannot be used: {errno}\r\n"));
        return ExitCode::FAILURE;
    }
    if let Err(errno) = take_terminal() {
        log::debug!("Ctrl-C is not heard on this console: {errno}");
    }
    let mut first = true;
    loop {
        let Some(line) = read_line() else {
            return ExitCode::SUCCESS;
        };
        let words = words(&line);
        match words.first().map(String::as_str) {
            None if first => say(&format!(
                "\r\nLintel {}. Commands: status, leases, logs, config show, services restart, reboot, --help\r\n",
                super::version()
            )),
            None => {}
            Some("exit" | "logout") => return ExitCode::SUCCESS,
            Some("test") => say(&faults::run(words.get(1..).unwrap_or_default())),
            Some(_) => run(&words),
        }
        first = false;
        say("lintel> ");
    }
}

/// Begins a session whose terminal the console is, so that Ctrl-C ends what the prompt runs. The
/// prompt itself goes on.
fn take_terminal() -> nix::Result<()> {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    // A command inherits this, and undoes it.
    interrupt.thread_block()?;
    setsid()?;
    // The first terminal that the leader of a session opens becomes the session's.
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    open("/proc/self/fd/0", flags, Mode::empty()).map(drop)
}

/// Splits a line at blanks; what stands in single or double quotes is one word.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn read_line() -> Option<String> {
    let mut octets = Vec::new();
    let mut stdin = io::Read::take(io::stdin().lock(), LINE_BYTES_MAX);
    match stdin.read_until(b'\n', &mut octets) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&octets).into_owned()),
    }
}

/// The CLI in a process of its own: what ends it does not end the prompt.
fn run(words: &[String]) {
    // These belong to the start of the process, not to a user.
    let first = words.first().map(String::as_str);
    if matches!(first, Some("role" | "run" | "console")) {
        say("this is no command of the console\r\n");
        return;
    }
    let status = Command::new(super::exe())
        .arg0("lintel")
        .args(words.iter().skip_while(|word| *word == "lintel"))
        .status();
    if let Err(error) = status {
        say(&format!("the command could not be run: {error}\r\n"));
    }
}

fn say(text: &str) {
    // Nobody is left to tell when the console is gone.
    let _ = io::stdout().write_all(text.as_bytes());
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words("a  'b c' d\"e f\"\n"), ["a", "b c", "de f"]);
        assert_eq!(words("a '' 'open end"), ["a", "", "open end"]);
        assert!(words(" \r\n").is_empty());
    }
}
