//! A database that was damaged by a foreign hand, and what is used in its place. The judge is
//! the `sqlite3` program.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

const NOW: u64 = 1_700_000_500;

/// What the `sqlite3` program says of a file.
fn sqlite3(file: &Path, script: &str) -> String {
    let output = Command::new("sqlite3")
        .arg(file)
        .arg(script)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said + String::from_utf8_lossy(&output.stderr).trim()
}

/// A household's database with two snapshots, closed; after them came revision 3 and a lease.
fn household() -> Dir {
    let dir = Dir::new();
    let mut store = Store::open_or_restore(&dir.0, NOW - 400).unwrap();
    store.commit_revision(&draft("a = 1")).unwrap();
    store
        .put_bindings(&(1..200).map(|n| bound(n, 5)).collect::<Vec<_>>(), 0)
        .unwrap();
    store.set_password("hash").unwrap();
    store.put_session(&session(7, 9)).unwrap();
    store.add_token(&token(8)).unwrap();
    store.take_snapshot(NOW - 300).unwrap().unwrap();
    store.commit_revision(&draft("a = 2")).unwrap();
    let newest = store.take_snapshot(NOW - 200).unwrap().unwrap();
    assert_eq!((newest.number, newest.unix_s), (2, NOW - 200));
    assert_eq!(sqlite3(&newest.path, "PRAGMA integrity_check"), "ok");
    store.commit_revision(&draft("a = 3")).unwrap();
    store.put_bindings(&[bound(200, 5)], 0).unwrap();
    dir
}

