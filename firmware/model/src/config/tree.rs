//! A TOML text as a tree whose values know where they stand. Reads what it can and keeps every
//! problem, so that one bad value hides no other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::description::{CONFIGURATION, KeyDescription, Kind, SectionDescription};
use super::problem::{Problem, nearest};

/// Longest key or value repeated in a message, characters.
const QUOTE_CHARS_MAX: usize = 60;
/// Most problems kept of one text; whoever wrote more has another kind of file.
const PROBLEMS_MAX: usize = 200;
/// Largest text read, octets; the largest sensible configuration is a tenth of it.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// Reads values and collects problems.
#[derive(Default)]
pub(super) struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    /// Where the value of each path stands.
    places: BTreeMap<String, Range<usize>>,
    /// Paths whose value could not be read: checks that need them say nothing.
    failed: BTreeSet<String>,
}

/// A table with its path and with what may stand in it.
#[derive(Clone)]
pub(super) struct Section<'t> {
    pub(super) path: String,
    table: &'t DeTable<'t>,
    description: &'static SectionDescription,
}

impl<'t> Section<'t> {
    /// The whole text.
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self {
            path: String::new(),
            table,
            description: &CONFIGURATION,
        }
    }

    fn entry(&self, key: &str) -> Option<(&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>)> {
        self.table.get_key_value(key)
    }

    fn hint(&self, key: &str) -> String {
        self.description
            .key(key)
            .map_or_else(String::new, KeyDescription::hint)
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// Whether every value that a check needs could be read.
    pub(super) fn read(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| {
            !self
                .failed
                .iter()
                .any(|failed| path == failed || is_below(path, failed) || is_below(failed, path))
        })
    }

    /// Adds a problem of the value at `path`; it is shown where that value or, when it is not
    /// written, the nearest one around it stands.
    pub(super) fn problem(
        &mut self,
        path: &str,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let mut around = path;
        let place = loop {
            if let Some(place) = self.places.get(around) {
                break Some(place.start);
            }
            match around.rfind(['.', '[']) {
                Some(end) => around = &around[..end],
                None => break None,
            }
        };
        let (line, column) = match (place, self.text.is_empty()) {
            (Some(offset), false) => position(self.text, offset),
            (None, false) => (1, 1),
            (_, true) => (0, 0),
        };
        self.push(line, column, path, reason.into(), hint.into());
    }

    /// Adds a problem at a place.
    pub(super) fn problem_at(&mut self, offset: usize, path: &str, reason: String, hint: String) {
        // Finding the line reads the text: not for problems that nobody will see.
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let (line, column) = position(self.text, offset);
        self.push(line, column, path, reason, hint);
    }

    fn push(&mut self, line: u32, column: u32, path: &str, reason: String, hint: String) {
        self.problems.push(Problem {
            line,
            column,
            path: path.to_owned(),
            reason,
            hint,
        });
    }

    /// The problems in the order of the text, each once.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems
    }

    /// Refuses keys that are not described.
    pub(super) fn only(&mut self, section: &Section<'t>) {
        let known = section.description.names();
        for (key, _) in section.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = match nearest(name, &known) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                let path = section.at(&quote(name));
                let reason = format!("there is no setting {:?}", quote(name));
                self.problem_at(key.span().start, &path, reason, hint);
            }
        }
    }

    /// A table below, when it is written; its unknown keys are refused.
    pub(super) fn section(&mut self, parent: &Section<'t>, key: &str) -> Option<Section<'t>> {
        let Kind::Section(description) = &parent.description.key(key)?.kind else {
            return None;
        };
        let (name, value) = parent.entry(key)?;
        let path = parent.at(key);
        self.places.insert(path.clone(), name.span());
        self.as_table(path, value, description)
    }

    fn as_table(
        &mut self,
        path: String,
        value: &'t Spanned<DeValue<'t>>,
        description: &'static SectionDescription,
    ) -> Option<Section<'t>> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let section = Section {
                    path,
                    table,
                    description,
                };
                self.only(&section);
                Some(section)
            }
            other => {
                let reason = format!("a section is wanted here, not {}", kind(other));
                self.fail(&path, value.span().start, reason, String::new());
                None
            }
        }
    }

    /// A list of tables below (`[[dns.records]]`).
    pub(super) fn sections(&mut self, parent: &Section<'t>, key: &str) -> Vec<Section<'t>> {
        let described = parent.description.key(key).map(|key| &key.kind);
        let Some(Kind::Sections { entry, entries_max }) = described else {
            return Vec::new();
        };
        let entries = self.list(parent, key, *entries_max);
        entries
            .into_iter()
            .filter_map(|(path, value)| self.as_table(path, value, entry))
            .collect()
    }

    /// The values of a list with their paths; empty when it is not written.
    fn list(
        &mut self,
        parent: &Section<'t>,
        key: &str,
        entries_max: usize,
    ) -> Vec<(String, &'t Spanned<DeValue<'t>>)> {
        let Some((name, value)) = parent.entry(key) else {
            return Vec::new();
        };
        let path = parent.at(key);
        self.places.insert(path.clone(), name.span());
        let DeValue::Array(array) = value.get_ref() else {
            let reason = format!("a list is wanted here, not {}", kind(value.get_ref()));
            let hint = "write it in brackets: [ ... ]".to_owned();
            self.fail(&path, value.span().start, reason, hint);
            return Vec::new();
        };
        if array.len() > entries_max {
            let reason = format!("{} entries are more than {entries_max}", array.len());
            self.fail(&path, name.span().start, reason, String::new());
            return Vec::new();
        }
        let entries = array.iter().enumerate();
        let located: Vec<_> = entries
            .map(|(index, value)| (format!("{path}[{index}]"), value))
            .collect();
        for (path, value) in &located {
            self.places.insert(path.clone(), value.span());
        }
        located
    }

    /// A list of texts, each of the kind `T`.
    pub(super) fn texts<T: FromStr>(&mut self, parent: &Section<'t>, key: &str) -> Vec<T>
    where
        T::Err: std::fmt::Display,
    {
        let described = parent.description.key(key).map(|key| &key.kind);
        let Some(Kind::Texts { form, entries_max }) = described else {
            return Vec::new();
        };
        let entries = self.list(parent, key, *entries_max);
        entries
            .into_iter()
            .filter_map(|(path, value)| self.as_text(&path, value, form.hint))
            .collect()
    }

    /// A text of the kind `T`, when it is written and right.
    pub(super) fn text<T: FromStr>(&mut self, section: &Section<'t>, key: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let (path, value) = self.value(section, key)?;
        self.as_text(&path, value, &section.hint(key))
    }

    /// As [`Self::text`]; not to write it is a problem.
    pub(super) fn needed_text<T: FromStr>(&mut self, section: &Section<'t>, key: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        if section.entry(key).is_none() {
            let path = section.at(key);
            self.problem(&path, format!("{key:?} is missing"), section.hint(key));
            self.failed.insert(path);
            return None;
        }
        self.text(section, key)
    }

    fn as_text<T: FromStr>(
        &mut self,
        path: &str,
        value: &'t Spanned<DeValue<'t>>,
        hint: &str,
    ) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let start = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => match text.parse() {
                Ok(parsed) => Some(parsed),
                Err(error) => {
                    let reason = error.to_string();
                    // Some errors of std name neither the value nor its kind.
                    let reason = if reason.contains(text.as_ref()) {
                        reason
                    } else {
                        format!("{:?}: {reason}", quote(text))
                    };
                    self.fail(path, start, reason, hint.to_owned());
                    None
                }
            },
            other => {
                let reason = format!("a text in quotes is wanted here, not {}", kind(other));
                self.fail(path, start, reason, hint.to_owned());
                None
            }
        }
    }

    /// A whole number within its bounds.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        section: &Section<'t>,
        key: &str,
    ) -> Option<T> {
        let described = section.description.key(key).map(|key| &key.kind);
        let Some(Kind::Number { min, max, .. }) = described else {
            return None;
        };
        let (path, value) = self.value(section, key)?;
        let start = value.span().start;
        let hint = section.hint(key);
        let DeValue::Integer(integer) = value.get_ref() else {
            let reason = format!("a number is wanted here, not {}", kind(value.get_ref()));
            self.fail(&path, start, reason, hint);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (min..=max).contains(&number))
            .and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let reason = format!("{} is out of bounds", quote(&integer.to_string()));
            self.fail(&path, start, reason, hint);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, section: &Section<'t>, key: &str) -> Option<bool> {
        let (path, value) = self.value(section, key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        let reason = format!(
            "true or false is wanted here, not {}",
            kind(value.get_ref())
        );
        self.fail(&path, value.span().start, reason, section.hint(key));
        None
    }

    fn value(
        &mut self,
        section: &Section<'t>,
        key: &str,
    ) -> Option<(String, &'t Spanned<DeValue<'t>>)> {
        let (_, value) = section.entry(key)?;
        let path = section.at(key);
        self.places.insert(path.clone(), value.span());
        Some((path, value))
    }

    fn fail(&mut self, path: &str, offset: usize, reason: String, hint: String) {
        self.failed.insert(path.to_owned());
        self.problem_at(offset, path, reason, hint);
    }
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn quote(text: &str) -> String {
    if text.chars().count() <= QUOTE_CHARS_MAX {
        text.to_owned()
    } else {
        let start: String = text.chars().take(QUOTE_CHARS_MAX).collect();
        format!("{start}...")
    }
}

/// Line and column, both from 1; the column counts characters.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}
