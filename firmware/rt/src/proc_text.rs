//! Texts of the kernel under /proc and /sys: a line per value (proc_meminfo(5),
//! proc_pid_smaps(5), cgroups' memory.events).

/// The number behind `label` at the beginning of a line; the unit behind it is the file's.
pub fn number(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
