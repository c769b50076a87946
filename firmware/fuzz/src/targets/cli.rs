//! The words of a command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use arbitrary::Unstructured;
use lintel_api::METHODS;
use lintel_roles::cli::{Understood, understood};
use serde_json::Value;

use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick, text};

/// Most words of an input.
const WORDS_MAX: usize = 24;
/// Options that stand anywhere, and beginnings of those that a method may have.
const OPTIONS: [&str; 12] = [
    "--json",
    "--help",
    "-h",
    "help",
    "--version",
    "-n",
    "-f",
    "--",
    "--host",
    "--host=http://192.168.1.1",
    "--to",
    "--token-file",
];

/// Words lead to a call that the table allows, to a text, or to a sentence of why not; and the same
/// call written by the names of its parameters is the same call.
pub fn cli_words(data: &[u8]) -> Tally {
    let args: Vec<OsString> = data
        .split(|octet| *octet == 0)
        .take(WORDS_MAX)
        .map(no_file)
        .collect();
    match understood(&args) {
        Ok(Understood::Call(method, params)) => {
            let params = params.as_object().expect("parameters by name");
            for (name, value) in params {
                let param = method.param(name).expect("one of the method's");
                assert_eq!(param.check(value), Ok(()), "{name} of {}", method.name);
            }
            let missing = method
                .params
                .iter()
                .find(|p| p.required && p.name != "password" && !params.contains_key(p.name));
            assert!(missing.is_none(), "{missing:?} of {}", method.name);
            let words = method.name.split('.').map(OsString::from);
            let named = params.iter().map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text}").into(),
                value => format!("{name}={value}").into(),
            });
            let again: Vec<OsString> = words.chain(["--".into()]).chain(named).collect();
            match understood(&again) {
                Ok(Understood::Call(same, values)) => {
                    assert_eq!(same.name, method.name);
                    assert_eq!(values.as_object(), Some(params), "{again:?}");
                }
                other => panic!("{again:?}: {other:?}"),
            }
            Tally::ACCEPTED
        }
        Ok(Understood::Text(_)) => Tally::ACCEPTED,
        Err(why) => {
            assert!(!why.is_empty());
            Tally::REFUSED
        }
    }
}

/// The word without what would make it a file's path, or standard input.
fn no_file(word: &[u8]) -> OsString {
    let plain: Vec<u8> = word
        .iter()
        .map(|octet| if *octet == b'/' { b'_' } else { *octet })
        .collect();
    match plain.as_slice() {
        b"-" => OsString::new(),
        _ => OsString::from_vec(plain),
    }
}

/// A method's words, more or less, with its parameters and options.
pub fn word_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let method = &METHODS[below(u, METHODS.len())];
    let mut words: Vec<Vec<u8>> = Vec::new();
    if once_in(u, 12) {
        words.extend(["completion", "words", "--"].map(|word| word.as_bytes().to_vec()));
    }
    words.extend(method.name.split('.').map(|word| word.as_bytes().to_vec()));
    if once_in(u, 10) {
        words.pop();
    }
    for param in method.params {
        if !param.required && any(u) {
            continue;
        }
        let value = match below(u, 6) {
            0 => "7".to_owned(),
            1 => "true".to_owned(),
            2 => "{\"a\": [1, null]}".to_owned(),
            3 => "192.168.1.7".to_owned(),
            _ => text(u, b"abc.-=: 09\n", 12),
        };
        let word = match below(u, 4) {
            0 => value,
            1 => format!("--{}={value}", param.name.replace('_', "-")),
            _ => format!("{}={value}", param.name),
        };
        words.push(word.into_bytes());
    }
    for _ in 0..below(u, 3) {
        let at = below(u, words.len() + 1);
        let word = match once_in(u, 4) {
            true => octets(u, 8),
            false => pick(u, &OPTIONS).as_bytes().to_vec(),
        };
        words.insert(at, word);
    }
    words.join(&0)
}
