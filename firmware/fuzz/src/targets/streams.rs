//! Octets that come in pieces: messages between roles on their sockets, DNS on TCP, and timed's
//! questions for names.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_model::resolver::DnsCounters;
use lintel_proto::ntp::client::{ADDRESSES_MAX, SourceId};
use lintel_proto::rng::SeededRng;
use lintel_roles::dnsd::frames::{Frames, INBOUND_BYTES_MAX, ReadEnd};
use lintel_roles::timed::names::Names;
use lintel_rt::channel::{self, Channel, ChannelError};
use lintel_wire::dns::{Class, Packet, Rdata, RecordRepr, Repr};
use nix::sys::socket::{MsgFlags, send};

use super::dns::message_octets;
use crate::Tally;
use crate::entropy::{any, below, ipv4, octets, once_in, pick, text};

/// One channel, as a role that was taken over writes to it; a message at a time.
struct Wire {
    theirs: OwnedFd,
    ours: Channel<ToDnsd, FromDnsd>,
}

impl Wire {
    fn new() -> io::Result<Self> {
        let (theirs, ours) = channel::pair()?;
        let ours = Channel::new(ours)?;
        Ok(Self { theirs, ours })
    }
}

/// A datagram on a role's channel is a message or the end of the session; it leaves nothing
/// behind that the next one could be read with.
pub fn channel(data: &[u8]) -> Tally {
    thread_local!(static WIRE: RefCell<Wire> = RefCell::new(Wire::new().expect("a pair")));
    WIRE.with_borrow_mut(|wire| {
        if data.is_empty() {
            return Tally::REFUSED;
        }
        send(wire.theirs.as_raw_fd(), data, MsgFlags::empty()).expect("room for one");
        let read = wire.ours.recv();
        assert!(
            matches!(wire.ours.recv(), Ok(None)),
            "one datagram, one message"
        );
        match read {
            Ok(Some((message, fds))) => {
                assert!(data[0] == b'I' && fds.is_empty());
                let again: FromDnsd = serde_json::from_slice(&data[1..]).expect("JSON");
                assert_eq!(message, again);
                Tally::ACCEPTED
            }
            Ok(None) => panic!("a datagram is lost"),
            Err(ChannelError::Malformed(_) | ChannelError::Json(_)) => Tally::REFUSED,
            Err(error) => panic!("{error}"),
        }
    })
}

/// A message of dnsd's, or what pretends to be one in shared memory.
pub fn datagram_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut datagram = vec![pick(u, b"IIIIIIIIMX\0")];
    if once_in(u, 4) {
        datagram.extend(super::ipc::message_octets(u));
        return datagram;
    }
    let statistics = FromDnsd::Statistics(DnsCounters {
        queries: any(u),
        cache_bytes: any(u),
        dropped: vec![(text(u, b"ab\"", 4), any(u)); below(u, 3)],
        ..DnsCounters::default()
    });
    datagram.extend(serde_json::to_vec(&statistics).expect("a message can be written"));
    datagram
}

/// What the other end of a TCP connection sends and takes, in pieces.
struct Pieces<'d> {
    theirs: &'d [u8],
    /// Octets until the next pause.
    run: usize,
    taken: Vec<u8>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.theirs.is_empty() {
            return Ok(0);
        }
        if self.run == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.run).min(self.theirs.len());
        let (now, later) = self.theirs.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.theirs = later;
        self.run -= len;
        Ok(len)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.run == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = octets.len().min(self.run);
        self.taken.extend_from_slice(&octets[..len]);
        self.run -= len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages on a TCP connection are the same however it is cut, unread octets keep their bound,
