//! A file in letters: base64 (RFC 4648 section 4) between two lines, as `age -a` writes it; and
//! the bare base64 of headers.

/// The first line.
pub const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// The last line.
pub const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Letters on a line.
const LINE_CHARS: usize = 64;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The file in letters.
pub fn encode(file: &[u8]) -> String {
    let mut letters = bare(file);
    while !letters.len().is_multiple_of(4) {
        letters.push('=');
    }
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
    if !inner.ends_with('\n') || !letters.len().is_multiple_of(4) {
        return None;
    }
    let padding = letters.bytes().rev().take_while(|b| *b == b'=').count();
    let bare = letters.get(..letters.len() - padding.min(2))?;
    unbare(bare.as_bytes())
}

/// Base64 without padding.
pub(crate) fn bare(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for three in octets.chunks(3) {
        let group = three
            .iter()
            .fold(0_u32, |group, b| group << 8 | u32::from(*b));
        let group = group << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            let six = group >> (18 - 6 * at) & 63;
            let letter = LETTERS.get(usize::try_from(six).unwrap_or(0));
            text.push(char::from(letter.copied().unwrap_or(b'A')));
        }
    }
    text
}

/// Exactly `N` octets in base64 without padding.
pub(crate) fn exact<const N: usize>(letters: &[u8]) -> Option<[u8; N]> {
    unbare(letters)?.try_into().ok()
}

/// The way back; only what [`bare`] writes is read, so that no file has two spellings.
fn unbare(letters: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for four in letters.chunks(4) {
        let mut group = 0_u32;
        for letter in four {
            group = group << 6 | six(*letter)?;
        }
        let group = group << (6 * (4 - four.len()));
        let [_, a, b, c] = group.to_be_bytes();
        match four.len() {
            4 => octets.extend([a, b, c]),
            3 if c == 0 => octets.extend([a, b]),
            2 if b == 0 && c == 0 => octets.push(a),
            _ => return None,
        }
    }
    Some(octets)
}

fn six(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
