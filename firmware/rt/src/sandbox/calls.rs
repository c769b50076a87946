//! Which system calls a role may make: a base set and the groups of [`CallSet`].
//!
//! Three answers: allowed; refused with an errno, for what the standard library and libc try
//! by habit and survive without; and SIGSYS for everything else. exec, fork, ptrace, mounts,
//! namespaces, keys, bpf, io_uring and modules are in no set.

use libc::c_long;

use super::bpf::{Action, Arg, Rule};
use crate::table::CallSet;

/// The rows for a role.
pub(super) fn rules(sets: &[CallSet], own_pid: u32) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    allow(&mut rules, BASE);
    allow(&mut rules, ARCH_BASE);
    base_with_arguments(&mut rules, own_pid);
    for set in sets {
        match set {
            CallSet::Files => allow(&mut rules, FILES),
            CallSet::FileChanges => allow(&mut rules, FILE_CHANGES),
            CallSet::Threads => threads(&mut rules),
            CallSet::Accept => allow(&mut rules, ACCEPT),
            CallSet::Connect => allow(&mut rules, &[libc::SYS_connect]),
            CallSet::InetSockets => {
                allow(&mut rules, CONNECT);
                rules.push(sockets(&[libc::AF_INET, libc::AF_INET6]));
            }
            CallSet::Clock => allow(&mut rules, CLOCK),
            CallSet::KernelNetwork => {
                allow(&mut rules, CONNECT);
                allow(&mut rules, &[libc::SYS_socket, libc::SYS_ioctl]);
            }
        }
    }
    // What stands in no set and is tried by habit: threads count the processors by reading
    // /proc, libc asks for clone3 before clone.
    errno(&mut rules, OPENING, libc::EACCES);
    errno(&mut rules, &[libc::SYS_clone3], libc::ENOSYS);
    first_row_decides(rules)
}

/// Keeps the first row of each number: a set's plain permission before the base's condition.
fn first_row_decides(rules: Vec<Rule>) -> Vec<Rule> {
    let mut kept: Vec<Rule> = Vec::new();
    // Plain permissions first, so that they win and stand where the scan is short.
    let (plain, conditional): (Vec<Rule>, Vec<Rule>) = rules
        .into_iter()
        .partition(|rule| rule.allow.iter().any(Vec::is_empty));
    for rule in plain.into_iter().chain(conditional) {
        if kept.iter().all(|other| other.nr != rule.nr) {
            kept.push(rule);
        }
    }
    kept
}

fn allow(rules: &mut Vec<Rule>, calls: &[c_long]) {
    rules.extend(calls.iter().map(|&nr| Rule {
        nr,
        allow: vec![Vec::new()],
        otherwise: Action::Trap,
    }));
}

fn errno(rules: &mut Vec<Rule>, calls: &[c_long], errno: i32) {
    rules.extend(calls.iter().map(|&nr| Rule {
        nr,
        allow: Vec::new(),
        otherwise: Action::Errno(errno as u16),
    }));
}

fn when(nr: c_long, allow: Vec<Vec<Arg>>, otherwise: Action) -> Rule {
    Rule {
        nr,
        allow,
        otherwise,
    }
}

fn is(index: u8, value: u32) -> Vec<Arg> {
    masked(index, u32::MAX, value)
}

fn masked(index: u8, mask: u32, value: u32) -> Vec<Arg> {
    vec![Arg { index, mask, value }]
}

fn sockets(families: &[i32]) -> Rule {
    let allow = families.iter().map(|&af| is(0, af as u32)).collect();
    when(libc::SYS_socket, allow, Action::Trap)
}

/// New threads, which share everything with the caller; no new process.
fn threads(rules: &mut Vec<Rule>) {
    let thread = libc::CLONE_THREAD as u32;
    rules.push(when(
        libc::SYS_clone,
        vec![masked(0, thread, thread)],
        Action::Trap,
    ));
    allow(rules, &[libc::SYS_set_tid_address]);
}

