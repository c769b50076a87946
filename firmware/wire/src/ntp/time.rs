//! The time formats of NTP (RFC 5905 section 6) and their relation to the kernel's clock.

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970): 70 years with 17 leap days.
const UNIX_EPOCH_S: i64 = 2_208_988_800;
/// Seconds of an era, 2^32.
const ERA_S: i64 = 1 << 32;
const NS_PER_S: i64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01 UTC as the kernel's `CLOCK_REALTIME` counts them: from the year
/// 1677 to 2262. Sums and differences beyond that stay at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNs(pub i64);

impl UnixNs {
    /// From whole seconds since 1970.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(NS_PER_S))
    }

    /// From the kernel's `timespec`.
    pub const fn from_timespec(secs: i64, ns: i64) -> Self {
        Self(secs.saturating_mul(NS_PER_S).saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this; negative when it is not earlier.
    pub const fn ns_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This, `ns` nanoseconds later.
    pub const fn plus_ns(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

/// Seconds and fraction since the start of an era: the 64 bits on the wire. Which era is not
/// said; zero means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NtpTimestamp(pub u64);

impl NtpTimestamp {
    /// Unknown.
    pub const ZERO: Self = Self(0);

    /// Whether this says a time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The timestamp of a time; the era falls away. Rounded to the nearest 2^-32 s, which is
    /// finer than a nanosecond. The one instant of an era that would read as unknown is moved by
    /// 2^-32 s.
    pub const fn from_unix(time: UnixNs) -> Self {
        let secs = time.0.div_euclid(NS_PER_S).wrapping_add(UNIX_EPOCH_S) as u64;
        let ns = time.0.rem_euclid(NS_PER_S) as u64;
        let fraction = ((ns << 32) + NS_PER_S as u64 / 2) / NS_PER_S as u64;
        let bits = (secs << 32).wrapping_add(fraction);
        Self(if bits == 0 { 1 } else { bits })
    }

    /// The time within 68 years of `pivot` that this can stand for (RFC 5905 section 6: times of
    /// two eras are told apart by a clock that is right within half an era).
    pub const fn to_unix(self, pivot: UnixNs) -> UnixNs {
        let pivot_s = pivot.0.div_euclid(NS_PER_S) + UNIX_EPOCH_S;
        let secs = (self.0 >> 32) as i64;
        // The distance from the pivot, modulo an era, taken as signed.
        let ahead = (secs - pivot_s).rem_euclid(ERA_S);
        let ahead = if ahead >= ERA_S / 2 {
            ahead - ERA_S
        } else {
            ahead
        };
        let ns = ((self.0 & 0xffff_ffff) * NS_PER_S as u64 + (1 << 31)) >> 32;
        let total = (pivot_s + ahead - UNIX_EPOCH_S) as i128 * NS_PER_S as i128 + ns as i128;
        UnixNs(if total > i64::MAX as i128 {
            i64::MAX
        } else if total < i64::MIN as i128 {
            i64::MIN
        } else {
            total as i64
        })
    }
}

/// Seconds and fraction of 16 bits each: delays and dispersions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NtpShort(pub u32);

impl NtpShort {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Rounded up, since it bounds an error; negative is nothing, and more than 18 hours is the
    /// largest value.
    pub const fn from_ns(ns: i64) -> Self {
        if ns <= 0 {
            return Self::ZERO;
        }
        let units = ((ns as i128) << 16).div_euclid(NS_PER_S as i128);
        let exact = units * NS_PER_S as i128 == (ns as i128) << 16;
        let units = if exact { units } else { units + 1 };
        if units > u32::MAX as i128 {
            Self(u32::MAX)
        } else {
            Self(units as u32)
        }
    }

    /// In nanoseconds.
    pub const fn to_ns(self) -> i64 {
        ((self.0 as i64) * NS_PER_S) >> 16
    }
}
