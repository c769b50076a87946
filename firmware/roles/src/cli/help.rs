//! Help, from the table.

use lintel_api::{METHODS, Method, ParamKind};

use super::show::wrap;

/// Of one method, or of all.
pub(super) fn text(method: Option<&Method>) -> String {
    method.map_or_else(all, one)
}

fn all() -> String {
    let mut text = String::from(
        "lintel: the router's command line\n\n\
         usage: lintel [--json] [--socket PATH] COMMAND [PARAMETERS]\n\
         \x20      lintel run [ROLE] --config FILE --data DIR\n\n\
         commands:\n",
    );
    let words = |method: &Method| method.name.replace('.', " ");
    let width = METHODS.iter().map(|m| words(m).len()).max().unwrap_or(0);
    for method in METHODS {
        let alias = match method.aliases {
            [] => String::new(),
            aliases => format!(" (also: {})", aliases.join(", ")),
        };
        let line = format!("  {:width$}  {}{alias}", words(method), method.summary);
        text.push_str(&wrap(&line, width + 4));
    }
    text.push_str(
        "\nCOMMAND --help tells a command's parameters.\n\
         --json prints what the REST API prints.\n\
         Exit status: 0 done, 1 the box refused or is not there, 2 wrong input.\n",
    );
    text
}

fn one(method: &Method) -> String {
    let words = method.name.replace('.', " ");
    let mut text = wrap(method.summary, 0);
    let mut usage = format!("usage: lintel {words}");
    for param in method.params {
        let name = param.name;
        let option = name.replace('_', "-");
        usage.push_str(&match (name, param.required, param.kind) {
            ("toml", _, _) => " FILE".to_owned(),
            ("config", _, _) => String::new(),
            (_, true, _) => format!(" {}", name.to_uppercase()),
            (_, false, ParamKind::Flag) => format!(" [--{option}]"),
            (_, false, _) => format!(" [--{option} {}]", name.to_uppercase()),
        });
    }
    text.push('\n');
    text.push_str(&wrap(&usage, 14));
    for param in method.params {
        let line = format!("  {:10}  {}", param.name, param.summary);
        text.push_str(&wrap(&line, 14));
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
        assert!(fits(&text(None)), "{}", text(None));
        for method in METHODS {
            let help = text(Some(method));
            assert!(help.contains(method.path) && fits(&help), "{help}");
        }
    }
}
