//! A file in letters: base64 (RFC 4648 section 4) between two lines, as `age -a` writes it; and
//! the bare base64 of headers.

use data_encoding::{BASE64, BASE64_NOPAD};

/// The first line.
pub const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// The last line.
pub const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Letters on a line.
const LINE_CHARS: usize = 64;

/// The file in letters.
pub fn encode(file: &[u8]) -> String {
    let letters = BASE64.encode(file);
    let mut text = String::with_capacity(letters.len() + letters.len() / LINE_CHARS + 80);
    text.push_str(BEGIN);
    text.push('\n');
    let mut rest = letters.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE_CHARS).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// Whether a text looks like a file in letters, whole or not.
pub fn looks_like(text: &str) -> bool {
    text.trim_start().starts_with(BEGIN)
}

/// The file that stands in letters; `None` when the text is not exactly that, blanks around it
/// and the two kinds of line ends aside.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let inner = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let inner = inner.strip_prefix("\r\n").or(inner.strip_prefix('\n'))?;
    let mut letters = String::with_capacity(inner.len());
    let mut ended = false;
    for line in inner.lines() {
        // Only the last line is short.
        if ended || line.is_empty() || line.len() > LINE_CHARS {
            return None;
        }
        ended = line.len() < LINE_CHARS;
        letters.push_str(line);
    }
    if !inner.ends_with('\n') {
        return None;
    }
    // Only what encode() writes: no file has two spellings.
    BASE64.decode(letters.as_bytes()).ok()
}

/// Base64 without padding.
pub(crate) fn bare(octets: &[u8]) -> String {
    BASE64_NOPAD.encode(octets)
}

/// Exactly `N` octets in base64 without padding.
pub(crate) fn exact<const N: usize>(letters: &[u8]) -> Option<[u8; N]> {
    BASE64_NOPAD.decode(letters).ok()?.try_into().ok()
}
