//! Values under /proc/sys/net.
//!
//! A process with `CAP_NET_ADMIN` writes them under any uid: the kernel gives it the rights of
//! their owner (`net_ctl_permissions`). The path is the task's own network namespace.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use lintel_model::desired::SysctlSpec;

/// Reads those of `paths` that can be read, sorted.
#[must_use]
pub fn read_all(paths: &[String]) -> Vec<SysctlSpec> {
    let mut values: Vec<SysctlSpec> = paths
        .iter()
        .filter_map(|path| {
            Some(SysctlSpec {
                path: path.clone(),
                value: read(path).ok()?,
            })
        })
        .collect();
    values.sort();
    values.dedup();
    values
}

fn read(path: &str) -> io::Result<String> {
    let text = fs::read_to_string(full(path)?)?;
    Ok(text.trim_end().to_owned())
}

/// Writes one value.
///
/// # Errors
/// What the kernel says, or `EINVAL` for a path that is not below `net/`.
pub fn write(spec: &SysctlSpec) -> io::Result<()> {
    // Neither created nor truncated: /proc knows neither, and the sandbox need not allow it.
    let mut file = OpenOptions::new().write(true).open(full(&spec.path)?)?;
    file.write_all(spec.value.as_bytes())
}

/// The file; a plan that names anything else than a net sysctl is refused.
fn full(path: &str) -> io::Result<PathBuf> {
    let clean = path
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    if path.starts_with("net/") && clean {
        Ok(PathBuf::from("/proc/sys").join(path))
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_net_sysctls_have_a_path() {
        assert!(full("net/ipv4/conf/eth0.5/rp_filter").is_ok());
        for path in [
            "kernel/core_pattern",
            "net/../kernel/x",
            "/net/x",
            "net//x",
            "net",
        ] {
            assert!(full(path).is_err(), "{path}");
        }
    }
}
