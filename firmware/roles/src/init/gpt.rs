//! Makes the last partition reach to the end of its disk: an image is smaller than the disk it
//! was written to. UEFI specification 2.10, chapter 5.3.
//!
//! The order of the writes is the point: the backup at the disk's new end is whole before the
//! first octet of the primary changes, so that a power cut leaves one valid table.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use lintel_rt::device;

const SECTOR: usize = 512;
/// Sectors of the array of entries: 128 entries of 128 octets, as every tool writes it.
const ARRAY_SECTORS: usize = 32;
const ENTRY: usize = 128;
/// Protective MBR, header, array.
const HEAD_SECTORS: usize = 2 + ARRAY_SECTORS;
/// Partitions begin and end at whole mebibytes.
const ALIGN_SECTORS: u64 = 2048;

/// Grows the partition when there is room behind it; says whether it did.
pub fn grow_partition(partition: &Path) -> io::Result<bool> {
    let Some(place) = place(partition)? else {
        return Ok(false);
    };
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&place.disk)?;
    let mut head = vec![0; HEAD_SECTORS * SECTOR];
    disk.read_exact_at(&mut head, 0)?;
    let Some(grown) = grow(&head, place.number, place.disk_sectors) else {
        return Ok(false);
    };
    disk.write_all_at(&grown.backup, grown.backup_sector * SECTOR as u64)?;
    disk.sync_all()?;
    disk.write_all_at(&grown.head, 0)?;
    disk.sync_all()?;
    device::resize_partition(
        &disk,
        place.number,
        grown.first * SECTOR as u64,
        (grown.last + 1 - grown.first) * SECTOR as u64,
    )?;
    Ok(true)
}

struct Place {
    disk: PathBuf,
    disk_sectors: u64,
    number: u32,
}

/// Where a partition lies, from sysfs; `None` for a whole disk or one with other sectors.
fn place(partition: &Path) -> io::Result<Option<Place>> {
    let Some(name) = partition.file_name() else {
        return Ok(None);
    };
    let node = Path::new("/sys/class/block").join(name);
    let Ok(number) = fs::read_to_string(node.join("partition")) else {
        return Ok(None);
    };
    // The partition's directory lies in its disk's.
    let node = fs::canonicalize(node)?;
    let Some(parent) = node.parent() else {
        return Ok(None);
    };
    let number_at = |path: PathBuf| -> io::Result<u64> {
        let text = fs::read_to_string(path)?;
        text.trim().parse().map_err(io::Error::other)
    };
    if number_at(parent.join("queue/logical_block_size"))? != SECTOR as u64 {
        return Ok(None);
    }
    Ok(parent.file_name().map(|disk| Place {
        disk: Path::new("/dev").join(disk),
        disk_sectors: number_at(parent.join("size")).unwrap_or(0),
        number: number.trim().parse().unwrap_or(0),
    }))
}

/// A table whose partition reaches to the end.
#[derive(Debug)]
pub struct Grown {
    /// MBR, header and array, from sector 0.
    pub head: Vec<u8>,
    /// Array and header, up to the last sector.
    pub backup: Vec<u8>,
    /// Where `backup` begins.
    pub backup_sector: u64,
    /// First sector of the partition.
    pub first: u64,
    /// Its last one, included.
    pub last: u64,
}

/// Partition `number`, from 1, made larger in the disk's first sectors `head`. `None` when there
/// is nothing to gain, or when the table is not one that we would write: a table that we do not
/// understand is left alone.
pub fn grow(head: &[u8], number: u32, disk_sectors: u64) -> Option<Grown> {
    let mut head = head.get(..HEAD_SECTORS * SECTOR)?.to_vec();
    let last_usable = disk_sectors.checked_sub(ARRAY_SECTORS as u64 + 2)?;
    let end = (last_usable + 1) / ALIGN_SECTORS * ALIGN_SECTORS;
    let last = end.checked_sub(1)?;
    let first = {
        let (header, array) = split(&head)?;
        if !is_valid(header, array) {
            return None;
        }
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let entry = array.chunks_exact(ENTRY).nth(index)?;
        let (first, old_last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
        // Checksums say that nothing was damaged, not that it makes sense.
        if first < HEAD_SECTORS as u64 || old_last < first {
            return None;
        }
        let in_the_way = |entry: &[u8]| u64_at(entry, 32).is_some_and(|other| other > first);
        if array.chunks_exact(ENTRY).any(in_the_way)
            || last < old_last.saturating_add(ALIGN_SECTORS)
        {
            return None;
        }
        put(
            &mut head,
            2 * SECTOR + index * ENTRY + 40,
            &last.to_le_bytes(),
        )?;
        first
    };
    // The protective MBR covers the disk, or as much as it can say.
    let covered = u32::try_from(disk_sectors - 1).unwrap_or(u32::MAX);
    put(&mut head, 446 + 12, &covered.to_le_bytes())?;
    let array_crc = crc32(head.get(2 * SECTOR..)?);
    put(&mut head, SECTOR + 32, &(disk_sectors - 1).to_le_bytes())?;
    put(&mut head, SECTOR + 48, &last_usable.to_le_bytes())?;
    put(&mut head, SECTOR + 88, &array_crc.to_le_bytes())?;
    let mut header = head.get(SECTOR..2 * SECTOR)?.to_vec();
    seal(&mut header)?;
    put(&mut head, SECTOR, &header)?;
    // The backup says where it is itself, and where its own array is.
    let backup_sector = disk_sectors - 1 - ARRAY_SECTORS as u64;
    put(&mut header, 24, &(disk_sectors - 1).to_le_bytes())?;
    put(&mut header, 32, &1_u64.to_le_bytes())?;
    put(&mut header, 72, &backup_sector.to_le_bytes())?;
    seal(&mut header)?;
    let mut backup = head.get(2 * SECTOR..)?.to_vec();
    backup.extend(header);
    Some(Grown {
        head,
        backup,
        backup_sector,
        first,
        last,
    })
}

fn split(head: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((head.get(SECTOR..2 * SECTOR)?, head.get(2 * SECTOR..)?))
}

fn is_valid(header: &[u8], array: &[u8]) -> bool {
    let mut sealed = header.to_vec();
    header.starts_with(b"EFI PART")
        && u32_at(header, 12) == Some(92)
        && u64_at(header, 24) == Some(1)
        && u64_at(header, 72) == Some(2)
        && u32_at(header, 80) == Some((array.len() / ENTRY) as u32)
        && u32_at(header, 84) == Some(ENTRY as u32)
        && u32_at(header, 88) == Some(crc32(array))
        && seal(&mut sealed).is_some()
        && sealed == header
}

/// Computes the header's checksum, for which its own field counts as zero.
fn seal(header: &mut [u8]) -> Option<()> {
    put(header, 16, &[0; 4])?;
    let crc = crc32(header.get(..92)?);
    put(header, 16, &crc.to_le_bytes())
}

fn put(octets: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    octets.get_mut(at..at + value.len())?.copy_from_slice(value);
    Some(())
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(octets.get(at..at + 8)?.try_into().ok()?))
}

