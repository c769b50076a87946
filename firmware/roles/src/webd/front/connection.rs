//! One connection of a client, from accept to close; no socket in here.
//!
//! ```text
//!  accept, with TLS: Handshake --late, too long--> Closed
//!    |                   | complete
//!    |<------------------+
//!    v    first octet      head whole           body whole
//!  Idle ------------> Head -----------> Body --------------> Waiting --> Streaming
//!   | ^                |  bad or late    |  late               | answer     | end, stall,
//!   | |                +-----------------+----> refusal        |            | overflow
//!   | |  sent, keep-alive                          \           v            v
//!   | +---------------------------------------------+------ Sending      Closed
//!   | idle deadline                                            | sent, no keep-alive
//!   v                                                          v
//! Closed <-------------------------------------------------- Lingering
//!                                            end, deadline, octets
//! ```
//!
//! The shell reads and writes as [`Connection::interest`] says, hands octets to
//! [`Connection::handle_input`], drains [`Connection::poll_output`] until it is `Nothing`, and
//! calls [`Connection::handle_timeout`] at [`Connection::deadline`]. One request at a time:
//! while one is in work nothing more is read, so a client that pipelines fills its own socket.

use std::net::IpAddr;

use embassy_time::{Duration, Instant};

use super::answer::{self, Answer};
use super::head::{self, Found, Hosts, Refusal, RequestHead};
use super::limits;

