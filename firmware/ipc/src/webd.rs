//! controld and webd.

use lintel_model::services::WebSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{Call, Reply};

/// What the box shows to its visitors, and the key behind it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsIdentity {
    /// Certificates (RFC 5280, DER), the box's own first.
    pub chain_der: Vec<Vec<u8>>,
    /// Its private key (PKCS #8, DER).
    pub key_der: Vec<u8>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIdentity")
    }
}

/// From controld to webd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWebd {
    /// What to serve, whole: the first message of a session and whenever it changes.
    Spec(WebSpec),
    /// For port 443, from the next connection on: after the first `Spec` of a session and
    /// whenever it changes.
    Tls(TlsIdentity),
    /// Answer to a call.
    Reply(Reply),
    /// What happened of late, for server-sent events: once in a session, before any `Events`.
    /// What webd knew of an earlier one is forgotten.
    History(Vec<Happened>),
    /// What happened since, in order.
    Events(Vec<Happened>),
}

/// An event on its way to whoever listens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// Grows with each event and never comes again.
    pub id: u64,
    /// What it is about (`lease`, `wan`, `services`, `config`): the name of the server-sent event.
    pub topic: String,
    /// The event, with its id, time and type.
    pub data: Value,
}

/// From webd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWebd {
    /// A call of a method.
    Call(Call),
    /// So many streams of events are open now.
    Streams(u32),
}
