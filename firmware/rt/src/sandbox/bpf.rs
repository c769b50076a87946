//! Seccomp filters as classic BPF.
//!
//! Written here and not taken from a crate because the crate in question builds only for
//! 64-bit targets and knows one answer to what it does not list; we need armv7, and EPERM for
//! what libraries try by habit beside a trap for what only an intruder tries.
//! Reference: Documentation/userspace-api/seccomp_filter.rst, linux/filter.h.

use libc::sock_filter;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Lets it through.
    Allow,
    /// Returns this errno.
    Errno(u16),
    /// Sends SIGSYS, which ends the process with a record of the call.
    Trap,
    /// Ends the process at once.
    Kill,
}

/// A condition on the lower 32 bits of an argument: `args[index] & mask == value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg {
    /// Which argument, from 0.
    pub(crate) index: u8,
    /// Bits looked at.
    pub(crate) mask: u32,
    /// What they must be.
    pub(crate) value: u32,
}

/// A row: the call, under which arguments it is allowed, and what happens under others.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Number of the system call.
    pub(crate) nr: libc::c_long,
    /// Any of these sets of conditions allows it; an empty list takes `otherwise` always.
    pub(crate) allow: Vec<Vec<Arg>>,
    /// For arguments that fit no set.
    pub(crate) otherwise: Action,
}

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;
#[cfg(target_arch = "arm")]
const AUDIT_ARCH: u32 = 0x4000_0028;

/// Compiles the rows. What no row names is `default`. A call of another architecture's
/// table (32-bit on x86_64, x32) ends the process.
pub(crate) fn compile(rules: &[Rule], default: Action) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCH),
        jump_equal(AUDIT_ARCH, 1, 0),
        ret(Action::Kill),
        load(NR),
    ];
    if cfg!(target_arch = "x86_64") {
        // Numbers with this bit are the x32 table.
        program.push(jump(libc::BPF_JGE, 0x4000_0000, 0, 1));
        program.push(ret(Action::Kill));
    }
    for rule in rules {
        let block = block(rule);
        let skip = u8::try_from(block.len()).unwrap_or(u8::MAX);
        program.push(jump_equal(rule.nr as u32, 0, skip));
        program.extend(block);
    }
    program.push(ret(default));
    program
}

/// Ends in a return on every way, so the accumulator may be overwritten.
fn block(rule: &Rule) -> Vec<sock_filter> {
    let mut block = Vec::new();
    for set in &rule.allow {
        let mut checks = Vec::new();
        for (at, arg) in set.iter().enumerate() {
            // To behind the return: three instructions per later check, and that return.
            let fail = u8::try_from((set.len() - at - 1) * 3 + 1).unwrap_or(u8::MAX);
            checks.push(load(ARGS + 8 * u32::from(arg.index)));
            checks.push(stmt(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, arg.mask));
            checks.push(jump_equal(arg.value, 0, fail));
        }
        block.extend(checks);
        block.push(ret(Action::Allow));
        if set.is_empty() {
            return block;
        }
    }
    block.push(ret(rule.otherwise));
    block
}

fn load(offset: u32) -> sock_filter {
    stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn jump_equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    jump(libc::BPF_JEQ, value, then, otherwise)
}

fn jump(test: u32, value: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter {
        jt: then,
        jf: otherwise,
        ..stmt(libc::BPF_JMP | test | libc::BPF_K, value)
    }
}

fn ret(action: Action) -> sock_filter {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    stmt(libc::BPF_RET | libc::BPF_K, value)
}

fn stmt(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does, for one call.
    fn run(program: &[sock_filter], arch: u32, nr: u32, args: [u32; 6]) -> u32 {
        let (mut a, mut pc) = (0_u32, 0_usize);
        loop {
            let i = program[pc];
            pc += 1;
            let code = u32::from(i.code);
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                a = match i.k {
                    NR => nr,
                    ARCH => arch,
                    offset => args[((offset - ARGS) / 8) as usize],
                };
            } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
                a &= i.k;
            } else if code & 7 == libc::BPF_JMP {
                let holds = if code & 0xf0 == libc::BPF_JEQ {
                    a == i.k
                } else {
                    a >= i.k
                };
                pc += usize::from(if holds { i.jt } else { i.jf });
            } else {
                return i.k;
            }
        }
    }

    #[test]
    fn rows_decide_by_number_and_arguments() {
        let arg = |index, mask, value| Arg { index, mask, value };
        let program = compile(
            &[
                Rule {
                    nr: 10,
                    allow: vec![vec![]],
                    otherwise: Action::Trap,
                },
                Rule {
                    nr: 11,
                    allow: vec![
                        vec![arg(0, u32::MAX, 2), arg(1, 0xf, 1)],
                        vec![arg(0, u32::MAX, 10)],
                    ],
                    otherwise: Action::Errno(1),
                },
            ],
            Action::Trap,
        );
        let call = |nr, args| run(&program, AUDIT_ARCH, nr, args);
        let refused = libc::SECCOMP_RET_ERRNO | 1;
        assert_eq!(call(10, [0; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(call(11, [2, 0x31, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(call(11, [2, 0x32, 0, 0, 0, 0]), refused);
        assert_eq!(call(11, [10, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(call(11, [3, 1, 0, 0, 0, 0]), refused);
        assert_eq!(call(12, [0; 6]), libc::SECCOMP_RET_TRAP);
        assert_eq!(
            run(&program, AUDIT_ARCH ^ 1, 10, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
    }
}
