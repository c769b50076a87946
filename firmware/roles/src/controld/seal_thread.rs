//! The thread that does a passphrase's work, which takes a second: controld goes on meanwhile.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::sealing::{SealDone, SealJob};

/// Stack of the thread that seals: its tables are on the heap.
const SEAL_STACK_BYTES: usize = 256 * 1024;

/// The way to the thread and back.
pub(super) struct SealThread {
    done: Receiver<SealDone>,
    tell: SyncSender<SealDone>,
    /// Readable when a job is done.
    pub(super) wake: UnixStream,
    wakes: UnixStream,
}

impl SealThread {
    pub(super) fn new() -> std::io::Result<Self> {
        let (wake, wakes) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let (tell, done) = sync_channel(1);
        Ok(Self {
            done,
            tell,
            wake,
            wakes,
        })
    }

    /// Begins a job; the machine has one at a time.
    pub(super) fn begin(&mut self, job: SealJob) {
        let tell = self.tell.clone();
        let begun = self.wakes.try_clone().and_then(|mut wakes| {
            let builder = std::thread::Builder::new().name("seal".to_owned());
            builder.stack_size(SEAL_STACK_BYTES).spawn(move || {
                // The other ends live as long as the process.
                if tell.send(job.run()).is_ok() {
                    let _ = wakes.write_all(&[1]);
                }
            })
        });
        if let Err(error) = begun {
            log::error!("no thread for a passphrase: {error}");
            // The queue is empty: there was no job before this one.
            if self.tell.try_send(SealDone::NotBegun).is_ok() {
                let _ = self.wakes.write_all(&[1]);
            }
        }
    }

    /// The job that is done.
    pub(super) fn take(&mut self) -> Option<SealDone> {
        let mut octets = [0; 8];
        // Only that it is readable counts.
        let _ = self.wake.read(&mut octets);
        self.done.try_recv().ok()
    }
}
