//! The box's button: held, it takes the password away, or everything.
//!
//! ```text
//!   released after    5 s   the password is taken away
//!                    10 s   everything is removed
//!                    30 s   nothing: a button that sticks resets no box
//! ```
//!
//! A key of the kernel's input layer (`gpio-keys` on a board, a keyboard on a PC), read from
//! /dev/input. Which devices have it stands in /sys, so that no ioctl is needed.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use embassy_time::{Duration, Instant};
use lintel_model::reset::ResetKind;

/// `KEY_RESTART` of linux/input-event-codes.h: what device trees call a router's reset button.
pub const KEY_RESTART: u16 = 0x198;
/// `EV_KEY`.
const EV_KEY: u16 = 1;
/// Held so long, the password goes.
const PASSWORD_AFTER: Duration = Duration::from_secs(5);
/// Held so long, everything goes.
const FACTORY_AFTER: Duration = Duration::from_secs(10);
/// Held so long, it sticks.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Between two looks for devices: some come up after init.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Most devices that are read; a board has one.
const DEVICES_MAX: usize = 4;
/// `struct input_event`: two machine words of time, type, code and value.
const EVENT_BYTES: usize = 2 * size_of::<nix::libc::c_long>() + 8;

/// What is to be said or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Press {
    /// Somebody should hear this while they hold it.
    Say(&'static str),
    /// It was let go.
    Reset(ResetKind),
}

/// How long the button is held.
#[derive(Debug, Default)]
pub struct Held {
    since: Option<Instant>,
    said: usize,
}

/// What is said when it is held so long.
const SAID: [(Duration, &str); 3] = [
    (
        PASSWORD_AFTER,
        "the button is held: let go now, and the password is taken away",
    ),
    (
        FACTORY_AFTER,
        "the button is held: let go now, and everything that is stored is removed",
    ),
    (STUCK_AFTER, "the button sticks; nothing is reset"),
];

impl Held {
    /// The key went down (1), up (0), or repeats (2).
    pub fn on_key(&mut self, now: Instant, value: i32) -> Option<Press> {
        match (value, self.since) {
            (0, Some(since)) => {
                *self = Self::default();
                let held = now.checked_duration_since(since)?;
                if held >= STUCK_AFTER || held < PASSWORD_AFTER {
                    None
                } else if held >= FACTORY_AFTER {
                    Some(Press::Reset(ResetKind::Factory))
                } else {
                    Some(Press::Reset(ResetKind::Password))
                }
            }
            (1, None) => {
                self.since = Some(now);
                None
            }
            _ => None,
        }
    }

    /// When there is something to say.
    pub fn timeout(&self) -> Option<Instant> {
        let (after, _) = SAID.get(self.said)?;
        self.since.map(|since| since + *after)
    }

    /// Says it.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Press> {
        if self.timeout()? > now {
            return None;
        }
        let (_, text) = SAID.get(self.said)?;
        self.said += 1;
        Some(Press::Say(text))
    }
}

/// The devices that have the key, and how long it is held.
#[derive(Debug)]
pub struct Button {
    code: u16,
    held: Held,
    devices: Vec<(PathBuf, File)>,
    look_at: Option<Instant>,
}

