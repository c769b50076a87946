//! What a seed means: how many hosts, how bad the wires, what goes wrong and how often.

use crate::dice::Dice;
use crate::net::Weather;

/// A kind of evening in a household.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Some of everything.
    Household,
    /// Many clients, a small pool, crashes.
    Leases,
    /// A provider with moods.
    Provider,
    /// Resolvers with moods, and forgers.
    Names,
    /// A householder who changes the configuration all the time.
    Wishes,
    /// Clocks that jump by years.
    Clocks,
    /// One host with 100,000 client ids and names.
    Hostile,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Household,
        Self::Leases,
        Self::Provider,
        Self::Names,
        Self::Wishes,
        Self::Clocks,
        Self::Hostile,
    ];

    /// Those that take milliseconds: what thousands of seeds are run on, in turn.
    pub const QUICK: [Self; 6] = [
        Self::Household,
        Self::Leases,
        Self::Provider,
        Self::Names,
        Self::Wishes,
        Self::Clocks,
    ];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Household => "household",
            Self::Leases => "leases",
            Self::Provider => "provider",
            Self::Names => "names",
            Self::Wishes => "wishes",
            Self::Clocks => "clocks",
            Self::Hostile => "hostile",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A role is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// The house's cable is out for a while.
    LanFlap,
    /// The provider's is.
    WanFlap,
    /// The wall clock is set to another year.
    ClockJump,
    /// The kernel refuses one of the next steps.
    Refusal,
    /// Somebody else changes the kernel's state.
    Foreign,
    /// The provider's DHCP server changes its mood.
    IspMood,
    /// A resolver changes its temper.
    ResolverTemper,
    /// The wires get better or worse.
    Weather,
}

const FAULTS: [Fault; 9] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::LanFlap,
    Fault::WanFlap,
    Fault::Refusal,
    Fault::Foreign,
    Fault::IspMood,
    Fault::ResolverTemper,
    Fault::Weather,
];

/// What a seed means.
#[derive(Debug, Clone)]
pub struct Params {
    /// Devices in the house.
    pub hosts: usize,
    /// Addresses in the pool.
    pub pool: u8,
    /// Lease time of the house, seconds.
    pub lease_s: u32,
    /// Lease time of the provider, seconds.
    pub isp_lease_s: u32,
    /// Most octets of dnsd's cache.
    pub cache_bytes_max: u32,
    /// How long things go wrong, seconds.
    pub chaos_s: u64,
    /// The wires meanwhile.
    pub lan: Weather,
    /// The provider's.
    pub wan: Weather,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Usual time between two faults, milliseconds; zero: none.
    pub fault_every_ms: u64,
    /// Between two deeds of hosts.
    pub deed_every_ms: u64,
    /// Between two wishes of the householder; zero: none.
    pub wish_every_ms: u64,
    /// Forged frames after each request to the provider, in a thousand.
    pub forged: u32,
    /// Two hosts have one client id.
    pub twins: bool,
    /// A host uses an address of the pool without asking.
    pub squatter: bool,
    /// A host makes trouble on purpose.
    pub attacker: bool,
    /// Messages of the hostile host.
    pub attacks: u32,
    /// The board names its WAN port.
    pub labelled: bool,
}

impl Params {
    /// What `seed` means in a scenario.
    pub fn new(scenario: Scenario, dice: &mut Dice) -> Self {
        // Each seed has some of the faults, so that some are seen without the others.
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| dice.per_mille(500)).collect();
        let hosts = dice.range(1, 7);
        let mut params = Self {
            hosts: hosts as usize,
            pool: dice.range(2 * hosts + 6, 40) as u8,
            lease_s: dice.one(&[60, 120, 300, 900, 3600]).unwrap_or(300),
            isp_lease_s: dice.one(&[30, 60, 300, 3600]).unwrap_or(300),
            cache_bytes_max: dice
                .one(&[64 << 10, 128 << 10, 4 << 20])
                .unwrap_or(64 << 10),
            chaos_s: dice.range(20, 400),
            lan: weather(dice),
            wan: weather(dice),
            fault_every_ms: dice.one(&[300, 2_000, 10_000, 40_000]).unwrap_or(2_000),
            deed_every_ms: dice.one(&[200, 1_000, 5_000]).unwrap_or(1_000),
            wish_every_ms: dice.one(&[0, 5_000, 60_000]).unwrap_or(0),
            forged: dice.one(&[0, 100, 800]).unwrap_or(0),
            twins: dice.per_mille(200),
            squatter: dice.per_mille(150),
            attacker: dice.per_mille(200),
            attacks: 0,
            labelled: dice.per_mille(800),
            faults: Vec::new(),
        };
        match scenario {
            Scenario::Household => {}
            Scenario::Leases => {
                params.pool = dice.range(hosts, 2 * hosts + 2).max(2) as u8;
                // Conflicts take up to half the pool away for ten minutes.
                (params.twins, params.squatter, params.attacker) = (false, false, false);
                faults = vec![Fault::Kill, Fault::PowerCut, Fault::Weather];
                params.wish_every_ms = 0;
            }
            Scenario::Provider => {
                faults.extend([Fault::IspMood, Fault::IspMood, Fault::WanFlap]);
                params.forged = 800;
                params.hosts = 1;
            }
            Scenario::Names => {
                faults.extend([Fault::ResolverTemper; 6]);
                params.forged = 800;
                params.deed_every_ms = 150;
            }
            Scenario::Wishes => params.wish_every_ms = 3_000,
            Scenario::Clocks => faults.extend([Fault::ClockJump, Fault::ClockJump, Fault::Kill]),
            Scenario::Hostile => {
                params.hosts = 3;
                params.pool = 100;
                params.attacker = true;
                params.attacks = 200_000;
                params.chaos_s = 100;
                params.wish_every_ms = 0;
                faults = vec![Fault::Kill];
                params.fault_every_ms = 20_000;
                params.lease_s = 120;
                params.cache_bytes_max = 1 << 20;
            }
        }
        params.faults = faults;
        params
    }

    /// The longest lease that somebody wishes for, seconds.
    pub fn lease_s_max(&self) -> u64 {
        10_u64.pow(self.lease_s.ilog10() + 1) + u64::from(self.lease_s)
    }

    /// The factory configuration, and what wishes begin with.
    pub fn config(&self) -> String {
        format!(
            "[dhcp]\nlease_s = {}\npool = {{ first = \"192.168.1.100\", last = \"192.168.1.{}\" }}\n\
             [dns]\ncache_bytes_max = {}\n",
            self.lease_s,
            99 + u16::from(self.pool),
            self.cache_bytes_max
        )
    }
}

/// A wire from good to hardly usable.
pub fn weather(dice: &mut Dice) -> Weather {
    Weather {
        lost: dice.one(&[0, 0, 10, 100, 300]).unwrap_or(0),
        doubled: dice.one(&[0, 0, 50, 300]).unwrap_or(0),
        late: dice.one(&[0, 0, 20, 150]).unwrap_or(0),
        delay_us: dice.one(&[300, 5_000, 80_000]).unwrap_or(300),
    }
}
