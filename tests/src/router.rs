//! `lintel run` in a namespace: the router under test.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use crate::namespace::{Namespace, Proc, Workdir};
use crate::wait::until;

/// The whole router in one namespace.
#[derive(Debug)]
pub struct Router {
    /// Its namespace.
    pub ns: Namespace,
    /// Configuration, data and logs.
    pub dir: Workdir,
    /// The supervisor; `None` while it is down.
    pub proc: Option<Proc>,
    /// Shell commands that run before it in a mount namespace of its own, where `$DATA` is the
    /// data directory: what is mounted there is gone with the supervisor.
    pub mounts: Option<String>,
}

/// The binary under test: `LINTEL_BIN`, else the debug build of this checkout.
pub fn binary() -> PathBuf {
    std::env::var_os("LINTEL_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/debug/lintel"),
        PathBuf::from,
    )
}

impl Router {
    /// Starts it with this configuration and waits until all roles are ready.
    pub fn start(ns: Namespace, config: &str) -> Self {
        let mut router = Self::prepared(ns, config);
        router.launch();
        router
    }

    /// Everything but the start.
    pub fn prepared(ns: Namespace, config: &str) -> Self {
        let dir = Workdir::new("router");
        dir.write("config.toml", config);
        Self {
            ns,
            dir,
            proc: None,
            mounts: None,
        }
    }

    /// Starts it again on the data it has.
    pub fn launch(&mut self) {
        let path = |name: &str| self.dir.path(name).to_str().expect("UTF-8").to_owned();
        let (binary, config, data) = (binary(), path("config.toml"), path("data"));
        let run_dir = path("run");
        let lintel = [
            binary.to_str().expect("UTF-8"),
            "run",
            "--config",
            &config,
            "--data",
            &data,
            "--run-dir",
            &run_dir,
        ];
        let script = self.mounts.as_ref().map(|mounts| {
            format!("set -e; DATA={data}; mkdir -p \"$DATA\"; {mounts}\nexec \"$@\"")
        });
        let unshare = ["unshare", "--mount", "--propagation", "private"];
        let args: Vec<&str> = match &script {
            None => lintel.into(),
            Some(script) => unshare
                .into_iter()
                .chain(["sh", "-c", script, "sh"])
                .chain(lintel)
                .collect(),
        };
        let mut proc = self.ns.spawn(&self.dir.path("lintel.log"), args);
        until("every role is ready", Duration::from_secs(60), || {
            assert!(proc.runs(), "lintel run ended: {}", proc.printed());
            proc.printed()
                .lines()
                .any(|line| line.ends_with("info  ready"))
        });
        self.proc = Some(proc);
    }

    /// Runs shell commands among the supervisor's mounts, with `$DATA`.
    pub fn in_mounts(&self, commands: &str) -> Output {
        let pid = self.proc.as_ref().expect("it runs").pid().to_string();
        let data = self.dir.path("data");
        std::process::Command::new("nsenter")
            .args(["--mount", "--target", &pid, "--", "sh", "-c", commands])
            .env("DATA", data)
            .output()
            .expect("nsenter runs")
    }

    /// The CLI against this router.
    pub fn cli(&self, args: &[&str]) -> Output {
        let binary = binary();
        let mut command = self.ns.command([binary.to_str().expect("UTF-8")]);
        command
            .args(args)
            .env("LINTEL_SOCKET", self.dir.path("run/control.sock"));
        command.output().expect("nsenter runs")
    }

    /// The CLI, which must succeed; returns what it printed.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(
            output.status.success(),
            "lintel {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same with `--json`.
    pub fn cli_json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = args.to_vec();
        all.push("--json");
        let text = self.cli_ok(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }
}
