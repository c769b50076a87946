//! The box's own certificate, which it signs itself until the household has a CA.
//!
//! The key is made at the first start and stays; the certificate is made anew when what it
//! stands for changes, and when the clock leaves the time for which a visitor's device would
//! take it. What a person compares is the fingerprint of the certificate.

use std::time::Duration;

use lintel_ipc::webd::{TlsIdentity, ToWebd};
use lintel_model::RoleName;
use lintel_model::config::Config;
use lintel_proto::rng::Rng;
use lintel_store::TlsRow;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};

use super::core::{Core, Now, Output};
use super::shell::Kernel;

impl Core {
    /// Has a certificate for the box's names and the present time, on disk and at webd.
    pub(super) fn certify(&mut self, now: Now) {
        let names = names(&self.active.config);
        if self
            .tls
            .as_ref()
            .is_some_and(|row| is_current(row, &names, now.unix_s))
        {
            return;
        }
        match ensure(self.tls.clone(), names, now.unix_s, self.rng.as_mut()) {
            Ok((row, new)) => {
                if new {
                    log::info!("a new certificate: SHA-256 {}", fingerprint(&row));
                    self.stored("keeping the certificate", |store| store.set_tls(&row));
                }
                self.tls = Some(row);
                self.send_identity();
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                log::error!("{error}: {}", cause.unwrap_or_default());
            }
        }
    }

    /// Tells webd, when it is there.
    pub(super) fn send_identity(&mut self) {
        if let Some(row) = self
            .tls
            .as_ref()
            .filter(|_| self.told.contains(&RoleName::Webd))
        {
            let identity = identity(row);
            self.say(Output::Webd(ToWebd::Tls(identity)));
        }
    }

    /// For those who compare.
    pub(super) fn tls_sha256(&self) -> Option<String> {
        self.tls.as_ref().map(fingerprint)
    }
}

/// What the box is called in the house.
fn names(config: &Config) -> Vec<String> {
    let hostname = &config.system.hostname;
    let mut names = vec![
        hostname.to_string(),
        format!("{hostname}.{}", config.lan.domain),
        config.lan.address.addr().to_string(),
    ];
    // The visitor of `lintel run` sits at the same machine.
    if let Some(run) = &config.run {
        names.push("localhost".to_owned());
        names.push(match run.address {
            address if address.is_unspecified() => "127.0.0.1".to_owned(),
            address => address.to_string(),
        });
    }
    names
}

/// Key and certificate that nothing keeps, for webd alone without a controld.
pub(crate) fn ephemeral(config: &Config, unix_s: u64) -> Result<TlsIdentity, CertificateError> {
    let mut rng = Kernel::new();
    let (row, _) = ensure(None, names(config), unix_s, &mut rng)?;
    Ok(identity(&row))
}

const DAY_S: u64 = 24 * 3600;
/// A certificate is good from this long before it was made: the devices' clocks differ.
const BACKDATED_S: u64 = DAY_S;
/// Apple's systems take no certificate that is good for more than 825 days, whoever signed it.
const GOOD_FOR_S: u64 = 820 * DAY_S;
/// Age at which the next one is made, so that a box which is off for a year comes back in time.
const RENEWED_AFTER_S: u64 = 400 * DAY_S;
/// End of the years that a certificate can tell (RFC 5280 section 4.1.2.5), less one's length:
/// a clock beyond it is nobody's.
const CLOCK_S_MAX: u64 = 253_402_300_799 - GOOD_FOR_S;

/// What stands in the way of a certificate.
#[derive(Debug, thiserror::Error)]
#[error("making the certificate")]
pub(crate) struct CertificateError(#[source] rcgen::Error);

/// Key and certificate for `names` at `unix_s`: those that are there when they still do, else new
/// ones with the key that is there. The flag says whether they are new.
pub(crate) fn ensure(
    stored: Option<TlsRow>,
    names: Vec<String>,
    unix_s: u64,
    rng: &mut dyn Rng,
) -> Result<(TlsRow, bool), CertificateError> {
    match stored {
        Some(row) if is_current(&row, &names, unix_s) => Ok((row, false)),
        Some(row) => issue(
            KeyPair::try_from(row.key_der.as_slice()),
            names,
            unix_s,
            rng,
        )
        .map(|row| (row, true)),
        None => issue(new_key(), names, unix_s, rng).map(|row| (row, true)),
    }
}

/// Whether the certificate stands for these names, and its time is now.
pub(super) fn is_current(row: &TlsRow, names: &[String], unix_s: u64) -> bool {
    let begins = row.made_unix_s.saturating_sub(BACKDATED_S);
    let until = row.made_unix_s.saturating_add(RENEWED_AFTER_S);
    row.names == names && (begins..until).contains(&unix_s)
}

/// What webd is told.
pub(super) fn identity(row: &TlsRow) -> TlsIdentity {
    TlsIdentity {
        chain_der: vec![row.certificate_der.clone()],
        key_der: row.key_der.clone(),
    }
}

/// SHA-256 of the certificate, as browsers show it.
pub(super) fn fingerprint(row: &TlsRow) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &row.certificate_der);
    let pairs: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|octet| format!("{octet:02X}"))
        .collect();
    pairs.join(":")
}

