//! What may stand next on a command line: read from the table, for the completion of shells and
//! for the CLI's own.

use std::collections::BTreeMap;

use lintel_api::{METHODS, Method, MethodId, Param, ParamKind};

use super::commands::{self, COMMANDS, Command, CommandOption, GLOBAL_OPTIONS};
use super::tasks;

/// Scripts for shells, each of which calls `lintel completion words`.
pub(super) const BASH: &str = include_str!("completion/lintel.bash");
pub(super) const ZSH: &str = include_str!("completion/lintel.zsh");
pub(super) const FISH: &str = include_str!("completion/lintel.fish");

/// What may stand at the end of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Candidates {
    /// Words, each with what it is about.
    pub(super) words: BTreeMap<String, String>,
    /// The names of files.
    pub(super) files: bool,
}

impl Candidates {
    fn offer(&mut self, word: impl Into<String>, summary: impl Into<String>) {
        self.words.entry(word.into()).or_insert(summary.into());
    }

    fn options<'o>(&mut self, options: impl IntoIterator<Item = &'o CommandOption>) {
        for option in options {
            self.offer(option.name, option.summary);
        }
    }

    /// As the scripts read it: a word a line, a tab, what it is about; `:files` for files.
    pub(super) fn to_lines(&self) -> String {
        let words = self.words.iter();
        let lines: String = words
            .map(|(word, about)| format!("{word}\t{about}\n"))
            .collect();
        lines + if self.files { ":files\n" } else { "" }
    }
}

/// What may stand in place of the last word, which is the one being written (and may be empty).
pub(super) fn candidates(line: &[&str]) -> Candidates {
    let (start, before) = line.split_last().unwrap_or((&"", &[]));
    let mut found = Candidates::default();
    // bash splits at the equals sign; the word that is written stands after it.
    let (start, before) = match (*start, before) {
        ("=", [before @ .., option]) => ("", [before, &[*option]].concat()),
        (start, [before @ .., option, "="]) => (start, [before, &[*option]].concat()),
        (start, before) => (start, before.to_vec()),
    };
    if let Some(option) = before.last().filter(|word| word.starts_with('-')) {
        match value_of_option(option, &before) {
            OptionValue::None => {}
            OptionValue::Free => return found,
            OptionValue::Words(words) => {
                for word in words.iter().filter(|word| word.starts_with(start)) {
                    found.offer(*word, "");
                }
                return found;
            }
            OptionValue::Files => {
                found.files = true;
                return found;
            }
        }
    }
    let words = plain_words(&before);
    let command = words.first().and_then(|word| commands::by_name(word));
    let method = lintel_api::by_words(&words);
    if start.starts_with('-') {
        options(
            &mut found,
            command,
            method.map(|(method, _)| method),
            &before,
        );
    } else if let Some(command) = command {
        if words.len() == 1 {
            for word in command.words {
                found.offer(*word, "");
            }
        }
    } else {
        next_words(&mut found, &words);
        if let Some((method, taken)) = method {
            let given = words.get(taken..).unwrap_or_default();
            parameters(&mut found, method, given);
        }
    }
    found.words.retain(|word, _| word.starts_with(start));
    found
}

/// The words that may follow these in the name of a command.
pub(super) fn next(words: &[&str]) -> Vec<String> {
    let mut found = Candidates::default();
    next_words(&mut found, words);
    found.words.into_keys().collect()
}

/// The line's words that are no options nor the values of such.
fn plain_words<'w>(line: &[&'w str]) -> Vec<&'w str> {
    let mut words = Vec::new();
    let mut line = line.iter();
    while let Some(word) = line.next() {
        if !word.starts_with('-') {
            words.push(*word);
        } else if let Some(option) = GLOBAL_OPTIONS.iter().find(|option| option.name == *word)
            && !option.value.is_empty()
        {
            line.next();
        }
    }
    words
}

enum OptionValue {
    /// It takes none.
    None,
    /// Something that cannot be known here.
    Free,
    /// One of these.
    Words(&'static [&'static str]),
    Files,
}

fn value_of_option(option: &str, line: &[&str]) -> OptionValue {
    let words = plain_words(line);
    let own = words.first().and_then(|word| commands::by_name(word));
    let own = own.map_or(&[][..], |command| command.options);
    let known = GLOBAL_OPTIONS
        .iter()
        .chain(own)
        .find(|known| known.name == option);
    if let Some(known) = known {
        return match known.value {
            "" => OptionValue::None,
            "FILE" | "PATH" => OptionValue::Files,
            _ => OptionValue::Free,
        };
    }
    let name = option.trim_start_matches('-').replace('-', "_");
    let param = lintel_api::by_words(&words).and_then(|(method, _)| method.param(&name));
    match param {
        Some(Param {
            kind: ParamKind::OneOf(words),
            ..
        }) => OptionValue::Words(words),
        Some(param) if param.kind != ParamKind::Flag => OptionValue::Free,
        _ if option == "-n" => OptionValue::Free,
        _ => OptionValue::None,
    }
}

