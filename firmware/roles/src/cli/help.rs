//! Help, from the table.

use lintel_api::{METHODS, Method, ParamKind};

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
        text.push_str(&format!(
            "  {:width$}  {}{alias}\n",
            words(method),
            method.summary
        ));
    }
    text.push_str(
        "\nCOMMAND --help tells a command's parameters. --json prints what the REST API prints.\n",
    );
    text
}

fn one(method: &Method) -> String {
    let words = method.name.replace('.', " ");
    let mut text = format!("{}\n\nusage: lintel {words}", method.summary);
    for param in method.params {
        let name = param.name;
        let option = name.replace('_', "-");
        text.push_str(&match (name, param.required, param.kind) {
            ("toml", _, _) => " FILE".to_owned(),
            ("config", _, _) => String::new(),
            (_, true, _) => format!(" {}", name.to_uppercase()),
            (_, false, ParamKind::Flag) => format!(" [--{option}]"),
            (_, false, _) => format!(" [--{option} {}]", name.to_uppercase()),
        });
    }
    text.push('\n');
    for param in method.params {
        text.push_str(&format!("  {:10}  {}\n", param.name, param.summary));
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
        for line in text(None).lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for method in METHODS {
            let help = text(Some(method));
            assert!(help.contains(method.path), "{help}");
        }
    }
}
