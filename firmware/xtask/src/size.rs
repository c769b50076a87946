//! The size report, and the budgets that fail the build.

use std::fs;
use std::path::Path;

use crate::error::{XtaskError, file};

const MIB: u64 = 1 << 20;
/// The stripped x86_64 binary: it is in RAM as long as the box runs.
const BINARY_BYTES_MAX: u64 = 8 * MIB;
/// Kernel and everything in one file: what an update downloads, twice on the disk.
const BUNDLE_BYTES_MAX: u64 = 16 * MIB;

/// Prints the table; an entry over its budget is an error.
pub(crate) fn report(binary: &Path, out: &Path) -> Result<(), XtaskError> {
    let rows = [
        ("binary", binary.to_owned(), Some(BINARY_BYTES_MAX)),
        ("initramfs", out.join("initramfs.cpio.zst"), None),
        ("bundle", out.join("lintel.efi"), Some(BUNDLE_BYTES_MAX)),
    ];
    let mut over = Vec::new();
    println!("{:<10} {:>12} {:>12}", "what", "bytes", "budget");
    for (what, path, budget) in rows {
        let bytes = fs::metadata(&path).map_err(file("read", &path))?.len();
        let limit = budget
            .map(|limit| limit.to_string())
            .unwrap_or_else(|| "-".to_owned());
        println!("{what:<10} {bytes:>12} {limit:>12}");
        if budget.is_some_and(|limit| bytes > limit) {
            over.push(format!("{what} is {bytes} bytes, allowed are {limit}"));
        }
    }
    match over.is_empty() {
        true => Ok(()),
        false => Err(XtaskError::OverBudget(over.join("; "))),
    }
}
