//! Answers a second, beside unbound and dnsmasq.

use super::*;

/// Not a test but a first figure: `cargo test --profile fast -p lintel-roles --test dnsd -- \
/// --ignored --exact figures::cached_answers_a_second --nocapture` prints what dnsperf gets from each, all on one machine.
#[test]
#[ignore = "a measurement"]
fn cached_answers_a_second() {
    let (unbound, dnsmasq) = (unbound(), dnsmasq());
    let dnsd = Dnsd::start(&spec(&[unbound.address]));
    let dir = Workdir::new("dnsd");
    let queries = dir.path("queries");
    for (name, pid, port, query) in [
        (
            "unbound",
            unbound.child.id(),
            unbound.address.port(),
            "www.example.net A\n",
        ),
        (
            "dnsmasq",
            dnsmasq.child.id(),
            dnsmasq.address.port(),
            "mail.example.net A\n",
        ),
        ("dnsd", dnsd.child.id(), dnsd.port, "www.example.net A\n"),
    ] {
        std::fs::write(&queries, query).unwrap();
        let port = port.to_string();
        let arguments = [
            "-s",
            "127.0.0.1",
            "-p",
            &port,
            "-l",
            "5",
            "-q",
            "500",
            "-c",
            "8",
            "-d",
        ];
        let before = cpu_ticks(pid);
        let output = Command::new("dnsperf")
            .args(arguments)
            .arg(&queries)
            .output()
            .unwrap();
        // A hundred ticks are a second on every Linux that we run on.
        let cpu_s = (cpu_ticks(pid) - before) as f64 / 100.0;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |what: &str| -> f64 {
            let line = text.lines().find(|line| line.contains(what)).unwrap();
            line.split_whitespace()
                .find_map(|word| word.parse().ok())
                .unwrap()
        };
        let (rate, done) = (number("Queries per second"), number("Queries completed"));
        println!(
            "{name}: {rate:.0} answers a second, {:.0} a second of its CPU",
            done / cpu_s
        );
    }
}

/// Time that a process has computed, itself and for it in the kernel.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