fn base_with_arguments(rules: &mut Vec<Rule>, own_pid: u32) {
    let exec = libc::PROT_EXEC as u32;
    // No memory becomes code after the start.
    for nr in [MMAP, libc::SYS_mprotect] {
        rules.push(when(nr, vec![masked(2, exec, 0)], Action::Trap));
    }
    // abort(3): glibc signals its own process, musl its own thread.
    rules.push(when(libc::SYS_tgkill, vec![is(0, own_pid)], Action::Trap));
    rules.push(when(
        libc::SYS_tkill,
        vec![is(1, libc::SIGABRT as u32)],
        Action::Trap,
    ));
    rules.push(when(
        libc::SYS_prctl,
        vec![is(0, libc::PR_SET_NAME as u32), is(0, PR_SET_VMA)],
        Action::Trap,
    ));
    // Reading one's own limits; setting any is refused.
    let both = |mut a: Vec<Arg>, b: Vec<Arg>| {
        a.extend(b);
        a
    };
    rules.push(when(
        libc::SYS_prlimit64,
        vec![both(is(0, 0), is(2, 0))],
        Action::Errno(libc::EPERM as u16),
    ));
    rules.push(when(
        libc::SYS_ioctl,
        vec![
            is(1, libc::FIONBIO as u32),
            is(1, libc::FIONREAD as u32),
            is(1, libc::FIOCLEX as u32),
        ],
        Action::Errno(libc::ENOTTY as u16),
    ));
}

/// Names of mappings, set by allocators: linux/prctl.h.
const PR_SET_VMA: u32 = 0x5356_4d41;

#[cfg(target_arch = "arm")]
const MMAP: c_long = libc::SYS_mmap2;
#[cfg(not(target_arch = "arm"))]
const MMAP: c_long = libc::SYS_mmap;

/// Memory, time, waiting, and reading and writing what is open already.
const BASE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_set_robust_list,
    libc::SYS_membarrier,
    RSEQ,
];

#[cfg(target_arch = "x86_64")]
const RSEQ: c_long = 334;
#[cfg(target_arch = "aarch64")]
const RSEQ: c_long = 293;
#[cfg(target_arch = "arm")]
const RSEQ: c_long = 398;

/// What the base needs by other names on this architecture.
#[cfg(target_arch = "x86_64")]
const ARCH_BASE: &[c_long] = &[
    libc::SYS_fcntl,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_time,
    libc::SYS_newfstatat,
    libc::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
const ARCH_BASE: &[c_long] = &[libc::SYS_fcntl, libc::SYS_newfstatat];
/// The numbers above 400 are the calls with 64-bit times (arch/arm/tools/syscall.tbl).
#[cfg(target_arch = "arm")]
const ARCH_BASE: &[c_long] = &[
    libc::SYS_fcntl64,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_fstat64,
    libc::SYS_fstatat64,
    libc::SYS_ftruncate64,
    libc::SYS__llseek,
    libc::SYS_recv,
    libc::SYS_send,
    403, // clock_gettime64
    406, // clock_getres_time64
    407, // clock_nanosleep_time64
    414, // ppoll_time64
    417, // recvmmsg_time64
    422, // futex_time64
];

/// glibc asks for one, musl for the other.
#[cfg(not(target_arch = "arm"))]
const CLOCK: &[c_long] = &[libc::SYS_clock_adjtime, libc::SYS_adjtimex];
#[cfg(target_arch = "arm")]
const CLOCK: &[c_long] = &[
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    405, // clock_adjtime64
];

const ACCEPT: &[c_long] = &[libc::SYS_accept4, libc::SYS_accept];
const CONNECT: &[c_long] = &[libc::SYS_bind, libc::SYS_connect, libc::SYS_listen];

#[cfg(target_arch = "x86_64")]
const OPENING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];
#[cfg(target_arch = "aarch64")]
const OPENING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];
#[cfg(target_arch = "arm")]
const OPENING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];

/// Landlock decides which.
#[cfg(target_arch = "aarch64")]
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
];
#[cfg(target_arch = "x86_64")]
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
];
#[cfg(target_arch = "arm")]
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_stat64,
    libc::SYS_lstat64,
    libc::SYS_statfs64,
    libc::SYS_fstatfs64,
];

#[cfg(target_arch = "aarch64")]
const FILE_CHANGES: &[c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_msync,
];
#[cfg(not(target_arch = "aarch64"))]
const FILE_CHANGES: &[c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    #[cfg(target_arch = "arm")]
    libc::SYS_fchown32,
    libc::SYS_utimensat,
    libc::SYS_mkdirat,
    libc::SYS_mkdir,
    libc::SYS_unlinkat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rename,
    libc::SYS_msync,
];
