//! The questions of the first setup.

use super::*;

pub(super) fn setup_judges_each_answer() {
    let house = House::start();
    let mut pty = house.pty(80, &["lintel", "setup"]);
    pty.expect("password: ");
    pty.send("short\r");
    pty.expect("too short");
    for second in ["other long words", "long enough words"] {
        pty.expect("password: ");
        pty.send("long enough words\r");
        pty.expect("once more: ");
        pty.send(&format!("{second}\r"));
    }
    let seen = pty.expect("none [dhcp] ");
    assert!(!seen.contains("enough"), "a password is not echoed: {seen}");
    // A wrong answer, an explanation, a right answer.
    for (prompt, answer, then) in [
        ("", "pppoe", "write \"dhcp\" or \"none\""),
        ("none [dhcp] ", "none", "household's network?"),
        ("[192.168.1.1/24] ", "192.168.1.0", "first or last address"),
        ("[192.168.1.1/24] ", "10.9.8.1", "names live under?"),
        ("domain [lan] ", "local", "multicast DNS"),
        ("domain [lan] ", "home.arpa", "box called?"),
        ("name [attic] ", "two words", "no host name"),
        ("name [attic] ", "?", "reached as attic.lan"),
        ("name [attic] ", "cellar", "time from?"),
        (
            "[pool.ntp.org] ",
            "192.0.2.999",
            "neither an address nor a name",
        ),
        (
            "[pool.ntp.org] ",
            "192.0.2.1, ntp.example.net",
            "what would happen",
        ),
        ("Do it? [yes] ", "perhaps", "write yes or no"),
        ("Do it? [yes] ", "", "The password is set."),
    ] {
        pty.expect(prompt);
        pty.send(&format!("{answer}\r"));
        pty.expect(then);
    }
    pty.expect("https://10.9.8.1.");
    assert_eq!(pty.end(), 0);
    let shown = house.cli(&["--json", "config", "show"]).out;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let config = &shown["config"];
    assert_eq!(shown["reason"], "lintel setup");
    assert_eq!(config["system"]["hostname"], "cellar");
    assert_eq!(config["wan"]["kind"], "none");
    // What was not asked about stays.
    assert_eq!(config["wan"]["port"], "eth9");
    assert_eq!(config["lan"]["address"], "10.9.8.1/24");
    assert_eq!(config["lan"]["domain"], "home.arpa");
    assert_eq!(config["ntp"]["servers"][0], "192.0.2.1");
    assert_eq!(config["ntp"]["pools"][0], "ntp.example.net");
    let auth: Value = serde_json::from_str(&house.cli(&["--json", "auth", "status"]).out).unwrap();
    assert_eq!(auth["claimed"], true);
}

pub(super) fn setup_changes_nothing_before_the_end() {
    let house = House::start();
    let password = "long enough words\nlong enough words\n";
    let wrong = "a b\n".repeat(30);
    for (answers, code) in [
        (String::new(), 1),
        (format!("{password}none\n"), 1),
        (format!("{password}{wrong}"), 2),
        (format!("{password}none\n\n\n\n\nno\n"), 1),
    ] {
        let out = house.cli_with(&["setup"], &answers);
        assert_eq!(out.code, code, "{}", out.err);
        assert!(out.err.contains("Nothing was changed"), "{}", out.err);
        assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
        let auth = house.cli(&["--json", "auth", "status"]).out;
        let auth: Value = serde_json::from_str(&auth).unwrap();
        assert_eq!(auth["claimed"], false);
    }
}
