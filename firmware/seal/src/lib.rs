//! Files of the `age` format (age-encryption.org/v1) that a passphrase opens.
//!
//! [`seal`] writes one, [`Sealed::parse`] and [`Sealed::open`] read one, whoever wrote it: `age
//! -p`, `rage -p` or a box. Files for public keys are told apart and refused.
//!
//! ```text
//!   age-encryption.org/v1
//!   -> scrypt SALT LOG_N          the one stanza there is
//!   FILE KEY, sealed by scrypt(passphrase)
//!   --- MAC of the lines above, keyed by the file key
//!   nonce, then chunks of 64 KiB, each sealed, the last one marked
//! ```
//!
//! Nothing here panics on any bytes, and no file decides what it costs: the work is bounded by
//! [`LOG_N_MAX`], memory by [`scrypt::TABLE_BYTES_MAX`], whichever `LOG_N` stands in it. The caller
//! bounds the length of what it hands in. Randomness is an argument.

pub mod armor;
pub mod scrypt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};

/// The line that every file begins with.
pub const INTRO: &str = "age-encryption.org/v1";
/// Most work taken on for a file, as the logarithm of scrypt's N: what `age -p` writes.
pub const LOG_N_MAX: u8 = 18;
/// Longest header looked at, octets; one with a single scrypt stanza has under 200.
const HEADER_BYTES_MAX: usize = 4096;
/// Plaintext of one chunk, octets.
const CHUNK_BYTES: usize = 64 * 1024;
/// What sealing adds to each chunk and to the file key, octets.
const TAG_BYTES: usize = 16;
/// Of the file key and of the nonce before the chunks, octets.
const KEY_BYTES: usize = 16;
/// Stands before the salt in scrypt's input.
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";

/// Why a file does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an age file at all, or of a later version of the format.
    #[error("it is no age file of version 1")]
    NoAge,
    /// It ends too early, or its header is not well formed.
    #[error("the file is damaged or cut off")]
    Damaged,
    /// It is sealed for keys, not with a passphrase.
    #[error("the file is sealed for a key and not with a passphrase")]
    NotByPassphrase,
    /// It asks for more work than is done for a file.
    #[error("the file asks for more work (2^{log_n}) than the 2^{LOG_N_MAX} that are done for one")]
    TooMuchWork {
        /// The logarithm that stands in it.
        log_n: u8,
    },
    /// The passphrase is another one.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
}

/// A file whose header reads, not opened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    salt: [u8; 16],
    log_n: u8,
    wrapped_key: [u8; KEY_BYTES + TAG_BYTES],
    /// What the MAC covers.
    header: &'a [u8],
    mac: [u8; 32],
    payload: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the header of a binary file; for one in letters see [`armor::decode`].
    pub fn parse(file: &'a [u8]) -> Result<Self, OpenError> {
        let head = file.get(..file.len().min(HEADER_BYTES_MAX)).unwrap_or(file);
        let mut lines = Lines { rest: head };
        if lines.next() != Some(INTRO.as_bytes()) {
            return Err(OpenError::NoAge);
        }
        let stanza = lines.next().ok_or(OpenError::Damaged)?;
        let mut words = stanza.split(|b| *b == b' ');
        if words.next() != Some(b"->") {
            return Err(OpenError::Damaged);
        }
        if words.next() != Some(b"scrypt") {
            return Err(OpenError::NotByPassphrase);
        }
        let salt = words.next().and_then(armor::exact);
        let log_n = words.next().and_then(work);
        let (Some(salt), Some(log_n), None) = (salt, log_n, words.next()) else {
            return Err(OpenError::Damaged);
        };
        let wrapped_key = lines.next().and_then(armor::exact);
        let end = lines.next().and_then(|line| line.strip_prefix(b"--- "));
        let mac = end.and_then(armor::exact);
        let (Some(wrapped_key), Some(mac)) = (wrapped_key, mac) else {
            return Err(OpenError::Damaged);
        };
        let taken = head.len() - lines.rest.len();
        // All but the MAC itself, its blank and the end of the line.
        let covered = taken - end.map_or(0, <[u8]>::len) - 2;
        let (Some(header), Some(payload)) = (file.get(..covered), file.get(taken..)) else {
            return Err(OpenError::Damaged);
        };
        if payload.len() < KEY_BYTES + TAG_BYTES {
            return Err(OpenError::Damaged);
        }
        if log_n > LOG_N_MAX {
            return Err(OpenError::TooMuchWork { log_n });
        }
        Ok(Self {
            salt,
            log_n,
            wrapped_key,
            header,
            mac,
            payload,
        })
    }

    /// The plaintext. Takes as long as the file says, a second or more: see
    /// [`scrypt::derive`].
    pub fn open(&self, passphrase: &str) -> Result<Vec<u8>, OpenError> {
        let wrap = wrap_key(passphrase, &self.salt, self.log_n);
        let mut wrapped = self.wrapped_key;
        let file_key = key(&wrap)
            .open_in_place(nonce(0, false, true), Aad::empty(), &mut wrapped)
            .map_err(|_| OpenError::WrongPassphrase)?
            .to_vec();
        hmac::verify(&mac_key(&file_key), self.header, &self.mac)
            .map_err(|_| OpenError::Damaged)?;
        let (salt, chunks) = self
            .payload
            .split_at_checked(KEY_BYTES)
            .ok_or(OpenError::Damaged)?;
        let key = key(&expand(&file_key, salt, b"payload"));
        let mut plain = Vec::with_capacity(chunks.len());
        let count = chunks.len().div_ceil(CHUNK_BYTES + TAG_BYTES);
        for (at, chunk) in chunks.chunks(CHUNK_BYTES + TAG_BYTES).enumerate() {
            let last = at + 1 == count;
            let mut chunk = chunk.to_vec();
            let opened = key
                .open_in_place(nonce(at, last, false), Aad::empty(), &mut chunk)
                .map_err(|_| OpenError::Damaged)?;
            // Only a file without any plaintext may end with an empty chunk.
            if opened.is_empty() && at > 0 {
                return Err(OpenError::Damaged);
            }
            plain.extend_from_slice(opened);
        }
        Ok(plain)
    }

    /// The logarithm of scrypt's N that opening takes.
    pub fn log_n(&self) -> u8 {
        self.log_n
    }
}

