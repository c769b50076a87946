//! The terminal that a person sits at: its size, and its keys as they are pressed.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

mod ioctl {
    nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);
}

/// What Ctrl-D sends: there is no more.
pub const END: u8 = 0x04;

/// What Ctrl-C sends.
pub const INTERRUPT: u8 = 0x03;

/// Longest line that is read unseen, octets; more than any password.
const LINE_BYTES_MAX: usize = 1024;

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// The size of the terminal behind a descriptor; `None` when there is none, or when it does not
/// know (a serial line).
pub fn size(terminal: impl AsFd) -> Option<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open, and the kernel writes one struct of this shape.
    unsafe { ioctl::window_size(terminal.as_fd().as_raw_fd(), &raw mut size) }.ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then(|| Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    })
}

/// Standard input with each key as it is pressed, Ctrl-C among them, and no echo, until dropped.
pub struct Keys {
    before: Option<Termios>,
}

impl Keys {
    /// On what is no terminal it changes nothing, and no key will come.
    pub fn one_by_one() -> Self {
        Self::with(|termios| {
            let flags = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
            termios.local_flags.remove(flags);
            termios.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            termios.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        })
    }

    fn with(change: impl FnOnce(&mut Termios)) -> Self {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut after = before.clone();
            change(&mut after);
            // A terminal that refuses stays as it was; a password is then seen by its owner.
            let _ = tcsetattr(&stdin, SetArg::TCSADRAIN, &after);
        }
        Self { before }
    }

    /// The next octet pressed within `wait`, [`END`] when the terminal is gone; `None` when
    /// nothing was pressed, or standard input is no terminal.
    pub fn next(&mut self, wait: Duration) -> Option<u8> {
        let stdin = io::stdin();
        if self.before.is_none() {
            std::thread::sleep(wait);
            return None;
        }
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, wait).unwrap_or(0) == 0 {
            return None;
        }
        let mut octet = [END];
        // Past std's buffer, of which poll knows nothing. A terminal that went away reads as its
        // end for ever.
        match nix::unistd::read(&stdin, &mut octet) {
            Ok(1) => Some(octet[0]),
            _ => Some(END),
        }
    }
}

/// A line that nobody sees, for passwords; `ask` is called once nothing is shown any more. `None` when Ctrl-C or the terminal's end came in place
/// of one. The terminal is left as it was in each case, which a signal would not do.
pub fn read_unseen(ask: impl FnOnce()) -> Option<String> {
    let mut keys = Keys::one_by_one();
    ask();
    let mut line = Vec::new();
    loop {
        match keys.next(Duration::from_secs(3600)) {
            Some(b'\r' | b'\n') => return Some(String::from_utf8_lossy(&line).into_owned()),
            Some(INTERRUPT) => return None,
            Some(END) if line.is_empty() => return None,
            // Backspace takes a whole character, of which UTF-8 marks all octets but the first.
            Some(0x08 | 0x7f) => while line.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {},
            // Ctrl-U begins anew.
            Some(0x15) => line.clear(),
            Some(octet) if line.len() < LINE_BYTES_MAX => line.push(octet),
            Some(_) | None => {}
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}
