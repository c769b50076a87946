//! tcpdump at the provider's end of the line.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netns_tests::{Namespace, Proc, Workdir, until};

/// A capture that runs until it is stopped.
#[derive(Debug)]
pub struct Capture {
    proc: Proc,
    file: PathBuf,
}

impl Capture {
    /// Starts capturing everything on `link`.
    pub fn start(ns: &Namespace, link: &str, dir: &Workdir) -> Self {
        let file = dir.path("wan.pcap");
        let path = file.to_str().expect("UTF-8").to_owned();
        let log = dir.path("tcpdump.log");
        // -Z root: in a user namespace there is nobody else to become.
        let proc = ns.spawn(
            &log,
            [
                "tcpdump", "-Z", "root", "-U", "-n", "-s", "256", "-B", "8192", "-i", link, "-w",
                &path,
            ],
        );
        until("tcpdump listens", Duration::from_secs(10), || {
            proc.printed().contains("listening on")
        });
        Self { proc, file }
    }

    /// Ends the capture and lists the packets that match `filter`, one a line.
    pub fn matching(&mut self, filter: &str) -> Vec<String> {
        if self.proc.runs() {
            self.proc.signal("INT");
            self.proc.wait(Duration::from_secs(10));
        }
        let output = Command::new("tcpdump")
            .args(["-n", "-e", "-r"])
            .arg(&self.file)
            .arg(filter)
            .output()
            .expect("tcpdump is installed");
        assert!(
            output.status.success(),
            "tcpdump: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::to_owned).collect()
    }
}