/// CRC-32 of IEEE 802.3, as UEFI has it.
fn crc32(octets: &[u8]) -> u32 {
    const IEEE: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    IEEE.checksum(octets)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// sgdisk makes the table of a small image, and judges what we made of it on a large disk.
    #[test]
    fn sgdisk_finds_no_fault_in_a_grown_table() {
        let path = std::env::temp_dir().join(format!("lintel-gpt-{}", std::process::id()));
        let disk = File::create(&path).unwrap();
        disk.set_len(16 << 20).unwrap();
        let sgdisk = |args: &[&str]| Command::new("sgdisk").args(args).arg(&path).output();
        let Ok(made) = sgdisk(&["-n1:0:+4M", "-n2:0:+8M", "-c2:lintel-data"]) else {
            fs::remove_file(&path).unwrap();
            return; // no sgdisk here
        };
        assert!(made.status.success());
        disk.set_len(100 << 20).unwrap();
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut head = vec![0; HEAD_SECTORS * SECTOR];
        disk.read_exact_at(&mut head, 0).unwrap();
        let sectors = (100 << 20) / SECTOR as u64;
        assert!(
            grow(&head, 1, sectors).is_none(),
            "another one is in its way"
        );
        let grown = grow(&head, 2, sectors).unwrap();
        disk.write_all_at(&grown.backup, grown.backup_sector * SECTOR as u64)
            .unwrap();
        disk.write_all_at(&grown.head, 0).unwrap();
        assert_eq!(grown.last + 1, sectors - ALIGN_SECTORS);
        let judged = sgdisk(&["-v"]).unwrap();
        let text = String::from_utf8_lossy(&judged.stdout);
        assert!(text.contains("No problems found"), "{text}");
        assert!(grow(&grown.head, 2, sectors).is_none(), "nothing to gain");
        let mut broken = head;
        broken[SECTOR + 60] ^= 1;
        assert!(grow(&broken, 2, sectors).is_none());
        fs::remove_file(&path).unwrap();
    }

    /// Sealed as UEFI says, and senseless.
    #[test]
    fn a_partition_that_ends_before_it_begins_is_left_alone() {
        let table = |first: u64, last: u64| {
            let mut head = vec![0; HEAD_SECTORS * SECTOR];
            put(&mut head, SECTOR, b"EFI PART").unwrap();
            for (at, value) in [(12, 92_u32), (24, 1), (72, 2), (80, 128), (84, 128)] {
                put(&mut head, SECTOR + at, &value.to_le_bytes()).unwrap();
            }
            put(&mut head, 2 * SECTOR + 32, &first.to_le_bytes()).unwrap();
            put(&mut head, 2 * SECTOR + 40, &last.to_le_bytes()).unwrap();
            let array = crc32(&head[2 * SECTOR..]);
            put(&mut head, SECTOR + 88, &array.to_le_bytes()).unwrap();
            let mut header = head[SECTOR..2 * SECTOR].to_vec();
            seal(&mut header).unwrap();
            put(&mut head, SECTOR, &header).unwrap();
            head
        };
        assert!(grow(&table(2048, 4095), 1, 1 << 20).is_some());
        assert!(grow(&table(u64::MAX, 0), 1, 1 << 20).is_none());
        assert!(grow(&table(4096, 4094), 1, 1 << 20).is_none());
        assert!(grow(&table(1, 4095), 1, 1 << 20).is_none());
    }

    #[test]
    fn no_octets_make_trouble() {
        for n in [0, 1, SECTOR, HEAD_SECTORS * SECTOR] {
            assert!(grow(&vec![0xff; n], 1, u64::MAX).is_none());
            assert!(grow(&vec![0; n], 0, 0).is_none());
            assert!(grow(&vec![0; n], 1, 100).is_none());
        }
    }
}
