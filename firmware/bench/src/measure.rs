//! What a process costs: read from /proc.

use std::fs;

/// Time that these processes have computed, themselves and for them in the kernel, nanoseconds.
/// What the scheduler counts, of which utime and stime are the rounded parts.
pub(crate) fn cpu_ns(pids: &[u32]) -> u64 {
    pids.iter().flat_map(|pid| threads(*pid)).sum()
}

/// Memory that these processes hold, KiB; pages that several of them share count once.
pub(crate) fn rss_kib(pids: &[u32]) -> u64 {
    let (file, field) = match pids {
        [_] => ("status", "VmRSS:"),
        _ => ("smaps_rollup", "Pss:"),
    };
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}

/// The process and everything that it started, itself first.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let text = children.unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
        at += 1;
    }
    found
}

/// The role that a `lintel run ROLE` has started.
pub(crate) fn role_of(pid: u32) -> Option<Vec<u32>> {
    let mut roles = family(pid);
    roles.retain(|pid| words_of(*pid).get(1).is_some_and(|word| word == "role"));
    (!roles.is_empty()).then_some(roles)
}

/// The words of a process' command line.
fn words_of(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|octet| *octet == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn threads(pid: u32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let ns = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    entries
        .flatten()
        .filter_map(|entry| ns(entry.path()))
        .collect()
}
