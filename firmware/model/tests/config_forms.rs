//! The forms of a configuration besides its own text: older versions, the JSON Schema, the page
//! for people.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the cases are files, Python judges

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lintel_model::config::description::{CONFIGURATION, KeyDescription, Kind, SectionDescription};
use lintel_model::config::{Config, VERSION, json_schema};
use serde_json::{Value, json};

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(tree().join(path)).unwrap_or_default()
}

/// The file holds the text; `LINTEL_BLESS=1` writes it anew.
fn agreed(path: &str, text: &str) {
    if std::env::var_os("LINTEL_BLESS").is_some() {
        std::fs::write(tree().join(path), text).unwrap();
    }
    assert_eq!(
        read(path),
        text,
        "{path}: LINTEL_BLESS=1 cargo test -p lintel-model --test config_forms writes it anew"
    );
}

#[test]
fn every_version_that_ever_was_is_read() {
    for version in 1..=VERSION {
        let path = format!("tests/fixtures/config/v{version}.toml");
        let text = read(&path);
        assert!(!text.is_empty(), "{path} is missing");
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{path}: {problems:?}"));
        let now = config.to_toml();
        assert_eq!(Config::parse(&now).as_ref(), Ok(&config));
        agreed(&format!("tests/fixtures/config/v{version}.now.toml"), &now);
    }
    let newer = format!("version = {}\n[sytem]\n", VERSION + 1);
    let problems = Config::parse(&newer).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].line, problems[0].column), (1, 11));
    assert!(problems[0].reason.contains("reads up to"), "{problems:?}");
}

#[test]
fn the_factory_configuration_is_the_default() {
    let factory = "rootfs-overlay/etc/lintel/config.toml";
    agreed(factory, &Config::default().to_toml());
    assert_eq!(Config::parse_for_box(&read(factory)), Ok(Config::default()));
    assert_eq!(Config::parse(""), Ok(Config::default()));
}

#[test]
fn json_is_read_by_the_rules_of_the_text() {
    let config = Config::parse(&read("tests/fixtures/config/v1.toml")).unwrap();
    let tree = serde_json::to_value(&config).unwrap();
    assert_eq!(Config::from_json(&tree).as_ref(), Ok(&config));
    assert_eq!(Config::from_json(&json!({})), Ok(Config::default()));
    let nulls = json!({"dhcp": {"pool": null}, "run": null});
    assert_eq!(Config::from_json(&nulls), Ok(Config::default()));

    let wrong = json!({
        "lan": {"adress": "x"},
        "dhcp": {"lease_s": "long", "reservations": [{"mac": "02:00:5e:00:53:01"}]},
        "version": 1,
    });
    let problems = Config::from_json(&wrong).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        told.contains(
            &"lan.adress: there is no setting \"adress\"\n    hint: did you mean \"address\"?"
                .to_owned()
        ),
        "{told:?}"
    );
    let mut paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        ["dhcp.lease_s", "dhcp.reservations[0].address", "lan.adress"]
    );
    assert!(problems.iter().all(|p| (p.line, p.column) == (0, 0)));
    for nonsense in [
        json!(null),
        json!(5),
        json!([]),
        json!("[lan]"),
        json!({"dns": {"cache_bytes_max": u64::MAX}}),
        json!({"dns": {"upstreams": [null, {"a": [[]]}]}}),
        json!({"lan": []}),
        json!({"": {"": 0.5}}),
        json!({"version": VERSION + 1}),
    ] {
        let problems = Config::from_json(&nonsense).unwrap_err();
        assert!(!problems[0].reason.is_empty(), "{nonsense}");
    }
}

/// A value of a wrong type in every place is told with its path: the reader knows every key that
/// the description has.
#[test]
fn every_described_key_is_read() {
    fn of_section(section: &SectionDescription, around: &dyn Fn(&str) -> String) {
        for key in section.keys.iter().filter(|key| key.name != "version") {
            of_key(section, key, around);
        }
    }
    fn of_key(section: &SectionDescription, key: &KeyDescription, around: &dyn Fn(&str) -> String) {
        let text = around(&format!("{} = 1.5", key.name));
        let problems = Config::parse(&text).unwrap_err();
        let found = problems.iter().any(|p| {
            let path = p.path.replace("[0]", "");
            let end = if section.path.is_empty() { "" } else { "." };
            path == format!("{}{end}{}", section.path, key.name) && p.reason.contains("wanted here")
        });
        assert!(found, "{text}: {problems:?}");
        match &key.kind {
            Kind::Section(below) => of_section(below, &|inner| {
                around(&format!("{} = {{ {inner} }}", key.name))
            }),
            Kind::Sections { entry, .. } => of_section(entry, &|inner| {
                around(&format!("{} = [{{ {inner} }}]", key.name))
            }),
            _ => {}
        }
    }
    of_section(&CONFIGURATION, &str::to_owned);
}

const JUDGE: &str = r#"
import json, sys
import jsonschema
cases = json.load(sys.stdin)
judge = jsonschema.validators.validator_for(cases["schema"], default=None)
assert judge is jsonschema.Draft202012Validator, judge
judge.check_schema(cases["schema"])
judge = judge(cases["schema"])
print(json.dumps([
    [".".join(str(part) for part in error.absolute_path) for error in judge.iter_errors(tree)]
    for tree in cases["trees"]
]))
"#;

