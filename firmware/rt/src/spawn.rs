//! How init starts a role: fork, exec of the same binary, with nothing inherited by accident.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::role::INIT_FD;
use crate::table::{Limits, RolePolicy};

/// How far a role is kept from the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// On a box: its own uid, its capabilities as ambient ones.
    Boot,
    /// `lintel run`: the caller's uid, since its files are the caller's; capabilities only
    /// through the bounding set; dies with its parent.
    Run,
    /// `[run] sandbox = false`: nothing but the death with its parent.
    Off,
}

/// Takes descriptor 3 out of use in the parent, so that no descriptor of [`Command`] ever has
/// the number at which the child finds its channel. To be called once, before any [`spawn`].
pub fn reserve_init_fd() -> io::Result<()> {
    // SAFETY: asking for the flags of a number is harmless whether it is open or not.
    if unsafe { libc::fcntl(INIT_FD, libc::F_GETFD) } != -1 {
        return Ok(());
    }
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both numbers are good; nothing holds descriptor 3, as was just seen.
    if unsafe { libc::dup3(null.as_raw_fd(), INIT_FD, libc::O_CLOEXEC) } == -1 {
        // EINVAL: the open above took the number itself; keep it there for good.
        if null.as_raw_fd() != INIT_FD {
            return Err(io::Error::last_os_error());
        }
        std::mem::forget(null);
    }
    Ok(())
}

/// Whom a role lets pass until [`settle`]. On a box alone: elsewhere init may not hurry anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whoever its row of the table says.
    Usual,
    /// Nobody: it served until a moment ago, and a busy box must not make its absence long.
    Hurried,
    /// Everybody: nobody waits for it yet.
    Patient,
}

impl Pace {
    /// nice(2).
    fn nice(self, policy: &RolePolicy) -> libc::c_int {
        match self {
            Self::Usual => policy.nice,
            Self::Hurried => -10,
            Self::Patient => 19,
        }
    }
}

/// Puts a role that started at another pace where its row of the table wants it: each of its threads.
pub fn settle(policy: &RolePolicy, pid: u32) -> io::Result<()> {
    // A role leads a process group of its own, in which the kernel counts threads.
    // SAFETY: plain call on numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PGRP, pid, policy.nice) })
}

