//! A program in a terminal of its own, as a person has it: keys go in, and what the screen would
//! show comes out.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

/// A loaded machine of two cores does nothing in less.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program and the terminal's other end.
pub(crate) struct Pty {
    master: File,
    child: Child,
    /// All that came since the last `expect`.
    unread: String,
}

impl Pty {
    /// Starts a command with a terminal of this many columns as its controlling one.
    pub(crate) fn start(columns: u16, command: &[&str], env: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            // A run of tests in the background passes on that it ignores Ctrl-C.
            .args(["env", "--default-signal=INT,QUIT"])
            .args(command)
            .env("TERM", "xterm")
            .env("PS1", "ready> ")
            .env("HISTFILE", "/dev/null")
            .envs(env.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Self {
            master: File::from(pty.master),
            child,
            unread: String::new(),
        }
    }

    /// Presses keys.
    pub(crate) fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the text has come, and gives what came up to its end, without the sequences
    /// that move the cursor.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && self.read(left),
                "{text:?} never came; this did:\n{}",
                self.unread
            );
        }
    }

    /// Waits for the end of the program and gives its exit status.
    pub(crate) fn end(mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline.saturating_duration_since(Instant::now())) {}
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Takes what there is; `false` when nothing came in time or ever will.
    fn read(&mut self, wait: Duration) -> bool {
        let wait = PollTimeout::try_from(wait).unwrap();
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, wait).unwrap() == 0 {
            return false;
        }
        let mut octets = [0; 4096];
        // A terminal that nobody has open any more says EIO.
        let n = self.master.read(&mut octets).unwrap_or(0);
        self.unread += &plain(&String::from_utf8_lossy(&octets[..n]));
        n > 0
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // setsid leads the session: with it goes the terminal, and with that the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without escape sequences (ECMA-48 section 5.4) and other controls but line ends.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            } else {
                chars.next();
            }
        } else if c == '\n' || !c.is_control() {
            plain.push(c);
        }
    }
    plain
}
