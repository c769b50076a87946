//! A box of one controld, and the CLI against it in processes of its own.

use super::*;

pub(super) const CONFIG: &str = "[system]\nhostname = \"attic\"\n[wan]\nport = \"eth9\"\n";

pub(super) struct Out {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) fn cli(socket: &Path, args: &[&str]) -> Out {
    cli_with(socket, args, "")
}

pub(super) fn cli_with(socket: &Path, args: &[&str], input: &str) -> Out {
    let mut child = Command::new("/proc/self/exe")
        .arg("cli")
        .args(args)
        .env("LINTEL_SOCKET", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Most commands read nothing and may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    Out {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

/// A search path on which the CLI is found as `lintel`.
pub(super) fn on_path(dir: &Workdir) -> String {
    use std::os::unix::fs::PermissionsExt;
    let script = dir.path("lintel");
    if !script.exists() {
        let exe = std::env::current_exe().unwrap();
        let text = format!(
            "#!/bin/sh\nLINTEL_TEST_CLI=1 exec {} \"$@\"\n",
            exe.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    }
    format!(
        "{}:{}",
        dir.path("").display(),
        std::env::var("PATH").unwrap()
    )
}

/// A supervisor with a controld.
pub(super) struct House {
    pub(super) process: Child,
    pub(super) dir: Workdir,
}

impl House {
    pub(super) fn start() -> Self {
        let dir = Workdir::new("cli");
        std::fs::write(dir.path("config.toml"), CONFIG).unwrap();
        let process = Command::new("/proc/self/exe")
            .args(["supervise".as_ref(), dir.path("").as_os_str()])
            .stderr(std::fs::File::create(dir.path("log")).unwrap())
            .spawn()
            .unwrap();
        let house = Self { process, dir };
        until("controld answers", PATIENCE, || {
            house.cli(&["health"]).code == 0
        });
        house
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path("data/run/control.sock")
    }

    pub(super) fn file(&self, text: &str) -> String {
        let path = self.dir.path("new.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(super) fn cli(&self, args: &[&str]) -> Out {
        cli(&self.socket(), args)
    }

    pub(super) fn cli_with(&self, args: &[&str], input: &str) -> Out {
        cli_with(&self.socket(), args, input)
    }

    /// A command in a terminal, with `lintel` on the search path.
    pub(super) fn pty(&self, columns: u16, command: &[&str]) -> Pty {
        let (socket, state) = (self.socket(), self.dir.path("state"));
        let env = [
            ("PATH", on_path(&self.dir)),
            ("LINTEL_SOCKET", socket.to_str().unwrap().to_owned()),
            // The CLI starts itself for each command, so it must begin as one.
            ("LINTEL_TEST_CLI", "1".to_owned()),
            ("XDG_STATE_HOME", state.to_str().unwrap().to_owned()),
        ];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        Pty::start(columns, command, &env)
    }

    /// controld's process number, as the box itself says it.
    pub(super) fn controld(&self) -> Pid {
        until_some("the box names controld's process", PATIENCE, || {
            let out = self.cli(&["--json", "services"]).out;
            let list: Value = serde_json::from_str(&out).ok()?;
            let pid = list[0]["pid"].as_i64()?;
            Some(Pid::from_raw(i32::try_from(pid).ok()?))
        })
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
