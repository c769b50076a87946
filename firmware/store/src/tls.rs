//! The key and the certificate of the box's pages.

use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::StoreError;
use crate::facts::{Fact, set};

/// The box's own key, and what it last said about itself with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// The private key (PKCS #8, DER). Made once, and the same for every certificate after.
    pub key_der: Vec<u8>,
    /// The certificate (RFC 5280, DER).
    pub certificate_der: Vec<u8>,
    /// Names and addresses that it stands for.
    pub names: Vec<String>,
    /// The clock when it was made, Unix seconds.
    pub made_unix_s: u64,
}

impl std::fmt::Debug for TlsRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsRow")
            .field("names", &self.names)
            .field("made_unix_s", &self.made_unix_s)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Key and certificate, when there are some.
    pub fn tls(&self) -> Result<Option<TlsRow>, StoreError> {
        self.fact(Fact::Tls)
    }

    /// Stores key and certificate.
    pub fn set_tls(&mut self, row: &TlsRow) -> Result<(), StoreError> {
        set(&self.db, Fact::Tls, Some(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_is_not_told() {
        let mut store = Store::memory().unwrap();
        assert_eq!(store.tls().unwrap(), None);
        let row = TlsRow {
            key_der: vec![0xde, 0xad],
            certificate_der: vec![1, 2, 3],
            names: vec!["lintel.lan".to_owned()],
            made_unix_s: 5,
        };
        store.set_tls(&row).unwrap();
        assert_eq!(store.tls().unwrap().as_ref(), Some(&row));
        let told = format!("{row:?}");
        assert!(!told.contains("222") && !told.contains("173"), "{told}");
    }
}
