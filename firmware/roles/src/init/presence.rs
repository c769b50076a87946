//! Everything is removed because somebody at the box wants it: by the kernel's command line, or
//! by the button before this boot.
//!
//! `lintel.reset=factory` does its work once: a mark in /data says so as long as the word stands
//! on the command line, and a boot without the word takes the mark away. What the database holds
//! of a reset of the password is controld's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lintel_model::reset::ResetBy;

/// The mark, below /data.
const MARK: &str = "reset";

/// By what everything was removed, when that is still to be told.
pub fn mark(dir: &Path) -> Option<ResetBy> {
    match fs::read_to_string(dir.join(MARK)).ok()?.trim() {
        "argument" => Some(ResetBy::Argument),
        "button" => Some(ResetBy::Button),
        _ => None,
    }
}

/// Leaves the mark, on the disk when this returns.
pub fn leave_mark(dir: &Path, by: ResetBy) -> io::Result<()> {
    let word = match by {
        ResetBy::Argument => "argument",
        ResetBy::Button => "button",
    };
    let mut file = File::create(dir.join(MARK))?;
    file.write_all(word.as_bytes())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Takes the mark away.
pub fn clear_mark(dir: &Path) {
    match fs::remove_file(dir.join(MARK)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::warn!("the mark of a reset stays: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_left_read_and_taken_away() {
        let dir = std::env::temp_dir().join(format!("lintel-mark-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(mark(&dir), None);
        for by in [ResetBy::Argument, ResetBy::Button] {
            leave_mark(&dir, by).unwrap();
            assert_eq!(mark(&dir), Some(by));
        }
        clear_mark(&dir);
        assert_eq!(mark(&dir), None);
        clear_mark(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
}
