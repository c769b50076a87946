//! Names in DHCP options: host names (12), fully qualified names (81), search lists (119).
//!
//! What clients send ends up in DNS and in the UI, so nothing but letters, digits and hyphens
//! comes out of here.

/// Why a name in an option could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The octets end inside a name.
    #[error("the name is cut short")]
    Truncated,
    /// A label is empty, longer than 63 octets, or holds other characters than letters,
    /// digits, hyphen and underscore.
    #[error("a label of the name is malformed")]
    BadLabel,
    /// A compression pointer that does not lead backwards.
    #[error("a compression pointer does not lead backwards")]
    BadPointer,
    /// Longer than 253 characters.
    #[error("the name is too long")]
    TooLong,
}

/// Names of one search list that are read; more are ignored.
const SEARCH_NAMES_MAX: usize = 16;
/// Longest name in text form, characters (RFC 1035 section 2.3.4).
const NAME_LEN_MAX: usize = 253;
/// Longest label, octets.
const LABEL_LEN_MAX: usize = 63;

/// Makes one DNS label of the host name that a client sent, or nothing if none is left:
/// the first label, lower case, blanks and underscores as hyphens, everything else dropped.
pub fn sanitise_host_name(sent: &[u8]) -> Option<String> {
    let mut label = String::new();
    for &octet in sent.iter().take_while(|&&o| o != 0 && o != b'.') {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' => label.push(char::from(octet)),
            b'A'..=b'Z' => label.push(char::from(octet.to_ascii_lowercase())),
            b'-' | b'_' | b' ' => label.push('-'),
            _ => {}
        }
    }
    let mut label = label.trim_matches('-');
    if label.len() > LABEL_LEN_MAX {
        label = label[..LABEL_LEN_MAX].trim_end_matches('-');
    }
    (!label.is_empty()).then(|| label.to_owned())
}

/// The client FQDN option (RFC 4702).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFqdn {
    /// S: the server does the update of the A record.
    pub server_updates: bool,
    /// O: the server overrode the client's S.
    pub overridden: bool,
    /// E: the name is in DNS wire form; else in the deprecated ASCII form.
    pub wire_form: bool,
    /// N: the server does no update at all.
    pub no_update: bool,
    /// The name, without the last dot; may be empty or a single label.
    pub name: String,
    /// The name ends with the root, that is, it claims to be complete.
    pub complete: bool,
}

impl ClientFqdn {
    /// Reads option 81.
    pub fn parse(value: &[u8]) -> Result<Self, NameError> {
        let [flags, _rcode1, _rcode2, encoded @ ..] = value else {
            return Err(NameError::Truncated);
        };
        let wire_form = flags & 4 != 0;
        let (name, complete) = if wire_form {
            partial_name(encoded)?
        } else {
            ascii_name(encoded)?
        };
        Ok(Self {
            server_updates: flags & 1 != 0,
            overridden: flags & 2 != 0,
            wire_form,
            no_update: flags & 8 != 0,
            name,
            complete,
        })
    }

    /// Writes option 81; the result codes are 255, as RFC 4702 section 2.2 wants of servers.
    pub fn emit(&self) -> Result<Vec<u8>, NameError> {
        let flags = u8::from(self.server_updates)
            | u8::from(self.overridden) << 1
            | u8::from(self.wire_form) << 2
            | u8::from(self.no_update) << 3;
        let mut octets = vec![flags, 255, 255];
        if self.wire_form {
            encode_labels(&self.name, &mut octets)?;
            if self.complete {
                octets.push(0);
            }
        } else {
            octets.extend_from_slice(self.name.as_bytes());
            if self.complete {
                octets.push(b'.');
            }
        }
        Ok(octets)
    }
}

/// Reads a search list (RFC 3397), compression pointers included.
pub fn domain_search(value: &[u8]) -> Result<Vec<String>, NameError> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < value.len() && names.len() < SEARCH_NAMES_MAX {
        let (name, next) = compressed_name(value, at)?;
        names.push(name);
        at = next;
    }
    Ok(names)
}

/// Writes a search list, without compression.
pub fn encode_domain_search<N: AsRef<str>>(names: &[N]) -> Result<Vec<u8>, NameError> {
    let mut octets = Vec::new();
    for name in names {
        encode_labels(name.as_ref(), &mut octets)?;
        octets.push(0);
    }
    Ok(octets)
}

/// A name of uncompressed labels that may lack its root.
fn partial_name(encoded: &[u8]) -> Result<(String, bool), NameError> {
    let mut name = String::new();
    let mut rest = encoded;
    while let Some((&len, tail)) = rest.split_first() {
        if len == 0 {
            return Ok((name, true));
        }
        let (label, tail) = tail
            .split_at_checked(usize::from(len))
            .ok_or(NameError::Truncated)?;
        push_label(&mut name, label)?;
        rest = tail;
    }
    Ok((name, false))
}

