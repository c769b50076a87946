//! How a tiny_http worker reaches controld: a call goes to the loop, which owns the session,
//! and the reply comes back on a channel of its own.
//!
//! A worker has one call at a time, so at most `LANES` wait here.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use lintel_ipc::call::{Caller, Reply};
use serde_json::Value;

use super::front::limits::LANES;

/// How long controld may take: argon2 on the slowest board takes two seconds.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A call on its way to the loop.
#[derive(Debug)]
pub(crate) struct Job {
    /// Method of `lintel-api`.
    pub(crate) method: &'static str,
    /// Its parameters.
    pub(crate) params: Value,
    /// Who asks.
    pub(crate) caller: Caller,
    /// Where the reply goes.
    pub(crate) reply: SyncSender<Reply>,
}

/// controld does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control service is away")]
pub(crate) struct Away;

/// What the application needs of controld; tests have their own.
pub(crate) trait Control: Send + Sync {
    /// Calls a method and waits for its reply.
    fn call(&self, method: &'static str, params: Value, caller: Caller) -> Result<Reply, Away>;
}

/// The workers' end.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    jobs: SyncSender<Job>,
    wake: Arc<UnixStream>,
}

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Jobs {
    jobs: Receiver<Job>,
    /// Readable when a job waits.
    pub(crate) wake: UnixStream,
}

/// Both ends.
pub(crate) fn bridge() -> std::io::Result<(Bridge, Jobs)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let (send, receive) = sync_channel(LANES);
    let bridge = Bridge {
        jobs: send,
        wake: Arc::new(theirs),
    };
    Ok((
        bridge,
        Jobs {
            jobs: receive,
            wake: ours,
        },
    ))
}

impl Control for Bridge {
    fn call(&self, method: &'static str, params: Value, caller: Caller) -> Result<Reply, Away> {
        let (reply, receive) = sync_channel(1);
        let job = Job {
            method,
            params,
            caller,
            reply,
        };
        self.jobs.try_send(job).map_err(|_| Away)?;
        // A full pipe is a loop that has been woken already.
        let _ = std::io::Write::write(&mut &*self.wake, &[1]);
        match receive.recv_timeout(CALL_DEADLINE) {
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Away),
        }
    }
}

impl Jobs {
    /// The next call, if one waits.
    pub(crate) fn next(&self) -> Option<Job> {
        self.jobs.try_recv().ok()
    }

    /// Empties the wake pipe; to be done before the calls are taken.
    pub(crate) fn drain_wake(&self) {
        let mut bytes = [0; 64];
        while matches!(std::io::Read::read(&mut &self.wake, &mut bytes), Ok(n) if n > 0) {}
    }
}
