//! A wire that loses, doubles, delays and, by delays that differ, reorders.

use embassy_time::Duration;

use crate::dice::Dice;

/// How bad a wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Frames lost, in a thousand.
    pub lost: u32,
    /// Frames that come twice, in a thousand.
    pub doubled: u32,
    /// Frames that come very late (seconds), in a thousand.
    pub late: u32,
    /// Usual delay at most, microseconds.
    pub delay_us: u64,
}

impl Weather {
    /// A wire that delivers.
    pub const CLEAR: Self = Self {
        lost: 0,
        doubled: 0,
        late: 0,
        delay_us: 500,
    };
}

/// Longest delay of a late frame, milliseconds: beyond every retransmission timer of the machines.
const LATE_MS_MAX: u64 = 90_000;

/// A wire.
#[derive(Debug, Clone)]
pub struct Wire {
    /// How bad it is now.
    pub weather: Weather,
    /// Whether it is plugged in.
    pub carrier: bool,
}

impl Wire {
    /// A wire that is plugged in.
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            carrier: true,
        }
    }

    /// When the copies of a frame arrive, from now: none when it is lost.
    pub fn deliveries(&self, dice: &mut Dice) -> Vec<Duration> {
        if !self.carrier {
            return Vec::new();
        }
        let copies = if dice.per_mille(self.weather.doubled) {
            2
        } else {
            1
        };
        let mut delays = Vec::with_capacity(copies);
        for _ in 0..copies {
            if dice.per_mille(self.weather.lost) {
                continue;
            }
            delays.push(if dice.per_mille(self.weather.late) {
                Duration::from_millis(dice.range(200, LATE_MS_MAX))
            } else {
                Duration::from_micros(dice.range(20, self.weather.delay_us.max(20)))
            });
        }
        delays
    }
}
