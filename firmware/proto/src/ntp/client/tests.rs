//! The client against servers and forgers in virtual time.

mod clock;
mod replies;
mod sources;
mod world;

use super::*;
use world::{MS, ServerModel};

/// A wide area network: 8 ms each way, half a millisecond of queues.
fn honest() -> ServerModel {
    ServerModel::default()
}

fn lan() -> ServerModel {
    ServerModel {
        delay_ns: 100_000,
        jitter_ns: 20_000,
        ..ServerModel::default()
    }
}

fn liar(error_ms: i64) -> ServerModel {
    ServerModel {
        error_ns: error_ms * MS,
        ..ServerModel::default()
    }
}
