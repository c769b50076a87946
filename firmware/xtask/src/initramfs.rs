//! The whole root file system of the box: the binary, the factory files, mount points.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::board::Board;
use crate::cpio::Archive;
use crate::cross::tree;
use crate::disk;
use crate::error::{XtaskError, file};

/// Mount points and places that init fills, with their modes.
const DIRECTORIES: [(&str, u32); 9] = [
    ("bin", 0o755),
    ("data", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/lintel", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];

/// Packs `program` as /init with the overlay and the board's description.
pub(crate) fn write(board: &Board, program: &Path, out: &Path) -> Result<(), XtaskError> {
    let mut archive = Archive::default();
    for (path, mode) in DIRECTORIES {
        archive.directory(path, mode);
    }
    // devtmpfs is not mounted yet when the kernel opens init's standard streams.
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    let binary = fs::read(program).map_err(file("read", program))?;
    archive.file("bin/lintel", 0o755, &binary);
    archive.symlink("init", "bin/lintel");
    overlay(&mut archive, &tree().join("rootfs-overlay"), "")?;
    let description = board.dir.join("board.toml");
    archive.file(
        "etc/lintel/board.toml",
        0o644,
        &fs::read(&description).map_err(file("read", &description))?,
    );
    let data = disk::empty_data(board.file.disk.data_mib << 20, out)?;
    archive.file("etc/lintel/data.pristine", 0o644, &without_holes(&data));
    compress(&archive.finish(), out)
}

/// An empty /data, from which a factory reset makes it anew: its length in octets, then each
/// stretch of 64 octets that is not all zero, led by its number; all numbers 32 bits, little
/// endian. The box unpacks this file into memory at every boot, so 32 MiB will not do.
fn without_holes(data: &[u8]) -> Vec<u8> {
    let mut records = (data.len() as u32).to_le_bytes().to_vec();
    for (number, stretch) in data.chunks_exact(64).enumerate() {
        if stretch.iter().any(|octet| *octet != 0) {
            records.extend((number as u32).to_le_bytes());
            records.extend(stretch);
        }
    }
    records
}

/// Adds the files below `dir`; directories that every image has are there already.
fn overlay(archive: &mut Archive, dir: &Path, prefix: &str) -> Result<(), XtaskError> {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .map_err(file("list", dir))?
        .flatten()
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let source = entry.path();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = fs::metadata(&source).map_err(file("read", &source))?;
        if meta.is_dir() {
            if !DIRECTORIES.iter().any(|(known, _)| *known == path) {
                archive.directory(&path, 0o755);
            }
            overlay(archive, &source, &format!("{path}/"))?;
        } else if entry.file_name() != ".gitkeep" {
            archive.file(
                &path,
                0o644,
                &fs::read(&source).map_err(file("read", &source))?,
            );
        }
    }
    Ok(())
}

/// zstd at a level that the kernel's 8 MiB window allows. Replaces `out` in one step: a machine
/// may be booting the one before.
fn compress(bytes: &[u8], out: &Path) -> Result<(), XtaskError> {
    let new = out.with_extension("zst.new");
    let target = fs::File::create(&new).map_err(file("create", &new))?;
    let start = |source| XtaskError::Start {
        program: "zstd".to_owned(),
        hint: "install the package zstd",
        source,
    };
    let mut zstd = Command::new("zstd")
        .args(["-19", "--quiet", "--stdout", "-T0"])
        .stdin(Stdio::piped())
        .stdout(target)
        .spawn()
        .map_err(start)?;
    if let Some(mut input) = zstd.stdin.take() {
        input.write_all(bytes).map_err(file("compress", out))?;
    }
    let status = zstd.wait().map_err(file("compress", out))?;
    match status.success() {
        true => fs::rename(&new, out).map_err(file("replace", out)),
        false => Err(XtaskError::Failed {
            step: "compressing the initramfs".to_owned(),
            program: "zstd".to_owned(),
            status,
        }),
    }
}
