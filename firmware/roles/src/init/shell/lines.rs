//! Lines of the log: out of the roles' pipes and our own, into memory, onto the console and into the
//! files.

use std::io::{self, Read};

use lintel_ipc::init::LogLine;
use lintel_model::RoleName;
use lintel_rt::logger;

use super::Shell;

/// Octets taken from one role's pipe before the others have their turn: a role that writes
/// without end is slowed down by its own pipe.
const LOG_BYTES_A_TURN: usize = 16 << 10;

impl Shell {
    pub(super) fn on_pipe(&mut self, at: usize) {
        let mut taken = 0;
        while taken < LOG_BYTES_A_TURN && self.read_pipe(at) {
            taken += 4096;
        }
    }

    /// Takes what stands in a role's pipe, and says whether there may be more.
    pub(super) fn read_pipe(&mut self, at: usize) -> bool {
        let mut octets = [0; 4096];
        let Some(seat) = self.seats.get_mut(at) else {
            return false;
        };
        let Some(pipe) = &mut seat.pipe else {
            return false;
        };
        let role = seat.role;
        match pipe.read(&mut octets) {
            Ok(0) => {
                seat.pipe = None; // closed: it would stay readable for ever
                false
            }
            Ok(n) => {
                let lines = seat.lines.feed(octets.get(..n).unwrap_or_default());
                for (level, text) in lines {
                    self.add_line(role, level, text);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }

    pub(super) fn take_own_lines(&mut self) {
        for (level, text) in logger::take_own_lines() {
            self.add_line(RoleName::Init, logger::level_word(level), text);
        }
    }

    pub(super) fn add_line(&mut self, role: RoleName, level: &str, text: String) {
        let now = self.clock.now();
        let line = LogLine {
            seq: 0,
            uptime_ms: now.as_millis(),
            unix_ms: self.clock.unix_ms(),
            role,
            level: level.to_owned(),
            text,
        };
        self.setup.chores.show(&line);
        if let Some(files) = &mut self.setup.files {
            files.push(now, &line);
        }
        self.logs.push(line);
    }

    pub(super) fn flush_files(&mut self) {
        if let Some(files) = &mut self.setup.files
            && let Err(error) = files.flush()
        {
            // Each error that a role tells is written within seconds: so this is where it shows.
            self.setup.chores.refused |= error.kind() == std::io::ErrorKind::ReadOnlyFilesystem;
            // Through the ring and the console only: the file is what fails.
            self.setup
                .chores
                .say("warn", &format!("log files: {error}"));
        }
    }
}
