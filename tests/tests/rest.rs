//! The REST interface of the running router, asked by curl on a host of the household.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use lintel_api::{Access, METHODS, Method, Verb};
use netns_tests::caller::JSON;
use netns_tests::client::DhcpClient;
use netns_tests::home::{BASE, Home, PASSWORD, PATIENCE};
use netns_tests::street::CONFIG;
use netns_tests::{until, until_some};
use serde_json::{Value, json};

#[test]
fn without_a_session_there_is_health_and_nothing_else() {
    let home = Home::new(2);
    let status = |path: &str| home.nobody().get(path).status;
    assert_eq!(home.nobody().get("/health").json(), json!({"status": "up"}));
    // Nobody owns the box yet: still nothing is told.
    assert_eq!(status("/api/status"), 401);
    let short = home
        .owner()
        .send("POST", "/api/auth/setup", &json!({ "password": "short" }));
    assert_eq!(short.status, 422, "{}", short.body);
    assert_eq!(short.problem()["errors"][0]["path"], "password");
    home.claim(PASSWORD);
    let again = home.owner().send(
        "POST",
        "/api/auth/setup",
        &json!({ "password": "another one" }),
    );
    assert_eq!(again.status, 409);
    again.problem();

    for method in METHODS {
        let path = method
            .path
            .replace("{name}", "dnsd")
            .replace("{ip}", "192.168.1.100")
            .replace("{id}", "1")
            .replace("{revision}", "1");
        let open = matches!(method.access, Access::Open | Access::Setup);
        if open {
            continue;
        }
        let answer = home.nobody().ask(
            method.verb.as_str(),
            &path,
            &[
                "-H",
                JSON,
                "--data",
                r#"{"toml":"","confirm":"erase everything"}"#,
            ][..if method.verb == Verb::Get { 0 } else { 4 }],
        );
        assert!(
            answer.status == 401 || (answer.status == 400 && method.verb != Verb::Get),
            "{} {path}: {} {}",
            method.verb.as_str(),
            answer.status,
            answer.body
        );
        answer.problem();
    }
    assert_eq!(status("/health"), 200);
    assert_eq!(status("/api/events"), 401);
    let forged = ["-H", "Cookie: lintel_session=AAAAAAAAAAAAAAAAAAAAAA"];
    assert_eq!(home.nobody().ask("GET", "/api/status", &forged).status, 401);
}