/// Seals a text with a passphrase, at the cost of `log_n` (of which [`LOG_N_MAX`] counts at most),
/// and 48 octets from `random`, which must be unguessable.
pub fn seal(plain: &[u8], passphrase: &str, log_n: u8, random: &[u8; 48]) -> Vec<u8> {
    let log_n = log_n.clamp(1, LOG_N_MAX);
    let (salt, rest) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let (file_key, rest) = rest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let (stream_salt, _) = rest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let mut wrapped = file_key.to_vec();
    close(
        &key(&wrap_key(passphrase, salt, log_n)),
        nonce(0, false, true),
        &mut wrapped,
    );
    let mut header = format!(
        "{INTRO}\n-> scrypt {} {log_n}\n{}\n---",
        armor::bare(salt),
        armor::bare(&wrapped)
    );
    let mac = hmac::sign(&mac_key(file_key), header.as_bytes());
    header.push(' ');
    header.push_str(&armor::bare(mac.as_ref()));
    header.push('\n');
    let mut file = header.into_bytes();
    file.extend_from_slice(stream_salt);
    let key = key(&expand(file_key, stream_salt, b"payload"));
    let count = plain.len().div_ceil(CHUNK_BYTES).max(1);
    for at in 0..count {
        let from = at * CHUNK_BYTES;
        let to = plain.len().min(from + CHUNK_BYTES);
        let mut chunk = plain.get(from..to).unwrap_or_default().to_vec();
        close(&key, nonce(at, at + 1 == count, false), &mut chunk);
        file.extend_from_slice(&chunk);
    }
    file
}

/// Lines that end with LF; what follows the last LF is none.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|b| *b == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Some(line)
    }
}

/// A decimal number without leading zeros.
fn work(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

fn wrap_key(passphrase: &str, salt: &[u8; 16], log_n: u8) -> [u8; 32] {
    let salt = [SALT_LABEL, salt.as_slice()].concat();
    scrypt::derive(passphrase.as_bytes(), &salt, log_n)
}

fn mac_key(file_key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &expand(file_key, &[], b"header"))
}

/// HKDF-SHA-256 (RFC 5869) to 32 octets.
fn expand(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let filled = prk
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out));
    debug_assert!(filled.is_ok(), "one block of the hash is asked for");
    out
}

fn key(octets: &[u8; 32]) -> LessSafeKey {
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, octets);
    #[expect(clippy::expect_used, reason = "the key's length is in its type")]
    LessSafeKey::new(unbound.expect("32 octets are its length"))
}

/// The number of the chunk, then whether it is the last; all zeros for the file key.
fn nonce(at: usize, last: bool, of_key: bool) -> Nonce {
    let mut octets = [0; 12];
    let counted = u64::try_from(at).unwrap_or(u64::MAX).to_be_bytes();
    for (to, from) in octets.iter_mut().skip(3).zip(counted) {
        *to = from;
    }
    let [.., mark] = &mut octets;
    *mark = u8::from(last && !of_key);
    Nonce::assume_unique_for_key(octets)
}

fn close(key: &LessSafeKey, nonce: Nonce, data: &mut Vec<u8>) {
    let sealed = key.seal_in_place_append_tag(nonce, Aad::empty(), data);
    debug_assert!(sealed.is_ok(), "a chunk is far below the cipher's bound");
}

#[cfg(test)]
mod tests;
