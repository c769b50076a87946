//! What the kernel says of the machine, read when somebody asks.
//!
//! The texts are the kernel's (proc(5), Documentation/driver-api/thermal); what does not read is
//! absent, and nothing here fails.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use lintel_api::types::{CpuStats, DiskStats, MemoryStats, Temperature};
use lintel_rt::proc_text;
use nix::sys::statvfs::statvfs;

/// Most of a text that is read; /proc/stat counts every interrupt line behind what is wanted.
const TEXT_BYTES_MAX: u64 = 8 << 10;
/// Most sensors; a board has a handful.
const SENSORS_MAX: usize = 16;
/// A tick of /proc/stat, which is the same for every Linux (USER_HZ).
const TICK_MS: u64 = 10;

/// The figures of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// The processor since boot; its per cent are for who knows an earlier moment.
    pub cpu: Option<CpuStats>,
    /// Averages over one, five and fifteen minutes.
    pub load: Option<[f64; 3]>,
    /// Main memory.
    pub memory: Option<MemoryStats>,
    /// The storage.
    pub disk: Option<DiskStats>,
    /// Sensors.
    pub temperatures: Vec<Temperature>,
}

/// Where the kernel's texts are.
#[derive(Debug)]
pub(super) struct Machine {
    data_dir: PathBuf,
}

impl Machine {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.join("state"),
        }
    }

    pub(super) fn read(&self) -> Figures {
        Figures {
            cpu: text(Path::new("/proc/stat")).and_then(|text| cpu(&text)),
            load: text(Path::new("/proc/loadavg")).and_then(|text| load(&text)),
            memory: text(Path::new("/proc/meminfo")).and_then(|text| memory(&text)),
            disk: disk(&self.data_dir),
            temperatures: temperatures(Path::new("/sys/class/thermal")),
        }
    }
}

#[allow(
    clippy::unnecessary_cast,
    reason = "what the library counts in differs between architectures"
)]
fn disk(path: &Path) -> Option<DiskStats> {
    let fs = statvfs(path).ok()?;
    let octets = |blocks: u64| blocks.saturating_mul(fs.fragment_size() as u64);
    Some(DiskStats {
        total_bytes: octets(fs.blocks() as u64),
        available_bytes: octets(fs.blocks_available() as u64),
    })
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let mut file = File::open(path).ok()?.take(TEXT_BYTES_MAX);
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

/// `cpu  user nice system idle iowait irq softirq steal …`; guests are counted in user.
fn cpu(text: &str) -> Option<CpuStats> {
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = all
        .split_ascii_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let &[user, nice, system, idle, iowait, irq, softirq, steal] = ticks.as_slice() else {
        return None;
    };
    let core = |line: &&str| {
        let rest = line.strip_prefix("cpu").unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_digit())
    };
    let sum = |parts: &[u64]| {
        let ticks = parts.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        ticks.saturating_mul(TICK_MS)
    };
    Some(CpuStats {
        cores: u32::try_from(text.lines().filter(core).count()).unwrap_or(u32::MAX),
        busy_ms: sum(&[user, nice, system, irq, softirq, steal]),
        idle_ms: sum(&[idle, iowait]),
        busy_percent: 0.0,
    })
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace();
    let mut next = || words.next()?.parse::<f64>().ok().filter(|n| n.is_finite());
    Some([next()?, next()?, next()?])
}

fn memory(text: &str) -> Option<MemoryStats> {
    let number = |label| proc_text::number(text, label);
    Some(MemoryStats {
        total_kib: number("MemTotal:")?,
        available_kib: number("MemAvailable:")?,
        free_kib: number("MemFree:").unwrap_or(0),
        cached_kib: number("Cached:").unwrap_or(0),
        slab_kib: number("Slab:").unwrap_or(0),
    })
}

/// `thermal_zoneN/type` and `temp`, thousandths of a degree.
fn temperatures(root: &Path) -> Vec<Temperature> {
    let Ok(entries) = root.read_dir() else {
        return Vec::new();
    };
    let mut zones: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("thermal_zone"))
        })
        .take(SENSORS_MAX)
        .collect();
    zones.sort();
    let sensor = |zone: PathBuf| {
        let thousandths: i32 = text(&zone.join("temp"))?.trim().parse().ok()?;
        Some(Temperature {
            name: text(&zone.join("type"))?.trim().chars().take(64).collect(),
            celsius: f64::from(thousandths) / 1000.0,
        })
    };
    zones.into_iter().filter_map(sensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "cpu  100 1 20 4000 50 2 3 4 9 9\ncpu0 50 0 10 2000 25 1 1 2 0 0\n\
                    cpu1 50 1 10 2000 25 1 2 2 0 0\nintr 1 2 3\n";
        let cpu = cpu(stat).unwrap();
        assert_eq!((cpu.cores, cpu.busy_ms, cpu.idle_ms), (2, 1_300, 40_500));
        assert_eq!(load("0.50 1.25 2.00 1/99 4242\n"), Some([0.5, 1.25, 2.0]));
        let memory = memory("MemTotal: 10 kB\nMemFree: 3 kB\nMemAvailable: 5 kB\n").unwrap();
        assert_eq!(
            (memory.total_kib, memory.free_kib, memory.slab_kib),
            (10, 3, 0)
        );
    }

    #[test]
    fn what_is_no_text_of_the_kernels_is_absent() {
        for text in [
            "",
            "cpu ",
            "cpu 1 2 3",
            "cpu x",
            "nan nan nan",
            "1 2",
            "MemTotal: 1",
        ] {
            assert_eq!(cpu(text), None, "{text}");
            assert_eq!(load(text), None, "{text}");
            assert_eq!(memory(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_can_be_measured() {
        let figures = Machine::new(Path::new("/nowhere")).read();
        assert!(figures.cpu.unwrap().cores > 0);
        assert!(figures.memory.unwrap().total_kib > 0);
        assert!(figures.load.is_some() && figures.disk.is_none());
    }

    #[test]
    fn sensors_are_read_by_their_names() {
        let root = std::env::temp_dir().join(format!("lintel-thermal-{}", std::process::id()));
        for (n, kind, temp) in [
            (0, "cpu-thermal", "48312"),
            (1, "soc", "-2500"),
            (2, "x", "?"),
        ] {
            let zone = root.join(format!("thermal_zone{n}"));
            std::fs::create_dir_all(&zone).unwrap();
            std::fs::write(zone.join("type"), format!("{kind}\n")).unwrap();
            std::fs::write(zone.join("temp"), format!("{temp}\n")).unwrap();
        }
        std::fs::create_dir_all(root.join("cooling_device0")).unwrap();
        let read = temperatures(&root);
        std::fs::remove_dir_all(&root).unwrap();
        let read: Vec<_> = read.iter().map(|t| (t.name.as_str(), t.celsius)).collect();
        assert_eq!(read, [("cpu-thermal", 48.312), ("soc", -2.5)]);
    }
}