#[test]
fn a_session_sees_every_list_and_what_is_wrong_comes_as_problems() {
    let home = Home::claimed(2);
    let logout = home.owner().ask("POST", "/api/auth/logout", &[]);
    assert_eq!(logout.status, 200, "{}", logout.body);
    assert_eq!(home.owner().get("/api/status").status, 401);
    let wrong = home.owner().send(
        "POST",
        "/api/auth/login",
        &json!({ "password": "seven brown bottles" }),
    );
    assert_eq!(wrong.status, 401);
    wrong.problem();
    let right = home
        .owner()
        .send("POST", "/api/auth/login", &json!({ "password": PASSWORD }));
    assert_eq!(right.status, 200, "{}", right.body);
    assert!(right.head.contains("httponly") && right.head.contains("samesite=strict"));

    // Every GET answers, and says the same as the command line; but for what is text, and for
    // tasks, of which there is none.
    let told = |method: &&Method| {
        method.verb == Verb::Get && method.path != "/metrics" && !method.path.contains("{id}")
    };
    for method in METHODS.iter().filter(told) {
        let path = method.path.replace("{name}", "dnsd");
        let path = path.replace("{revision}", "1");
        let answer = home.owner().get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let value = answer.json();
        assert!(
            answer.head.contains("cache-control: no-store") || path == "/health",
            "{path}: {}",
            answer.head
        );
        let words: Vec<&str> = method
            .name
            .split('.')
            .chain((method.name == "logs.services").then_some("dnsd"))
            .chain((method.name == "config.revisions.show").then_some("1"))
            .collect();
        let printed = home.street.router.cli_json(&words);
        let keys = |value: &Value| {
            value
                .as_object()
                .map(|o| o.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(keys(&value), keys(&printed), "{path}");
    }
    let leases = home.owner().get("/api/dhcp/leases").json();
    assert_eq!(leases["items"][0]["name"], "annes-laptop");
    let page = home.owner().get("/api/dns/records?limit=1").json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let cursor = page["next"].as_str().unwrap();
    let next = home
        .owner()
        .get(&format!("/api/dns/records?limit=1&cursor={cursor}"))
        .json();
    assert_ne!(next["items"][0], page["items"][0]);
    let dnsd = |services: &Value| {
        services
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["name"] == "dnsd")
            .unwrap()["pid"]
            .clone()
    };
    let before = dnsd(&home.owner().get("/api/services/status").json());
    assert_eq!(
        home.owner()
            .ask("POST", "/api/services/dnsd/restart", &[])
            .status,
        200
    );
    until("dnsd is another process", PATIENCE, || {
        let now = dnsd(&home.owner().get("/api/services/status").json());
        now != before && !now.is_null()
    });

    let table = [
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/status", 405),
        ("POST", "/api/config", 405),
        ("GET", "/api/status?colour=red", 400),
        ("GET", "/api/dns/records?limit=many", 400),
        ("DELETE", "/api/dhcp/leases/300.1.1.1", 400),
        ("DELETE", "/api/dhcp/leases/192.168.1.9", 404),
        ("POST", "/api/services/cupsd/restart", 400),
        ("GET", "/api/config?revision=999", 404),
    ];
    for (verb, path, status) in table {
        let answer = home.owner().ask(verb, path, &[]);
        assert_eq!(answer.status, status, "{verb} {path}: {}", answer.body);
        answer.problem();
        if status == 405 {
            assert!(
                answer.head.contains("allow:"),
                "RFC 9110 section 15.5.6: {}",
                answer.head
            );
        }
    }
}

#[test]
fn a_configuration_is_put_planned_and_refused() {
    let home = Home::claimed(2);
    let before = home.owner().get("/api/config").json();
    let toml = format!(
        "{CONFIG}\n[[dns.records]]\nname = \"nas.lan\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n"
    );
    let body = json!({ "toml": toml.replace("wan0", "lan1") });
    let planned = home
        .owner()
        .send("PUT", "/api/config?dry_run=1", &body)
        .json();
    assert_eq!(planned["outcome"], "planned");
    assert_eq!(planned["committed"], false);
    assert!(!planned["plan"].as_array().unwrap().is_empty());
    assert!(planned["plan"][0]["reason"].is_string());
    assert_eq!(home.owner().get("/api/config").json(), before);

    let body = json!({ "toml": toml, "reason": "a name for the disk" });
    let applied = home.owner().send("PUT", "/api/config", &body).json();
    assert_eq!(applied["committed"], true, "{applied}");
    assert_ne!(applied["revision"], before["revision"]);
    until("the new record answers", PATIENCE, || {
        home.street.hosts[0].dig("192.168.1.1", &["nas.lan"]) == ["192.168.1.5"]
    });
    let revisions = home.owner().get("/api/config/revisions").json();
    assert_eq!(revisions["items"][0]["reason"], "a name for the disk");

    // Somebody looked, somebody else changed: the first one's change is refused.
    let seen = home.owner().get("/api/config");
    let tag = format!("etag: \"{}\"", applied["revision"]);
    assert!(seen.head.contains(&tag), "{}", seen.head);
    let merge = "Content-Type: application/merge-patch+json";
    let patch = |more: &[&str]| {
        let data = r#"{"lan":{"domain":"home.arpa"}}"#;
        home.owner().ask(
            "PATCH",
            "/api/config",
            &[&["-H", merge, "--data", data], more].concat(),
        )
    };
    let old = format!("If-Match: \"{}\"", before["revision"]);
    let refused = patch(&["-H", &old]);
    assert_eq!(refused.status, 412, "{}", refused.body);
    refused.problem();
    let new = format!("If-Match: \"{}\"", applied["revision"]);
    let once = ["-H", new.as_str(), "-H", "Idempotency-Key: 6a1f"];
    let done = patch(&once);
    assert_eq!(done.status, 200, "{}", done.body);
    // The answer was lost: asked again, it is the same, and nothing is done.
    assert_eq!(patch(&once).json(), done.json());
    let now = home.owner().get("/api/config").json();
    assert_eq!(now["revision"], done.json()["revision"]);
    assert_eq!(now["config"]["lan"]["domain"], "home.arpa");

    let broken = json!({ "toml": "[lan]\naddress = \"192.168.1.300/24\"\ncolour = 1\n[run]\n" });
    for (verb, path) in [("PUT", "/api/config"), ("POST", "/api/config/validate")] {
        let answer = home.owner().send(verb, path, &broken);
        assert_eq!(answer.status, 422, "{}", answer.body);
        let problem = answer.problem();
        let errors = problem["errors"].as_array().unwrap();
        for (path, line) in [("lan.address", 2), ("lan.colour", 3)] {
            let named = |error: &&Value| error["path"] == path && error["line"] == line;
            assert!(errors.iter().any(|e| named(&e)), "{path}: {problem}");
        }
    }
}

#[test]
fn events_come_as_they_happen_and_go_on_where_they_stopped() {
    let home = Home::claimed(2);
    let jar = home.sessions[0].jar();
    let url = format!("{BASE}/api/events");
    let listen = |log: &str, more: &[&str]| {
        let mut args = vec!["curl", "-s", "-N", "-b", jar.to_str().unwrap()];
        args.extend(more);
        args.push(&url);
        home.street.hosts[0].ns.spawn(&home.dir.path(log), args)
    };
    let first = listen("first", &[]);
    let id = until_some("the stream begins with an id", PATIENCE, || {
        let text = first.printed();
        let id = text.lines().find_map(|line| line.strip_prefix("id: "));
        id.map(str::to_owned)
    });
    let _second = home.street.hosts[1].dhcp(DhcpClient::Dhclient, "living-room-tv");
    let lease = home.street.hosts[1].lease(PATIENCE);
    until("the lease is told", PATIENCE, || {
        first.printed().contains("event: lease")
    });
    drop(first);

    // Who saw the first event last is told all that came after it.
    let last = format!("Last-Event-ID: {id}");
    let again = listen("again", &["-H", &last]);
    until("the lease is told again", PATIENCE, || {
        again.printed().contains("event: lease")
    });
    // A program has a token, and no cookie.
    let words = ["auth", "tokens", "create", "monitor", "read"];
    let made = home.street.router.cli_json(&words);
    let bearer = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let args = ["curl", "-s", "-N", "-H", &bearer, &url];
    let program = home.street.hosts[0]
        .ns
        .spawn(&home.dir.path("program"), args);
    until("the program's stream begins", PATIENCE, || {
        program.printed().contains("id: ")
    });
    let strange = listen("strange", &["-H", "Last-Event-ID: another-1"]);
    until("a strange id begins anew", PATIENCE, || {
        strange.printed().contains("event: reset")
    });
    assert!(lease.address.starts_with("192.168.1."));
}
