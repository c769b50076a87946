//! `qemu/run --check`: boots the box headless, puts a client through the whole path, and
//! prints how long everything took beside the same kernel with a trivial init.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // measures programs
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed check panics

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY, STARTED};
use appliance_tests::street::HOST_LINK;
use appliance_tests::{Street, memory, prober};
use netns_tests::client::Host;
use netns_tests::isp::{DhcpServer, NAME, PAGE};

/// Odd, so that the median is one of them.
const BOOTS: usize = 5;
/// What is slower than that does not work.
const BOOT_MAX: Duration = Duration::from_secs(90);
/// Launch to DHCPACK and to the DNS answer, as a multiple of launch to a trivial init.
const TRIVIAL_FACTOR_MAX: f64 = 2.0;
const TRIVIAL_STARTED: &str = "trivial: init started";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "probe") {
        let done = prober::probe(HOST_LINK, NAME, PAGE, BOOT_MAX);
        return if done.is_some() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    // For the tests, which run this in a host's namespace.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["renew", address, server] => {
            let parsed = |text: &str| text.parse().expect("an IPv4 address");
            prober::renew(HOST_LINK, parsed(address), parsed(server));
        }
        ["newcomers"] => prober::newcomers(HOST_LINK),
        _ => {}
    }
    if !nix::unistd::geteuid().is_root() {
        return in_own_namespaces(&args);
    }
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).cloned()
    };
    let mut boot = Boot::from_env();
    if let Some(kernel) = value("--kernel") {
        boot.kernel = PathBuf::from(kernel);
    }
    if let Some(initramfs) = value("--initramfs") {
        boot.initramfs = PathBuf::from(initramfs);
    }
    boot.image = value("--image").map(PathBuf::from).or(boot.image);
    boot.accel = value("--accel").unwrap_or(boot.accel);
    let trivial = PathBuf::from(value("--trivial").expect("--trivial FILE"));
    check(boot, trivial)
}

/// Without root: the same program again as root of new user, mount and network namespaces.
fn in_own_namespaces(args: &[String]) -> ExitCode {
    let own = env::current_exe().expect("the kernel knows our path");
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net", "--"])
        .arg(own)
        .args(args)
        .exec();
    eprintln!("check: cannot make a user namespace ({error}): allow them, or run as root");
    ExitCode::FAILURE
}

/// One boot, in seconds after QEMU was launched.
#[derive(Debug, Clone, Copy)]
struct Times {
    trivial: f64,
    init: f64,
    lease: f64,
    name: f64,
    page: f64,
    /// Processor time of QEMU until the trivial init, and until the lease.
    cpu: (f64, f64),
}

/// Picks one of the times.
type Column = fn(&Times) -> f64;

fn check(boot: Boot, trivial: PathBuf) -> ExitCode {
    let initramfs = boot.initramfs.clone();
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let host = street.host();
    let mut boots: Vec<Times> = Vec::new();
    for number in 1..=BOOTS {
        eprintln!("boot {number} of {BOOTS}: trivial init, then the box");
        street.boot.initramfs.clone_from(&trivial);
        let trivial = street
            .power_on()
            .line(TRIVIAL_STARTED, BOOT_MAX)
            .as_secs_f64();
        let trivial_cpu = street.machine().cpu_s();
        street.machine = None;
        street.boot.initramfs.clone_from(&initramfs);
        let Some(times) = measure(&mut street, &host, (trivial, trivial_cpu)) else {
            eprintln!(
                "FAILED: boot {number} did not put a client online within {BOOT_MAX:?}; its serial line said:"
            );
            eprintln!("{}", street.machine().printed());
            return ExitCode::FAILURE;
        };
        if number == BOOTS {
            eprintln!("its serial line, in seconds after the launch:");
            eprintln!("{}", street.machine().timeline());
        }
        boots.push(times);
    }
    let roles = memory::of_roles(&street, &host);
    report(&boots, &roles)
}

/// Boots the box; a prober on the LAN asks from before the launch on.
fn measure(street: &mut Street, host: &Host, trivial: (f64, f64)) -> Option<Times> {
    host.ns.ok(["ip", "address", "flush", "dev", HOST_LINK]);
    let own = env::current_exe().expect("the kernel knows our path");
    let own = own.to_str().expect("UTF-8");
    let mut probe = host
        .ns
        .command([own, "probe"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("nsenter runs");
    let launched = street.power_on().launched();
    let (mut seconds, mut cpu) = (Vec::new(), Vec::new());
    for line in BufReader::new(probe.stdout.take().expect("piped above")).lines() {
        let after = Instant::now() - launched;
        cpu.push(street.machine().cpu_s());
        let line = line.expect("the prober prints UTF-8");
        eprintln!("  {:6.2} s  {line}", after.as_secs_f64());
        seconds.push(after.as_secs_f64());
    }
    let worked = probe.wait().expect("our own child").success();
    let &[lease, name, page] = seconds.as_slice() else {
        return None;
    };
    let machine = street.machine();
    let init = machine.find(STARTED)? - launched;
    machine.line(READY, BOOT_MAX);
    worked.then_some(Times {
        trivial: trivial.0,
        cpu: (trivial.1, *cpu.first()?),
        init: init.as_secs_f64(),
        lease,
        name,
        page,
    })
}

fn report(boots: &[Times], roles: &[memory::RoleMemory]) -> ExitCode {
    let median = |of: Column| {
        let mut all: Vec<f64> = boots.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let trivial = median(|t| t.trivial);
    println!();
    println!("seconds after launch    first boot   median of {BOOTS}   x trivial init");
    let rows: [(&str, Column); 5] = [
        ("trivial init", |t| t.trivial),
        ("init", |t| t.init),
        ("DHCPACK", |t| t.lease),
        ("DNS answer", |t| t.name),
        ("page through NAT", |t| t.page),
    ];
    for (what, of) in rows {
        println!(
            "{what:<22} {:>11.2} {:>13.2} {:>16.2}",
            of(&boots[0]),
            median(of),
            median(of) / trivial
        );
    }
    let cpu = (median(|t| t.cpu.0), median(|t| t.cpu.1));
    println!(
        "QEMU's own processor time: {:.2} s to the trivial init, {:.2} s to the DHCPACK: x {:.2}",
        cpu.0,
        cpu.1,
        cpu.1 / cpu.0
    );
    println!();
    println!("memory (PSS)              KiB");
    for role in roles {
        println!("{:<20} {:>8}", role.name, role.pss_kib);
    }
    let total: u64 = roles.iter().map(|role| role.pss_kib).sum();
    println!("{:<20} {total:>8}", "all");

    let slow: Vec<&str> = [
        ("DHCPACK", median(|t| t.lease)),
        ("DNS answer", median(|t| t.name)),
    ]
    .iter()
    .filter(|(_, seconds)| *seconds > TRIVIAL_FACTOR_MAX * trivial)
    .map(|(what, _)| *what)
    .collect();
    if slow.is_empty() {
        println!("\nall of it worked, DHCPACK and DNS within {TRIVIAL_FACTOR_MAX} x trivial init");
        return ExitCode::SUCCESS;
    }
    println!(
        "\nFAILED: later than {TRIVIAL_FACTOR_MAX} x trivial init: {}",
        slow.join(", ")
    );
    ExitCode::FAILURE
}
