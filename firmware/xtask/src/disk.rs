//! The disk image: a GPT with the boot partition, slots A and B, and /data.
//!
//! | partition   | content |
//! |-------------|---------|
//! | lintel-boot | FAT: EFI/BOOT/BOOTX64.EFI, which is the bundle of slot A |
//! | lintel-a, lintel-b | one bundle each, raw; A is filled, B is empty |
//! | lintel-data | ext4, 32 MiB; the last one, for it grows to its disk |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{EFI, LINUX_FS, OperatingSystem, Type};

use crate::board::{Board, BootMethod};
use crate::cross::run;
use crate::error::{XtaskError, file};

const MIB: u64 = 1 << 20;
const SECTOR_BYTES: u64 = 512;

/// What a slot partition holds is ours alone: a random type of our own.
const SLOT_TYPE: &str = "6D3A2C5E-9C0B-4E67-8B7C-0F5D7A1E4B21";

/// Writes the image, sparse; it replaces `out` in one step.
pub(crate) fn write(board: &Board, bundle: &Path, out: &Path) -> Result<(), XtaskError> {
    let disk = &board.file.disk;
    let partitions = [
        ("lintel-boot", disk.boot_mib, EFI),
        ("lintel-a", disk.slot_mib, slot_type()),
        ("lintel-b", disk.slot_mib, slot_type()),
        ("lintel-data", disk.data_mib, LINUX_FS),
    ];
    // One MiB in front for the table and alignment, one behind for its copy.
    let total_mib = partitions.iter().map(|(_, mib, _)| mib).sum::<u64>() + 2;
    let new = out.with_extension("img.new");
    let _ = fs::remove_file(&new);
    let image = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&new)
        .map_err(file("create", &new))?;
    image.set_len(total_mib * MIB).map_err(file("size", &new))?;

    let offsets = table(&image, &partitions)?;
    let content = fs::read(bundle).map_err(file("read", bundle))?;
    if board.file.boot.method == BootMethod::Efi {
        let window = Window::new(&image, offsets["lintel-boot"], disk.boot_mib * MIB)?;
        boot_partition(window, &board.file.boot.efi_name, &content)?;
    }
    let mut slot = Window::new(&image, offsets["lintel-a"], disk.slot_mib * MIB)?;
    slot.write_all(&content)
        .map_err(file("write slot A of", &new))?;
    data_partition(&image, offsets["lintel-data"], disk.data_mib * MIB, &new)?;
    fs::rename(&new, out).map_err(file("replace", out))
}

fn slot_type() -> Type {
    Type {
        guid: SLOT_TYPE.parse().unwrap_or_default(),
        os: OperatingSystem::Custom("lintel".to_owned()),
    }
}

/// Writes protective MBR and GPT; says where each partition starts, in bytes.
fn table(
    image: &File,
    partitions: &[(&'static str, u64, Type)],
) -> Result<BTreeMap<&'static str, u64>, XtaskError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| XtaskError::Disk {
        what: "partition table",
        source,
    };
    let mut device = image.try_clone().map_err(|error| failed(error.into()))?;
    let size = device
        .seek(SeekFrom::End(0))
        .map_err(|error| failed(error.into()))?;
    let sectors = u32::try_from(size / SECTOR_BYTES - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut device)
        .map_err(|error| failed(error.into()))?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, None)
        .map_err(|error| failed(error.into()))?;
    table
        .update_partitions(BTreeMap::new())
        .map_err(|error| failed(error.into()))?;
    let mut offsets = BTreeMap::new();
    for (name, mib, kind) in partitions {
        let id = table
            .add_partition(name, mib * MIB, kind.clone(), 0, Some(MIB / SECTOR_BYTES))
            .map_err(|error| failed(error.into()))?;
        let start = table.partitions()[&id].first_lba;
        offsets.insert(*name, start * SECTOR_BYTES);
    }
    table.write().map_err(|error| failed(error.into()))?;
    Ok(offsets)
}

