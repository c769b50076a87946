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
    /// Something happened: for server-sent events.
    Event {
        /// Grows by one with each event of this boot.
        id: u64,
        /// Stable name (`lease`, `wan`, `services`, `config`).
        kind: String,
        /// Its data.
        data: Value,
    },
}

/// From webd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWebd {
    /// A call of a method.
    Call(Call),
}
