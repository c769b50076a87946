//! Help, from the table.

use lintel_api::{METHODS, Method, MethodId, Param, ParamKind};

use super::args::Topic;
use super::commands::{COMMANDS, Command, CommandOption, GLOBAL_OPTIONS};
use super::tasks;
use super::text::wrap;

/// What a topic is about.
pub(super) fn text(topic: &Topic) -> String {
    match topic {
        Topic::All => all(),
        Topic::Method(method) => one(method),
        Topic::Command(command) => own(command),
        Topic::Group(words) => group(words),
    }
}

fn group(words: &[String]) -> String {
    let start = words.join(" ") + " ";
    let methods = METHODS
        .iter()
        .filter(|method| method.name.replace('.', " ").starts_with(&start));
    list(methods) + "\nCOMMAND --help tells a command's parameters.\n"
}

fn list<'m>(methods: impl Iterator<Item = &'m Method>) -> String {
    let methods: Vec<&Method> = methods.collect();
    let words = |method: &Method| method.name.replace('.', " ");
    let width = methods.iter().map(|m| words(m).len()).max().unwrap_or(0);
    let line = |method: &Method| {
        let alias = match method.aliases {
            [] => String::new(),
            aliases => format!(" (also: {})", aliases.join(", ")),
        };
        let line = format!("  {:width$}  {}{alias}", words(method), method.summary);
        wrap(&line, width + 4)
    };
    methods.into_iter().map(line).collect()
}

fn all() -> String {
    let mut text = String::from(
        "lintel: the router's command line\n\n\
         usage: lintel [OPTIONS] COMMAND [PARAMETERS]\n\
         \x20      lintel run [ROLE] --config FILE --data DIR\n\n\
         commands:\n",
    );
    let width = COMMANDS.iter().map(|c| c.name.len()).max().unwrap_or(0);
    for command in COMMANDS {
        let line = format!("  {:width$}  {}", command.name, command.summary);
        text.push_str(&wrap(&line, width + 4));
    }
    text.push('\n');
    text.push_str(&list(METHODS.iter()));
    text.push_str("\noptions, wherever they stand:\n");
    text.push_str(&options(GLOBAL_OPTIONS));
    text.push_str(
        "\nCOMMAND --help tells a command's parameters.\n\
         Exit status: 0 done, 1 the box refused or is not there, 2 wrong input.\n",
    );
    text
}

fn own(command: &Command) -> String {
    let mut text = wrap(command.summary, 0);
    let usage = format!("usage: lintel {} {}", command.name, command.usage);
    text.push('\n');
    text.push_str(&wrap(&usage, 14));
    text.push_str(&options(command.options));
    text.push('\n');
    text.push_str(command.help);
    text
}

fn options(list: &[CommandOption]) -> String {
    let spelling = |option: &CommandOption| format!("{} {}", option.name, option.value);
    let width = list.iter().map(|o| spelling(o).len()).max().unwrap_or(0);
    list.iter()
        .map(|option| {
            let line = format!("  {:width$}  {}", spelling(option), option.summary);
            wrap(&line, width + 4)
        })
        .collect()
}

fn one(method: &Method) -> String {
    let words = method.name.replace('.', " ");
    let mut text = wrap(method.summary, 0);
    let mut usage = format!("usage: lintel {words}");
    for param in method.params {
        let name = param.name;
        let option = name.replace('_', "-");
        usage.push_str(&match (name, param.required, param.kind) {
            ("toml" | "content", _, _) => " FILE".to_owned(),
            ("config", _, _) => String::new(),
            ("password", _, _) => " [PASSWORD]".to_owned(),
            (_, true, _) => format!(" {}", name.to_uppercase()),
            (_, false, ParamKind::Flag) => format!(" [--{option}]"),
            (_, false, _) => format!(" [--{option} {}]", name.to_uppercase()),
        });
    }
    text.push('\n');
    text.push_str(&wrap(&usage, 14));
    let spelling = |param: &Param| match (param.name, param.required) {
        ("toml" | "content", _) => "FILE".to_owned(),
        (name, true) => name.to_uppercase(),
        (name, false) => format!("--{}", name.replace('_', "-")),
    };
    // A file takes the place of a tree in JSON, which only programs write.
    let params = method.params.iter().filter(|param| param.name != "config");
    let width = params.clone().map(|p| spelling(p).len()).max().unwrap_or(0);
    for param in params {
        let line = format!("  {:width$}  {}", spelling(param), param.summary);
        text.push_str(&wrap(&line, width + 4));
    }
    if method.param("toml").is_some() {
        let file = "FILE is TOML, or JSON when its name ends so; - is standard input.";
        text.push_str(&wrap(file, 0));
    }
    if method.param("content").is_some() {
        let file = "FILE is what config export wrote, or age --passphrase; - is standard input.";
        text.push_str(&wrap(file, 0));
    }
    if method.param("passphrase").is_some() {
        let asked = "A passphrase that is not written is asked for, and not shown.";
        text.push_str(&wrap(asked, 0));
    }
    if method.param("password").is_some() {
        let asked = "A password that is not written is asked for, and not shown.";
        text.push_str(&wrap(asked, 0));
    }
    if method.id == MethodId::LogsServices {
        text.push_str("  --follow, -f  go on with new lines as they come\n");
    }
    if tasks::makes_file(method.id) {
        text.push_str(&format!("  --to FILE  {}\n", tasks::TO_SUMMARY));
    }
    text.push_str(&format!(
        "\nover HTTP: {} {}\n",
        method.verb.as_str(),
        method.path
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help_that_fits_a_terminal() {
        let fits = |help: &str| help.lines().all(|line| line.chars().count() <= 80);
        let all = text(&Topic::All);
        assert!(fits(&all) && all.contains("Exit status"), "{all}");
        for method in METHODS {
            let help = text(&Topic::Method(method));
            assert!(help.contains(method.path) && fits(&help), "{help}");
        }
        for command in COMMANDS {
            let help = text(&Topic::Command(command));
            assert!(help.contains(command.usage) && fits(&help), "{help}");
        }
    }
}
