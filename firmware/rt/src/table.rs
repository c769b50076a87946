//! The role table: what each role is and what it keeps. Data, no logic.
//!
//! Everything a role may touch after [`crate::sandbox::enter`] stands here; what is not
//! listed is refused by the kernel. The escape test reads the same table for the few attempts
//! that a role is allowed to succeed with.

use lintel_ipc::init::{ChannelKind, SocketName};
use lintel_model::RoleName;

/// One role.
#[derive(Debug, Clone, Copy)]
pub struct RolePolicy {
    /// Its name.
    pub role: RoleName,
    /// Its user and its group: the same number. No other process of the box has it.
    pub uid: u32,
    /// Kept over exec as ambient capabilities; everything else leaves the bounding set.
    pub capabilities: &'static [Capability],
    /// Wildcard sockets that init opens for it.
    pub sockets: &'static [SocketName],
    /// Resource limits.
    pub limits: Limits,
    /// nice(2), never below 0: how far it stands back while another role has work. Pages may wait
    /// for packets.
    pub nice: i32,
    /// Files it may open after its sandbox closed.
    pub paths: &'static [PathRule],
    /// System calls beside the base set.
    pub calls: &'static [CallSet],
    /// Probes of the escape test that succeed by design.
    pub escapes_allowed: &'static [&'static str],
}

/// Capabilities that some role keeps (capabilities(7)); the number is the kernel's bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Bind ports below 1024.
    NetBindService = 10,
    /// Change the network.
    NetAdmin = 12,
    /// Packet and raw sockets.
    NetRaw = 13,
    /// Set and discipline the clock.
    SysTime = 25,
}

/// Resource limits, getrlimit(2). Core dumps are off for every role.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// RLIMIT_NOFILE.
    pub descriptors_max: u64,
    /// RLIMIT_NPROC: threads of the role's uid. Applied where the role has a uid of its own.
    pub threads_max: u64,
    /// RLIMIT_DATA: heap, stacks and other private writable memory. Far above what the role
    /// needs: it stops a runaway where there is no control group to do it.
    pub data_bytes_max: u64,
    /// `memory.max` of the role's control group on a box: everything it makes the kernel keep.
    /// Ten times what it takes in a household, and below `data_bytes_max`, so that the kernel
    /// ends it instead of refusing it memory in the middle of something.
    pub memory_bytes_max: u64,
}

/// One rule for files.
#[derive(Debug, Clone, Copy)]
pub struct PathRule {
    /// Where.
    pub place: Place,
    /// What for.
    pub access: Access,
}

/// A place in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `data_dir/state`.
    State,
    /// `run_dir`.
    RunDir,
    /// This path.
    At(&'static str),
}

/// What a path may be used for, with everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading files and directories.
    Read,
    /// Reading, and writing files that exist.
    WriteExisting,
    /// Reading, writing, making and removing files and directories.
    Keep,
}

/// Groups of system calls beside the base set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSet {
    /// Opening and listing files.
    Files,
    /// Making, renaming, removing and syncing files.
    FileChanges,
    /// More threads, no processes.
    Threads,
    /// accept(2) on inherited listeners.
    Accept,
    /// connect(2) on inherited sockets.
    Connect,
    /// IPv4 and IPv6 sockets over UDP and TCP, bind and connect.
    InetSockets,
    /// Disciplining the clock, adjtimex(2): what may be changed is CAP_SYS_TIME's to say.
    Clock,
    /// Netlink, packet and every other kind of socket; their ioctls; opening a namespace is
    /// not among them.
    KernelNetwork,
}

