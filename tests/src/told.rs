//! What the box tells about itself, and what its processes weigh.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::router::Router;
use crate::wait::until_some;

/// The box's status, once it answers.
pub fn status(router: &Router) -> Value {
    until_some("the box tells its status", Duration::from_secs(10), || {
        let output = router.cli(&["status", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text)
            .ok()
            .filter(|_| output.status.success())
    })
}

/// The notice of this code in a status, as its sentence.
pub fn notice(status: &Value, code: &str) -> Option<String> {
    let notices = status["notices"].as_array()?;
    let found = notices.iter().find(|notice| notice["code"] == code)?;
    Some(found["text"].as_str()?.to_owned())
}

/// Waits until the status satisfies `wanted` and returns it.
pub fn status_when(
    router: &Router,
    sentence: &str,
    within: Duration,
    mut wanted: impl FnMut(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let end = std::time::Instant::now() + within;
    until_some(sentence, within + Duration::from_secs(1), || {
        last = status(router);
        let good = wanted(&last);
        assert!(
            good || std::time::Instant::now() < end,
            "not within {within:?}: {sentence}: {last:#}"
        );
        good.then(|| last.clone())
    })
}

/// One role's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// How often it was started again.
    pub restarts: u64,
    /// Its resident memory, KiB.
    pub rss_kib: u64,
}

/// The roles and their processes. The status is some seconds old at most; the memory is now's.
pub fn roles(router: &Router) -> BTreeMap<String, Process> {
    let answer = until_some(
        "the box tells of its roles",
        Duration::from_secs(10),
        || {
            let output = router.cli(&["services", "status", "--json"]);
            serde_json::from_slice::<Value>(&output.stdout).ok()
        },
    );
    let services = answer
        .as_array()
        .cloned()
        .or_else(|| answer["items"].as_array().cloned())
        .or_else(|| answer["services"].as_array().cloned())
        .unwrap_or_else(|| panic!("no roles in {answer}"));
    services
        .iter()
        .filter_map(|service| {
            let pid = u32::try_from(service["pid"].as_u64()?).ok()?;
            let process = Process {
                pid,
                restarts: service["restarts"].as_u64()?,
                rss_kib: rss_kib(pid)?,
            };
            Some((service["name"].as_str()?.to_owned(), process))
        })
        .collect()
}

/// Resident memory of a process, KiB.
pub fn rss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

/// Prints how the roles' memory moved and returns the largest growth, KiB. Panics when a role
/// is another process than before.
pub fn compare(
    what: &str,
    before: &BTreeMap<String, Process>,
    after: &BTreeMap<String, Process>,
) -> u64 {
    let mut most = 0;
    for (name, old) in before {
        let new = after
            .get(name)
            .unwrap_or_else(|| panic!("{name} does not run any more"));
        assert_eq!(
            (new.pid, new.restarts),
            (old.pid, old.restarts),
            "{name} was started again during: {what}"
        );
        println!(
            "{what}: {name} {} KiB before, {} KiB after",
            old.rss_kib, new.rss_kib
        );
        most = most.max(new.rss_kib.saturating_sub(old.rss_kib));
    }
    most
}
