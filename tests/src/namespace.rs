//! A network namespace, the programs in it, and a directory for their files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::wait::until;

/// A network namespace with `lo` up.
#[derive(Debug)]
pub struct Namespace {
    name: &'static str,
    holder: Child,
}

impl Namespace {
    /// A new, empty namespace; `name` is for messages only. Panics when this machine
    /// does not let us make one.
    pub fn new(name: &'static str) -> Self {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo made && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has unshare");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped above");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the holder's pipe reads");
        assert_eq!(
            line, "made\n",
            "no network namespace: run as root or under `unshare -Urmn`"
        );
        Self { name, holder }
    }

    /// Process whose namespace this is.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Joins two namespaces by a veth pair and brings both ends up.
    pub fn join(&self, link: &str, other: &Self, other_link: &str) {
        let pid = other.pid().to_string();
        self.ok([
            "ip", "link", "add", link, "type", "veth", "peer", "name", other_link, "netns", &pid,
        ]);
        self.ok(["ip", "link", "set", link, "up"]);
        other.ok(["ip", "link", "set", other_link, "up"]);
    }

    /// A command that runs inside.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.pid().to_string(), "--"])
            .args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().expect("nsenter runs")
    }

    /// Runs a program that must succeed; returns what it printed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.command(args);
        let output = command.output().expect("nsenter runs");
        assert!(
            output.status.success(),
            "in {}: {command:?} failed: {}{}",
            self.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a program whose standard output is JSON.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> serde_json::Value {
        let text = self.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }

    /// Starts a program that goes on until it is dropped; what it prints goes to `log`.
    pub fn spawn<S: AsRef<OsStr>>(&self, log: &Path, args: impl IntoIterator<Item = S>) -> Proc {
        Proc::start(self.command(args), log)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that runs beside the test. Dropping it asks it to end and then ends it.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    log: PathBuf,
}

impl Proc {
    /// Starts a command whose output goes to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let out = File::create(log).expect("the work directory is writable");
        command
            .stdout(out.try_clone().expect("a descriptor is free"))
            .stderr(out);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        fs::read(&self.log)
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, within: Duration) -> std::process::ExitStatus {
        until(&format!("{} ends", self.log.display()), within, || {
            !self.runs()
        });
        self.child.wait().expect("it has ended")
    }

    /// Sends it a signal by name (`TERM`, `KILL`, `HUP`).
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
    }

    /// Ends it without a chance to clean up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if self.runs() {
            self.signal("TERM");
            let end = std::time::Instant::now() + Duration::from_secs(3);
            while self.runs() && std::time::Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.printed());
        }
    }
}

/// A directory for one test's files; removed with it.
#[derive(Debug)]
pub struct Workdir(PathBuf);

impl Workdir {
    /// A new one, named after the test.
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lintel-{test}-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Programs that drop their uid write here too.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("our own directory");
        Self(path)
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The same, executable.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
