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
    Batch,
    Completion,
    Monitor,
    Setup,
    Shell,
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
pub(super) const COMMANDS: &[Command] = &[
    Command {
        id: CommandId::Setup,
        name: "setup",
        usage: "",
        summary: "Questions that lead to a first configuration",
        help: "\
It asks for a password, the box's name, the way to the internet, the box's
address and where the time comes from; judges each answer at once, shows what
would happen, and changes nothing before the last yes.
Exit status: 0 done; 1 ended before, or the box refused; 2 too many wrong
answers.
",
        options: &[],
        words: &[],
    },
    Command {
        id: CommandId::Monitor,
        name: "monitor",
        usage: "[--every SECONDS | --events]",
        summary: "The box at a glance, kept up to date, with its newest log lines",
        help: "\
q, Escape or Ctrl-C ends it. It looks at once when the box tells that something
happened, and now and then for what changes quietly. Into a file or a pipe it
writes one look after the other; with --json each is the status on one line, as
the REST API has it. With --events it writes what happens instead, a line each,
until Ctrl-C; a box that starts anew is waited for.
",
        options: &[
            CommandOption {
                name: "--every",
                value: "SECONDS",
                summary: "how often to look although nothing was told (default 5)",
            },
            flag("--events", "write what happens, a line each"),
        ],
        words: &[],
    },
    Command {
        id: CommandId::Shell,
        name: "shell",
        usage: "",
        summary: "Commands at a prompt, with completion, history and help",
        help: "\
Tab completes, the arrow keys bring back what was written before, Ctrl-R
searches in it, Ctrl-D or exit ends it. The history is kept in
~/.local/state/lintel/history, where there is a home; a line that begins with a
blank or holds a password or a passphrase is not kept.
",
        options: &[],
        words: &[],
    },
    Command {
        id: CommandId::Batch,
        name: "batch",
        usage: "[--go-on | --as-one] [--file FILE] [LINE]...",
        summary: "Many commands, one a line, from a file, from arguments or from standard input",
        help: "\
A line is a command without the word lintel: config apply new.toml. Words with
blanks stand in quotes; what begins with # is a comment. All lines are read
before the first is run, and one that is wrong stops them all; then they are run
in order up to the first that fails. --go-on runs every line that can be run.
--as-one takes lines of config patch alone and makes a single change of them:
one revision, one plan, all or nothing.
With --json each line prints one JSON object: {\"line\", \"command\"} and
\"result\", or \"problem\" as the REST API has it.
Exit status: 0 all done; else that of the first line that failed, 1 or 2.
",
        options: &[
            flag("--go-on", "do the other lines when one fails"),
            flag(
                "--as-one",
                "make one change of the configuration of all lines",
            ),
            CommandOption {
                name: "--file",
                value: "FILE",
                summary: "read the lines there; - is standard input",
            },
        ],
        words: &[],
    },
    Command {
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
    },
];

/// Options that every command takes.
pub(super) const GLOBAL_OPTIONS: &[CommandOption] = &[
    flag("--json", "print what the REST API prints"),
    flag("--help", "what a command does, and its parameters"),
    CommandOption {
        name: "--host",
        value: "URL",
        summary: "a box elsewhere, https://192.168.1.1 (also: LINTEL_HOST)",
    },
    CommandOption {
        name: "--token-file",
        value: "FILE",
        summary: "the file with a token for it (also: the token in LINTEL_TOKEN)",
    },
    CommandOption {
        name: "--fingerprint",
        value: "SHA256",
        summary: "its certificate's, which system info prints (also: LINTEL_FINGERPRINT)",
    },
    CommandOption {
        name: "--socket",
        value: "PATH",
        summary: "the control socket of a box here (also: LINTEL_SOCKET)",
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
