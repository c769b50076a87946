//! What a hijacked role would try, for the escape test inside QEMU.
//!
//! A production boot cannot start it: init asks only while the kernel command line says
//! `lintel.test=1`, and a role answers only when its `Start` said the same. Each attempt is
//! chosen so that it does no harm even where it succeeds.

use std::ffi::CStr;
use std::io;

use lintel_ipc::init::Start;

use crate::sandbox::trapped;

/// Name of the line that follows the last attempt. Where it is missing, an attempt ended the role.
pub const DONE: &str = "done";

/// Tries everything; the name of each attempt and whether the kernel let it through.
pub fn attempt_all(start: &Start) -> Vec<(&'static str, bool)> {
    let state = c_path(&start.data_dir.join("state/lintel.db"));
    let log = c_path(&start.data_dir.join("log/lintel.log"));
    let seed = c_path(&start.data_dir.join("seed"));
    let control = c_path(&start.run_dir.join("control.sock"));
    let mut results = vec![
        ("open-init", opens(c"/init", libc::O_RDONLY)),
        ("open-etc", opens(c"/etc/passwd", libc::O_RDONLY)),
        ("open-root", opens(c"/", libc::O_RDONLY)),
        ("open-state", opens(&state, libc::O_RDWR)),
        ("open-log", opens(&log, libc::O_RDONLY)),
        ("open-seed", opens(&seed, libc::O_RDONLY)),
        ("open-init-memory", opens(c"/proc/1/mem", libc::O_RDWR)),
        (
            "open-init-environment",
            opens(c"/proc/1/environ", libc::O_RDONLY),
        ),
        ("open-own-memory", opens(c"/proc/self/mem", libc::O_RDWR)),
        (
            "open-kernel-sysctl",
            opens(c"/proc/sys/kernel/hostname", libc::O_WRONLY),
        ),
        ("open-sysrq", opens(c"/proc/sysrq-trigger", libc::O_WRONLY)),
        ("open-console", opens(c"/dev/console", libc::O_RDWR)),
        ("open-kmsg", opens(c"/dev/kmsg", libc::O_RDWR)),
        ("open-watchdog", opens(c"/dev/watchdog0", libc::O_WRONLY)),
        (
            "open-disk",
            opens(c"/dev/vda", libc::O_RDONLY) || opens(c"/dev/sda", libc::O_RDONLY),
        ),
        (
            "make-file",
            opens(c"/tmp/escaped", libc::O_CREAT | libc::O_RDWR),
        ),
        ("connect-control", connects(&control)),
    ];
    results.extend(calls());
    results
}

fn calls() -> [(&'static str, bool); 28] {
    let inet = [libc::AF_INET as usize, libc::SOCK_DGRAM as usize];
    let packet = [libc::AF_PACKET as usize, libc::SOCK_RAW as usize];
    let netlink = [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize];
    let vsock = [libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize];
    let exec = libc::PROT_EXEC as usize | libc::PROT_READ as usize;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let init = 1;
    let parent = std::os::unix::process::parent_id() as usize;
    let path = |text: &'static CStr| text.as_ptr() as usize;
    [
        ("socket-inet", passes(libc::SYS_socket, &inet)),
        ("socket-packet", passes(libc::SYS_socket, &packet)),
        ("socket-netlink", passes(libc::SYS_socket, &netlink)),
        ("socket-alg", passes(libc::SYS_socket, &vsock)),
        ("netlink-write", writes_netlink()),
        (
            "unshare-user",
            passes(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize]),
        ),
        (
            "unshare-net",
            passes(libc::SYS_unshare, &[libc::CLONE_NEWNET as usize]),
        ),
        (
            "setns",
            passes(libc::SYS_setns, &[2, libc::CLONE_NEWNET as usize]),
        ),
        ("kill-init", passes(libc::SYS_kill, &[init, 0])),
        ("kill-parent", passes(libc::SYS_kill, &[parent, 0])),
        ("kill-others", passes(libc::SYS_kill, &[usize::MAX, 0])),
        ("tgkill-init", passes(libc::SYS_tgkill, &[init, init, 0])),
        ("tkill-parent", passes(libc::SYS_tkill, &[parent, 0])),
        (
            "ptrace",
            passes(
                libc::SYS_ptrace,
                &[libc::PTRACE_SEIZE as usize, parent, 0, 0],
            ),
        ),
        (
            "read-parent",
            passes(libc::SYS_process_vm_readv, &[parent, 0, 0, 0, 0, 0]),
        ),
        (
            "mount",
            passes(
                libc::SYS_mount,
                &[path(c"none"), path(c"/tmp"), path(c"none"), 0, 0],
            ),
        ),
        ("chroot", passes(libc::SYS_chroot, &[path(c"/proc")])),
        // Switches Ctrl-Alt-Del off, which it is already; asks for the same right as a reboot.
        (
            "reboot",
            passes(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0, 0]),
        ),
        ("setuid", passes(libc::SYS_setuid, &[0])),
        // Ends the role where it succeeds: the line `done` is then missing.
        (
            "exec",
            passes(libc::SYS_execve, &[path(c"/proc/self/exe"), 0, 0]),
        ),
        ("fork", forks()),
        ("io-uring", passes(libc::SYS_io_uring_setup, &[1, 0])),
        ("bpf", passes(libc::SYS_bpf, &[0, 0, 0])),
        ("module", passes(libc::SYS_finit_module, &[2, path(c""), 0])),
        ("clock", passes(libc::SYS_clock_settime, &[0, 0])),
        // Without a place to read from it changes nothing.
        ("clock-adjust", passes(libc::SYS_adjtimex, &[0])),
        ("keyring", passes(libc::SYS_keyctl, &[0, 0, 0])),
        (
            "make-code",
            passes(MMAP, &[0, 4096, exec, anonymous, usize::MAX, 0]),
        ),
    ]
}

