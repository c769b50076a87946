//! A firmware's hold on its database and nothing else: `keeper DIR [TOML]` opens what is there as
//! a box does, commits the text where one is given, and prints what it found. Built with the
//! feature `firmware-before` it is the firmware before this one.

use std::error::Error;
use std::path::PathBuf;

use lintel_store::{RevisionDraft, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: keeper DIR [TOML]")?);
    let mut store = Store::open_or_restore(&dir, 1_700_000_000)?;
    let newest = store.good_revision_before(u64::MAX)?;
    println!("{}", newest.map_or_else(String::new, |found| found.toml));
    let restored = store.restored()?;
    println!("{}", restored.map_or_else(String::new, |found| found.why));
    if let Some(toml) = args.next() {
        let draft = RevisionDraft {
            toml: toml.to_str().ok_or("the text is no UTF-8")?,
            author: "local",
            reason: "",
            unix_s: 1_700_000_000,
            pending: false,
        };
        store.commit_revision(&draft)?;
    }
    Ok(())
}
