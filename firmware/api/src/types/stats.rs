//! What the box does with its processor, memory and storage.

use lintel_model::RoleName;
use serde::{Deserialize, Serialize};

/// `system.stats`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SystemStats {
    /// When, by the wall clock.
    pub unix_s: u64,
    /// Since boot.
    pub uptime_s: u64,
    /// The processor; absent when the kernel did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Processes that want to run, on average over one, five and fifteen minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Main memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// The storage for what is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStats>,
    /// What the board's sensors say.
    pub temperatures: Vec<Temperature>,
    /// Each role; empty when the supervisor did not tell.
    pub roles: Vec<RoleStats>,
}

/// The processor since boot, all cores together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuStats {
    /// Cores.
    pub cores: u32,
    /// Milliseconds in which it did something.
    pub busy_ms: u64,
    /// Milliseconds in which it did nothing.
    pub idle_ms: u64,
    /// How much of its time it did something since the last call, or since boot, per cent.
    pub busy_percent: f64,
}

/// Main memory, as in /proc/meminfo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryStats {
    /// `MemTotal`.
    pub total_kib: u64,
    /// `MemAvailable`.
    pub available_kib: u64,
    /// `MemFree`.
    pub free_kib: u64,
    /// `Cached`.
    pub cached_kib: u64,
    /// `Slab`: what the kernel itself holds, flows among it.
    pub slab_kib: u64,
}

/// The storage for what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskStats {
    /// Its size.
    pub total_bytes: u64,
    /// Free for us.
    pub available_bytes: u64,
}

/// A sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Temperature {
    /// The driver's name for it.
    pub name: String,
    /// What it says.
    pub celsius: f64,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleStats {
    /// Which.
    pub name: RoleName,
    /// As in `services.status`.
    pub state: String,
    /// Starts since boot, less the first.
    pub restarts: u32,
    /// Time of the processor that its process has had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Proportional set size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_kib: Option<u64>,
    /// Most memory that it may take; beyond it is ended and starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib_max: Option<u64>,
}

/// `services.connectivity`: one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SelfTest {
    /// Which.
    pub name: RoleName,
    /// Whether it does what it is there for.
    pub ok: bool,
    /// As a sentence.
    pub text: String,
}
