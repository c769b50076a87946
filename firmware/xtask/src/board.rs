//! A board's description: `board/<name>/board.toml`. It is data; this reads it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::cross::{Target, run, tree};
use crate::error::{XtaskError, file};

/// One board, as described.
pub(crate) struct Board {
    pub(crate) dir: PathBuf,
    pub(crate) file: BoardFile,
}

/// The whole of board.toml. The running box reads only the first three keys
/// (`lintel_model::BoardSpec`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoardFile {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Bus path of the port labelled WAN, for the running box.
    #[serde(default, rename = "wan_path")]
    pub(crate) _wan_path: Option<String>,
    pub(crate) target: TargetTable,
    pub(crate) kernel: KernelTable,
    pub(crate) boot: BootTable,
    #[serde(default)]
    pub(crate) disk: DiskTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetTable {
    pub(crate) triple: String,
}

/// How its kernel is made; `kernel.sh` takes the fragment, the image its command line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelTable {
    pub(crate) fragment: String,
    pub(crate) cmdline: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BootTable {
    pub(crate) method: BootMethod,
    /// File name in EFI/BOOT of the boot partition.
    #[serde(default)]
    pub(crate) efi_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BootMethod {
    /// The firmware starts a unified kernel image.
    Efi,
    /// Something else starts kernel and initramfs: QEMU's -kernel, U-Boot.
    Direct,
}

/// Sizes of the partitions in MiB.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskTable {
    pub(crate) boot_mib: u64,
    pub(crate) slot_mib: u64,
    pub(crate) data_mib: u64,
}

impl Board {
    pub(crate) fn load(name: &str) -> Result<Self, XtaskError> {
        let dir = tree().join("board").join(name);
        let path = dir.join("board.toml");
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        let file: BoardFile = toml::from_str(&text).map_err(|error| XtaskError::Board {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if file.name != name {
            return Err(XtaskError::Board {
                path,
                reason: format!("its name is {:?}", file.name),
            });
        }
        let fragment = dir.join(&file.kernel.fragment);
        if !fragment.exists() {
            return Err(XtaskError::Board {
                path,
                reason: format!("no kernel fragment {}", file.kernel.fragment),
            });
        }
        Ok(Self { dir, file })
    }

    pub(crate) fn target(&self) -> Result<Target, XtaskError> {
        Target::named(&self.file.target.triple)
    }

    /// Where its images are written.
    pub(crate) fn out(&self) -> Result<PathBuf, XtaskError> {
        let out = tree().join("target/image").join(&self.file.name);
        fs::create_dir_all(&out).map_err(file("make", &out))?;
        Ok(out)
    }

    /// Keeps other builders of the same images out until it is dropped.
    pub(crate) fn lock(&self) -> Result<fs::File, XtaskError> {
        let path = self.out()?.join("lock");
        let lock = fs::File::create(&path).map_err(file("create", &path))?;
        lock.lock().map_err(file("lock", &path))?;
        Ok(lock)
    }

    /// Its kernel, built if the cache has none.
    pub(crate) fn kernel(&self) -> Result<PathBuf, XtaskError> {
        let script = tree().join("firmware/xtask/kernel.sh");
        let step = format!("the kernel of {}", self.file.name);
        // Twice: the first call shows progress and may take minutes, the second prints.
        run(
            Command::new(&script)
                .arg(&self.file.name)
                .stdout(Stdio::null()),
            &step,
            "is bash installed?",
        )?;
        let path = crate::cross::line_of(Command::new(&script).arg(&self.file.name));
        path.map(PathBuf::from).ok_or(XtaskError::Board {
            path: script,
            reason: "printed no path".to_owned(),
        })
    }
}