/// What the machine needs to know from outside while it reads.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// For the `Host` check.
    pub hosts: &'a Hosts,
    /// Octets of bodies that the front can still take.
    pub bodies_bytes_left: usize,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent this.
    Received(&'a [u8]),
    /// The client sent this many octets and its TLS handshake is not complete.
    Handshake(usize),
    /// The TLS handshake is complete.
    Secured,
    /// The client sends no more.
    ReadEnd,
    /// The socket took this many octets of [`Connection::pending`].
    Sent(usize),
    /// The answer to the request that was handed out.
    Answer(&'a Answer),
    /// The request that was handed out becomes a stream: head and first events.
    Stream(&'a [u8]),
    /// Further octets of the stream.
    Event(&'a [u8]),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// A whole request wants an answer.
    Request(Box<Request>),
    /// Shut the sending side down; go on reading.
    EndSending,
    /// Close the socket and forget the connection.
    Close,
    /// Nothing for now.
    Nothing,
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its head.
    pub head: RequestHead,
    /// Its body, as long as the head said.
    pub body: Vec<u8>,
}

/// How the front may treat a connection when it needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked, or not wholly: may go, the oldest first.
    Waiting,
    /// A request is in work or being answered.
    Busy,
    /// A stream of events.
    Streaming,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    local: IpAddr,
    state: State,
    since: Instant,
    /// What the handshake took of the time for the first head.
    spent: Duration,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    sent: usize,
    outputs: [Option<Output>; 2],
}

#[derive(Debug)]
enum State {
    Handshake {
        octets: usize,
    },
    Idle,
    Head,
    Body {
        head: Box<RequestHead>,
    },
    Waiting {
        keep_alive: bool,
        body_bytes: usize,
        head_only: bool,
        wants_html: bool,
    },
    Sending {
        keep_alive: bool,
    },
    Streaming {
        stalled_since: Option<Instant>,
    },
    Lingering {
        swallowed: usize,
    },
    Closed,
}

impl Connection {
    /// A connection accepted at `now` on the local address `local`.
    pub fn new(now: Instant, local: IpAddr) -> Self {
        Self {
            local,
            state: State::Idle,
            since: now,
            spent: Duration::MIN,
            inbox: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            outputs: [None, None],
        }
    }

    /// The same for a connection that begins with a TLS handshake.
    pub fn with_handshake(now: Instant, local: IpAddr) -> Self {
        Self {
            state: State::Handshake { octets: 0 },
            ..Self::new(now, local)
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>, around: Surroundings<'_>) {
        match input {
            Input::Received(bytes) => self.on_received(now, bytes, around),
            Input::Handshake(more) => {
                if let State::Handshake { octets } = &mut self.state {
                    *octets = octets.saturating_add(more);
                    if *octets > limits::HANDSHAKE_BYTES_MAX {
                        self.close();
                    }
                }
            }
            Input::Secured => {
                if let State::Handshake { .. } = self.state {
                    self.spent =
                        Duration::from_ticks(now.as_ticks().saturating_sub(self.since.as_ticks()));
                    self.enter(now, State::Idle);
                }
            }
            Input::ReadEnd => match self.state {
                // The client may have shut its sending side only; it still gets its answer.
                State::Waiting { .. } | State::Sending { .. } => {}
                _ => self.close(),
            },
            Input::Sent(octets) => self.on_sent(now, octets, around),
            Input::Answer(answer) => self.on_answer(now, answer),
            Input::Stream(bytes) => {
                if let State::Waiting { .. } = self.state {
                    self.enter(
                        now,
                        State::Streaming {
                            stalled_since: None,
                        },
                    );
                    self.push_stream(now, bytes);
                }
            }
            Input::Event(bytes) => self.push_stream(now, bytes),
        }
    }

    /// Takes that time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.state {
            State::Head => self.refuse(now, Refusal::Late, false),
            State::Body { head } => {
                let html = head.wants_html();
                self.refuse(now, Refusal::Late, html);
            }
            State::Waiting { wants_html, .. } => {
                let html = *wants_html;
                self.refuse(now, Refusal::NoAnswer, html);
            }
            _ => self.close(),
        }
    }

    /// Refuses what is being received or in work, for a reason that lies outside.
    pub fn refuse(&mut self, now: Instant, refusal: Refusal, html: bool) {
        let answer = answer::refusal(refusal, html);
        // What is there already is the end of an interim answer, and part of it may have left.
        answer::write(&answer, false, false, &mut self.outbox);
        self.inbox = Vec::new();
        self.enter(now, State::Sending { keep_alive: false });
    }

    /// What is to be done next; call until `Nothing`.
    pub fn poll_output(&mut self) -> Output {
        let next = self.outputs.iter_mut().find_map(Option::take);
        next.unwrap_or(Output::Nothing)
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let at = match &self.state {
            State::Handshake { .. } => self.since + limits::HANDSHAKE_DEADLINE,
            State::Idle => self.since + limits::IDLE_DEADLINE,
            State::Head => {
                let left = limits::HEAD_DEADLINE
                    .as_ticks()
                    .saturating_sub(self.spent.as_ticks());
                self.since + Duration::from_ticks(left)
            }
            State::Body { .. } => {
                let earned = paced(self.inbox.len(), limits::BODY_RATE_MIN);
                self.since + limits::BODY_DEADLINE.min(limits::BODY_GRACE + earned)
            }
            State::Waiting { .. } => self.since + limits::ANSWER_DEADLINE,
            State::Sending { .. } => {
                self.since + limits::SEND_GRACE + paced(self.sent, limits::SEND_RATE_MIN)
            }
            State::Streaming { stalled_since } => (*stalled_since)? + limits::STREAM_STALL_DEADLINE,
            State::Lingering { .. } => self.since + limits::LINGER_DEADLINE,
            State::Closed => return None,
        };
        Some(at)
    }

    /// Octets to write to the socket; tell by [`Input::Sent`] how many it took.
    pub fn pending(&self) -> &[u8] {
        self.outbox.get(self.sent..).unwrap_or_default()
    }

    /// Whether to read and whether to write.
    pub fn interest(&self) -> (bool, bool) {
        let read = !matches!(
            self.state,
            State::Waiting { .. } | State::Sending { .. } | State::Closed
        );
        (read, !self.pending().is_empty())
    }

    /// What the front may do with it when it needs room.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::Handshake { .. }
            | State::Idle
            | State::Head
            | State::Lingering { .. }
            | State::Closed => Standing::Waiting,
            State::Body { .. } | State::Waiting { .. } | State::Sending { .. } => Standing::Busy,
            State::Streaming { .. } => Standing::Streaming,
        }
    }

    /// Since when it is in its state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Octets of body that it holds or has announced.
    pub fn body_bytes(&self) -> usize {
        match &self.state {
            State::Body { head } => head.body_bytes,
            State::Waiting { body_bytes, .. } => *body_bytes,
            _ => 0,
        }
    }

    /// Octets of an answer that its client has not taken.
    pub fn answer_bytes(&self) -> usize {
        self.outbox.len().saturating_sub(self.sent)
    }

    fn on_received(&mut self, now: Instant, bytes: &[u8], around: Surroundings<'_>) {
        match &mut self.state {
            State::Idle if !bytes.is_empty() => {
                self.enter(now, State::Head);
                self.inbox.extend_from_slice(bytes);
                self.advance(now, around);
            }
            State::Head | State::Body { .. } => {
                self.inbox.extend_from_slice(bytes);
                self.advance(now, around);
            }
            // The client has nothing more to say on a stream.
            State::Handshake { .. } | State::Idle | State::Streaming { .. } | State::Closed => {}
            State::Lingering { swallowed } => {
                *swallowed += bytes.len();
                if *swallowed > limits::LINGER_BYTES_MAX {
                    self.close();
                }
            }
            // The shell does not read now; what came all the same waits for its turn, and a
            // shell that read too much loses the connection instead of memory.
            State::Waiting { .. } | State::Sending { .. } => {
                self.inbox.extend_from_slice(bytes);
                if self.inbox.len() > limits::HEAD_BYTES_MAX + limits::READ_BYTES_MAX {
                    self.close();
                }
            }
        }
    }

    /// Looks whether what is in the inbox completes a head or a body.
    fn advance(&mut self, now: Instant, around: Surroundings<'_>) {
        if let State::Head = self.state {
            let end = match head::find_end(&self.inbox) {
                Ok(Found::Whole(end)) => end,
                Ok(Found::Partial) => return,
                Err(refusal) => return self.refuse(now, refusal, false),
            };
            self.spent = Duration::MIN;
            let rest = self.inbox.split_off(end);
            let bytes = std::mem::replace(&mut self.inbox, rest);
            let head = match head::parse(&bytes, around.hosts, self.local) {
                Ok(head) => head,
                Err(refusal) => {
                    let html = bytes.windows(9).any(|w| w == b"text/html");
                    return self.refuse(now, refusal, html);
                }
            };
            if head.body_bytes > around.bodies_bytes_left {
                return self.refuse(now, Refusal::Busy, head.wants_html());
            }
            if head.expects_continue && self.inbox.is_empty() {
                self.outbox
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            let head = Box::new(head);
            self.enter(now, State::Body { head });
        }
        if let State::Body { head } = &self.state {
            if self.inbox.len() < head.body_bytes {
                return;
            }
            let waiting = State::Waiting {
                keep_alive: head.keep_alive,
                body_bytes: head.body_bytes,
                head_only: head.method == "HEAD",
                wants_html: head.wants_html(),
            };
            let rest = self.inbox.split_off(head.body_bytes);
            let body = std::mem::replace(&mut self.inbox, rest);
            let before = std::mem::replace(&mut self.state, State::Closed);
            if let State::Body { head } = before {
                let head = *head;
                self.push(Output::Request(Box::new(Request { head, body })));
            }
            self.enter(now, waiting);
        }
    }

    fn on_answer(&mut self, now: Instant, answer: &Answer) {
        if let State::Waiting {
            keep_alive,
            head_only,
            ..
        } = self.state
        {
            answer::write(answer, keep_alive, head_only, &mut self.outbox);
            self.enter(now, State::Sending { keep_alive });
        }
    }

    fn on_sent(&mut self, now: Instant, octets: usize, around: Surroundings<'_>) {
        self.sent = (self.sent + octets).min(self.outbox.len());
        if self.sent < self.outbox.len() {
            if let State::Streaming { stalled_since } = &mut self.state {
                *stalled_since = Some(now);
                // Keep what is left and not what was sent, for a stream never ends by itself.
                self.outbox.drain(..self.sent);
                self.sent = 0;
            }
            return;
        }
        self.outbox = Vec::new();
        self.sent = 0;
        match &mut self.state {
            State::Sending { keep_alive: false } => {
                self.push(Output::EndSending);
                self.enter(now, State::Lingering { swallowed: 0 });
            }
            State::Sending { keep_alive: true } => {
                self.enter(now, State::Idle);
                if !self.inbox.is_empty() {
                    self.enter(now, State::Head);
                    self.advance(now, around);
                }
            }
            State::Streaming { stalled_since } => *stalled_since = None,
            _ => {}
        }
    }

    fn push_stream(&mut self, now: Instant, bytes: &[u8]) {
        let State::Streaming { stalled_since } = &mut self.state else {
            return;
        };
        stalled_since.get_or_insert(now);
        self.outbox.extend_from_slice(bytes);
        if self.answer_bytes() > limits::STREAM_PENDING_BYTES_MAX + limits::HISTORY_BYTES_MAX {
            self.close();
        }
    }

    fn enter(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.inbox = Vec::new();
        self.outbox = Vec::new();
        self.sent = 0;
        self.push(Output::Close);
    }

    /// At most a request and an end can wait to be drained; a third would be the same end again.
    fn push(&mut self, output: Output) {
        if let Some(free) = self.outputs.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(output);
        }
    }
}

/// How long `octets` may take at `rate` octets a second.
fn paced(octets: usize, rate: u64) -> Duration {
    let octets = u64::try_from(octets).unwrap_or(u64::MAX);
    Duration::from_millis(octets.saturating_mul(1_000) / rate)
}
