//! Control groups (cgroup v2): one for each role, which bounds its memory. A role that leaks is
//! ended by the kernel and started again by us, before the box has none left for the others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lintel_model::RoleName;
use lintel_rt::proc_text;
use lintel_rt::table::RolePolicy;

/// Where cgroup v2 is mounted on a box.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The groups of this boot.
#[derive(Debug)]
pub struct Groups {
    root: PathBuf,
    /// No role gets more, octets: half of a small box's RAM is left to the others.
    each_max: u64,
    /// How often the kernel had ended each role for its memory when it was last started.
    ended: BTreeMap<RoleName, u64>,
}

impl Groups {
    /// Takes the memory controller into use below `root`; `ram_bytes` is the box's, 0 when nobody
    /// knows it.
    pub fn open(root: &Path, ram_bytes: u64) -> io::Result<Self> {
        fs::write(root.join("cgroup.subtree_control"), "+memory")?;
        Ok(Self {
            root: root.to_owned(),
            each_max: if ram_bytes == 0 {
                u64::MAX
            } else {
                ram_bytes / 2
            },
            ended: BTreeMap::new(),
        })
    }

    /// Puts a role's new process into its group.
    pub fn enter(&mut self, policy: &RolePolicy, pid: u32) -> io::Result<()> {
        let group = self.root.join(policy.role.as_str());
        if !group.exists() {
            fs::create_dir(&group)?;
        }
        fs::write(group.join("memory.max"), self.bytes_max(policy).to_string())?;
        self.ended.insert(policy.role, ended(&group));
        fs::write(group.join("cgroup.procs"), pid.to_string())
    }

    /// The bound that a role reached, octets, when that is what it died of.
    pub fn reached(&self, policy: &RolePolicy) -> Option<u64> {
        let before = self.ended.get(&policy.role)?;
        let group = self.root.join(policy.role.as_str());
        (ended(&group) > *before).then(|| self.bytes_max(policy))
    }

    fn bytes_max(&self, policy: &RolePolicy) -> u64 {
        policy.limits.memory_bytes_max.min(self.each_max)
    }
}

/// `oom_kill` of memory.events: processes of the group that the kernel ended for its bound.
fn ended(group: &Path) -> u64 {
    let text = fs::read_to_string(group.join("memory.events")).unwrap_or_default();
    proc_text::number(&text, "oom_kill ").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use lintel_rt::table::policy;

    use super::*;

    #[test]
    fn a_role_has_its_bound_and_its_end_by_it_is_told() {
        let root = std::env::temp_dir().join(format!("lintel-groups-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let policy = policy(RoleName::Dhcpd).unwrap();
        let mut groups = Groups::open(&root, 64 << 20).unwrap();
        let group = root.join("dhcpd");
        groups.enter(policy, 42).unwrap();
        assert_eq!(
            fs::read_to_string(group.join("cgroup.procs")).unwrap(),
            "42"
        );
        let bytes_max = policy.limits.memory_bytes_max;
        let written = fs::read_to_string(group.join("memory.max")).unwrap();
        assert_eq!(written, bytes_max.to_string());
        assert_eq!(groups.reached(policy), None);
        fs::write(group.join("memory.events"), "max 3\noom 1\noom_kill 1\n").unwrap();
        assert_eq!(groups.reached(policy), Some(bytes_max));
        groups.enter(policy, 43).unwrap();
        assert_eq!(groups.reached(policy), None);
        let mut small = Groups::open(&root, 16 << 20).unwrap();
        small.ended.insert(RoleName::Dhcpd, 0);
        assert_eq!(small.reached(policy), Some(8 << 20));
        let unknown = Groups::open(&root, 0).unwrap();
        assert_eq!(unknown.bytes_max(policy), bytes_max);
        fs::remove_dir_all(root).unwrap();
    }
}
