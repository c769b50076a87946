//! A disk that is slow or gives errors when a test says so.
//!
//! [`SickDisk`] serves the machine's image over the protocol of network block devices
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, fixed newstyle,
//! simple replies), which QEMU speaks. What it answers with an error reaches the guest as one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE_NO_ZEROES: u16 = 3;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
/// HAS_FLAGS, SEND_FLUSH.
const TRANSMISSION_FLAGS: u16 = 0b101;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
/// Longest request or option believed, octets: QEMU's own bound.
const LENGTH_MAX: u32 = 32 << 20;

/// What ails it.
#[derive(Debug, Default)]
struct State {
    /// For each request, ms.
    delay_ms: AtomicU64,
    writes_fail: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
}

/// The disk. Its threads end with the machine that uses it.
#[derive(Debug)]
pub struct SickDisk {
    socket: PathBuf,
    state: Arc<State>,
}

impl SickDisk {
    /// Serves `image` on a socket below `dir`, in good health.
    pub fn serve(image: &Path, dir: &Path) -> Self {
        let socket = dir.join("disk.sock");
        let listener = UnixListener::bind(&socket).expect("the work directory is writable");
        let state = Arc::new(State::default());
        let (image, shared) = (image.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let file = File::options().read(true).write(true).open(&image);
                let (file, state) = (file.expect("the disk exists"), Arc::clone(&shared));
                thread::spawn(move || match serve(stream, &file, &state) {
                    // QEMU was killed: the power is cut.
                    Ok(()) | Err(_) => {}
                });
            }
        });
        Self { socket, state }
    }

    /// Where QEMU finds it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// From now on each request takes this much longer, one after the other.
    pub fn set_delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.state.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Whether writes and flushes end with an error from now on.
    pub fn set_writes_fail(&self, fail: bool) {
        self.state.writes_fail.store(fail, Ordering::Relaxed);
    }

    /// Requests so far, and how many of them got an error.
    pub fn requests(&self) -> (u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.state.requests), get(&self.state.failed))
    }
}

fn serve(mut stream: UnixStream, file: &File, state: &State) -> io::Result<()> {
    if !agree(&mut stream, file.metadata()?.len())? {
        return Ok(());
    }
    loop {
        let mut request = [0; 28];
        stream.read_exact(&mut request)?;
        let u64_at = |at: usize| u64::from_be_bytes(request[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
        let kind = u16::from_be_bytes([request[6], request[7]]);
        let (offset, length) = (u64_at(16), u32_at(24));
        if u32_at(0) != REQUEST_MAGIC || length > LENGTH_MAX || kind == DISCONNECT {
            return Ok(());
        }
        let mut octets = vec![0; if kind == FLUSH { 0 } else { length as usize }];
        if kind == WRITE {
            stream.read_exact(&mut octets)?;
        }
        wait(Duration::from_millis(
            state.delay_ms.load(Ordering::Relaxed),
        ));
        let fails = kind != READ && state.writes_fail.load(Ordering::Relaxed);
        let error = match kind {
            _ if fails => EIO,
            READ => code(file.read_exact_at(&mut octets, offset)),
            WRITE => code(file.write_all_at(&octets, offset)),
            // The host stays up: its cache is as good as its disk.
            FLUSH => 0,
            _ => EINVAL,
        };
        state.requests.fetch_add(1, Ordering::Relaxed);
        state
            .failed
            .fetch_add(u64::from(error != 0), Ordering::Relaxed);
        let mut reply = SIMPLE_REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(&request[8..16]);
        if kind == READ && error == 0 {
            reply.extend(&octets);
        }
        stream.write_all(&reply)?;
    }
}

/// The handshake; false when the client leaves.
fn agree(stream: &mut UnixStream, size: u64) -> io::Result<bool> {
    let mut hello = b"NBDMAGICIHAVEOPT".to_vec();
    hello.extend(FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes());
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let magic = u64::from_be_bytes(head[..8].try_into().unwrap());
        let option = u32::from_be_bytes(head[8..12].try_into().unwrap());
        let length = u32::from_be_bytes(head[12..].try_into().unwrap());
        if magic != OPTION_MAGIC || length > LENGTH_MAX {
            return Ok(false);
        }
        stream.read_exact(&mut vec![0; length as usize])?;
        let mut answer = |kind: u32, data: &[u8]| {
            let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
            reply.extend(option.to_be_bytes());
            reply.extend(kind.to_be_bytes());
            reply.extend((data.len() as u32).to_be_bytes());
            reply.extend(data);
            stream.write_all(&reply)
        };
        match option {
            OPTION_GO => {
                let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                export.extend(size.to_be_bytes());
                export.extend(TRANSMISSION_FLAGS.to_be_bytes());
                answer(REPLY_INFO, &export)?;
                answer(REPLY_ACK, &[])?;
                return Ok(true);
            }
            OPTION_ABORT => {
                answer(REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => answer(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn code(done: io::Result<()>) -> u32 {
    match done {
        Ok(()) => 0,
        Err(_) => EIO,
    }
}

fn wait(delay: Duration) {
    let end = Instant::now() + delay;
    while let Some(left) = end.checked_duration_since(Instant::now())
        && !left.is_zero()
    {
        thread::park_timeout(left);
    }
}