/// What a foreign validator says of each tree: the paths of what is wrong in it.
fn judged(trees: &[Value]) -> Vec<Vec<String>> {
    let cases = json!({"schema": json_schema(), "trees": trees});
    // A python of somebody's own may stand before Debian's, which has the package.
    for python in ["python3", "/usr/bin/python3"] {
        let child = Command::new(python)
            .args(["-W", "ignore", "-c", JUDGE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { continue };
        let input = cases.to_string();
        // A python without the package ends before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        if out.status.success() {
            return serde_json::from_slice(&out.stdout).unwrap();
        }
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(error.contains("No module named 'jsonschema'"), "{error}");
    }
    panic!("no python3 has jsonschema: install python3-jsonschema");
}

/// The tree of a text, with its keys as they stand there.
fn raw(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn what_is_good_fits_the_schema_by_a_foreign_judge() {
    let mut names = vec![
        "rootfs-overlay/etc/lintel/config.toml".to_owned(),
        "tests/fixtures/config/v1.toml".to_owned(),
    ];
    let plans = std::fs::read_dir(tree().join("tests/fixtures/plans")).unwrap();
    for case in plans {
        let case = case.unwrap().file_name().into_string().unwrap();
        names.push(format!("tests/fixtures/plans/{case}/config.toml"));
    }
    assert!(names.len() > 8, "{names:?}");
    let mut trees = Vec::new();
    for name in &names {
        let text = read(name);
        trees.push(raw(&text));
        // As the API gives it, with every default filled in.
        trees.push(serde_json::to_value(Config::parse(&text).unwrap()).unwrap());
    }
    for (index, wrong) in judged(&trees).into_iter().enumerate() {
        assert_eq!(wrong, Vec::<String>::new(), "{}", names[index / 2]);
    }
}

#[test]
fn what_is_wrong_does_not_fit_the_schema() {
    let cases = [
        ("[lan]\nadress = \"x\"", "lan"),
        ("[sytem]", ""),
        ("version = 2", "version"),
        ("[lan]\naddress = \"192.168.1.1\"", "lan.address"),
        ("[system]\nhostname = \"-a\"", "system.hostname"),
        ("[wan]\nkind = \"pppoe\"", "wan.kind"),
        ("[wan]\nport = \"a b\"", "wan.port"),
        ("[dhcp]\nenabled = \"yes\"", "dhcp.enabled"),
        ("[dhcp]\nlease_s = 1.5", "dhcp.lease_s"),
        ("[dhcp]\npool = { first = \"192.168.1.9\" }", "dhcp.pool"),
        (
            "[[dhcp.reservations]]\nmac = \"02:00:5e:00:53\"\naddress = \"192.168.1.9\"",
            "dhcp.reservations.0.mac",
        ),
        ("[dns]\ncache_bytes_max = 1", "dns.cache_bytes_max"),
        ("[dns]\nupstreams = [\"nine.nine\"]", "dns.upstreams.0"),
        (
            "[[dns.records]]\nname = \"a..b\"\ntype = \"A\"\nvalue = \"1.2.3.4\"",
            "dns.records.0.name",
        ),
        ("[run]\ndns_port = 0", "run.dns_port"),
    ];
    let trees: Vec<Value> = cases.iter().map(|(text, _)| raw(text)).collect();
    for ((text, path), mut wrong) in cases.iter().zip(judged(&trees)) {
        // A value may break two rules.
        wrong.dedup();
        assert!(Config::parse(text).is_err(), "{text}");
        assert_eq!(wrong, [path.to_owned()], "{text}");
    }
}

#[test]
fn the_page_for_people_says_what_is_described() {
    let mut page = String::from(
        "# The configuration\n\n\
         One TOML text holds it. What is not written has its default; an unknown key is an error,\n\
         and every problem of a text is told at once. `lintel config show` prints the one in force,\n\
         `lintel config schema` its JSON Schema. A test makes this page from the source.\n",
    );
    let defaults = serde_json::to_value(Config::default()).unwrap();
    describe(&mut page, &CONFIGURATION, &defaults);
    agreed("firmware/docs/config.md", &page);
}

fn describe(page: &mut String, section: &SectionDescription, defaults: &Value) {
    if !section.path.is_empty() {
        let list = section.path == "dhcp.reservations" || section.path == "dns.records";
        let (open, close) = if list { ("[[", "]]") } else { ("[", "]") };
        writeln!(
            page,
            "\n## `{open}{}{close}`\n\n{}",
            section.path, section.sentence
        )
        .unwrap();
    }
    page.push_str("\n| key | holds | default | what |\n|---|---|---|---|\n");
    let below = |kind: &Kind| matches!(kind, Kind::Section(_) | Kind::Sections { .. });
    for key in section.keys.iter().filter(|key| !below(&key.kind)) {
        let default = match &defaults[key.name] {
            Value::Null if key.required => "must be written".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let holds = holds(&key.kind).replace('|', "\\|");
        writeln!(
            page,
            "| `{}` | {holds} | {default} | {} |",
            key.name, key.sentence
        )
        .unwrap();
    }
    for key in section.keys {
        match &key.kind {
            Kind::Section(below) => describe(page, below, &defaults[key.name]),
            Kind::Sections { entry, .. } => describe(page, entry, &Value::Null),
            _ => {}
        }
    }
}

fn holds(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => form.what.to_owned(),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Number { min, max, .. } => format!("{min} to {max}"),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Texts { form, entries_max } => {
            format!("a list, each {}; at most {entries_max}", form.what)
        }
        Kind::Section(_) | Kind::Sections { .. } => String::new(),
    }
}
