//! Percent-encoding and forms (WHATWG URL sections 1.3 and 5.1).

/// Most pairs in a query or a form; ours have at most four.
const PAIRS_MAX: usize = 32;

/// The decoded text, or `None` when it is no UTF-8 or an escape is broken.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The text for a query: everything escaped but what RFC 3986 section 2.3 leaves alone.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The pairs of a query or of a form's body; `None` when they are malformed or too many.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    let pairs: Option<Vec<_>> = parts
        .take(PAIRS_MAX + 1)
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let plus = |text: &str| decode(&text.replace('+', " "));
            Some((plus(name)?, plus(value)?))
        })
        .collect();
    pairs.filter(|pairs| pairs.len() <= PAIRS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_broken_ones_refused() {
        assert_eq!(decode("a%20b%C3%A4").unwrap(), "a bä");
        for broken in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
        let odd = "a b&c=%/ä";
        assert_eq!(decode(&encode(odd)).unwrap(), odd);
        let got = pairs("password=a+b%26c&again=&x").unwrap();
        assert_eq!(got[0], ("password".to_owned(), "a b&c".to_owned()));
        assert_eq!(got[1].1, "");
        assert_eq!(got.len(), 3);
        assert!(pairs(&"a=1&".repeat(PAIRS_MAX + 1)).is_none());
    }
}
