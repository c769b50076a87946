//! What a worker's memory is, and its limits.

use std::alloc::System;
use std::fs;

use nix::sys::resource::{Resource, setrlimit};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Address space of a worker, octets: no message of 64 KiB is worth more, and a parser that
/// believes a length field runs into it.
const ADDRESS_SPACE_BYTES_MAX: u64 = 2 << 30;

/// The allocator that counts; the binary installs it.
pub const COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Octets allocated and not freed. Zero in a process without [`COUNTING`].
#[must_use]
pub fn live_bytes() -> i64 {
    let stats = COUNTING.stats();
    (stats.bytes_allocated as i64).wrapping_sub(stats.bytes_deallocated as i64)
}

/// Resident memory of this process now, KiB.
#[must_use]
pub fn rss_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The most that was ever resident, KiB.
#[must_use]
pub fn rss_peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// Puts a limit to this process's address space.
///
/// # Errors
/// When a lower limit is in force.
pub fn limit() -> nix::Result<()> {
    setrlimit(
        Resource::RLIMIT_AS,
        ADDRESS_SPACE_BYTES_MAX,
        ADDRESS_SPACE_BYTES_MAX,
    )
}

/// A line of `/proc/self/status` (proc_pid_status(5)); zero when it is not there.
fn status_kib(label: &str) -> u64 {
    fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