impl Button {
    /// None is open yet.
    pub fn new(code: u16) -> Self {
        Self {
            code,
            held: Held::default(),
            devices: Vec::new(),
            look_at: None,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        [self.look_at, self.held.timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due to be said.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Press> {
        self.held.handle_timeout(now)
    }

    /// Opens devices that came since the last look; the caller watches them.
    pub fn look(&mut self, now: Instant) -> Vec<&File> {
        if self.look_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.look_at = Some(now + LOOK_EVERY);
        let before = self.devices.len();
        for entry in fs::read_dir("/sys/class/input")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let device = Path::new("/dev/input").join(&name);
            let known = self.devices.iter().any(|(path, _)| *path == device);
            if known
                || self.devices.len() >= DEVICES_MAX
                || !name.to_string_lossy().starts_with("event")
            {
                continue;
            }
            let keys = entry.path().join("device/capabilities/key");
            let keys = fs::read_to_string(keys).unwrap_or_default();
            if !has_key(&keys, self.code) {
                continue;
            }
            let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
            match OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(&device)
            {
                Ok(file) => {
                    log::info!("the button is {}", device.display());
                    self.devices.push((device, file));
                }
                Err(error) => log::warn!("{}: {error}", device.display()),
            }
        }
        let new = self.devices.get(before..).unwrap_or_default();
        new.iter().map(|(_, file)| file).collect()
    }

    /// Reads what the devices have; what came of it. A device that is gone is let go.
    pub fn read(&mut self, now: Instant) -> Vec<Press> {
        let mut done = Vec::new();
        let (code, held) = (self.code, &mut self.held);
        self.devices.retain_mut(|(path, file)| {
            let mut events = [0; 16 * EVENT_BYTES];
            loop {
                match file.read(&mut events) {
                    Ok(0) => return false,
                    Ok(length) => {
                        let whole = events.get(..length).unwrap_or_default();
                        for event in whole.chunks_exact(EVENT_BYTES) {
                            if let Some(value) = key_value(event, code) {
                                done.extend(held.on_key(now, value));
                            }
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                    Err(error) => {
                        log::warn!("the button {}: {error}", path.display());
                        return false;
                    }
                }
            }
        });
        done
    }
}

/// The value of a `struct input_event` of this key.
fn key_value(event: &[u8], code: u16) -> Option<i32> {
    let tail = event.get(event.len().checked_sub(8)?..)?;
    let half = |at: usize| Some(u16::from_ne_bytes(tail.get(at..at + 2)?.try_into().ok()?));
    let value = i32::from_ne_bytes(tail.get(4..8)?.try_into().ok()?);
    (half(0)? == EV_KEY && half(2)? == code).then_some(value)
}

/// Whether a bitmap of /sys has the bit: hexadecimal machine words, the highest first.
fn has_key(words: &str, code: u16) -> bool {
    let bits = usize::try_from(usize::BITS).unwrap_or(64);
    let code = usize::from(code);
    let word = words.split_whitespace().rev().nth(code / bits);
    let word = word.and_then(|word| usize::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (code % bits) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(50_000 + ms)
    }

    fn released_after(ms: u64) -> Option<Press> {
        let mut held = Held::default();
        assert_eq!(held.on_key(at(0), 1), None);
        assert_eq!(held.on_key(at(ms / 2), 2), None, "the kernel repeats");
        held.on_key(at(ms), 0)
    }

    #[test]
    fn how_long_it_is_held_decides() {
        let reset = |kind| Some(Press::Reset(kind));
        for (ms, wanted) in [
            (10, None),
            (4_999, None),
            (5_000, reset(ResetKind::Password)),
            (9_999, reset(ResetKind::Password)),
            (10_000, reset(ResetKind::Factory)),
            (29_999, reset(ResetKind::Factory)),
            (30_000, None),
            (3_600_000, None),
        ] {
            assert_eq!(released_after(ms), wanted, "{ms} ms");
        }
        assert_eq!(Held::default().on_key(at(0), 0), None, "held at the start");
    }

    #[test]
    fn who_holds_it_is_told_what_comes() {
        let mut held = Held::default();
        assert_eq!(held.timeout(), None);
        held.on_key(at(0), 1);
        assert_eq!(held.timeout(), Some(at(5_000)));
        assert_eq!(held.handle_timeout(at(4_000)), None);
        let mut said = Vec::new();
        while let Some(due) = held.timeout() {
            said.extend(held.handle_timeout(due));
        }
        assert_eq!(said.len(), SAID.len());
        assert_eq!(held.on_key(at(40_000), 0), None);
        held.on_key(at(41_000), 1);
        assert_eq!(held.timeout(), Some(at(46_000)), "it begins anew");
    }

    #[test]
    fn the_kernels_forms_are_read() {
        assert!(has_key("1000000 0 0 0 0 0 0", KEY_RESTART), "64-bit words");
        assert!(!has_key("0 0 0", KEY_RESTART));
        assert!(!has_key("", 0) && !has_key("zz", 0) && has_key("1", 0));
        let mut event = vec![0; EVENT_BYTES - 8];
        event.extend(EV_KEY.to_ne_bytes());
        event.extend(KEY_RESTART.to_ne_bytes());
        event.extend(1i32.to_ne_bytes());
        assert_eq!(key_value(&event, KEY_RESTART), Some(1));
        assert_eq!(key_value(&event, 88), None);
        assert_eq!(key_value(&[0; 3], 88), None);
    }
}
