//! A clock that somebody sets by hand: for a box that reaches no time server.

use super::{Client, Event, Now, State, UnixNs};

/// No clock is set to a later time: 2100-01-01. Who writes one has mistyped it.
const SET_MAX: UnixNs = UnixNs::from_secs(4_102_444_800);

/// Why a clock is not set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetRefusal {
    /// It follows servers, which would put it back within seconds.
    Synchronised {
        /// So many agree.
        agreeing: usize,
    },
    /// Before this software was written.
    BeforeFloor {
        /// When that was.
        floor: UnixNs,
    },
    /// So late that it cannot be meant.
    TooLate {
        /// The latest that is taken.
        max: UnixNs,
    },
}

impl Client {
    /// Whether the clock may be set by hand to `to`.
    pub fn may_be_set(&self, to: UnixNs) -> Result<(), SetRefusal> {
        if let State::Synchronised { agreeing } = self.state {
            return Err(SetRefusal::Synchronised { agreeing });
        }
        if to < self.floor {
            return Err(SetRefusal::BeforeFloor { floor: self.floor });
        }
        if to > SET_MAX {
            return Err(SetRefusal::TooLate { max: SET_MAX });
        }
        Ok(())
    }

    /// Sets the clock because somebody says so: an [`Event::Step`], and everything that is known of
    /// the servers begins anew. Should one be reached, it is believed more than this. Drain
    /// [`Client::poll_output`] afterwards.
    pub fn set_by_hand(&mut self, now: Now, to: UnixNs) -> Result<(), SetRefusal> {
        self.watch_clock(now);
        self.may_be_set(to)?;
        let by_ns = to.ns_since(now.wall);
        self.push(Event::Step { by_ns });
        self.last.wall = self.last.wall.plus_ns(by_ns);
        self.begin_anew(now.mono);
        Ok(())
    }
}