/// The table, in the order in which init spawns.
pub const ROLES: [RolePolicy; 7] = [
    RolePolicy {
        role: RoleName::Netd,
        uid: 901,
        capabilities: &[
            Capability::NetAdmin,
            Capability::NetRaw,
            Capability::NetBindService,
        ],
        sockets: &[],
        limits: Limits {
            descriptors_max: 256,
            threads_max: 4,
            data_bytes_max: 128 << 20,
            memory_bytes_max: 32 << 20,
        },
        nice: 0,
        paths: &[
            read("/sys/class/net"),
            read("/sys/devices"),
            read("/proc/net"),
            PathRule {
                place: Place::At("/proc/sys/net"),
                access: Access::WriteExisting,
            },
            PathRule {
                place: Place::At("/dev/net/tun"),
                access: Access::WriteExisting,
            },
        ],
        calls: &[CallSet::Files, CallSet::KernelNetwork],
        escapes_allowed: &[
            "socket-inet",
            "socket-packet",
            "socket-netlink",
            "netlink-write",
        ],
    },
    RolePolicy {
        role: RoleName::Controld,
        uid: 902,
        capabilities: &[],
        sockets: &[SocketName::Control],
        limits: Limits {
            descriptors_max: 256,
            threads_max: 8,
            // argon2 takes tens of megabytes for a moment, a database page cache a few.
            data_bytes_max: 256 << 20,
            memory_bytes_max: 96 << 20,
        },
        nice: 0,
        paths: &[
            PathRule {
                place: Place::State,
                access: Access::Keep,
            },
            PathRule {
                place: Place::RunDir,
                access: Access::Read,
            },
            read("/dev/urandom"),
            read("/proc/meminfo"),
            read("/proc/loadavg"),
            read("/proc/stat"),
            read("/proc/uptime"),
            read("/sys/class/thermal"),
            read("/sys/devices/virtual/thermal"),
        ],
        calls: &[
            CallSet::Files,
            CallSet::FileChanges,
            CallSet::Threads,
            CallSet::Accept,
        ],
        escapes_allowed: &["open-state"],
    },
    RolePolicy {
        role: RoleName::Wand,
        uid: 903,
        capabilities: &[],
        sockets: &[
            SocketName::ProbeIcmp,
            SocketName::ProbeUdp,
            SocketName::ProbeTcp,
        ],
        limits: SMALL,
        nice: 0,
        paths: &[],
        // A test of the network asks whether a port takes connections.
        calls: &[CallSet::Connect],
        escapes_allowed: &[],
    },
    RolePolicy {
        role: RoleName::Dhcpd,
        uid: 904,
        capabilities: &[],
        sockets: &[SocketName::DhcpUdp],
        limits: SMALL,
        nice: 0,
        paths: &[],
        calls: &[],
        escapes_allowed: &[],
    },
    RolePolicy {
        role: RoleName::Dnsd,
        uid: 905,
        capabilities: &[],
        sockets: &[SocketName::DnsUdp, SocketName::DnsTcp],
        limits: Limits {
            // One socket per question that waits for an upstream: ports are random.
            descriptors_max: 2048,
            threads_max: 16,
            data_bytes_max: 128 << 20,
            memory_bytes_max: 64 << 20,
        },
        nice: 0,
        paths: &[],
        calls: &[CallSet::Threads, CallSet::Accept, CallSet::InetSockets],
        escapes_allowed: &["socket-inet"],
    },
    RolePolicy {
        role: RoleName::Timed,
        uid: 907,
        capabilities: &[Capability::SysTime],
        sockets: &[SocketName::NtpUdp, SocketName::NtpClientUdp],
        limits: SMALL,
        nice: 0,
        paths: &[],
        calls: &[CallSet::Clock],
        escapes_allowed: &["clock-adjust"],
    },
    RolePolicy {
        role: RoleName::Webd,
        uid: 906,
        capabilities: &[],
        sockets: &[SocketName::Http, SocketName::Https],
        limits: Limits {
            // 1,000 half-open requests, and those that are being answered.
            descriptors_max: 2048,
            threads_max: 64,
            data_bytes_max: 256 << 20,
            memory_bytes_max: 96 << 20,
        },
        nice: 10,
        paths: &[],
        // It connects to its own listener before the sandbox closes, and never again.
        calls: &[CallSet::Threads, CallSet::Accept],
        escapes_allowed: &[],
    },
];

/// For a role that parses a few packets a minute.
const SMALL: Limits = Limits {
    descriptors_max: 64,
    threads_max: 2,
    data_bytes_max: 64 << 20,
    memory_bytes_max: 24 << 20,
};

const fn read(path: &'static str) -> PathRule {
    PathRule {
        place: Place::At(path),
        access: Access::Read,
    }
}

/// Pairs of descriptors that init makes between roles, the speaker of a one-way pair first.
pub const LINKS: [(RoleName, RoleName, ChannelKind); 8] = [
    (RoleName::Controld, RoleName::Netd, ChannelKind::Session),
    (RoleName::Controld, RoleName::Wand, ChannelKind::Session),
    (RoleName::Controld, RoleName::Dhcpd, ChannelKind::Session),
    (RoleName::Controld, RoleName::Dnsd, ChannelKind::Session),
    (RoleName::Controld, RoleName::Timed, ChannelKind::Session),
    (RoleName::Controld, RoleName::Webd, ChannelKind::Session),
    (RoleName::Netd, RoleName::Wand, ChannelKind::HandOver),
    (RoleName::Netd, RoleName::Dhcpd, ChannelKind::HandOver),
];

/// The row of a role; `None` for init, which no one spawns.
pub fn policy(role: RoleName) -> Option<&'static RolePolicy> {
    ROLES.iter().find(|policy| policy.role == role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_role_once_in_spawn_order() {
        assert_eq!(ROLES.map(|policy| policy.role), RoleName::SPAWNED);
    }

    #[test]
    fn uids_are_distinct_and_not_root() {
        for (at, policy) in ROLES.iter().enumerate() {
            assert!(policy.uid > 0);
            assert!(
                ROLES
                    .iter()
                    .skip(at + 1)
                    .all(|other| other.uid != policy.uid)
            );
        }
    }

    #[test]
    fn only_netd_and_timed_hold_capabilities_and_only_controld_keeps_files() {
        for policy in &ROLES {
            assert_eq!(
                !policy.capabilities.is_empty(),
                matches!(policy.role, RoleName::Netd | RoleName::Timed)
            );
            assert_eq!(
                policy.capabilities.contains(&Capability::SysTime),
                policy.role == RoleName::Timed
            );
            let keeps = policy.paths.iter().any(|rule| rule.access == Access::Keep);
            assert_eq!(keeps, policy.role == RoleName::Controld);
        }
    }
}
