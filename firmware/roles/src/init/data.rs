//! /data: found, mounted, grown, laid out; and what init itself keeps there.
//!
//! What cannot be used is said and left as it is: nothing here formats, repairs or removes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use lintel_model::RoleName;
use lintel_rt::device;
use lintel_rt::table::policy;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::gpt;

/// GPT name of the partition, and ext4 label of a whole disk that stands for it.
const LABEL: &str = "lintel-data";
/// Seconds between commits of ext4's journal when nobody asked for one.
const MOUNT_OPTIONS: &str = "errors=remount-ro,commit=30";

/// Why /data is not to be used; the text is for the householder.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No partition and no disk of ours.
    #[error("no disk has a partition named {LABEL}")]
    NotFound,
    /// It is there and does not mount.
    #[error("{device} does not mount; nothing on it was changed")]
    Mount {
        /// The device.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is mounted and takes no writes.
    #[error("{0} takes no writes")]
    ReadOnly(String),
    /// It is mounted and its directories cannot be made.
    #[error("the directories of /data could not be made")]
    LayOut(#[source] io::Error),
}

/// Finds the device: by the name of its partition, else a disk whose own ext4 has the label.
pub fn find_device() -> Option<PathBuf> {
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/class/block").ok()?.flatten() {
        let name = entry.file_name();
        let device = Path::new("/dev").join(&name);
        let uevent = fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
        let value = |key: &str| {
            let line = uevent.lines().find_map(|line| line.strip_prefix(key));
            line.map(str::to_owned)
        };
        if value("PARTNAME=").as_deref() == Some(LABEL) {
            return Some(device);
        }
        if value("DEVTYPE=").as_deref() == Some("disk") {
            disks.push(device);
        }
    }
    disks.sort();
    disks
        .into_iter()
        .find(|disk| superblock(disk).is_ok_and(|superblock| superblock.label == LABEL))
}

/// Mounts `device` on `dir`, grows its file system to its size, and makes the directories.
pub fn mount_device(device: &Path, dir: &Path) -> Result<(), DataError> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    fs::create_dir_all(dir).map_err(DataError::LayOut)?;
    match gpt::grow_partition(device) {
        Ok(true) => log::info!("{} reaches to the end of its disk now", device.display()),
        Ok(false) => {}
        Err(error) => log::warn!("{} could not grow: {error}", device.display()),
    }
    mount(Some(device), dir, Some("ext4"), flags, Some(MOUNT_OPTIONS)).map_err(|errno| {
        DataError::Mount {
            device: device.display().to_string(),
            source: errno.into(),
        }
    })?;
    if is_read_only(dir) {
        return Err(DataError::ReadOnly(device.display().to_string()));
    }
    match grow(device, dir) {
        Ok(Some(blocks)) => log::info!("/data grew to {blocks} blocks"),
        Ok(None) => {}
        // As large as it was is good enough to serve.
        Err(error) => log::warn!("/data could not grow to its partition: {error}"),
    }
    lay_out(dir, true).map_err(DataError::LayOut)
}

/// Makes the directories; `owners` gives them to their roles, which takes root.
pub fn lay_out(dir: &Path, owners: bool) -> io::Result<()> {
    for (name, mode, role) in [
        ("state", 0o700, Some(RoleName::Controld)),
        ("log", 0o700, None),
        ("crash", 0o700, None),
    ] {
        let path = dir.join(name);
        fs::create_dir_all(&path)?;
        if let Some(policy) = role.and_then(policy).filter(|_| owners) {
            chown(&path, Some(policy.uid), Some(policy.uid))?;
        }
        // There are keys and hashes below, also where it is no box.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// An empty file system for /data without its holes, as the image builder writes it.
const PRISTINE: &str = "/etc/lintel/data.pristine";
/// Octets that one record of it holds.
const STRETCH: usize = 64;
/// Octets written at once.
const CHUNK: usize = 64 << 10;

/// Makes /data anew: everything on it is gone. Only for the householder's explicit wish, and
/// only while nothing is mounted from it. The next boot grows it.
pub fn make_anew(device: &Path) -> io::Result<()> {
    // An exclusive open fails while the device is mounted.
    let device = fs::OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_EXCL)
        .open(device)?;
    write_pristine(&fs::read(PRISTINE)?, &device)
}

fn write_pristine(pristine: &[u8], device: &File) -> io::Result<()> {
    let broken = || io::Error::other("the image's empty file system is broken");
    let word = |octets: &[u8]| -> Option<usize> {
        let octets = octets.get(..4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(octets)).ok()
    };
    let bytes = word(pristine).ok_or_else(broken)?;
    let mut records = pristine.get(4..).unwrap_or_default();
    let mut chunk = vec![0; CHUNK];
    for start in (0..bytes).step_by(CHUNK) {
        chunk.fill(0);
        while let Some(number) = word(records) {
            let stretch = records.get(4..4 + STRETCH).ok_or_else(broken)?;
            // Records stand in order, so the first one beyond this chunk ends it.
            let Some(at) = number
                .checked_mul(STRETCH)
                .and_then(|at| at.checked_sub(start))
            else {
                return Err(broken());
            };
            let Some(place) = chunk.get_mut(at..at + STRETCH) else {
                break;
            };
            place.copy_from_slice(stretch);
            records = records.get(4 + STRETCH..).unwrap_or_default();
        }
        device.write_all_at(&chunk, start as u64)?;
    }
    device.sync_all()
}

/// Whether the file system takes no writes (any more).
pub fn is_read_only(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY))
}