/// and what is sent leaves whole and in order.
pub fn dns_frames(data: &[u8]) -> Tally {
    let (cuts, stream) = data.split_at(data.len().min(16));
    let mut expected = Vec::new();
    let mut rest = stream;
    while let Some((len, behind)) = rest.split_first_chunk::<2>()
        && let Some(message) = behind.get(..usize::from(u16::from_be_bytes(*len)))
    {
        expected.push(message.to_vec());
        rest = &behind[message.len()..];
    }
    let mut frames = Frames::new(Pieces {
        theirs: stream,
        run: 0,
        taken: Vec::new(),
    });
    let mut got = Vec::new();
    let mut cuts = cuts.iter().chain(std::iter::repeat(&255));
    loop {
        frames.stream.run = usize::from(*cuts.next().unwrap_or(&1));
        let end = frames.fill().expect("no error was made");
        while let Some(message) = frames.message() {
            assert!(message.len() + 2 <= INBOUND_BYTES_MAX);
            got.push(message.to_vec());
            frames.consume();
        }
        if end == ReadEnd::Closed {
            break;
        }
    }
    assert_eq!(got, expected);
    for message in &got {
        frames.push(message);
        frames.stream.run = usize::from(*cuts.next().unwrap_or(&1));
        frames.flush().expect("no error was made");
    }
    frames.stream.run = usize::MAX;
    frames.flush().expect("no error was made");
    assert_eq!(frames.unsent(), 0);
    assert_eq!(frames.stream.taken, stream[..stream.len() - rest.len()]);
    Tally::one(!got.is_empty())
}

/// Where the stream is cut, and the stream.
pub fn stream_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut stream: Vec<u8> = (0..16).map(|_| any(u)).collect();
    for _ in 0..below(u, 4) {
        let message = octets(u, 60);
        let len = if once_in(u, 8) {
            any(u)
        } else {
            message.len() as u16
        };
        stream.extend(len.to_be_bytes());
        stream.extend(message);
    }
    stream
}

/// Names of time servers under any replies: only who was asked about is answered for, with as
/// many addresses as an association takes; what is open is asked again, and never at once.
pub fn time_names(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let mut names = Names::default();
    let mut rng = SeededRng::new(any(&mut u));
    let mut now = Instant::from_secs(10);
    let mut questions: Vec<Repr> = Vec::new();
    while !u.is_empty() {
        tally.inputs += 1;
        let source = SourceId(u32::from(any::<u8>(&mut u) % 40));
        match below(&mut u, 8) {
            0 => {
                let name = pick(&mut u, &["ntp.example.net", "a.b", "pool.ntp.org"]);
                let name = name.parse().expect("a name");
                names.ask(now, source, &name, any(&mut u));
            }
            1 => names.retain(|id| id != source),
            2 => names.hurry(now),
            3 => now += Duration::from_millis(pick(&mut u, &[1, 999, 5_000, 300_000])),
            _ => {
                let message = match questions.last() {
                    Some(question) if !once_in(&mut u, 3) => reply(&mut u, question),
                    _ => message_octets(&mut u),
                };
                if let Some((source, addresses)) = names.reply(&message) {
                    tally.accepted += 1;
                    assert!(!addresses.is_empty() && addresses.len() <= ADDRESSES_MAX);
                    assert!(addresses.iter().all(SocketAddr::is_ipv4));
                    assert!(names.knows(source));
                    assert!(names.reply(&message).is_none_or(|(of, _)| of != source));
                }
            }
        }
        for _ in 0..300 {
            let Some(message) = names.poll(now, &mut rng) else {
                break;
            };
            let packet = Packet::new_checked(&message[..]).expect("a header");
            questions.push(Repr::parse(&packet).expect("we write what can be read"));
        }
        questions.drain(..questions.len().saturating_sub(4));
        assert!(names.poll(now, &mut rng).is_none(), "asks for ever");
        assert!(names.deadline().is_none_or(|at| at > now));
    }
    tally
}

/// An answer to `question`, or nearly.
fn reply(u: &mut Unstructured<'_>, question: &Repr) -> Vec<u8> {
    let mut reply = question.clone();
    reply.flags.response = !once_in(u, 8);
    if once_in(u, 6) {
        reply.id = any(u);
    }
    if !once_in(u, 3) {
        let asked = question.question.as_ref().expect("we ask one");
        let record = RecordRepr {
            name: asked.name.clone(),
            class: Class::IN,
            ttl: any(u),
            rdata: Rdata::A(ipv4(u)),
        };
        reply.answers = vec![record; below(u, 20)];
        return reply.to_vec().unwrap_or_default();
    }
    let message = message_octets(u);
    if let Ok(packet) = Packet::new_checked(&message[..])
        && let Ok(other) = Repr::parse(&packet)
    {
        reply.answers = other.answers;
    }
    reply.to_vec().unwrap_or_default()
}
