//! A forwarding DNS server with a cache, as a machine without IO.
//!
//! [`Forwarder`] takes questions of the household and gives answers: from its own names, from the
//! cache, or from an upstream resolver. It owns no socket, clock or random source.
//!
//! - [`Forwarder::handle_query`] is the hot path: a question in, its answer written into the
//!   caller's buffer. What the cache or the local names can answer allocates nothing.
//! - [`Forwarder::handle_input`] takes what upstream sends, [`Forwarder::handle_timeout`] the
//!   passing of time. After any of the three, drain [`Forwarder::poll_output`] until it yields
//!   [`Output::Timeout`].
//!
//! Where the rules are:
//!
//! | what | RFC | file |
//! |---|---|---|
//! | reading a question, FORMERR and NOTIMP | 1035 4, 6891 6.1, 9619 | `ask` |
//! | writing an answer, TC, OPT | 2181 9, 6891 7, 6840 5.7 | `answer` |
//! | cache, TTLs, negative and failed answers | 1035 7.4, 2181 8, 2308 5, 9520 3.2 | `cache`, `accept` |
//! | which replies count | 5452 9, draft-vixie-dnsext-dns0x20 | `forward`, `accept` |
//! | local names, the household's domain | 1034 4.3.2, 8482 4.2 | `zone` |
//! | names that never leave the box | 6303, 6761, 6762 22, 7686, 7793, 8375, 9462, 9476 | `special` |
//! | private addresses in public answers | 1918, 4193, 9460 7.3 | `rebind` |
//! | choice of an upstream, back-off | 6298 2 (the estimator) | `upstream` |
//!
//! Trust: askers and upstreams both send bytes that anybody may have made. Nothing here panics on
//! any bytes, and every table has a bound whose name ends in `_max` with its reason beside it.

mod accept;
mod answer;
mod ask;
mod cache;
mod config;
mod counters;
mod forward;
mod io;
mod open;
mod rebind;
mod special;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

pub use config::{Config, Prefix};
pub use counters::{Counters, Reason};
pub use forward::Forwarder;
pub use io::{Asker, Event, Input, Output, SocketSlot, Transport, UpstreamStatus, Verdict};
pub use open::{ATTEMPTS_LIVE_MAX, ATTEMPTS_MAX, OPEN_QUESTIONS_MAX};
