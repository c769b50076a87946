//! How a role's process closes the door behind itself.
//!
//! init has already taken the uid, the capabilities and the bounding set away ([`crate::spawn`]);
//! what is left is what only the role can do, after it opened what it needs: Landlock for
//! files, seccomp for system calls. Nothing of it can be undone by the process.

mod bpf;
mod calls;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use lintel_ipc::init::Start;

use crate::role::{RoleContext, RoleError};
use crate::table::{Access, Place, RolePolicy, policy};

/// Closes the sandbox of the role. To be called when its sockets and files are open and
/// before [`RoleContext::ready`]; the process must have one thread.
pub fn enter(ctx: &RoleContext) -> Result<(), RoleError> {
    let policy = policy(ctx.start.role).ok_or(RoleError::NoStart("the role has no policy"))?;
    if ctx.start.run.as_ref().is_some_and(|run| !run.sandbox) {
        log::warn!("the sandbox is off, as the configuration says");
        return Ok(());
    }
    enter_policy(policy, &ctx.start).map_err(RoleError::io("closing the sandbox"))
}

/// The same for a policy of the caller's choice.
pub fn enter_policy(policy: &RolePolicy, start: &Start) -> io::Result<()> {
    no_new_privileges()?;
    report_refused_calls()?;
    restrict_files(policy, start)?;
    install_filter(policy)
}

fn no_new_privileges() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs().map_err(Into::into)
}

/// Landlock, as much as the kernel knows: 6.1 has ABI 2, later ones add truncation, device
/// ioctls and signals.
fn restrict_files(policy: &RolePolicy, start: &Start) -> io::Result<()> {
    let handled = AccessFs::from_all(ABI::V5);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)
        .and_then(|ruleset| ruleset.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let ruleset = policy
        .paths
        .iter()
        .try_fold(ruleset, |ruleset, rule| {
            let path = match rule.place {
                Place::State => start.data_dir.join("state"),
                Place::RunDir => start.run_dir.clone(),
                Place::At(path) => PathBuf::from(path),
            };
            allow_path(ruleset, &path, rule.access)
        })
        .map_err(io::Error::other)?;
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        log::warn!("this kernel has no Landlock: files are guarded by their owners alone");
    }
    Ok(())
}

fn allow_path(
    ruleset: RulesetCreated,
    path: &std::path::Path,
    access: Access,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(fd) = PathFd::new(path) else {
        log::debug!("{} does not exist: no rule for it", path.display());
        return Ok(ruleset);
    };
    let all: BitFlags<AccessFs> = match access {
        Access::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Access::WriteExisting => {
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::IoctlDev
        }
        Access::Keep => {
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
    };
    // A rule for a file must not name rights that only directories have.
    let access = if path.is_dir() {
        all
    } else {
        all & AccessFs::from_file(ABI::V5)
    };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

fn install_filter(policy: &RolePolicy) -> io::Result<()> {
    let program = bpf::compile(
        &calls::rules(policy.calls, std::process::id()),
        bpf::Action::Trap,
    );
    let filter = libc::sock_fprog {
        len: program
            .len()
            .try_into()
            .map_err(|_| io::Error::other("the filter is too long"))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `filter` points at a program that lives until the call returns; the kernel copies
    // it and writes to neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const filter,
        )
    };
    match done {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::other("a thread cannot take the filter")),
    }
}

/// Set while the escape test runs: a refused call is noted and survived.
static PROBING: AtomicBool = AtomicBool::new(false);
/// Number of the last call that the filter refused while probing; -1 for none.
static REFUSED: AtomicI32 = AtomicI32::new(-1);

/// Runs `attempt` and says whether the filter trapped a call in it. For the escape test.
pub(crate) fn trapped(attempt: impl FnOnce()) -> bool {
    REFUSED.store(-1, Ordering::SeqCst);
    PROBING.store(true, Ordering::SeqCst);
    attempt();
    PROBING.store(false, Ordering::SeqCst);
    REFUSED.load(Ordering::SeqCst) != -1
}

/// A refused call leaves a line with its number in the role's log, so that init's crash record
/// says more than "signal 31".
fn report_refused_calls() -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(
        SigHandler::SigAction(on_refused_call),
        SaFlags::SA_SIGINFO | SaFlags::SA_NODEFER,
        SigSet::empty(),
    );
    // SAFETY: the handler makes only async-signal-safe calls and touches only atomics.
    unsafe { sigaction(Signal::SIGSYS, &action) }?;
    Ok(())
}

extern "C" fn on_refused_call(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // linux/siginfo.h, _sigsys: a pointer to the instruction, then the number of the call. It
    // follows three ints, padded to the pointer's alignment.
    #[repr(C)]
    struct SigSys {
        signo: libc::c_int,
        errno: libc::c_int,
        code: libc::c_int,
        call_addr: *const libc::c_void,
        syscall: libc::c_int,
    }
    // SAFETY: the kernel passes a siginfo of SIGSYS, which has this layout.
    let nr = unsafe { (*info.cast::<SigSys>()).syscall };
    if PROBING.load(Ordering::SeqCst) {
        REFUSED.store(nr, Ordering::SeqCst);
        return;
    }
    let mut line = *b"error the sandbox refused system call      \n";
    let mut left = nr.unsigned_abs();
    for octet in line.iter_mut().rev().skip(1).take(5) {
        *octet = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    // SAFETY: writes from a live array to descriptor 2; a failure is of no consequence. Then
    // the process ends, without running anything else of it.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::_exit(REFUSED_CALL_EXIT);
    }
}

/// Exit status of a role that made a call outside its filter: 128 + SIGSYS, as a shell says it.
pub const REFUSED_CALL_EXIT: i32 = 128 + libc::SIGSYS;