/// Starts `exe role NAME` and gives its process number. `channel` becomes descriptor 3, `log`
/// its standard output and error; both are closed here. The caller reaps it.
pub fn spawn(
    exe: &Path,
    policy: &'static RolePolicy,
    isolation: Isolation,
    pace: Pace,
    channel: OwnedFd,
    log: OwnedFd,
) -> io::Result<u32> {
    let parent = std::process::id();
    let channel_fd = channel.as_raw_fd();
    let mut command = Command::new(exe);
    command
        .arg0("lintel")
        .args(["role", policy.role.as_str()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    // What is large for a moment goes back to the kernel at once, as musl does it on a box: glibc
    // would keep a few of each, and tests of memory would judge glibc.
    #[cfg(target_env = "gnu")]
    command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576");
    // SAFETY: the closure runs between fork and exec; it makes system calls only and allocates
    // nothing. init has one thread, so no lock is held by another one either.
    unsafe {
        command.pre_exec(move || prepare(policy, isolation, pace, channel_fd, parent));
    }
    let child = command.spawn()?;
    drop(channel);
    Ok(child.id())
}

/// In the child, before exec.
fn prepare(
    policy: &RolePolicy,
    isolation: Isolation,
    pace: Pace,
    channel: RawFd,
    parent: u32,
) -> io::Result<()> {
    // SAFETY: plain calls on numbers.
    unsafe {
        check(libc::setsid())?;
        // The number is reserved in the parent, so it is nobody's here.
        check(libc::dup2(channel, INIT_FD))?;
        // Everything above closes at exec; std's own pipe, which tells the parent of an
        // error here, has to live until then.
        check(libc::syscall(
            libc::SYS_close_range,
            INIT_FD as libc::c_uint + 1,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        ) as libc::c_int)?;
    }
    // What a shell ignores for its background jobs and nohup for its command, a role would too.
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: plain call on numbers; the default is no handler of ours.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    // Relative to our own: standing back further takes no right, and so cannot fail; what it
    // gives back may be -1 all the same.
    // SAFETY: plain call on numbers.
    unsafe { libc::nice(policy.nice) };
    if isolation == Isolation::Boot {
        // A kernel that refuses it makes the start slower, no more.
        // SAFETY: plain call on numbers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, pace.nice(policy)) };
    }
    if isolation != Isolation::Off {
        limit(policy.limits, isolation)?;
        capabilities::reduce(policy, isolation)?;
        // SAFETY: plain call on numbers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    }
    if isolation != Isolation::Boot {
        // After the uid changed, which clears it.
        // SAFETY: plain calls on numbers.
        unsafe {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
            if libc::getppid() as u32 != parent {
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
    }
    Ok(())
}

fn limit(limits: Limits, isolation: Isolation) -> io::Result<()> {
    set_limit(libc::RLIMIT_CORE, 0)?;
    set_limit(libc::RLIMIT_NOFILE, limits.descriptors_max)?;
    set_limit(libc::RLIMIT_DATA, limits.data_bytes_max)?;
    if isolation == Isolation::Boot {
        // Counted by uid: it would count the caller's other processes under `lintel run`.
        set_limit(libc::RLIMIT_NPROC, limits.threads_max)?;
    }
    Ok(())
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// Sets both limits, never above the hard one we have: raising it takes a capability.
fn set_limit(resource: Resource, wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live struct of the right type.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    let value = (wanted as libc::rlim_t).min(limit.rlim_max);
    limit.rlim_cur = value;
    limit.rlim_max = value;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// capabilities(7), through the calls themselves: they are few, and nothing may allocate here.
mod capabilities {
    use std::io;

    use super::{Isolation, check};
    use crate::table::RolePolicy;

    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION_3: u32 = 0x2008_0522;
    /// More than any kernel has; PR_CAPBSET_DROP says EINVAL behind the last one.
    const NUMBERS_MAX: libc::c_ulong = 64;

    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    pub(super) fn reduce(policy: &RolePolicy, isolation: Isolation) -> io::Result<()> {
        drop_bounding_set(policy, isolation)?;
        if isolation != Isolation::Boot {
            return Ok(());
        }
        // SAFETY: plain calls on numbers; an empty list of groups needs no pointer.
        unsafe {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(policy.uid, policy.uid, policy.uid))?;
            check(libc::setresuid(policy.uid, policy.uid, policy.uid))?;
        }
        set(kept(policy))?;
        for capability in policy.capabilities {
            // SAFETY: plain call on numbers.
            check(unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE,
                    *capability as libc::c_ulong,
                    0,
                    0,
                )
            })?;
        }
        Ok(())
    }

    fn kept(policy: &RolePolicy) -> u32 {
        policy
            .capabilities
            .iter()
            .fold(0, |set, capability| set | 1 << (*capability as u32))
    }

    fn drop_bounding_set(policy: &RolePolicy, isolation: Isolation) -> io::Result<()> {
        let kept = u64::from(kept(policy));
        for number in 0..NUMBERS_MAX {
            if kept & 1 << number != 0 {
                continue;
            }
            // SAFETY: plain call on numbers.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } == 0 {
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINVAL) => break,
                // A caller without capabilities has none to lose.
                Some(libc::EPERM) if isolation == Isolation::Run => break,
                _ => return Err(error),
            }
        }
        Ok(())
    }

    fn set(capabilities: u32) -> io::Result<()> {
        let header = Header {
            version: VERSION_3,
            pid: 0,
        };
        let low = Data {
            effective: capabilities,
            permitted: capabilities,
            inheritable: capabilities,
        };
        let high = Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        };
        let data = [low, high];
        // SAFETY: version 3 reads one header and two data structs, which live on this stack.
        check(unsafe {
            libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) as libc::c_int
        })
    }
}

/// A pipe for a role's log: what the role writes to, what init reads from without blocking.
pub fn log_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: the kernel fills the array with two new descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [read, write] = fds;
    // SAFETY: both are new and nobody else's.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) };
    nix::fcntl::fcntl(
        &read,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    Ok((write, read))
}
