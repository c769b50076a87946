//! TLS 1.3 between a client's socket and its [`super::front::connection::Connection`].
//!
//! # Contract
//! * No socket, no clock of its own: octets go in by [`Tls::take`], and leave by [`Tls::flush`]
//!   into whatever the caller gives. (The library takes randomness and, for the age of a
//!   resumption ticket, the time from the system.)
//! * A connection holds at most one record of plaintext for each direction beside what its
//!   socket gave last; how much may come before the handshake is complete, and until when, is
//!   the front's to say.
//! * The key is in the [`ServerConfig`] alone and is wiped with it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use lintel_ipc::webd::TlsIdentity;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, ServerConnection};

use super::front::limits::{RECORD_BYTES_MAX, TLS_PENDING_BYTES_MAX, TLS_SESSIONS_MAX};

/// What new connections are given.
pub(crate) fn config(identity: &TlsIdentity) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = identity.chain_der.iter().cloned();
    let chain = chain.map(CertificateDer::from).collect();
    let key = PrivatePkcs8KeyDer::from(identity.key_der.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key.into())?;
    // HTTP/2 is not spoken here; who insists on it hears so in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// One connection's layer.
#[derive(Debug)]
pub(crate) struct Tls {
    layer: Box<ServerConnection>,
    /// Decrypted, and not yet wanted by the front.
    plain: Vec<u8>,
    /// The client has said that it sends no more.
    ended: bool,
    /// Octets of the front that are in the layer and have not wholly left.
    in_flight: usize,
}

impl Tls {
    /// The layer of a connection that was just accepted.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut layer = ServerConnection::new(config)?;
        layer.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        Ok(Self {
            layer: Box::new(layer),
            plain: Vec::new(),
            ended: false,
            in_flight: 0,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.layer.is_handshaking()
    }

    /// Takes what the socket gave. After an error only the alert is left to send.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.layer.read_tls(&mut bytes)? == 0 {
                break;
            }
            let state = self
                .layer
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.ended |= state.peer_has_closed();
            let start = self.plain.len();
            self.plain
                .resize(start + state.plaintext_bytes_to_read(), 0);
            if let Some(room) = self.plain.get_mut(start..) {
                self.layer.reader().read_exact(room)?;
            }
        }
        Ok(())
    }

    /// What was decrypted; the caller asks when the front reads.
    pub(crate) fn plain(&mut self) -> Option<Vec<u8>> {
        (!self.plain.is_empty()).then(|| std::mem::take(&mut self.plain))
    }

    /// Whether the client has ended its side, told once.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }

    /// Whether something waits to leave.
    pub(crate) fn wants_write(&self) -> bool {
        self.layer.wants_write()
    }

    /// Makes a record of the front of `pending`; to be called when nothing waits.
    pub(crate) fn put(&mut self, pending: &[u8]) -> io::Result<()> {
        let record = pending.get(..RECORD_BYTES_MAX).unwrap_or(pending);
        self.in_flight = self.layer.writer().write(record)?;
        Ok(())
    }

    /// Octets of the front that have wholly left since the last call.
    pub(crate) fn sent(&mut self) -> Option<usize> {
        if self.in_flight == 0 || self.layer.wants_write() {
            return None;
        }
        Some(std::mem::take(&mut self.in_flight))
    }

    /// Writes what waits, as far as `socket` takes it.
    pub(crate) fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.layer.wants_write() {
            match self.layer.write_tls(socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says that nothing more is sent (RFC 8446 section 6.1).
    pub(crate) fn say_goodbye(&mut self) {
        self.layer.send_close_notify();
    }
}