fn options(
    found: &mut Candidates,
    command: Option<&Command>,
    method: Option<&Method>,
    before: &[&str],
) {
    found.options(GLOBAL_OPTIONS);
    if let Some(command) = command {
        found.options(command.options);
    } else if let Some(method) = method {
        for param in method.params.iter().filter(|param| is_option(param)) {
            found.offer(spelling(param), param.summary);
        }
        if method.id == MethodId::LogsServices {
            found.offer("--follow", "go on with new lines as they come");
        }
        if tasks::makes_file(method.id) {
            found.offer("--to", tasks::TO_SUMMARY);
        }
    }
    found
        .words
        .retain(|word, _| !before.contains(&word.as_str()));
}

/// The options of a method, as they are written.
pub(super) fn options_of(method: &Method) -> Vec<String> {
    let options = method.params.iter().filter(|param| is_option(param));
    options.map(spelling).collect()
}

fn spelling(param: &Param) -> String {
    format!("--{}", param.name.replace('_', "-"))
}

/// Whether help shows a parameter as an option. A password is asked for instead.
fn is_option(param: &Param) -> bool {
    !param.required && !matches!(param.name, "toml" | "config")
}

/// The words that go on from these in the names of methods, their aliases and commands.
fn next_words(found: &mut Candidates, words: &[&str]) {
    for method in METHODS {
        let name = method.name.replace('.', " ");
        let spellings = std::iter::once(name.as_str()).chain(method.aliases.iter().copied());
        for spelling in spellings {
            let spelling: Vec<&str> = spelling.split(' ').collect();
            let Some(rest) = spelling.strip_prefix(words) else {
                continue;
            };
            match rest {
                [last] => {
                    // Where a method's name is the start of others', its own line says most.
                    found
                        .words
                        .insert((*last).to_owned(), method.summary.to_owned());
                }
                [next, ..] => found.offer(*next, ""),
                [] => {}
            }
        }
    }
    if words.is_empty() {
        for command in COMMANDS {
            found.offer(command.name, command.summary);
        }
    }
}

/// Values of the parameter that stands next, where they are known.
fn parameters(found: &mut Candidates, method: &Method, given: &[&str]) {
    let next = method.params.iter().filter(|param| param.required);
    match next.map(|param| param.kind).nth(given.len()) {
        Some(ParamKind::OneOf(words)) => {
            for word in words {
                found.offer(*word, "");
            }
        }
        _ => {
            let file = ["toml", "content"]
                .iter()
                .any(|name| method.param(name).is_some());
            found.files |= file && given.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let line: Vec<&str> = line.split(' ').collect();
        candidates(&line).words.into_keys().collect()
    }

    #[test]
    fn every_method_is_reached_word_by_word() {
        for method in METHODS {
            let parts: Vec<&str> = method.name.split('.').collect();
            for end in 0..parts.len() {
                let mut line = parts[..end].to_vec();
                let half = &parts[end][..parts[end].len() / 2];
                line.push(half);
                let found = candidates(&line);
                assert!(found.words.contains_key(parts[end]), "{line:?}: {found:?}");
                assert!(found.words.keys().all(|word| word.starts_with(half)));
            }
        }
        for command in COMMANDS {
            assert!(words("").contains(&command.name.to_owned()));
        }
        assert_eq!(words("fro"), Vec::<String>::new());
        assert_eq!(words("frobnicate "), Vec::<String>::new());
    }

    #[test]
    fn parameters_and_options_are_those_of_the_method() {
        assert_eq!(words("services restart d"), ["dhcpd", "dnsd"]);
        assert_eq!(words("services restart dnsd "), Vec::<String>::new());
        assert_eq!(words("logs a"), ["all"]);
        assert_eq!(words("completion "), ["bash", "fish", "zsh"]);
        assert_eq!(words("config apply x.toml --d"), ["--dry-run"]);
        assert_eq!(
            words("config apply x.toml --dry-run --d"),
            Vec::<String>::new()
        );
        assert!(words("--").contains(&"--json".to_owned()));
        assert!(words("logs --").contains(&"--follow".to_owned()));
        // An option and its value are not words of the command.
        assert_eq!(words("--json --socket /x services res"), ["restart"]);
        assert_eq!(words("leases --limit "), Vec::<String>::new());
    }

    #[test]
    fn files_are_offered_where_one_is_wanted() {
        let files = |line: &[&str]| candidates(line).files;
        assert!(files(&["config", "apply", ""]));
        assert!(!files(&["config", "apply", "x", ""]));
        assert!(files(&["--socket", ""]));
        assert!(files(&["--socket", "="]));
        assert!(files(&["--socket", "=", "/r"]));
        assert!(!files(&["config", ""]));
        assert!(!files(&["services", ""]));
        assert_eq!(candidates(&[]).words, candidates(&[""]).words);
    }
}
