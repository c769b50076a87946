//! From [`Config`] to the text that people read and edit: sections in a fixed order, each with a
//! sentence, every value written out.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::Config;
use super::description::{CONFIGURATION, Kind, SectionDescription};

/// Widest line of a comment, characters: of the narrowest usual terminal.
const COMMENT_CHARS_MAX: usize = 80;

impl Config {
    /// The configuration as TOML. [`Config::parse`] reads it back to an equal value.
    pub fn to_toml(&self) -> String {
        #[expect(
            clippy::expect_used,
            reason = "no number of the tree is larger than TOML's, and every key is a text"
        )]
        let tree = Table::try_from(self).expect("the tree is a table");
        let mut text = String::new();
        entries(&mut text, &CONFIGURATION, &tree);
        text
    }
}

/// The table's values in the order of its description, then the tables below it.
fn entries(text: &mut String, description: &SectionDescription, table: &Table) {
    for key in description.keys {
        let Some(value) = table.get(key.name) else {
            continue;
        };
        match &key.kind {
            Kind::Section(section) if description.path.is_empty() => {
                if let Value::Table(table) = value {
                    comment(text, section.sentence);
                    // Writing to a String cannot fail, here and below.
                    let _ = writeln!(text, "[{}]", section.path);
                    entries(text, section, table);
                }
            }
            Kind::Sections { entry, .. } => {
                let tables = value.as_array().into_iter().flatten();
                for (index, table) in tables.filter_map(Value::as_table).enumerate() {
                    if index == 0 {
                        comment(text, entry.sentence);
                    } else {
                        text.push('\n');
                    }
                    let _ = writeln!(text, "[[{}]]", entry.path);
                    entries(text, entry, table);
                }
            }
            _ => {
                if description.path.is_empty() {
                    comment(text, key.sentence);
                }
                let _ = writeln!(text, "{} = {value}", key.name);
            }
        }
    }
}

/// A sentence before what it is about, broken at blanks, with an empty line before it.
fn comment(text: &mut String, sentence: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    let mut line = String::from("#");
    for word in sentence.split(' ') {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > COMMENT_CHARS_MAX {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
