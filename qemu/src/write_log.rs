//! A disk as a power cut leaves it.
//!
//! Killing QEMU loses nothing: what the guest has written is in the host's page cache. So the
//! machine's disk is behind QEMU's `blklogwrites`, which notes each write and each flush in the
//! format of Linux' dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst), and
//! [`cut`] writes onto the disk of before what a real one would hold: all that came before the
//! last flush, and of the rest, piece by piece, what chance lets through.
//!
//! A piece is 4 KiB: flash has pages of that size or more, and ext4 has to rely on it, since its
//! superblock lies in two sectors and is written in place. Torn by single sectors, a cut during a
//! start left an invalid superblock, which Linux refuses to mount.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The unit of the log and of the disk's addresses.
pub const SECTOR_BYTES: u64 = 512;
/// What the disk writes whole, sectors.
const PIECE_SECTORS: u64 = 8;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// Which of the writes that no flush covers are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unflushed {
    /// None.
    Lost,
    /// All, in order, up to some write, which may be torn.
    Prefix,
    /// Each piece or not, as in a disk that orders its cache by place.
    Pieces,
    /// Each write whole or not.
    Writes,
}

/// What a cut did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cut {
    /// Writes since the machine was switched on.
    pub writes: usize,
    /// Octets of them.
    pub bytes: u64,
    /// Flushes.
    pub flushes: usize,
    /// Sectors of writes that no flush covered.
    pub unflushed: u64,
    /// How many of them are lost.
    pub lost: u64,
}

/// One request of the guest.
#[derive(Debug, Clone, Copy)]
struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its content is in the log.
    content: u64,
}

/// Small, seeded and not secret.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// An empty log for a machine that is switched on.
pub fn create(log: &Path) {
    let _ = fs::remove_file(log);
    let file = File::create(log).expect("the work directory is writable");
    file.set_len(1 << 30).expect("holes cost nothing");
}

/// How many requests the log holds by now, while the machine writes it.
pub fn count(log: &Path) -> usize {
    let log = File::open(log).expect("the machine has a log");
    entries(&log).map_or(0, |(entries, _)| entries.len())
}

/// Writes onto `disk`, which is as it was when the machine was switched on, what the log's
/// writes made of it up to a request that chance names, at or after request `from`. With `lying`, the disk has said of flushes that they were done and has
/// done none: everything may be lost. `None` when QEMU was killed with a hole in its log: it
/// cannot be told what follows, and nothing is written.
pub fn cut(disk: &Path, log: &Path, from: usize, lying: bool, chance: &mut Chance) -> Option<Cut> {
    let log = File::open(log).expect("the machine has a log");
    let disk = File::options().write(true).open(disk).expect("a disk");
    let (mut entries, whole) = entries(&log)?;
    if !whole {
        return None;
    }
    let choice = entries.len().saturating_sub(from) as u64 + 1;
    entries.truncate(from + usize::try_from(chance.below(choice)).expect("a count"));
    let durable = if lying {
        0
    } else {
        let flush = entries.iter().rposition(|entry| entry.flags & FLUSH != 0);
        flush.map_or(0, |at| at + 1)
    };
    let (flushed, rest) = entries.split_at(durable);
    let mut cut = Cut {
        writes: entries.iter().filter(|entry| entry.sectors > 0).count(),
        bytes: entries
            .iter()
            .map(|entry| entry.sectors * SECTOR_BYTES)
            .sum(),
        flushes: entries
            .iter()
            .filter(|entry| entry.flags & FLUSH != 0)
            .count(),
        ..Cut::default()
    };
    for entry in flushed {
        write(&disk, &log, entry, 0..entry.sectors);
    }
    let mode = match chance.below(5) {
        0 => Unflushed::Lost,
        1 => Unflushed::Prefix,
        2 => Unflushed::Writes,
        _ => Unflushed::Pieces,
    };
    let mut left = match mode {
        Unflushed::Lost => 0,
        Unflushed::Prefix => chance.below(rest.iter().map(|entry| entry.sectors).sum::<u64>() + 1),
        Unflushed::Pieces | Unflushed::Writes => u64::MAX,
    };
    for entry in rest {
        cut.unflushed += entry.sectors;
        let whole = chance.below(2) == 0;
        let mut begin = 0;
        while begin < entry.sectors {
            let piece = PIECE_SECTORS - (entry.sector + begin) % PIECE_SECTORS;
            let end = (begin + piece).min(entry.sectors);
            let kept = entry.flags & FUA != 0
                || match mode {
                    Unflushed::Lost | Unflushed::Prefix => left > 0,
                    Unflushed::Pieces => chance.below(2) == 0,
                    Unflushed::Writes => whole,
                };
            left = left.saturating_sub(end - begin);
            if kept {
                write(&disk, &log, entry, begin..end);
            } else {
                cut.lost += end - begin;
            }
            begin = end;
        }
    }
    Some(cut)
}

fn write(disk: &File, log: &File, entry: &Entry, sectors: std::ops::Range<u64>) {
    let bytes = (sectors.end - sectors.start) * SECTOR_BYTES;
    let mut content = vec![0; usize::try_from(bytes).expect("a request fits memory")];
    if entry.flags & DISCARD == 0 {
        log.read_exact_at(&mut content, entry.content + sectors.start * SECTOR_BYTES)
            .expect("the log holds what it names");
    }
    disk.write_all_at(&content, (entry.sector + sectors.start) * SECTOR_BYTES)
        .expect("the disk is writable");
}

/// Every whole entry. The superblock counts them up to the last flush; after that it is the
/// first entry of nothing at all that ends the log: a request that was under way when QEMU was
/// killed is such a one. The second says that none within the count is.
fn entries(log: &File) -> Option<(Vec<Entry>, bool)> {
    let word = |at: u64| {
        let mut octets = [0; 8];
        log.read_exact_at(&mut octets, at).ok()?;
        Some(u64::from_le_bytes(octets))
    };
    if word(0)? != MAGIC {
        // Killed before the disk was opened.
        return Some((Vec::new(), true));
    }
    let mut entries = Vec::new();
    let mut at = SECTOR_BYTES;
    while let (Some(sector), Some(sectors), Some(flags)) = (word(at), word(at + 8), word(at + 16)) {
        if sectors == 0 && flags == 0 {
            break;
        }
        entries.push(Entry {
            sector,
            sectors,
            flags,
            content: at + SECTOR_BYTES,
        });
        at += SECTOR_BYTES;
        if flags & DISCARD == 0 {
            at += sectors * SECTOR_BYTES;
        }
    }
    let whole = entries.len() as u64 >= word(16)?;
    Some((entries, whole))
}
