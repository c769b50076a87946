//! When copies of the database are made, and what is said when one is used.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use lintel_model::facts::NoticeCode;
use serde_json::json;

use super::*;

/// A data directory of this test's own, removed at the end.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lintel-controld-{}-{n}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn store(&self) -> Store {
        Store::open_or_restore(&self.0, UNIX_S).unwrap()
    }

    pub(super) fn bench(&self) -> Bench {
        let mut bench = Bench::new(start(), self.store());
        bench.join_all();
        bench
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn newest(bench: &Bench) -> u64 {
    bench.core.store.newest_snapshot().map_or(0, |s| s.number)
}

fn notice(bench: &mut Bench) -> Option<String> {
    let notices = bench.status().notices;
    let found = notices
        .into_iter()
        .find(|n| n.code == NoticeCode::DataRestored);
    found.map(|notice| notice.text)
}

#[test]
fn changes_are_copied_soon_but_not_one_by_one_and_leases_once_a_day() {
    let dir = Dir::new();
    let mut bench = dir.bench();
    assert_eq!(newest(&bench), 0);
    bench.pass_ms(11_000);
    assert_eq!(newest(&bench), 1, "the first start");
    for n in 0..20 {
        bench.apply(&format!("# {n}\n")).unwrap();
        bench.pass_ms(1_000);
    }
    assert_eq!(newest(&bench), 1);
    bench.pass_ms(600_000);
    assert_eq!(newest(&bench), 2, "twenty changes, one copy");
    bench.pass_ms(3_600_000);
    bench
        .local("auth.setup", json!({"password": "long enough"}))
        .unwrap();
    bench.pass_ms(11_000);
    assert_eq!(newest(&bench), 3, "a password is not to be lost either");
    bench.pass_ms(23 * 3_600_000);
    assert_eq!(newest(&bench), 3);
    bench.pass_ms(2 * 3_600_000);
    assert_eq!(newest(&bench), 4);
    // The clock fell back over a start: how old the copy is, nobody knows.
    drop(bench);
    let mut bench = dir.bench();
    bench.pass_ms(11_000);
    assert_eq!(newest(&bench), 5);
}

#[test]
fn a_copy_that_took_the_place_is_told_until_somebody_changes_something() {
    let dir = Dir::new();
    let mut bench = dir.bench();
    bench.apply("[system]\nhostname = \"kept\"\n").unwrap();
    bench.pass_ms(20_000);
    assert_eq!((newest(&bench), notice(&mut bench)), (1, None));
    bench.apply("[system]\nhostname = \"lost\"\n").unwrap();
    drop(bench);
    std::fs::write(dir.0.join("state/lintel.db"), [0x5a; 9000]).unwrap();
    for _ in 0..2 {
        let mut bench = dir.bench();
        let text = notice(&mut bench).expect("it is told, over every start");
        assert!(text.contains("copy from 2023-11-14"), "{text}");
        assert!(text.contains("state/damaged-0000000001"), "{text}");
        assert_eq!(bench.status().system.hostname, "kept");
    }
    let mut bench = dir.bench();
    bench.apply("[system]\nhostname = \"again\"\n").unwrap();
    assert_eq!(notice(&mut bench), None);
    drop(bench);
    let mut bench = dir.bench();
    assert_eq!(notice(&mut bench), None);
    assert_eq!(bench.status().system.hostname, "again");
}

#[test]
fn damage_that_shows_later_ends_the_process_once() {
    let mut bench = Bench::settled();
    let damage = lintel_store::StoreError::Damaged {
        what: "page 7".to_owned(),
    };
    bench.core.store_failed("storing bindings", &damage);
    bench.drain();
    assert!(bench.restart);
    bench.restart = false;
    bench.core.store_failed("storing bindings", &damage);
    bench.drain();
    assert!(!bench.restart);
    let full = lintel_store::StoreError::Full { what: "a test" };
    let mut bench = Bench::settled();
    bench.core.store_failed("storing bindings", &full);
    bench.drain();
    assert!(!bench.restart);
}

#[test]
fn after_an_error_of_the_disk_the_log_is_renewed_before_the_next_promise() {
    let dir = Dir::new();
    let mut bench = dir.bench();
    bench.pass_ms(20_000);
    let log_octets = || {
        let log = dir.0.join("state/lintel.db-wal");
        std::fs::metadata(log).unwrap().len()
    };
    let bind = |n| super::leases::bind(u64::from(n), super::leases::binding(n, None));
    bench.input(Input::Dhcpd(vec![bind(1)]));
    let long = log_octets();
    bench.core.log_doubtful = true;
    bench.input(Input::Dhcpd(vec![bind(2)]));
    assert!(log_octets() < long, "{} of {long}", log_octets());
    assert!(!bench.core.log_doubtful);
    assert_eq!(bench.core.store.bindings().unwrap().len(), 2);
}
