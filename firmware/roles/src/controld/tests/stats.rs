//! What the machine takes, for people and for Prometheus.

use lintel_api::types::{CpuStats, MemoryStats};
use serde_json::json;

use super::*;

fn figures(busy_ms: u64) -> Figures {
    Figures {
        cpu: Some(CpuStats {
            cores: 4,
            busy_ms,
            idle_ms: 10_000 - busy_ms,
            busy_percent: 0.0,
        }),
        load: Some([0.5, 0.25, 0.0]),
        memory: Some(MemoryStats {
            total_kib: 1 << 20,
            ..MemoryStats::default()
        }),
        ..Figures::default()
    }
}

#[test]
fn the_stats_say_what_is_taken_and_are_absent_where_nobody_knows() {
    let mut bench = Bench::settled();
    let bare = bench.local("system.stats", json!({})).unwrap();
    assert!(bare.get("cpu").is_none() && bare.get("disk").is_none());
    bench.figures = figures(2_000);
    let stats = bench.local("system.stats", json!({})).unwrap();
    assert_eq!(stats["cpu"]["busy_percent"], 20.0);
    assert_eq!(stats["memory"]["total_kib"], 1 << 20);
    // init is away: the machine is measured all the same.
    bench.init = false;
    let id = bench.send(
        Via::Control(1),
        "system.stats",
        json!({}),
        Caller::default(),
    );
    bench.pass_ms(5_000);
    assert_eq!(bench.reply(id).result.as_ref().unwrap()["cpu"]["cores"], 4);
}

/// Prometheus' own judge reads the text in the namespaces; here each line is held to the format.
#[test]
fn metrics_are_lines_of_the_format_and_name_nobody() {
    let mut bench = Bench::settled();
    bench.figures = figures(100);
    let binding = super::leases::binding(3, Some("annes-laptop"));
    bench.input(Input::Dhcpd(vec![super::leases::bind(1, binding)]));
    let text = bench.local("metrics", json!({})).unwrap();
    let text = text.as_str().unwrap();
    let mut families = std::collections::BTreeSet::new();
    let mut current = "";
    for line in text.lines() {
        let mut words = line.split(' ');
        if words.next() == Some("#") {
            let kind = words.next().unwrap();
            let name = words.next().unwrap();
            assert!(name.starts_with("lintel_"), "{line}");
            if kind == "HELP" {
                assert!(families.insert(name), "{name} twice");
                current = name;
            } else {
                assert_eq!(name, current);
                let counter = words.next() == Some("counter");
                assert_eq!(counter, name.ends_with("_total"), "{line}");
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
        assert_eq!(sample.split('{').next(), Some(current), "{line}");
    }
    assert!(families.len() > 20, "{families:?}");
    assert!(text.contains("lintel_leases_active 1\n"));
    assert!(text.contains("lintel_cpu_seconds_total{mode=\"busy\"} 0.1\n"));
    assert!(!text.contains("annes") && !text.contains("02:00:"));
}
