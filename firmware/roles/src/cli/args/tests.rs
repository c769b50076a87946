//! Lines as people type them, and what is said about them.

use super::*;

fn call(line: &str) -> Invocation {
    let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    match parse(&args) {
        Ok(Parsed::Call(invocation)) => *invocation,
        Ok(_) => panic!("{line}: no call"),
        Err(error) => panic!("{line}: {error}"),
    }
}

fn error(line: &str) -> String {
    let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    match parse(&args) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{line}: accepted"),
    }
}

#[test]
fn words_and_parameters_become_calls() {
    let call_of = |line| {
        let i = call(line);
        (i.method.name, i.params)
    };
    assert_eq!(call_of("status"), ("status", json!({})));
    assert_eq!(
        call_of("services restart dnsd"),
        ("services.restart", json!({"name": "dnsd"}))
    );
    assert_eq!(
        call_of("services restart name=dnsd"),
        ("services.restart", json!({"name": "dnsd"}))
    );
    assert_eq!(
        call_of("logs dnsd -n 5"),
        ("logs.services", json!({"name": "dnsd", "lines": 5}))
    );
    assert_eq!(call_of("logs"), ("logs.services", json!({"name": "all"})));
    assert_eq!(
        call_of("leases --limit 7"),
        ("dhcp.leases.list", json!({"limit": 7}))
    );
    assert_eq!(
        call_of("dhcp leases delete 192.168.1.9"),
        ("dhcp.leases.delete", json!({"ip": "192.168.1.9"}))
    );
    assert_eq!(
        call_of("config apply toml=x --dry-run --reason why"),
        (
            "config.apply",
            json!({"toml": "x", "dry_run": true, "reason": "why"})
        )
    );
    let invocation = call("--json --socket /tmp/s status");
    assert!(invocation.json);
    assert!(matches!(invocation.target, Target::Socket(path) if path == Path::new("/tmp/s")));
    let invocation = call("status --host=http://router.lan:81");
    assert!(
        matches!(invocation.target, Target::Host(host) if host.url() == "http://router.lan:81")
    );
    assert!(call("logs -f").follow);
}

/// Whatever the table gets next is a command at once, here and over HTTP.
#[test]
fn every_method_is_reached_by_words_and_by_http() {
    let file = std::env::temp_dir().join(format!("lintel-args-{}.toml", std::process::id()));
    std::fs::write(&file, "[system]\n").unwrap();
    let host = Host::parse("http://x").unwrap();
    for method in lintel_api::METHODS {
        let mut line = method.name.replace('.', " ");
        for param in method.params.iter().filter(|param| param.required) {
            let sample = match param.kind {
                ParamKind::Number | ParamKind::Count(_) => "1",
                ParamKind::Flag => "true",
                ParamKind::OneOf(words) => words[0],
                ParamKind::Ipv4 => "192.0.2.1",
                ParamKind::Object => "{\"a\":1}",
                ParamKind::Text => "word",
            };
            line += &format!(" {}={sample}", param.name);
        }
        if method.param("toml").is_some() {
            line += &format!(" {}", file.display());
        }
        let invocation = call(&line);
        assert_eq!(invocation.method.id, method.id, "{line}");
        for param in method.params.iter().filter(|param| param.required) {
            assert!(
                !invocation.params[param.name].is_null(),
                "{line}: {}",
                param.name
            );
        }
        let request = host.request(method, &invocation.params);
        let request = String::from_utf8(request).unwrap();
        let mut words = request.split(' ');
        let (verb, target) = (words.next().unwrap(), words.next().unwrap());
        let path = target.split('?').next().unwrap();
        let lintel_api::Lookup::Found { method: found, .. } = lintel_api::by_path(verb, path)
        else {
            panic!("{verb} {path}");
        };
        assert_eq!(found.id, method.id, "{request}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(error("frobnicate"), "there is no command \"frobnicate\"");
    assert!(error("statsu").ends_with(": did you mean \"status\"?"));
    assert!(error("config aply x.toml").contains("did you mean \"config apply\"?"));
    assert!(error("dns").contains(": dns goes on with flush, records, statistics"));
    assert!(error("dns frob").contains(": dns goes on with flush, records"));
    assert!(error("dns frob --help").contains(": dns goes on with flush, records"));
    assert!(error("--colour").contains("--colour"));
    assert!(error("services restart").contains("name"));
    assert!(error("services restart dnsd webd").contains("too many"));
    assert!(error("logs -n many").contains("whole number"));
    assert!(error("dhcp leases delete nonsense").contains("IPv4"));
    assert!(error("config apply").contains("FILE"));
    assert!(error("config apply /nonexistent/file").contains("cannot be read"));
    assert!(error("status --colour").contains("colour"));
    assert!(error("status --socket").contains("--socket"));
    assert!(error("leases --lmit 5").ends_with("did you mean --limit?"));
    assert!(error("config diff 1").ends_with("(--from, --to)"));
    assert!(error("status --token-file x").contains("go with --host"));
    assert!(error("status --socket x --host y").contains("not both"));
    assert!(error("status --host ftp://x").contains("no box's address"));
    assert!(error("status --host x --fingerprint AB").contains("SHA-256"));
    assert!(error("status --host x --token-file /nonexistent/file").contains("cannot be read"));
}

#[test]
fn help_is_there_without_and_with_a_command() {
    for line in [
        "--help",
        "help",
        "config apply --help",
        "help config",
        "shell --help",
    ] {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert!(matches!(parse(&args), Ok(Parsed::Help(_))), "{line}");
    }
    assert!(matches!(parse(&[]), Ok(Parsed::Help(Topic::All))));
}