fn names(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.0.join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn newest_text(store: &Store) -> String {
    store.good_revision_before(u64::MAX).unwrap().unwrap().toml
}

/// The newest snapshot is used and told; what was there stands aside, octet for octet.
fn is_restored(dir: &Dir, why: &str) {
    let before = fs::read(dir.db()).ok();
    let store = Store::open_or_restore(&dir.0, NOW).unwrap();
    let restored = store.restored().unwrap().expect("it is told");
    assert!(restored.why.contains(why), "{restored:?}");
    assert_eq!(restored.unix_s, NOW);
    assert_eq!(restored.snapshot_unix_s, NOW - 200);
    assert_eq!(newest_text(&store), "a = 2");
    assert_eq!(store.bindings().unwrap().len(), 199);
    assert_eq!(store.password().unwrap().as_deref(), Some("hash"));
    assert_eq!(store.sessions().unwrap(), [], "one may have ended since");
    assert_eq!(store.tokens().unwrap(), []);
    assert_eq!(restored.aside.is_some(), before.is_some());
    if let (Some(aside), Some(before)) = (&restored.aside, before) {
        let kept = fs::read(dir.0.join("state").join(aside)).unwrap();
        assert!(kept == before, "what was set aside is what was there");
    }
    drop(store);
    assert_eq!(sqlite3(&dir.db(), "PRAGMA integrity_check"), "ok");
    // The next start finds nothing wrong and still tells, until somebody has dealt with it.
    let mut store = Store::open_or_restore(&dir.0, NOW + 1).unwrap();
    assert_eq!(store.restored().unwrap(), Some(restored));
    store.forget_restored().unwrap();
    assert_eq!(store.restored().unwrap(), None);
    assert_eq!(store.newest_snapshot().unwrap().number, 2);
}

#[test]
fn a_sound_database_is_used_as_it_is() {
    let dir = household();
    let before = names(&dir);
    let store = Store::open_or_restore(&dir.0, NOW).unwrap();
    assert_eq!(newest_text(&store), "a = 3");
    assert_eq!(store.restored().unwrap(), None);
    drop(store);
    assert_eq!(names(&dir), before);
}

#[test]
fn a_header_that_is_overwritten_gives_way_to_the_snapshot() {
    let dir = household();
    let mut octets = fs::read(dir.db()).unwrap();
    octets[..100].fill(0x5a);
    fs::write(dir.db(), octets).unwrap();
    assert!(sqlite3(&dir.db(), "PRAGMA integrity_check").contains("not a database"));
    is_restored(&dir, "damaged");
}

#[test]
fn pages_that_are_overwritten_give_way_to_the_snapshot() {
    let dir = household();
    let mut octets = fs::read(dir.db()).unwrap();
    octets[2 * 4096..6 * 4096].fill(0xa5);
    fs::write(dir.db(), octets).unwrap();
    assert_ne!(sqlite3(&dir.db(), "PRAGMA integrity_check"), "ok");
    is_restored(&dir, "damaged");
}

#[test]
fn a_truncated_file_gives_way_to_the_snapshot() {
    let dir = household();
    let file = fs::File::options().write(true).open(dir.db()).unwrap();
    file.set_len(3 * 4096 + 17).unwrap();
    is_restored(&dir, "damaged");
}

#[test]
fn an_empty_file_gives_way_to_the_snapshot() {
    let dir = household();
    fs::write(dir.db(), b"").unwrap();
    is_restored(&dir, "gone");
}

#[test]
fn a_file_that_is_gone_gives_way_to_the_snapshot() {
    let dir = household();
    fs::remove_file(dir.db()).unwrap();
    is_restored(&dir, "gone");
}

#[test]
fn a_journal_alone_is_not_taken_for_the_snapshots() {
    let dir = household();
    fs::remove_file(dir.db()).unwrap();
    fs::write(dir.0.join("state/lintel.db-wal"), [7; 8192]).unwrap();
    let store = Store::open_or_restore(&dir.0, NOW).unwrap();
    let aside = store.restored().unwrap().unwrap().aside.unwrap();
    let journal = dir.0.join("state").join(format!("{aside}-wal"));
    assert_eq!(fs::read(journal).unwrap(), [7; 8192]);
    assert_eq!(newest_text(&store), "a = 2");
}

#[test]
fn a_newer_firmwares_database_stands_aside_whole() {
    let dir = household();
    sqlite3(
        &dir.db(),
        "PRAGMA user_version = 99; CREATE TABLE later (x);",
    );
    is_restored(&dir, "schema 99");
    let aside = names(&dir).into_iter().find(|n| n.starts_with("damaged-"));
    let aside = dir.0.join("state").join(aside.unwrap());
    assert_eq!(sqlite3(&aside, "PRAGMA user_version"), "99");
}

#[test]
fn a_table_that_is_missing_or_other_is_damage() {
    for script in [
        "DROP TABLE sessions",
        "ALTER TABLE facts ADD COLUMN more TEXT",
        "CREATE TRIGGER t AFTER INSERT ON bindings BEGIN DELETE FROM bindings; END",
    ] {
        let dir = household();
        assert_eq!(sqlite3(&dir.db(), script), "");
        assert_eq!(sqlite3(&dir.db(), "PRAGMA integrity_check"), "ok");
        is_restored(&dir, "tables");
    }
}

#[test]
fn a_snapshot_that_is_damaged_itself_gives_way_to_the_one_before() {
    let dir = household();
    fs::write(dir.db(), vec![0x5a; 8192]).unwrap();
    let newest = dir
        .0
        .join(format!("state/snapshot-0000000002-{}.db", NOW - 200));
    let mut octets = fs::read(&newest).unwrap();
    octets[4096..3 * 4096].fill(0);
    fs::write(&newest, octets).unwrap();
    let store = Store::open_or_restore(&dir.0, NOW).unwrap();
    assert_eq!(newest_text(&store), "a = 1");
    assert_eq!(
        store.restored().unwrap().unwrap().snapshot_unix_s,
        NOW - 300
    );
}

#[test]
fn without_a_sound_snapshot_everything_is_left_as_it_is() {
    let dir = household();
    for name in names(&dir) {
        fs::write(dir.0.join("state").join(name), vec![0x5a; 8192]).unwrap();
    }
    let before = names(&dir);
    let error = Store::open_or_restore(&dir.0, NOW).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert_eq!(names(&dir), before);
    fs::remove_file(dir.db()).unwrap();
    let error = Store::open_or_restore(&dir.0, NOW).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(
        !dir.db().exists(),
        "a new one would belong to whoever comes first"
    );
}

#[test]
fn a_first_start_that_lost_its_power_is_a_first_start() {
    let dir = Dir::new();
    fs::create_dir_all(dir.0.join("state")).unwrap();
    fs::write(dir.db(), b"").unwrap();
    let store = Store::open_or_restore(&dir.0, NOW).unwrap();
    assert_eq!(store.restored().unwrap(), None);
}

#[test]
fn what_was_set_aside_is_never_overwritten_and_bounded() {
    let dir = household();
    let mut seen = Vec::new();
    for n in 0..ASIDE_MAX as u8 + 2 {
        fs::write(dir.db(), vec![n; 8192]).unwrap();
        // The clock stands still: the names still differ.
        let store = Store::open_or_restore(&dir.0, NOW).unwrap();
        seen.push(store.restored().unwrap().unwrap().aside.unwrap());
    }
    seen.dedup();
    assert_eq!(seen.len(), ASIDE_MAX + 2);
    let left: Vec<String> = names(&dir)
        .into_iter()
        .filter(|name| name.starts_with("damaged-"))
        .collect();
    assert_eq!(left, seen[2..]);
}

#[test]
fn snapshots_are_bounded_and_one_that_was_cut_off_is_none() {
    let dir = household();
    let mut store = Store::open_or_restore(&dir.0, NOW).unwrap();
    fs::write(dir.0.join("state/snapshot.new"), [1; 100]).unwrap();
    for n in 0..3 {
        store.take_snapshot(NOW + n).unwrap();
    }
    let snapshots: Vec<String> = names(&dir)
        .into_iter()
        .filter(|name| name.starts_with("snapshot"))
        .collect();
    assert_eq!(
        snapshots,
        [
            format!("snapshot-0000000003-{NOW}.db"),
            format!("snapshot-0000000004-{}.db", NOW + 1),
            format!("snapshot-0000000005-{}.db", NOW + 2),
        ]
    );
    assert!(Store::memory().unwrap().take_snapshot(1).unwrap().is_none());
}

/// A journal that is damaged loses what came after the damage and nothing before it: SQLite
/// sums up each frame. What is used is one of the states that were.
#[test]
fn a_damaged_journal_leaves_a_state_that_was() {
    for place in [0, 40, 700, 5_000, 9_000, 20_000, 60_000] {
        let dir = household();
        let mut store = Store::open(&dir.0).unwrap();
        for n in 0..20 {
            store.put_bindings(&[bound(300 + n, 5)], 0).unwrap();
        }
        let wal = fs::read(dir.0.join("state/lintel.db-wal")).unwrap();
        let database = fs::read(dir.db()).unwrap();
        drop(store);
        fs::write(dir.db(), database).unwrap();
        let mut torn = wal;
        torn[place] ^= 0x10;
        fs::write(dir.0.join("state/lintel.db-wal"), torn).unwrap();
        let store = Store::open_or_restore(&dir.0, NOW).unwrap();
        let bindings = store.bindings().unwrap();
        let count = u32::try_from(bindings.len()).unwrap();
        let expected: Vec<Binding> = (1..201)
            .chain(300..(300 + count - 200))
            .map(|n| bound(n, 5))
            .collect();
        assert_eq!(bindings, expected, "octet {place}");
    }
}

/// Octets anywhere are changed: it never panics, and what is used passes the foreign judge.
#[test]
fn octets_flipped_anywhere_end_in_a_sound_database() {
    let dir = household();
    let clean = fs::read(dir.db()).unwrap();
    let mut seed = 0x9e37_79b9_u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap()
    };
    let (mut restored, mut used) = (0, 0);
    for _ in 0..60 {
        let mut octets = clean.clone();
        for _ in 0..=next() % 40 {
            let at = next() % octets.len();
            octets[at] ^= 1 << (next() % 8);
        }
        fs::write(dir.db(), octets).unwrap();
        let _ = fs::remove_file(dir.0.join("state/lintel.db-wal"));
        let store = Store::open_or_restore(&dir.0, NOW).unwrap();
        match store.restored().unwrap() {
            Some(_) => restored += 1,
            None => used += 1,
        }
        drop(store);
        assert_eq!(sqlite3(&dir.db(), "PRAGMA integrity_check"), "ok");
    }
    println!("{restored} restored, {used} with changes that no check of SQLite's finds");
    assert!(restored > 20, "{restored}");
}

/// Measures the start and a snapshot with a household's database and with the largest.
#[test]
fn what_bounds_the_check_is_measured() {
    let dir = Dir::new();
    let mut store = Store::open(&dir.0).unwrap();
    let text = "x".repeat(60_000);
    let mut sizes = Vec::new();
    for n in 0..200 {
        store.commit_revision(&draft(&text)).unwrap();
        if n == 3 || n == 199 {
            drop(store);
            let megabytes = fs::metadata(dir.db()).unwrap().len() as f64 / f64::from(1 << 20);
            let begun = std::time::Instant::now();
            store = Store::open(&dir.0).unwrap();
            let opened = begun.elapsed();
            let begun = std::time::Instant::now();
            store.take_snapshot(NOW).unwrap();
            println!(
                "{megabytes:.1} MiB: opened and checked in {} ms, snapshot in {} ms",
                opened.as_millis(),
                begun.elapsed().as_millis()
            );
            sizes.push(opened);
        }
    }
    assert!(sizes[1] < Duration::from_secs(5), "{sizes:?}");
}
