//! Every bound of the front, with its reason. Sizes are octets, times milliseconds.

use embassy_time::Duration;

/// Connections at once. Each costs a descriptor and at most `HEAD_BYTES_MAX` before it has asked
/// for anything, with TLS 30 KiB as measured, so a full house costs 2 MiB or 8 MiB; a household
/// with twenty open browsers uses eighty.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections at once from one source (an IPv4 address or an IPv6 /64): browsers open six.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 48;
/// Connections accepted before the loop looks at the others again.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Request line and header fields together: cookies and a long query fit eight times over.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields: Chromium sends about fifteen.
pub const HEADERS_MAX: usize = 64;
/// Body of a request: the largest form or record is far below.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Body of a request below `/api/config`, and of the editor's form: a whole configuration with thousands of records.
pub const CONFIG_BODY_BYTES_MAX: usize = 256 * 1024;
/// Body that brings a backup, to the API or by a form's escapes: the API's bound with room.
pub const IMPORT_BODY_BYTES_MAX: usize = 512 * 1024;
/// Bodies that are being received or wait for an answer, all connections together.
pub const BODIES_BYTES_MAX: usize = 1024 * 1024;
/// An answer of the application; the longest is a page of leases.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that readers have not taken yet, all connections together; above it no further
/// request is handed on until some reader has read or has lost its connection.
pub const ANSWERS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Octets taken from one socket before the others have their turn.
pub const READ_BYTES_MAX: usize = 16 * 1024;
/// What a client may send before its handshake is complete: a ClientHello with two post-quantum
/// key shares has 3 KiB, and may have to be said twice.
pub const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// Plaintext that becomes one TLS record (RFC 8446 section 5.1); the next one is made when the
/// socket has taken it, so a connection holds one at most.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Octets that wait in the TLS layer: a record, the flight of a handshake.
pub const TLS_PENDING_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// TLS sessions that can be resumed; a household's browsers. About 300 octets each.
pub const TLS_SESSIONS_MAX: usize = 128;
/// Lanes to tiny_http, and with them requests in work at once. Each costs two threads.
pub const LANES: usize = 4;

/// From the first octet of a head to its last. Slow mobiles need one second.
pub const HEAD_DEADLINE: Duration = Duration::from_millis(10_000);
/// From accept to the end of the TLS handshake. What it took is taken off the first head's time,
/// so a slow client has no more time than without TLS.
pub const HANDSHAKE_DEADLINE: Duration = HEAD_DEADLINE;
/// A connection that says nothing. Browsers connect ahead of need and come back within this.
pub const IDLE_DEADLINE: Duration = Duration::from_millis(30_000);
/// From the end of a head to the end of its body, whatever the rate.
pub const BODY_DEADLINE: Duration = Duration::from_millis(30_000);
/// What a body may lag behind `BODY_RATE_MIN`.
pub const BODY_GRACE: Duration = Duration::from_millis(5_000);
/// Slowest body that is waited for, octets a second: a telephone line.
pub const BODY_RATE_MIN: u64 = 4 * 1024;
/// From a whole request to its answer; above the deadline of a call to controld.
pub const ANSWER_DEADLINE: Duration = Duration::from_millis(15_000);
/// What the reader of an answer may lag behind `SEND_RATE_MIN`.
pub const SEND_GRACE: Duration = Duration::from_millis(10_000);
/// Slowest reader that is waited for, octets a second.
pub const SEND_RATE_MIN: u64 = 4 * 1024;
/// After the last answer: time for the client to read it before what it still sends would make
/// the kernel reset the connection and throw the answer away.
pub const LINGER_DEADLINE: Duration = Duration::from_millis(2_000);
/// Octets swallowed meanwhile.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Streams of events at once; each is one open page.
pub const STREAMS_MAX: usize = 32;
/// Streams of events at once from one source.
pub const STREAMS_PER_SOURCE_MAX: usize = 8;
/// Events that a slow stream has not taken; beyond it the stream ends and the page comes back
/// with Last-Event-ID.
pub const STREAM_PENDING_BYTES_MAX: usize = 64 * 1024;
/// A stream without an event says that it lives: below the idle time of common NAT boxes.
pub const STREAM_HEARTBEAT: Duration = Duration::from_millis(15_000);
/// A stream that took nothing for this long is over.
pub const STREAM_STALL_DEADLINE: Duration = Duration::from_millis(30_000);
/// How often the session of a stream is checked again: a logout ends its streams this soon.
pub const STREAM_RECHECK: Duration = Duration::from_millis(60_000);
/// Events kept for pages that come back: as many as controld keeps.
pub const HISTORY_EVENTS_MAX: usize = 512;
/// The same in octets.
pub const HISTORY_BYTES_MAX: usize = 320 * 1024;
/// One event; a larger one is replaced by an order to look again.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;

/// Largest body that `path` may carry.
pub fn body_bytes_max(path: &str) -> usize {
    if path == "/api/config/import" || path == "/history/backups" {
        IMPORT_BODY_BYTES_MAX
    } else if path == "/config" || path == "/api/config" || path.starts_with("/api/config/") {
        CONFIG_BODY_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    }
}
