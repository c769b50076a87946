//! The owner's password, from standard input and from a terminal.

use super::*;

pub(super) fn the_password_comes_from_standard_input() {
    let house = House::start();
    assert_eq!(house.cli_with(&["auth", "setup"], "short\n").code, 2);
    assert_eq!(
        house
            .cli_with(&["auth", "setup"], "long enough words\n")
            .code,
        0
    );
    let status = house.cli(&["--json", "auth", "status"]).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["claimed"], true);
    assert_eq!(
        house
            .cli_with(&["auth", "setup"], "another password\n")
            .code,
        1
    );
}

/// Unseen, and a new one twice.
pub(super) fn the_password_is_asked_for_in_a_terminal() {
    let house = House::start();
    for (second, status) in [("long enough wrods", 2), ("long enough words", 0)] {
        let mut pty = house.pty(80, &["lintel", "auth", "setup"]);
        pty.expect("password: ");
        pty.send("long enough words\r");
        let seen = pty.expect("once more: ");
        assert!(!seen.contains("enough"), "{seen}");
        pty.send(&format!("{second}\r"));
        assert_eq!(pty.end(), status);
    }
    // Ctrl-C leaves the terminal with its echo, and a slip is taken back unseen.
    let script = "lintel auth password change; stty -a";
    let mut pty = house.pty(80, &["sh", "-c", script]);
    pty.expect("password: ");
    pty.send("half a pass\x03");
    pty.expect("nothing was changed");
    let modes = pty.expect("echoke");
    assert!(
        modes.contains(" echo ") && modes.contains("isig icanon"),
        "{modes}"
    );
    let mut pty = house.pty(80, &["lintel", "auth", "login"]);
    pty.expect("password: ");
    pty.send("nonsense\x15long enough wo\u{e9}\x7frds\r");
    pty.expect("The password is right.");
    let mut pty = house.pty(80, &["lintel", "auth", "status"]);
    pty.expect("A password is set.");
}
