//! The planner: what the kernel shall hold, and the way there.
//!
//! ```text
//!  Config ─┐
//!          ├─ resolve ─► Resolved ─ kernel ─► DesiredState ─┐
//!  Facts ──┘              │                                 ├─ diff ─► Plan ─► netd
//!                         └► specs of the roles, notices    │
//!                                          ObservedState ───┘
//! ```
//!
//! * [`resolve()`] decides everything: whoever applies the result has no choice left.
//! * [`ruleset`] is the firewall; [`mod@print`] shows it in the words of `nft`.
//! * [`diff()`] finds the ordered steps from what is to what shall be. Equal means none.
//! * [`Converge`] keeps at it: retries, backs off, goes back to what worked.
//! * [`restore`] finds the ports of this box for a configuration that another one wrote.
//! * [`fake`] is a kernel for tests.
//!
//! Pure: time is an argument, nothing here reads a file or a clock, and nothing panics on any
//! value of its arguments.

pub mod converge;
mod cuts;
mod diff;
pub mod fake;
mod notice;
mod pool;
mod ports;
pub mod print;
mod resolve;
pub mod restore;
mod rule;
pub mod ruleset;
mod sysctls;
mod wan;

pub use converge::Converge;
pub use cuts::Cuts;
pub use diff::diff;
pub use resolve::resolve;
pub use wan::overlap;
