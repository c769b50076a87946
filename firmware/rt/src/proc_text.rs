//! Texts of the kernel under /proc and /sys: a line per value (proc_meminfo(5),
//! proc_pid_smaps(5), cgroups' memory.events).

/// The number behind `label` at the beginning of a line; the unit behind it is the file's.
pub fn number(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Time of the processor that a process has had, milliseconds, from its /proc/PID/stat
/// (proc_pid_stat(5)): `utime` and `stime`, in ticks of a hundredth of a second. The name before
/// them is the process's own choice, and ends at the last bracket.
pub fn cpu_ms(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11);
    let user: u64 = words.next()?.parse().ok()?;
    let system: u64 = words.next()?.parse().ok()?;
    user.checked_add(system)?.checked_mul(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_time_whatever_its_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 999 1 2";
        assert_eq!(cpu_ms(stat), Some(120));
        assert_eq!(cpu_ms("42 (x) S 1"), None);
        assert_eq!(cpu_ms(""), None);
    }

    #[test]
    fn a_number_stands_behind_its_label() {
        let meminfo = "MemTotal:        2013288 kB\nMemFree: x\nMemAvailable:";
        assert_eq!(number(meminfo, "MemTotal:"), Some(2_013_288));
        assert_eq!(number(meminfo, "MemFree:"), None);
        assert_eq!(number(meminfo, "MemAvailable:"), None);
        assert_eq!(number(meminfo, "Mem"), None);
        assert_eq!(
            number("low 0\noom_kill 3\n", "oom_kill "),
            Some(3),
            "no colon in cgroups"
        );
    }
}