/// Grows ext4 to its device; gives the new count of blocks when there was something to do.
fn grow(device: &Path, dir: &Path) -> io::Result<Option<u64>> {
    let superblock = superblock(device)?;
    let bytes = device::block_device_bytes(&File::open(device)?)?;
    let blocks = bytes / superblock.block_bytes;
    // Less than a group more is not worth a table of its own, and resize refuses tiny tails.
    if blocks < superblock.blocks + superblock.block_bytes {
        return Ok(None);
    }
    device::ext4_resize(&File::open(dir)?, blocks)?;
    Ok(Some(blocks))
}

/// What we read of ext4's superblock (Documentation/filesystems/ext4/super.rst).
struct Superblock {
    blocks: u64,
    block_bytes: u64,
    label: String,
}

fn superblock(device: &Path) -> io::Result<Superblock> {
    let mut octets = [0; 1024];
    let mut file = File::open(device)?;
    file.seek(SeekFrom::Start(1024))?;
    file.read_exact(&mut octets)?;
    parse_superblock(&octets).ok_or_else(|| io::Error::other("no ext4"))
}

fn parse_superblock(octets: &[u8; 1024]) -> Option<Superblock> {
    let u32_at = |at: usize| {
        let octets = octets.get(at..at + 4)?;
        Some(u32::from_le_bytes(octets.try_into().ok()?))
    };
    if octets.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    // INCOMPAT_64BIT: the count has an upper half.
    let high = if u32_at(0x60)? & 0x80 == 0 {
        0
    } else {
        u32_at(0x150)?
    };
    let label = octets.get(0x78..0x88)?.split(|&octet| octet == 0).next()?;
    Some(Superblock {
        blocks: u64::from(u32_at(0x4)?) | u64::from(high) << 32,
        block_bytes: 1024_u64.checked_shl(u32_at(0x18)?).filter(|&n| n > 0)?,
        label: String::from_utf8_lossy(label).into_owned(),
    })
}

/// Loads the seed that an earlier boot left, and leaves a new one.
///
/// A seed counts as entropy once: it is replaced on disk, durably, before it is credited, so
/// that a power cut cannot make two boots start from the same one.
pub fn load_seed(dir: &Path) -> io::Result<bool> {
    let mut seed = [0; device::SEED_BYTES];
    let found = File::open(dir.join("seed")).and_then(|mut file| file.read_exact(&mut seed));
    if found.is_ok() {
        device::add_entropy(&seed, false)?;
    }
    save_seed(dir)?;
    if found.is_ok() {
        device::add_entropy(&seed, true)?;
    }
    Ok(found.is_ok())
}

/// Leaves a seed for the next boot.
pub fn save_seed(dir: &Path) -> io::Result<()> {
    let mut seed = [0; device::SEED_BYTES];
    device::early_random(&mut seed)?;
    replace(dir, "seed", &seed)
}

/// The last time that was kept, Unix seconds.
pub fn kept_clock(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join("clock")).ok()?;
    text.trim().parse().ok()
}

/// Keeps the time, Unix seconds, as a floor for the next boot. Written over the old one: a dozen
/// octets lie in one sector, which is written whole or not, and the file system has nothing to
/// note about it.
pub fn keep_clock(dir: &Path, unix_s: u64) -> io::Result<()> {
    let text = format!("{unix_s:020}\n");
    let path = dir.join("clock");
    match File::options().write(true).open(&path) {
        Ok(file) if file.metadata()?.len() == text.len() as u64 => {
            file.write_all_at(text.as_bytes(), 0)?;
            file.sync_data()
        }
        _ => replace(dir, "clock", text.as_bytes()),
    }
}

/// Writes a file anew so that a power cut leaves the old one or the new one.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_superblock_of_mke2fs_is_understood() {
        let image = std::env::temp_dir().join(format!("lintel-ext4-{}", std::process::id()));
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let made = std::process::Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-b", "4096", "-L", LABEL])
            .arg(&image)
            .status();
        if made.is_ok_and(|status| status.success()) {
            let superblock = superblock(&image).unwrap();
            assert_eq!(superblock.label, LABEL);
            assert_eq!(superblock.blocks * superblock.block_bytes, 8 << 20);
        }
        fs::remove_file(image).unwrap();
    }

    #[test]
    fn a_pristine_file_system_comes_back_whole() {
        let path = std::env::temp_dir().join(format!("lintel-pristine-{}", std::process::id()));
        fs::write(&path, vec![0xff; 3 * CHUNK]).unwrap();
        let mut pristine = (2 * CHUNK as u32).to_le_bytes().to_vec();
        for number in [0_u32, 16, CHUNK as u32 / 64, 2 * CHUNK as u32 / 64 - 1] {
            pristine.extend(number.to_le_bytes());
            pristine.extend([7; STRETCH]);
        }
        let device = fs::OpenOptions::new().write(true).open(&path).unwrap();
        write_pristine(&pristine, &device).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(
            written.iter().filter(|octet| **octet == 7).count(),
            4 * STRETCH
        );
        assert_eq!(written[16 * STRETCH], 7);
        assert_eq!(written[CHUNK], 7);
        assert_eq!(written[2 * CHUNK - 1], 7);
        assert_eq!(written[2 * CHUNK], 0xff);
        assert!(write_pristine(&pristine[..40], &device).is_err());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_superblock_makes_trouble() {
        assert!(parse_superblock(&[0; 1024]).is_none());
        let mut octets = [0xff; 1024];
        octets[0x38] = 0x53;
        octets[0x39] = 0xef;
        assert!(parse_superblock(&octets).is_none());
    }
}
