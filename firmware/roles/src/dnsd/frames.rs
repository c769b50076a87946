//! Messages on a TCP connection: two octets of length before each (RFC 1035, 4.2.2).

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Octets read by one call.
const READ_LEN: usize = 4_096;

/// Longest run of octets kept unread: one message of the greatest length and a read beyond it.
pub const INBOUND_BYTES_MAX: usize = 2 + 65_535 + READ_LEN;

/// One end of a connection that must not block.
#[derive(Debug)]
pub struct Frames<S = TcpStream> {
    /// The connection.
    pub stream: S,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    sent: usize,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// There may be more later.
    Open,
    /// The other end will send nothing more.
    Closed,
}

impl<S: Read + Write> Frames<S> {
    /// An end with nothing read and nothing to send.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            inbound: Vec::new(),
            outbound: Vec::new(),
            sent: 0,
        }
    }

    /// Reads what is there, up to the bound.
    pub fn fill(&mut self) -> io::Result<ReadEnd> {
        let mut chunk = [0; READ_LEN];
        while self.inbound.len() + READ_LEN <= INBOUND_BYTES_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(ReadEnd::Closed),
                Ok(len) => self.inbound.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ReadEnd::Open)
    }

    /// The first whole message that was read.
    pub fn message(&self) -> Option<&[u8]> {
        let (length, rest) = self.inbound.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }

    /// Forgets the first whole message.
    pub fn consume(&mut self) {
        if let Some(len) = self.message().map(<[u8]>::len) {
            self.inbound.drain(..2 + len);
        }
    }

    /// Adds a message to what is to be sent.
    pub fn push(&mut self, message: &[u8]) {
        let Ok(length) = u16::try_from(message.len()) else {
            return;
        };
        self.outbound.extend_from_slice(&length.to_be_bytes());
        self.outbound.extend_from_slice(message);
    }

    /// Sends what the kernel takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outbound.len() {
            match self.stream.write(&self.outbound[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbound.clear();
        self.sent = 0;
        Ok(())
    }

    /// Octets that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.outbound.len() - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Frames, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Frames::new(ours), theirs)
    }

    fn wait(frames: &mut Frames, until: impl Fn(&Frames) -> bool) {
        for _ in 0..10_000 {
            frames.fill().unwrap();
            if until(frames) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("nothing came");
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let (mut frames, mut theirs) = pair();
        theirs.write_all(b"\0").unwrap();
        wait(&mut frames, |frames| frames.inbound.len() == 1);
        assert_eq!(frames.message(), None);
        theirs.write_all(b"\x02ab\0\x01c\0").unwrap();
        wait(&mut frames, |frames| frames.inbound.len() == 8);
        assert_eq!(frames.message(), Some(&b"ab"[..]));
        frames.consume();
        assert_eq!(frames.message(), Some(&b"c"[..]));
        frames.consume();
        assert_eq!(frames.message(), None);
        frames.consume();
        drop(theirs);
        for _ in 0..10_000 {
            if frames.fill().unwrap() == ReadEnd::Closed {
                return;
            }
            std::thread::yield_now();
        }
        panic!("never closed");
    }

    #[test]
    fn what_is_kept_unread_is_bounded() {
        let (mut frames, mut theirs) = pair();
        theirs.set_nonblocking(true).unwrap();
        for _ in 0..100 {
            let _ = theirs.write(&[0xff; 65_536]);
            frames.fill().unwrap();
        }
        assert!(frames.inbound.len() <= INBOUND_BYTES_MAX);
        assert!(frames.message().is_some());
    }
}