fn ascii_name(encoded: &[u8]) -> Result<(String, bool), NameError> {
    let end = encoded
        .iter()
        .position(|&o| o == 0)
        .unwrap_or(encoded.len());
    let text = &encoded[..end];
    let complete = text.ends_with(b".");
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut name = String::new();
    if !text.is_empty() {
        for label in text.split(|&o| o == b'.') {
            push_label(&mut name, label)?;
        }
    }
    Ok((name, complete))
}

/// The name at `at` and the place behind it. Every jump must lead further back than the
/// last one, so this ends.
fn compressed_name(value: &[u8], start: usize) -> Result<(String, usize), NameError> {
    let mut name = String::new();
    let mut at = start;
    let mut jump_below = start;
    let mut next = None;
    loop {
        let len = *value.get(at).ok_or(NameError::Truncated)?;
        at += 1;
        match len {
            0 => return Ok((name, next.unwrap_or(at))),
            1..=63 => {
                let label = value
                    .get(at..at + usize::from(len))
                    .ok_or(NameError::Truncated)?;
                push_label(&mut name, label)?;
                at += usize::from(len);
            }
            0xc0.. => {
                let low = *value.get(at).ok_or(NameError::Truncated)?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                if target >= jump_below {
                    return Err(NameError::BadPointer);
                }
                next.get_or_insert(at + 1);
                jump_below = target;
                at = target;
            }
            _ => return Err(NameError::BadLabel),
        }
    }
}

/// Appends a label in lower case.
fn push_label(name: &mut String, label: &[u8]) -> Result<(), NameError> {
    let good = |o: &u8| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_');
    if label.is_empty() || label.len() > LABEL_LEN_MAX || !label.iter().all(good) {
        return Err(NameError::BadLabel);
    }
    if !name.is_empty() {
        name.push('.');
    }
    name.extend(label.iter().map(|o| char::from(o.to_ascii_lowercase())));
    if name.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong);
    }
    Ok(())
}

fn encode_labels(name: &str, to: &mut Vec<u8>) -> Result<(), NameError> {
    if name.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong);
    }
    if name.is_empty() {
        return Ok(());
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > LABEL_LEN_MAX {
            return Err(NameError::BadLabel);
        }
        // The length was just checked.
        to.push(label.len() as u8);
        to.extend_from_slice(label.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names_become_one_label() {
        let cases: [(&[u8], Option<&str>); 8] = [
            (b"Laptop", Some("laptop")),
            (b"Anna's iPhone", Some("annas-iphone")),
            (b"tv.example.org", Some("tv")),
            (b"-_x_-", Some("x")),
            (b"", None),
            (b"...", None),
            ("küche".as_bytes(), Some("kche")),
            (b"a\0b", Some("a")),
        ];
        for (sent, expected) in cases {
            assert_eq!(sanitise_host_name(sent).as_deref(), expected);
        }
    }

    #[test]
    fn fqdn_in_both_forms() {
        let wire = ClientFqdn::parse(b"\x05\0\0\x06Laptop\x03lan\0").unwrap();
        assert_eq!((wire.name.as_str(), wire.complete), ("laptop.lan", true));
        assert!(wire.server_updates && wire.wire_form);
        let ascii = ClientFqdn::parse(b"\x00\0\0laptop").unwrap();
        assert_eq!((ascii.name.as_str(), ascii.complete), ("laptop", false));
        assert_eq!(ClientFqdn::parse(b"\x05\0"), Err(NameError::Truncated));
        assert_eq!(
            ClientFqdn::parse(b"\x05\0\0\x06Lap"),
            Err(NameError::Truncated)
        );
    }

    #[test]
    fn search_list_of_rfc_3397_with_pointers() {
        let encoded = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(
            domain_search(encoded).unwrap(),
            ["eng.apple.com", "marketing.apple.com"]
        );
        assert_eq!(domain_search(b"\xc0\x00"), Err(NameError::BadPointer));
        assert_eq!(
            domain_search(b"\x01a\xc0\x00"),
            Err(NameError::BadPointer),
            "a loop through its own start"
        );
    }

    proptest! {
        #[test]
        fn a_sanitised_name_is_a_label(sent in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(label) = sanitise_host_name(&sent) {
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
                prop_assert_eq!(sanitise_host_name(label.as_bytes()), Some(label));
            }
        }

        #[test]
        fn readers_never_panic(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = domain_search(&value);
            if let Ok(fqdn) = ClientFqdn::parse(&value) {
                prop_assert_eq!(ClientFqdn::parse(&fqdn.emit().unwrap()).unwrap(), fqdn);
            }
        }

        #[test]
        fn search_lists_read_back(names in proptest::collection::vec("[a-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}", 0..8)) {
            prop_assert_eq!(domain_search(&encode_domain_search(&names).unwrap()).unwrap(), names);
        }
    }
}
