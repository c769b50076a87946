//! Golden plans: a configuration and facts in, the plan in words, the notices, the services and
//! the ruleset out. `LINTEL_BLESS=1 cargo test -p lintel-plan --test golden` writes them anew;
//! the change of the files is then what is reviewed.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the cases are files, nft judges

use std::fmt::Write as _;
use std::path::Path;

use lintel_model::config::Config;
use lintel_model::facts::Facts;
use lintel_model::observed::ObservedState;
use lintel_plan::fake::FakeKernel;
use lintel_plan::{diff, print, resolve};

fn cases() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/plans")
}

#[test]
fn plans_read_as_agreed() {
    let bless = std::env::var_os("LINTEL_BLESS").is_some();
    let mut names: Vec<_> = std::fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    names.sort();
    assert!(names.len() >= 6, "cases are missing");
    for case in names {
        let config = std::fs::read_to_string(case.join("config.toml")).unwrap();
        let config = Config::parse(&config).unwrap();
        let facts = std::fs::read_to_string(case.join("facts.json")).unwrap();
        let facts: Vec<Facts> = serde_json::from_str(&facts).unwrap();
        let text = story(&config, facts);
        let file = case.join("plan.txt");
        if bless {
            std::fs::write(&file, &text).unwrap();
        }
        let agreed = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, agreed, "{}", file.display());
    }
}

/// What happens, facts after facts; the links of the first stand in the kernel at the start.
fn story(config: &Config, facts: Vec<Facts>) -> String {
    let links = facts.first().map(|facts| facts.links.clone());
    let mut kernel = FakeKernel::new(ObservedState {
        links: links.unwrap_or_default(),
        ..ObservedState::default()
    });
    let mut text = String::new();
    for (index, mut facts) in facts.into_iter().enumerate() {
        facts.links.clone_from(&kernel.state.links);
        let plan = diff(&resolve(config, &facts).kernel, &kernel.state);
        kernel.apply(&plan).unwrap();
        // The bridge has its index now.
        facts.links.clone_from(&kernel.state.links);
        let resolved = resolve(config, &facts);
        writeln!(text, "== {}\n{}", index + 1, plan.to_text()).unwrap();
        for notice in &resolved.notices {
            writeln!(text, "{:?}: {}", notice.severity, notice.text).unwrap();
        }
        writeln!(text, "\nwan: {:?}", resolved.wan).unwrap();
        for subnet in &resolved.dhcp.subnets {
            let (link, first, last) = (&subnet.link, subnet.first, subnet.last);
            let (lease_s, durable) = (subnet.lease_s, resolved.dhcp.durable);
            writeln!(
                text,
                "dhcp: {link} {first}-{last} {lease_s} s, durable {durable}"
            )
            .unwrap();
        }
        writeln!(text, "dns: {:?}\n", resolved.dns.upstreams).unwrap();
    }
    text
}

#[test]
fn the_ruleset_reads_as_agreed() {
    let file = cases().join("ruleset.nft");
    let facts = std::fs::read_to_string(cases().join("lease/facts.json")).unwrap();
    let facts: Vec<Facts> = serde_json::from_str(&facts).unwrap();
    let resolved = resolve(&Config::default(), facts.last().unwrap());
    let text = print::table(&resolved.kernel.nft.unwrap());
    if std::env::var_os("LINTEL_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&file).unwrap_or_default());
}

/// `nft` itself takes the printed ruleset and lists it in the same words, but for its layout of
/// long lists and its own names for flags and types.
#[test]
fn nft_takes_the_ruleset_as_printed() {
    let file = cases().join("ruleset.nft");
    let script = format!(
        "nft -f {0} && nft -s list table inet lintel",
        file.display()
    );
    let run = |flags: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args([flags, "sh", "-c", &script]).output().unwrap()
    };
    let output = [run("-n"), run("-rn")]
        .into_iter()
        .find(|output| !String::from_utf8_lossy(&output.stderr).contains("unshare"));
    let Some(output) = output else {
        println!("SKIPPED nft_takes_the_ruleset_as_printed: needs network namespaces");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let words = |text: &str| -> Vec<String> {
        let text = text
            .replace("tcp flags syn / syn,rst", "tcp flags & (syn | rst) == syn")
            .replace("mld2-listener-report", "143");
        text.split_whitespace().map(str::to_owned).collect()
    };
    let listed = words(&String::from_utf8_lossy(&output.stdout));
    let printed = words(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(listed, printed);
}
