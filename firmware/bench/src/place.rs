//! Where a bench takes place: two namespaces on one wire, a core for each side.

use std::process::Command;
use std::time::Duration;

use netns_tests::{Namespace, Proc, Workdir, until_some};

use crate::error::BenchError;
use crate::load::Outcome;

/// Our side's address.
pub(crate) const SERVER: &str = "10.7.0.1";
/// The asking side's.
pub(crate) const CLIENT: &str = "10.7.0.2";
/// The household's link, as the router calls it.
pub(crate) const LINK: &str = "br-lan";

/// Servers compute on this core.
const SERVER_CORE: &str = "0";
/// Load, judges and upstreams on this one.
const CLIENT_CORE: &str = "1";

/// Two namespaces, joined.
pub(crate) struct Place {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
    pub(crate) dir: Workdir,
    real_time: bool,
}

impl Place {
    /// The servers' end of the wire is called `link` and has no address. With `real_time` all of
    /// it goes before everything else that the machine does: latencies are then the servers' own,
    /// while others have to wait.
    pub(crate) fn with_link(link: &str, real_time: bool) -> Self {
        let (server, client) = (Namespace::new("servers"), Namespace::new("load"));
        server.join(link, &client, "eth0");
        client.ok(["ip", "addr", "add", &format!("{CLIENT}/16"), "dev", "eth0"]);
        Self {
            server,
            client,
            dir: Workdir::new("bench"),
            real_time,
        }
    }

    /// The same with our address on it.
    pub(crate) fn with_address(link: &str, real_time: bool) -> Self {
        let place = Self::with_link(link, real_time);
        place
            .server
            .ok(["ip", "addr", "add", &format!("{SERVER}/16"), "dev", link]);
        place
    }

    /// Starts a server on the servers' core.
    pub(crate) fn serve(&self, name: &str, args: &[&str]) -> Proc {
        self.server.spawn(
            &self.dir.path(&format!("{name}.log")),
            self.pinned(SERVER_CORE, args),
        )
    }

    /// Starts a program on the load's core, beside the load.
    pub(crate) fn beside(&self, name: &str, args: &[&str]) -> Proc {
        let log = self.dir.path(&format!("{name}.log"));
        self.client.spawn(&log, self.pinned(CLIENT_CORE, args))
    }

    /// The same for this program with other words.
    pub(crate) fn aside(&self, name: &str, words: &[&str]) -> Proc {
        let me = me();
        let args: Vec<&str> = [me.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        self.beside(name, &args)
    }

    /// Runs this program as the load and returns what came of it.
    pub(crate) fn load(&self, words: &[&str]) -> Result<Outcome, BenchError> {
        let me = me();
        let args: Vec<&str> = [me.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let text = self.judge(&args)?;
        serde_json::from_str(&text).map_err(|_| BenchError::Output {
            program: words.join(" "),
            said: text,
        })
    }

    /// Runs a program on the load's core to its end, which must be a good one; returns what it
    /// printed.
    pub(crate) fn judge(&self, args: &[&str]) -> Result<String, BenchError> {
        self.judged(args, &[0])
    }

    /// The same for a program that ends with 3 when some of its questions went unanswered.
    pub(crate) fn judge_any(&self, args: &[&str]) -> Result<String, BenchError> {
        self.judged(args, &[0, 3])
    }

    fn judged(&self, args: &[&str], good: &[i32]) -> Result<String, BenchError> {
        let output = self.client.run(self.pinned(CLIENT_CORE, args));
        if !output
            .status
            .code()
            .is_some_and(|code| good.contains(&code))
        {
            return Err(BenchError::Output {
                program: args.join(" "),
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// On one core: a busy neighbour moves figures of the load as much as those of the server.
    fn pinned<'a>(&self, core: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = match self.real_time {
            true => vec!["chrt", "--rr", "1"],
            false => vec!["nice", "-n", "-10"],
        };
        all.extend(["taskset", "-c", core]);
        all.extend_from_slice(args);
        all
    }
}

/// Waits for a server's first right word.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_some(what, Duration::from_secs(30), look)
}

/// Whether a program is on this machine.
pub(crate) fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn me() -> String {
    std::env::current_exe().map_or_else(
        |_| "lintel-bench".to_owned(),
        |path| path.display().to_string(),
    )
}