/// A FAT with the bundle where UEFI looks on a disk without boot entries.
fn boot_partition(mut window: Window, efi_name: &str, bundle: &[u8]) -> Result<(), XtaskError> {
    let failed = |error: std::io::Error| XtaskError::Disk {
        what: "boot partition",
        source: error.into(),
    };
    let options = fatfs::FormatVolumeOptions::new()
        .volume_label(*b"LINTELBOOT ")
        .fat_type(fatfs::FatType::Fat32);
    fatfs::format_volume(&mut window, options).map_err(failed)?;
    let volume = fatfs::FileSystem::new(window, fatfs::FsOptions::new()).map_err(failed)?;
    let dir = volume
        .root_dir()
        .create_dir("EFI")
        .and_then(|efi| efi.create_dir("BOOT"))
        .map_err(failed)?;
    let mut target = dir.create_file(efi_name).map_err(failed)?;
    target
        .write_all(bundle)
        .and_then(|()| target.flush())
        .map_err(failed)
}

/// Of every new /data: nothing looks for it, and a random one would make each build differ.
const DATA_UUID: &str = "6c696e74-656c-4000-8000-646174610000";

/// The file system of an empty /data, made by mkfs.ext4 in a file `beside` another; most of it
/// is holes.
pub(crate) fn empty_data(bytes: u64, beside: &Path) -> Result<Vec<u8>, XtaskError> {
    let path = beside.with_extension("data");
    let data = File::create(&path).map_err(file("create", &path))?;
    data.set_len(bytes).map_err(file("size", &path))?;
    let step = "making the file system of /data";
    // A journal small enough for 32 MiB; resize_inode off, for the kernel grows it online with meta_bg alike.
    run(
        Command::new("/sbin/mkfs.ext4")
            .args([
                "-q",
                "-F",
                "-L",
                "lintel-data",
                // Flash writes no less at a time, and a superblock must not be torn by a power cut.
                "-b",
                "4096",
                "-m",
                "0",
                "-J",
                "size=4",
                "-E",
            ])
            .arg(format!(
                "lazy_itable_init=0,lazy_journal_init=0,resize=67108864,hash_seed={DATA_UUID}"
            ))
            .args(["-U", DATA_UUID])
            // The same octets each time, so that equal sources make equal images.
            .env("E2FSPROGS_FAKE_TIME", "1")
            .arg(&path)
            .stdout(Stdio::null()),
        step,
        "install the package e2fsprogs",
    )?;
    let content = fs::read(&path).map_err(file("read", &path))?;
    fs::remove_file(&path).map_err(file("remove", &path))?;
    Ok(content)
}

fn data_partition(image: &File, offset: u64, bytes: u64, beside: &Path) -> Result<(), XtaskError> {
    let content = empty_data(bytes, beside)?;
    let mut window = Window::new(image, offset, bytes)?;
    for block in content.chunks(4096) {
        let result = match block.iter().all(|byte| *byte == 0) {
            true => window.seek(SeekFrom::Current(block.len() as i64)).map(drop),
            false => window.write_all(block),
        };
        result.map_err(file("write /data of", beside))?;
    }
    Ok(())
}

/// One partition of the image as a file of its own.
struct Window {
    image: File,
    start: u64,
    bytes: u64,
    at: u64,
}

impl Window {
    fn new(image: &File, start: u64, bytes: u64) -> Result<Self, XtaskError> {
        let image = image.try_clone().map_err(|error| XtaskError::Disk {
            what: "partitions",
            source: error.into(),
        })?;
        Ok(Self {
            image,
            start,
            bytes,
            at: 0,
        })
    }

    fn room(&self, wanted: usize) -> usize {
        wanted.min(usize::try_from(self.bytes.saturating_sub(self.at)).unwrap_or(usize::MAX))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = self.room(buffer.len());
        self.image.seek(SeekFrom::Start(self.start + self.at))?;
        let read = self.image.read(&mut buffer[..room])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Window {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let room = self.room(buffer.len());
        self.image.seek(SeekFrom::Start(self.start + self.at))?;
        let written = self.image.write(&buffer[..room])?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.image.flush()
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(delta) => self.bytes.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.at.checked_add_signed(delta),
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