#[cfg(target_arch = "arm")]
const MMAP: libc::c_long = libc::SYS_mmap2;
#[cfg(not(target_arch = "arm"))]
const MMAP: libc::c_long = libc::SYS_mmap;

/// Whether the call was let through: neither trapped nor answered with a refusal. Another
/// error (a bad argument, say) means that the kernel would have done it.
fn passes(nr: libc::c_long, args: &[usize]) -> bool {
    match call(nr, args) {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => !refusal(&error),
        Err(Trapped) => false,
    }
}

fn refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::ESRCH | libc::EAFNOSUPPORT)
    )
}

/// The filter trapped the call.
struct Trapped;

fn call(nr: libc::c_long, args: &[usize]) -> Result<io::Result<libc::c_long>, Trapped> {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    let mut result = Ok(-1);
    let refused = trapped(|| {
        // SAFETY: every caller in this file passes numbers, null, or pointers to static or
        // live C strings, and no call in it writes to memory of ours.
        let done = unsafe { libc::syscall(nr, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
        result = if done == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(done)
        };
    });
    if refused { Err(Trapped) } else { Ok(result) }
}

/// Whether the file can be opened; what is opened is closed again.
fn opens(path: &CStr, flags: libc::c_int) -> bool {
    let args = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        (flags | libc::O_CLOEXEC | libc::O_NONBLOCK) as usize,
        0o600,
    ];
    match call(libc::SYS_openat, &args) {
        Ok(Ok(fd)) => {
            close(fd);
            true
        }
        _ => false,
    }
}

/// Connects to init's listener for the CLI.
fn connects(path: &CStr) -> bool {
    let socket = [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0];
    let Ok(Ok(fd)) = call(libc::SYS_socket, &socket) else {
        return false;
    };
    // sockaddr_un: the family, then the path with its NUL.
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(path.to_bytes_with_nul());
    let connect = [fd as usize, address.as_ptr() as usize, address.len()];
    let outcome = call(libc::SYS_connect, &connect);
    close(fd);
    matches!(outcome, Ok(Ok(_)))
}

/// Sends a request that changes nothing, though only who may write gets a zero for it:
/// RTM_NEWLINK for the loopback link without attributes.
fn writes_netlink() -> bool {
    let args = [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0];
    let Ok(Ok(fd)) = call(libc::SYS_socket, &args) else {
        return false;
    };
    // nlmsghdr (length, type 16, flags REQUEST|ACK, sequence, port), ifinfomsg (index 1).
    let words: [u32; 8] = [32, 16 | 5 << 16, 1, 0, 0, 1, 0, 0];
    let mut answer = [0_u32; 64];
    let fd_arg = fd as usize;
    let sent = call(libc::SYS_sendto, &[fd_arg, words.as_ptr() as usize, 32]);
    let received = call(
        libc::SYS_recvfrom,
        &[
            fd_arg,
            answer.as_mut_ptr() as usize,
            size_of_val(&answer),
            libc::MSG_DONTWAIT as usize,
        ],
    );
    close(fd);
    // nlmsgerr follows the header of four words: zero is an acknowledgement.
    let [_, kind, _, _, error, ..] = answer;
    matches!((sent, received), (Ok(Ok(_)), Ok(Ok(_)))) && kind & 0xffff == 2 && error == 0
}

/// A child by the plain call, which ends at once where it comes to be.
fn forks() -> bool {
    let outcome = call(libc::SYS_clone, &[libc::SIGCHLD as usize]);
    if let Ok(Ok(0)) = outcome {
        // SAFETY: this is the child, which has nothing else to do.
        unsafe { libc::_exit(0) };
    }
    matches!(outcome, Ok(Ok(_)))
}

fn close(fd: libc::c_long) {
    // SAFETY: the descriptor was opened by the caller in this file and is used no more.
    unsafe { libc::close(fd as libc::c_int) };
}

/// A path of ours has no NUL; one that has is no file.
fn c_path(path: &std::path::Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
