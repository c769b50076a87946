#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const RANDOM: [u8; 48] = *b"0123456789abcdef0123456789ABCDEF0123456789abcdef";

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}

/// Made with Python's hashlib.scrypt (OpenSSL), n as named, r=8, p=1, dklen=32.
#[test]
fn keys_are_those_of_scrypt_with_and_without_the_whole_table() {
    let table = [
        (
            1,
            "07dee375c33da838af03c6fb6902b8759cb0253c116194e066f58f75a0b12238",
        ),
        (
            10,
            "54173687d265e43226bd914b015267e2fdd4108aa05937fb549eceb0c276a285",
        ),
        (
            15,
            "f72cbc204bdcfc3ff5b115d8508aec1566ff0ef3f658388601a3933078ef7ac8",
        ),
        (
            16,
            "12b194c86d7bea77ce0c58f7b27974a6000a9f187df8bbc2a263c5fd22ce3c21",
        ),
        (
            17,
            "2f10fcda14532d6543334cd899776407ff0ae879c370372de5b4e39d4d2d21ed",
        ),
    ];
    for (log_n, wanted) in table {
        assert_eq!(
            hex(&scrypt::derive(b"pleaseletmein", b"SodiumChloride", log_n)),
            wanted,
            "{log_n}"
        );
    }
}

#[test]
fn what_was_sealed_opens_and_with_another_passphrase_it_does_not() {
    for len in [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        3 * CHUNK_BYTES,
    ] {
        let plain = vec![7; len];
        let file = seal(&plain, "correct horse", 4, &RANDOM);
        let sealed = Sealed::parse(&file).unwrap();
        assert_eq!(sealed.log_n(), 4);
        assert_eq!(sealed.open("correct horse").unwrap(), plain);
        assert_eq!(
            sealed.open("correct house"),
            Err(OpenError::WrongPassphrase)
        );
        let text = armor::encode(&file);
        assert_eq!(armor::decode(&text).unwrap(), file);
        assert_eq!(armor::decode(&text.replace('\n', "\r\n")).unwrap(), file);
    }
}

#[test]
fn every_cut_and_every_changed_octet_is_noticed() {
    let file = seal(&[5; CHUNK_BYTES + 100], "words", 1, &RANDOM);
    let open = |file: &[u8]| Sealed::parse(file).and_then(|sealed| sealed.open("words"));
    assert!(open(&file).is_ok());
    for cut in (0..300).chain([CHUNK_BYTES + 15, CHUNK_BYTES + 16, file.len() - 1]) {
        let len = file.len() - 1 - cut.min(file.len() - 1);
        assert!(open(&file[..len]).is_err(), "cut to {len}");
        assert!(open(&file[..cut]).is_err(), "cut to {cut}");
    }
    for at in (0..400).chain([CHUNK_BYTES, file.len() - 1]) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(open(&changed).is_err(), "octet {at}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(open(&longer).is_err());
}

#[test]
fn what_is_wrong_is_told_apart_before_any_work() {
    let file = seal(b"x", "words", 1, &RANDOM);
    let text = |from: &str, to: &str| {
        // The header is text; what follows is not.
        let end = file.windows(4).position(|w| w == b"\n---").unwrap();
        let head = std::str::from_utf8(&file[..end]).unwrap();
        [head.replacen(from, to, 1).as_bytes(), &file[end..]].concat()
    };
    let parse = |file: &[u8]| Sealed::parse(file).unwrap_err();
    assert_eq!(parse(b""), OpenError::NoAge);
    assert_eq!(parse(b"[system]\n"), OpenError::NoAge);
    assert_eq!(parse(&text("v1", "v2")), OpenError::NoAge);
    assert_eq!(parse(&text("scrypt", "X25519")), OpenError::NotByPassphrase);
    assert_eq!(parse(&text(" 1\n", " 01\n")), OpenError::Damaged);
    assert_eq!(parse(&text(" 1\n", " 999\n")), OpenError::Damaged);
    for log_n in [19, 22, 63, 255] {
        let greedy = text(" 1\n", &format!(" {log_n}\n"));
        assert_eq!(parse(&greedy), OpenError::TooMuchWork { log_n });
    }
    // A second stanza beside scrypt's.
    let doubled = text(
        "-> scrypt",
        "-> scrypt AAAAAAAAAAAAAAAAAAAAAA 1\nAAAA\n-> scrypt",
    );
    assert_eq!(parse(&doubled), OpenError::Damaged);
}

proptest! {
    #[test]
    fn any_octets_are_refused_or_read(octets in proptest::collection::vec(any::<u8>(), 1..400)) {
        let _ = Sealed::parse(&octets);
        if let Ok(text) = std::str::from_utf8(&octets) {
            let _ = armor::decode(text);
        }
        let text = armor::encode(&octets);
        prop_assert_eq!(armor::decode(&text), Some(octets));
    }
}
