//! Commands of the command line itself: those that no box is asked for as they stand.

/// One of them.
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) name: &'static str,
    /// What may follow the name.
    pub(super) usage: &'static str,
    /// One line of help, without a full stop.
    pub(super) summary: &'static str,
    /// The rest of its help, in lines that fit.
    pub(super) help: &'static str,
    pub(super) options: &'static [CommandOption],
    /// Words that may follow the name.
    pub(super) words: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandId {
    Completion,
}

/// An option, of a command or of all.
pub(super) struct CommandOption {
    /// With its hyphens.
    pub(super) name: &'static str,
    /// What follows it; empty for a flag.
    pub(super) value: &'static str,
    pub(super) summary: &'static str,
}

/// All of them.
pub(super) const COMMANDS: &[Command] = &[Command {
    id: CommandId::Completion,
    name: "completion",
    usage: "bash|zsh|fish",
    summary: "A script that lets a shell complete commands with the Tab key",
    help: "\
bash:  lintel completion bash >> ~/.bashrc
zsh:   lintel completion zsh > \"${fpath[1]}/_lintel\"
fish:  lintel completion fish > ~/.config/fish/completions/lintel.fish
The script asks the lintel that stands in the command what may follow, so it is
right after an update too. The next shell that starts has it.
",
    options: &[],
    words: &["bash", "zsh", "fish"],
}];

/// Options that every command takes.
pub(super) const GLOBAL_OPTIONS: &[CommandOption] = &[
    flag("--json", "print what the REST API prints"),
    flag("--help", "what a command does, and its parameters"),
    CommandOption {
        name: "--socket",
        value: "PATH",
        summary: "the box's control socket, on the box itself",
    },
];

const fn flag(name: &'static str, summary: &'static str) -> CommandOption {
    CommandOption {
        name,
        value: "",
        summary,
    }
}

/// The command with this name.
pub(super) fn by_name(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

pub(super) fn by_id(id: CommandId) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.id == id)
}