/// From the kernel's generator: ring takes no other.
fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

fn issue(
    key: Result<KeyPair, rcgen::Error>,
    names: Vec<String>,
    unix_s: u64,
    rng: &mut dyn Rng,
) -> Result<TlsRow, CertificateError> {
    let key = key.map_err(CertificateError)?;
    let certificate_der = sign(&key, &names, unix_s, rng).map_err(CertificateError)?;
    Ok(TlsRow {
        key_der: key.serialize_der(),
        certificate_der,
        names,
        made_unix_s: unix_s,
    })
}

fn sign(
    key: &KeyPair,
    names: &[String],
    unix_s: u64,
    rng: &mut dyn Rng,
) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let title = names.first().map_or("lintel", String::as_str);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    // Positive, not zero and at most 20 octets (RFC 5280 section 4.1.2.2); browsers refuse two
    // certificates of one issuer with one number.
    let mut serial = [0; 16];
    rng.fill(&mut serial);
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let begins = unix_s.min(CLOCK_S_MAX).saturating_sub(BACKDATED_S);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(begins);
    params.not_after = params.not_before + Duration::from_secs(GOOD_FOR_S);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    struct Counting(u8);

    impl Rng for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    const NOW: u64 = 1_795_257_900;

    fn names() -> Vec<String> {
        ["lintel", "lintel.lan", "192.168.1.1"]
            .map(str::to_owned)
            .to_vec()
    }

    fn openssl(args: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("openssl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl is installed (package openssl)");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "openssl {args:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn openssl_reads_what_was_meant() {
        let (row, new) = ensure(None, names(), NOW, &mut Counting(0)).unwrap();
        assert!(new);
        let text = openssl(
            &["x509", "-inform", "DER", "-noout", "-text"],
            &row.certificate_der,
        );
        for part in [
            "Version: 3",
            "Signature Algorithm: ecdsa-with-SHA256",
            "Issuer: CN = lintel",
            "Subject: CN = lintel",
            "Not Before: Nov 20 10:45:00 2026 GMT",
            "Not After : Feb 17 10:45:00 2029 GMT",
            "ASN1 OID: prime256v1",
            "DNS:lintel, DNS:lintel.lan, IP Address:192.168.1.1",
            "CA:FALSE",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "TLS Web Server Authentication",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let said = openssl(
            &[
                "x509",
                "-inform",
                "DER",
                "-noout",
                "-fingerprint",
                "-sha256",
            ],
            &row.certificate_der,
        );
        let (_, theirs) = said.trim().split_once('=').unwrap();
        assert_eq!(theirs, fingerprint(&row));
    }

    #[test]
    fn the_key_stays_and_the_certificate_follows_names_and_clock() {
        let mut rng = Counting(0);
        let (first, _) = ensure(None, names(), NOW, &mut rng).unwrap();
        let same = ensure(Some(first.clone()), names(), NOW + 300 * DAY_S, &mut rng);
        assert_eq!(same.unwrap(), (first.clone(), false));
        let moved = vec!["attic".to_owned(), "10.0.0.1".to_owned()];
        // Another name; grown old; the clock was ahead when it was made.
        for (names, at) in [
            (moved, NOW),
            (names(), NOW + RENEWED_AFTER_S),
            (names(), NOW - BACKDATED_S - 1),
        ] {
            let (next, new) = ensure(Some(first.clone()), names, at, &mut rng).unwrap();
            assert!(new);
            assert_eq!(next.key_der, first.key_der);
            assert_ne!(fingerprint(&next), fingerprint(&first));
        }
        let (other, _) = ensure(None, names(), NOW, &mut rng).unwrap();
        assert_ne!(other.key_der, first.key_der);
    }

    #[test]
    fn no_clock_and_no_name_is_beyond_it() {
        for unix_s in [0, 1, u64::MAX] {
            assert!(ensure(None, names(), unix_s, &mut Counting(0)).is_ok());
        }
        assert!(ensure(None, Vec::new(), NOW, &mut Counting(0)).is_ok());
    }
}
