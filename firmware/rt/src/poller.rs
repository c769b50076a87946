//! One epoll instance: level-triggered, one thread, a deadline as a value.

use std::io;
use std::os::fd::AsFd;

use embassy_time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::clock::Clock;

/// Most events taken from the kernel at once; the rest comes with the next wait.
const EVENTS_MAX: usize = 64;

/// The caller's name for a descriptor.
pub type Token = u64;

/// What a descriptor is watched for. Errors and hang-ups are always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// There is something to read.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Reading and writing.
    pub const BOTH: Self = Self {
        read: true,
        write: true,
    };
}

impl From<Interest> for EpollFlags {
    fn from(interest: Interest) -> Self {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, interest.read);
        flags.set(EpollFlags::EPOLLOUT, interest.write);
        flags
    }
}

/// What happened to a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The caller's name for it.
    pub token: Token,
    /// Reading will not block (also at end of file and on errors).
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The other end is gone, or the descriptor is broken.
    pub hangup: bool,
}

/// Waits for many descriptors at once.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    clock: Clock,
}

impl Poller {
    /// A poller without descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clock: Clock,
        })
    }

    /// Watches `fd` under `token`. Closing every copy of the descriptor ends that.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self
            .epoll
            .add(fd, EpollEvent::new(interest.into(), token))?)
    }

    /// Changes what `fd` is watched for.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self
            .epoll
            .modify(fd, &mut EpollEvent::new(interest.into(), token))?)
    }

    /// Watches `fd` no more.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Waits until something happens or `deadline` passes, and puts the events into `events`,
    /// which is emptied first. A signal ends the wait early with no event.
    pub fn wait(&self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let mut taken = [EpollEvent::empty(); EVENTS_MAX];
        let n = match self.epoll.wait(&mut taken, self.timeout(deadline)) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        events.extend(taken.iter().take(n).map(|event| {
            let flags = event.events();
            let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
            Event {
                token: event.data(),
                readable: broken || flags.contains(EpollFlags::EPOLLIN),
                writable: flags.contains(EpollFlags::EPOLLOUT),
                hangup: broken,
            }
        }));
        Ok(())
    }

    /// Rounded up to whole milliseconds, so that a deadline has passed when the wait ends.
    fn timeout(&self, deadline: Option<Instant>) -> EpollTimeout {
        let Some(deadline) = deadline else {
            return EpollTimeout::NONE;
        };
        let left = deadline
            .checked_duration_since(self.clock.now())
            .unwrap_or(Duration::MIN);
        let ms = left.as_micros().div_ceil(1_000);
        EpollTimeout::try_from(i32::try_from(ms).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_the_wait_and_not_before() {
        let poller = Poller::new().unwrap();
        let mut events = Vec::new();
        let deadline = Clock.now() + Duration::from_millis(5);
        poller.wait(Some(deadline), &mut events).unwrap();
        assert!(events.is_empty());
        assert!(Clock.now() >= deadline);
    }

    #[test]
    fn a_readable_end_is_told_by_its_token() {
        let poller = Poller::new().unwrap();
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        poller.add(&a, 7, Interest::READ).unwrap();
        io::Write::write_all(&mut &b, b"x").unwrap();
        let mut events = Vec::new();
        poller.wait(None, &mut events).unwrap();
        assert_eq!(
            events,
            [Event {
                token: 7,
                readable: true,
                writable: false,
                hangup: false
            }]
        );
    }
}
