//! The unified kernel image: systemd's EFI stub with the kernel, its command line
//! and the initramfs as sections of one PE file.

use std::fs;
use std::path::Path;

use crate::board::Board;
use crate::cross::source_time;
use crate::error::{XtaskError, file};

/// From Debian's package systemd-boot-efi.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Reads of initialised data, as IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ.
const SECTION_FLAGS: u32 = 0x4000_0040;
const SECTION_HEADER_BYTES: usize = 40;

/// Writes the image; the stub finds its sections by their names.
pub(crate) fn write(
    board: &Board,
    kernel: &Path,
    initramfs: &Path,
    out: &Path,
) -> Result<(), XtaskError> {
    let stub_path = Path::new(STUB);
    let stub = fs::read(stub_path).map_err(file("read (install systemd-boot-efi)", stub_path))?;
    let release = format!(
        "ID=lintel\nNAME=Lintel\nPRETTY_NAME=\"Lintel on {}\"\nVERSION_ID={}\nBUILD_ID={}\n",
        board.file.title,
        env!("CARGO_PKG_VERSION"),
        source_time()
    );
    let mut cmdline = board.file.kernel.cmdline.clone().into_bytes();
    cmdline.push(0);
    let sections = [
        (".osrel", release.into_bytes()),
        (".cmdline", cmdline),
        (".linux", fs::read(kernel).map_err(file("read", kernel))?),
        (
            ".initrd",
            fs::read(initramfs).map_err(file("read", initramfs))?,
        ),
    ];
    let image = append_sections(stub, &sections).map_err(|reason| XtaskError::Format {
        path: stub_path.to_owned(),
        reason,
    })?;
    fs::write(out, image).map_err(file("write", out))
}

/// Appends sections to a PE32+ file.
///
/// Offsets are those of the PE format: the headers start where 0x3c points, the
/// optional header follows 24 bytes later, and the section table follows it.
fn append_sections(
    mut image: Vec<u8>,
    sections: &[(&str, Vec<u8>)],
) -> Result<Vec<u8>, &'static str> {
    let pe = get(&image, 0x3c, 4)? as usize;
    if image.get(pe..pe + 4) != Some(b"PE\0\0") {
        return Err("is not a PE file");
    }
    let count_at = pe + 6;
    let count = get(&image, count_at, 2)? as usize;
    let optional = pe + 24;
    let table = optional + get(&image, pe + 20, 2)? as usize;
    let section_alignment = get(&image, optional + 32, 4)?;
    let file_alignment = get(&image, optional + 36, 4)?;
    let headers = get(&image, optional + 60, 4)? as usize;
    if table + (count + sections.len()) * SECTION_HEADER_BYTES > headers {
        return Err("has no room for more section headers");
    }
    let mut address = 0;
    for index in 0..count {
        let header = table + index * SECTION_HEADER_BYTES;
        address = address.max(get(&image, header + 12, 4)? + get(&image, header + 8, 4)?);
    }
    for (index, (name, content)) in sections.iter().enumerate() {
        address = up(address, section_alignment);
        let padded = up(image.len() as u64, file_alignment);
        image.resize(padded as usize, 0);
        let header = table + (count + index) * SECTION_HEADER_BYTES;
        let mut name_bytes = [0_u8; 8];
        name_bytes[..name.len()].copy_from_slice(name.as_bytes());
        let raw_size = up(content.len() as u64, file_alignment);
        image[header..header + 8].copy_from_slice(&name_bytes);
        put(&mut image, header + 8, content.len() as u32);
        put(&mut image, header + 12, address as u32);
        put(&mut image, header + 16, raw_size as u32);
        put(&mut image, header + 20, padded as u32);
        image[header + 24..header + 36].fill(0);
        put(&mut image, header + 36, SECTION_FLAGS);
        image.extend_from_slice(content);
        image.resize((padded + raw_size) as usize, 0);
        address += content.len() as u64;
    }
    let total = (count + sections.len()) as u16;
    image[count_at..count_at + 2].copy_from_slice(&total.to_le_bytes());
    put(
        &mut image,
        optional + 56,
        up(address, section_alignment) as u32,
    ); // SizeOfImage
    Ok(image)
}

fn get(image: &[u8], at: usize, bytes: usize) -> Result<u64, &'static str> {
    let field = image
        .get(at..at + bytes)
        .ok_or("is shorter than its headers say")?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Writes a field of the headers, which `append_sections` has measured.
fn put(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn up(value: u64, alignment: u64) -> u64 {
    value.next_multiple_of(alignment.max(1))
}
