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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn pair() -> (ClientConnection, Tls) {
        let made = rcgen::generate_simple_self_signed(vec!["lintel.lan".to_owned()]).unwrap();
        let identity = TlsIdentity {
            chain_der: vec![made.cert.der().to_vec()],
            key_der: made.signing_key.serialize_der(),
        };
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("lintel.lan").unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        (client, Tls::new(config(&identity).unwrap()).unwrap())
    }

    fn said(client: &mut ClientConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn hear(client: &mut ClientConnection, tls: &mut Tls) {
        let mut bytes = Vec::new();
        tls.flush(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_octets_make_it_panic(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
            cut in 0usize..400,
            flip in any::<(u16, u8)>(),
        ) {
            let (_, mut tls) = pair();
            for chunk in &chunks {
                if tls.take(chunk).is_err() {
                    break;
                }
            }
            // A ClientHello that is nearly good.
            let (mut client, mut tls) = pair();
            let mut hello = said(&mut client);
            let at = usize::from(flip.0) % hello.len();
            hello[at] ^= flip.1;
            hello.truncate(hello.len().saturating_sub(cut / 4));
            let _ = tls.take(&hello);
            tls.say_goodbye();
            let _ = tls.flush(&mut Vec::new());
        }

        #[test]
        fn however_it_is_cut_what_was_said_arrives(
            sizes in proptest::collection::vec(1usize..700, 1..8),
            length in 0usize..40_000,
        ) {
            let (mut client, mut tls) = pair();
            let text: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut sizes = sizes.iter().cycle();
            let mut got = Vec::new();
            let mut left = text.as_slice();
            let mut done = false;
            while !done {
                if !client.is_handshaking() {
                    let n = client.writer().write(left).unwrap();
                    left = &left[n..];
                    if left.is_empty() {
                        client.send_close_notify();
                        done = true;
                    }
                }
                let bytes = said(&mut client);
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                    tls.take(now).unwrap();
                    got.extend(tls.plain().unwrap_or_default());
                    rest = later;
                }
                hear(&mut client, &mut tls);
            }
            prop_assert!(tls.end() && !tls.end());
            prop_assert_eq!(&got, &text);

            // And back, a record at a time.
            let mut pending = text.as_slice();
            let mut back = Vec::new();
            while !pending.is_empty() {
                prop_assert_eq!(tls.sent(), None);
                tls.put(pending).unwrap();
                prop_assert_eq!(tls.sent(), None);
                hear(&mut client, &mut tls);
                let sent = tls.sent().unwrap();
                prop_assert!((1..=RECORD_BYTES_MAX).contains(&sent));
                pending = &pending[sent..];
                let mut chunk = vec![0; sent];
                client.reader().read_exact(&mut chunk).unwrap();
                back.extend(chunk);
            }
            prop_assert_eq!(back, text);
        }
    }
}
