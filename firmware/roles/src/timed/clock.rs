//! The clock that is disciplined, and what the machine wants done to it.

use lintel_ipc::init::Start;
use lintel_model::config::Config;
use lintel_proto::ntp::client::Event;
use lintel_proto::ntp::{Leap, Now, UnixNs};
use lintel_rt::clock::Clock;
use lintel_rt::role::RoleError;
use lintel_rt::wall::{KernelClock, PretendClock, Quality, WallClock};

/// The kernel's clock on a box; under `lintel run` one that is only pretended, wrong by as much as
/// the file wishes.
pub(super) fn take(start: &Start) -> Result<Box<dyn WallClock>, RoleError> {
    let Some(run) = &start.run else {
        let clock = KernelClock::take().map_err(RoleError::io("taking the clock over"))?;
        return Ok(Box::new(clock));
    };
    let config = Config::parse(&run.config).unwrap_or_default();
    let error_ms = config.run.map_or(0, |run| run.clock_error_ms);
    let clock = PretendClock::new(error_ms.saturating_mul(1_000_000));
    Ok(Box::new(clock))
}

/// Both clocks of now.
pub(super) fn now(mono: Clock, wall: &dyn WallClock) -> Now {
    Now {
        mono: mono.now(),
        wall: UnixNs(wall.now_ns()),
    }
}

/// Does what an event wants of the clock.
pub(super) fn turn(wall: &mut dyn WallClock, event: &Event) {
    let done = match event {
        Event::Step { by_ns } => {
            log::info!("the clock is set by {} ms", by_ns / 1_000_000);
            wall.step(*by_ns)
        }
        Event::SetRate { rate, .. } => {
            let (tick_us, freq) = rate.tick_and_freq();
            wall.set_rate(tick_us, freq)
        }
        Event::SetStatus {
            leap,
            max_error_ns,
            est_error_ns,
            synchronised,
        } => wall.set_quality(Quality {
            synchronised: *synchronised,
            leap: match leap {
                Leap::Insert => 1,
                Leap::Delete => -1,
                Leap::None | Leap::Unsynchronised => 0,
            },
            error_us_max: max_error_ns / 1_000,
            error_us: est_error_ns / 1_000,
        }),
        _ => return,
    };
    if let Err(error) = done {
        log::error!("the clock does not obey: {error}");
    }
}
