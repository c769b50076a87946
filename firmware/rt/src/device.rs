//! Devices that init drives by ioctl: the watchdog, the kernel's entropy pool, ext4's growth, `lo`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Seconds after which a watchdog resets a box whose init does not feed it.
pub const WATCHDOG_TIMEOUT_S: libc::c_int = 30;

/// linux/watchdog.h: `struct watchdog_info`.
#[repr(C)]
struct WatchdogInfo {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

mod ioctl {
    use super::WatchdogInfo;
    nix::ioctl_read!(watchdog_support, b'W', 0, WatchdogInfo);
    nix::ioctl_readwrite!(watchdog_set_timeout, b'W', 6, libc::c_int);
    // The number names the two leading ints alone, not the buffer behind them.
    nix::ioctl_write_ptr_bad!(
        add_entropy,
        nix::request_code_write!(b'R', 3, size_of::<[libc::c_int; 2]>()),
        super::PoolInfo
    );
    nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
    nix::ioctl_write_ptr_bad!(
        blkpg,
        nix::request_code_none!(0x12, 105),
        super::BlkpgArgument
    );
    nix::ioctl_read!(block_bytes, 0x12, 114, libc::size_t);
    nix::ioctl_read_bad!(link_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_link_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}

/// Brings `lo` up, which the kernel leaves down and which gets its addresses with that.
pub fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: numbers, and a union of numbers and pointers; zeros are a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (room, octet) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *room = *octet as libc::c_char;
    }
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, of which these
    // two requests use the flags.
    unsafe {
        ioctl::link_flags(socket.as_raw_fd(), &raw mut request)?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        ioctl::set_link_flags(socket.as_raw_fd(), &raw const request)?;
    }
    Ok(())
}

/// An armed watchdog. Dropped without [`Watchdog::disarm`], it resets the box: that is its use.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
    /// What the driver calls itself.
    pub identity: String,
}

impl Watchdog {
    /// Opens, and so arms, the best of the machine. The kernel numbers watchdogs in the order
    /// of their drivers, so the choice goes by identity.
    pub fn arm_best() -> io::Result<Option<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/sys/class/watchdog")? {
            let entry = entry?;
            let identity = std::fs::read_to_string(entry.path().join("identity"))?;
            let identity = identity.trim().to_owned();
            found.push((rank(&identity), entry.file_name(), identity));
        }
        found.sort();
        for (_, name, identity) in found {
            match Self::arm(&PathBuf::from("/dev").join(&name)) {
                Ok(watchdog) => return Ok(Some(watchdog)),
                Err(error) => log::warn!("the watchdog {identity} cannot be armed: {error}"),
            }
        }
        Ok(None)
    }

    fn arm(path: &std::path::Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(path)?;
        let mut info = WatchdogInfo {
            options: 0,
            firmware_version: 0,
            identity: [0; 32],
        };
        let mut timeout = WATCHDOG_TIMEOUT_S;
        // SAFETY: the descriptor is open and both structs are as the driver writes them.
        unsafe {
            ioctl::watchdog_support(file.as_raw_fd(), &raw mut info)?;
            // A driver that has one fixed time says no, and keeps it.
            let _ = ioctl::watchdog_set_timeout(file.as_raw_fd(), &raw mut timeout);
        }
        let identity = info.identity.split(|&octet| octet == 0).next();
        Ok(Self {
            file,
            identity: String::from_utf8_lossy(identity.unwrap_or_default()).into_owned(),
        })
    }

    /// Starts its time anew.
    pub fn feed(&mut self) -> io::Result<()> {
        self.file.write_all(b".")
    }

    /// The magic close: an orderly end is no hang.
    pub fn disarm(mut self) -> io::Result<()> {
        self.file.write_all(b"V")
    }
}

/// Hardware before software. Intel's TCO is last among the hardware: on many boards its reset
/// line is switched off by the firmware.
fn rank(identity: &str) -> u8 {
    match identity {
        "Software Watchdog" => 2,
        "iTCO_wdt" => 1,
        _ => 0,
    }
}

/// Most octets of a kept seed: what the kernel's generator can hold, twice.
pub const SEED_BYTES: usize = 64;

/// linux/random.h: `struct rand_pool_info` with room for one seed.
#[repr(C)]
pub struct PoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; SEED_BYTES],
}

/// Mixes a seed into the kernel's pool; with `credited`, the kernel counts it as entropy and
/// its generator is ready at once.
pub fn add_entropy(seed: &[u8; SEED_BYTES], credited: bool) -> io::Result<()> {
    let info = PoolInfo {
        entropy_count: if credited { 256 } else { 0 },
        buf_size: SEED_BYTES as libc::c_int,
        buf: *seed,
    };
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    // SAFETY: the descriptor is open, and the struct says truly how long its buffer is.
    unsafe { ioctl::add_entropy(random.as_raw_fd(), &raw const info) }?;
    Ok(())
}

/// Random octets, though the kernel's generator may not be seeded yet: GRND_INSECURE. Good for
/// the next boot's seed, which inherits what this one was mixed from, and for nothing else.
pub fn early_random(octets: &mut [u8]) -> io::Result<()> {
    fill(octets, GRND_INSECURE)
}

/// Random octets from the seeded generator; `WouldBlock` before that.
pub fn random(octets: &mut [u8]) -> io::Result<()> {
    fill(octets, libc::GRND_NONBLOCK)
}

/// linux/random.h, since 5.6.
const GRND_INSECURE: libc::c_uint = 4;

fn fill(octets: &mut [u8], flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the kernel writes at most as many octets as the slice has.
    let n = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), flags) };
    match usize::try_from(n) {
        Ok(n) if n == octets.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Octets of a block device.
pub fn block_device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    // SAFETY: the descriptor is open; BLKGETSIZE64 writes eight octets, whatever its name says
    // about size_t.
    unsafe { ioctl::block_bytes(device.as_raw_fd(), (&raw mut bytes).cast()) }?;
    Ok(bytes)
}

/// linux/blkpg.h: `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *const BlkpgPartition,
}

/// linux/blkpg.h: `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// linux/blkpg.h: BLKPG_RESIZE_PARTITION.
const RESIZE_PARTITION: libc::c_int = 3;

/// Tells the kernel the new length of a partition, mounted or not; `start` is its old one.
pub fn resize_partition(disk: &File, number: u32, start: u64, bytes: u64) -> io::Result<()> {
    let number_error = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let partition = BlkpgPartition {
        start: start.try_into().map_err(number_error)?,
        length: bytes.try_into().map_err(number_error)?,
        number: number.try_into().map_err(number_error)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        op: RESIZE_PARTITION,
        flags: 0,
        datalen: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw const partition,
    };
    // SAFETY: the descriptor is open; the argument points at a struct that lives through the
    // call and says truly how long it is.
    unsafe { ioctl::blkpg(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}

/// Grows the mounted ext4 that `mount_point` is the root of to that many blocks.
pub fn ext4_resize(mount_point: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open and the kernel reads eight octets.
    unsafe { ioctl::ext4_resize(mount_point.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn hardware_comes_before_software() {
        assert!(rank("i6300ESB timer") < rank("iTCO_wdt"));
        assert!(rank("iTCO_wdt") < rank("Software Watchdog"));
    }
}
