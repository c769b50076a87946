//! A configuration on its way in, and the box that it came to.

use super::*;

pub(super) fn a_broken_configuration_is_told_whole() {
    let house = House::start();
    let file = house.file("[lan]\nadress = \"x\"\n[dhcp]\nlease_s = \"long\"\n");
    for verb in ["validate", "apply"] {
        let out = house.cli(&["config", verb, &file]);
        assert_eq!(out.code, 2, "{}", out.err);
        assert!(
            out.err.contains(&format!("error: {file}:2: lan.adress: ")),
            "{}",
            out.err
        );
        assert!(
            out.err
                .contains(&format!("error: {file}:4: dhcp.lease_s: ")),
            "{}",
            out.err
        );
        assert!(out.err.contains("hint: "), "{}", out.err);
    }
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    // The same as a tree in JSON.
    let file = house.dir.path("new.json");
    std::fs::write(
        &file,
        "{\"lan\": {\"adress\": 1}, \"dhcp\": {\"lease_s\": \"long\"}}",
    )
    .unwrap();
    let out = house.cli(&["config", "validate", file.to_str().unwrap()]);
    assert_eq!(out.code, 2, "{}", out.err);
    assert!(
        out.err.contains("lan.adress: there is no setting"),
        "{}",
        out.err
    );
    assert!(out.err.contains("dhcp.lease_s: "), "{}", out.err);
    std::fs::write(&file, "{\"system\": {\"hostname\": \"attic\"}}").unwrap();
    let out = house.cli(&["config", "validate", file.to_str().unwrap()]);
    assert_eq!(out.code, 0, "{}", out.err);
    let missing = house.cli(&["config", "apply", "/nonexistent/file"]);
    assert_eq!(missing.code, 2);
}

pub(super) fn what_is_applied_outlives_a_crash() {
    let house = House::start();
    let text = format!("{CONFIG}# and a comment\n");
    let file = house.file(&text);
    let dry = house.cli(&["config", "apply", &file, "--dry-run"]);
    assert!(dry.out.contains("what would happen"), "{}", dry.out);
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    let applied = house.cli(&["config", "apply", &file, "--reason", "for the test"]);
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert!(applied.out.contains("Revision 2"), "{}", applied.out);
    let pid = house.controld();
    kill(pid, Signal::SIGKILL).unwrap();
    until("controld comes back", PATIENCE, || {
        house.cli(&["health"]).code == 0 && house.controld() != pid
    });
    assert_eq!(house.cli(&["config", "show"]).out, text);
    let revisions = house.cli(&["config", "revisions"]).out;
    assert!(
        revisions.contains("2 *") && revisions.contains("for the test"),
        "{revisions}"
    );
    assert_eq!(house.cli(&["config", "show", "revision=1"]).out, CONFIG);
}

pub(super) fn logs_and_services() {
    let house = House::start();
    let services = house.cli(&["services"]);
    assert!(services.out.contains("controld") && services.out.contains("ready"));
    let logs = house.cli(&["logs", "controld", "-n", "5"]);
    assert_eq!(logs.code, 0, "{}", logs.err);
    assert!(logs.out.lines().count() <= 5 && logs.out.contains("controld"));
    let none = house.cli(&["logs", "nobody"]);
    assert_eq!(none.code, 2, "{}", none.err);
    let away = house.cli(&["dns", "flush"]);
    assert_eq!(away.code, 1);
    assert!(away.err.contains("dnsd is not running"), "{}", away.err);
}

pub(super) fn noise_on_the_socket_disturbs_nobody() {
    let house = House::start();
    // Ends that say nothing, one that says nonsense, one that never ends its line.
    let mut held: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(house.socket()).unwrap())
        .collect();
    held[0].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    held[0].set_read_timeout(Some(PATIENCE)).unwrap();
    // A close, with or without the kernel's reset for what was left unread.
    let _ = held[0].read_to_end(&mut answer);
    assert!(answer.is_empty());
    let flood = vec![b'x'; 4 << 20];
    held[1].set_write_timeout(Some(PATIENCE)).unwrap();
    assert!(
        held[1].write_all(&flood).is_err(),
        "an endless line is cut off"
    );
    assert_eq!(house.cli(&["health"]).out, "up\n");
    // More than the bound: refused, and room again once they are gone.
    held.extend((0..20).filter_map(|_| UnixStream::connect(house.socket()).ok()));
    drop(held);
    until("the socket serves again", PATIENCE, || {
        house.cli(&["health"]).code == 0
    });
}
