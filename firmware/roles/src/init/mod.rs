//! init: PID 1 of a box, and the same supervisor under `lintel run`.
//!
//! * [`supervise`]: who runs and who comes back, as a pure machine.
//! * [`shell`]: the loop around it.
//! * [`boot`]: what only PID 1 does. [`data`], [`gpt`], [`console`], [`cmdline`], [`chores`]: its parts;
//!   [`prompt`]: the process on a console.
//! * [`groups`]: the bound of each role's memory.
//! * [`faults`]: what a test may do to a box that was booted as one.
//! * [`logs`], [`log_files`]: what the roles said, in memory and on disk.
//!
//! It parses no network octet and opens no database. What it reads of roles is hostile: lines
//! are cut and cleaned, requests of others than controld are dropped.

pub mod boot;
pub mod button;
pub mod chores;
pub mod cmdline;
pub mod console;
pub mod data;
pub mod faults;
pub mod gpt;
pub mod groups;
pub mod log_files;
pub mod logs;
pub mod presence;
pub mod prompt;
pub mod run;
pub mod shell;
pub mod supervise;

use std::path::PathBuf;

pub use boot::boot;
pub use run::{RunArgs, RunError, run};

/// The running binary, to be executed again. The link names the very file that runs, even when
/// its path has a new one by now.
pub fn exe() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() {
        link
    } else {
        PathBuf::from("/init")
    }
}

/// Version of the binary, with the source's commit where the build knew it.
pub fn version() -> String {
    match option_env!("LINTEL_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// A random identity of this boot. It names records and tells two boots apart; it is no secret.
pub(crate) fn boot_id() -> String {
    let mut octets = [0; 16];
    // Before the generator is seeded two boots might in theory be named alike; that costs a
    // file name.
    let _ = lintel_rt::device::early_random(&mut octets);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
