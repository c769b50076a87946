//! Backups from the command line in a terminal, with the program `age` as the judge both ways.

use std::time::Instant;

use super::*;

const WORDS: &str = "four words are enough";

/// Runs age in a terminal, since it asks for passphrases nowhere else.
fn age(house: &House, args: &[&str], answers: &[(&str, &str)]) -> i32 {
    let mut command = vec!["age"];
    command.extend(args);
    let mut pty = house.pty(80, &command);
    for (asked, answer) in answers {
        pty.expect(asked);
        pty.send(&format!("{answer}\r"));
    }
    pty.end()
}

fn path(house: &House, name: &str) -> String {
    house.dir.path(name).to_str().unwrap().to_owned()
}

fn read(house: &House, name: &str) -> String {
    std::fs::read_to_string(house.dir.path(name)).unwrap()
}

/// Without what tells the moment.
fn body(backup: &str) -> &str {
    backup.split_once("\n# The configuration").unwrap().1
}

pub(super) fn what_is_exported_opens_with_age() {
    let house = House::start();
    let script = format!("lintel config export > {}", path(&house, "sealed"));
    let mut pty = house.pty(80, &["sh", "-c", &script]);
    pty.expect("passphrase");
    pty.send(&format!("{WORDS}\r"));
    let seen = pty.expect("once more: ");
    assert!(!seen.contains("four"), "{seen}");
    pty.send(&format!("{WORDS}\r"));
    assert_eq!(pty.end(), 0);
    let sealed = read(&house, "sealed");
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));

    let (from, to) = (path(&house, "sealed"), path(&house, "opened"));
    let wrong = [("passphrase", "four words are wrong")];
    assert_ne!(age(&house, &["-d", "-o", &to, &from], &wrong), 0);
    let right = [("passphrase", WORDS)];
    assert_eq!(age(&house, &["-d", "-o", &to, &from], &right), 0);
    // What age found is what the box says without a seal.
    let open = house.cli_with(&["config", "export"], "\n");
    assert_eq!(open.code, 0, "{}", open.err);
    assert_eq!(body(&read(&house, "opened")), body(&open.out));
    assert!(open.out.contains(CONFIG), "{}", open.out);

    for (passphrase, why) in [
        ("short", "too short"),
        ("vier Wörter genügen wohl", "keyboard"),
    ] {
        let out = house.cli(&["config", "export", "--passphrase", passphrase]);
        assert_eq!(out.code, 2);
        assert!(out.err.contains(why), "{}", out.err);
    }
}

pub(super) fn what_age_sealed_is_taken_in_and_restored() {
    let house = House::start();
    house.cli(&["config", "backup", "--reason", "before the fair"]);
    let open = house.cli_with(&["config", "export"], "\n").out;
    std::fs::write(house.dir.path("open"), open.replace("attic", "cellar")).unwrap();
    let twice = [("passphrase", WORDS), ("assphrase", WORDS)];
    let from = path(&house, "open");
    // In letters, and in octets.
    let (letters, octets) = (path(&house, "letters"), path(&house, "octets"));
    assert_eq!(age(&house, &["-p", "-a", "-o", &letters, &from], &twice), 0);
    assert_eq!(age(&house, &["-p", "-o", &octets, &from], &twice), 0);
    let file = letters;
    let wrong = house.cli(&["config", "import", &file, "passphrase=five"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong
            .err
            .contains("The passphrase is wrong. Nothing was changed"),
        "{}",
        wrong.err
    );
    let half = read(&house, "letters");
    std::fs::write(house.dir.path("half"), &half[..half.len() / 2]).unwrap();
    let cut = house.cli(&["config", "import", &path(&house, "half"), "passphrase=five"]);
    assert!(cut.err.contains("damaged or cut off"), "{}", cut.err);

    // The most work there is for a passphrase; others are answered meanwhile.
    let mut pty = house.pty(80, &["lintel", "config", "import", &file]);
    pty.expect("passphrase of the file: ");
    pty.send(&format!("{WORDS}\r"));
    let (mut slowest, mut calls) = (Duration::ZERO, 0);
    let begun = Instant::now();
    until("the file is open", PATIENCE, || {
        let asked = Instant::now();
        let list = house.cli(&["--json", "config", "backups"]).out;
        slowest = slowest.max(asked.elapsed());
        calls += 1;
        list.contains("imported")
    });
    println!(
        "a file of age took {} ms to open; {calls} other calls meanwhile, the slowest {} ms",
        begun.elapsed().as_millis(),
        slowest.as_millis()
    );
    pty.expect("Backup 2 of ");
    assert_eq!(pty.end(), 0);
    assert!(
        calls > 1,
        "nothing else was answered while a file was opened"
    );
    let words = format!("passphrase={WORDS}");
    let again = house.cli(&["config", "import", &octets, &words]);
    assert!(
        again.out.starts_with("Backup 2 of "),
        "{} {}",
        again.out,
        again.err
    );

    let list = house.cli(&["config", "backups"]).out;
    assert!(
        list.contains("from a file") && list.contains("before the fair"),
        "{list}"
    );
    let dry = house.cli(&["config", "restore", "2", "--dry-run"]);
    assert!(
        dry.out.contains("system.hostname"),
        "{} {}",
        dry.out,
        dry.err
    );
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    let done = house.cli(&["config", "restore", "2"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(
        house.cli(&["config", "show"]).out,
        CONFIG.replace("attic", "cellar")
    );
    // And the way back, since the box kept what it had.
    let list = house.cli(&["config", "restore", "1"]);
    assert_eq!(list.code, 0, "{}", list.err);
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    let none = house.cli(&["config", "restore", "99"]);
    assert!(none.err.contains("There is no such backup"), "{}", none.err);
}
