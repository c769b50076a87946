//! The kept inputs: `corpus/<target>/<name>`, one input a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder that holds one folder a target, as it was when this crate was built.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs kept for a target in the order of their names; none when it has no folder.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn load(root: &Path, target: &str) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(root.join(target)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().map(fs::read).collect()
}

/// Keeps an input under a name made of `what` and its octets; returns where.
///
/// # Errors
/// When it cannot be written.
pub fn keep(root: &Path, target: &str, what: &str, input: &[u8]) -> io::Result<PathBuf> {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    });
    let folder = root.join(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{what}-{hash:016x}"));
    fs::write(&path, input)?;
    Ok(path)
}
