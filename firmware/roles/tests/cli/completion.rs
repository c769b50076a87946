//! The Tab key in three shells.

use super::*;

/// In a terminal, with the Tab key.
pub(super) fn bash_and_zsh_complete() {
    for (shell, begin) in [
        (
            &["bash", "--norc", "--noprofile", "-i"][..],
            "source <(lintel completion bash)",
        ),
        (
            &["zsh", "-f", "-i"],
            "autoload -U compinit && compinit -u -D && source <(lintel completion zsh)",
        ),
    ] {
        let dir = Workdir::new("cli");
        let path = on_path(&dir);
        std::fs::write(dir.path("new.toml"), "").unwrap();
        let mut pty = Pty::start(100, shell, &[("PATH", &path)]);
        pty.expect("ready> ");
        pty.send(&format!("cd {}\n", dir.path("").display()));
        pty.expect("ready> ");
        pty.send(&format!("{begin}; echo done$?\n"));
        pty.expect("done0");
        pty.expect("ready> ");
        // Each word is asked for by its start. The line is echoed in place of being run: on the
        // screen it stands in pieces, as each shell redraws it.
        pty.send("lintel serv\tre\tdn\t\x01echo \n");
        pty.expect("\nlintel services restart dnsd\n");
        pty.send("lintel config app\tnew\t--dr\t\x01echo \n");
        pty.expect("\nlintel config apply new.toml --dry-run\n");
        pty.send("lintel dns \t\t");
        let list = pty.expect("statistics");
        assert!(list.contains("flush") && list.contains("records"), "{list}");
        pty.send("\x15lintel completion f\t | head -1\n");
        pty.expect("# fish completion");
        pty.send("exit\n");
        assert_eq!(pty.end(), 0);
    }
}

pub(super) fn fish_completes() {
    let dir = Workdir::new("cli");
    std::fs::write(dir.path("new.toml"), "").unwrap();
    let complete = |line: &str| {
        let script = format!("lintel completion fish | source; complete -C '{line}'");
        let out = Command::new("fish")
            .args(["--no-config", "-c", &script])
            .env("PATH", on_path(&dir))
            .current_dir(dir.path(""))
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(
        complete("lintel services re"),
        "restart\tStop and start a role\n"
    );
    assert_eq!(complete("lintel logs dn"), "dnsd\n");
    assert_eq!(complete("lintel config apply ne"), "new.toml\n");
    assert_eq!(
        complete("lintel --sock"),
        "--socket\tthe control socket of a box here (also: LINTEL_SOCKET)\n"
    );
}
