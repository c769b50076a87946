//! What the configuration consists of, in words: every section, every key, what it holds.
//!
//! From this one place come the names that the reader knows, its bounds and hints, the order and
//! the sentences of the written text, the JSON Schema and `firmware/docs/config.md`.

/// A table of the configuration: a section, an inline table or one entry of a list of tables.
#[derive(Debug)]
pub struct SectionDescription {
    /// Its path (`dhcp`, `dhcp.pool`, `dhcp.reservations`); empty for the whole.
    pub path: &'static str,
    /// What it is for, as sentences.
    pub sentence: &'static str,
    /// Its keys, in the order in which they are written.
    pub keys: &'static [KeyDescription],
}

/// One key of a section.
#[derive(Debug)]
pub struct KeyDescription {
    /// As it is written.
    pub name: &'static str,
    /// Whether the section is wrong without it.
    pub required: bool,
    /// What it holds.
    pub kind: Kind,
    /// What it is for, as sentences. Of a section it is empty: the section says it.
    pub sentence: &'static str,
}

/// What a key holds.
#[derive(Debug)]
pub enum Kind {
    /// A text of a certain form.
    Text(&'static TextForm),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// What it counts.
        unit: &'static str,
    },
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts {
        /// The form of each.
        form: &'static TextForm,
        /// Most of them.
        entries_max: usize,
    },
    /// A section, or an inline table.
    Section(&'static SectionDescription),
    /// A list of tables (`[[dns.records]]`).
    Sections {
        /// What each is.
        entry: &'static SectionDescription,
        /// Most of them.
        entries_max: usize,
    },
}

/// The form of a text.
#[derive(Debug)]
pub struct TextForm {
    /// What it is, as in "a host name".
    pub what: &'static str,
    /// How to write it, as an order: the hint where it is wrong.
    pub hint: &'static str,
    /// A regular expression (ECMA-262) that every such text matches; what matches may still be
    /// wrong.
    pub pattern: &'static str,
}

impl SectionDescription {
    /// The key with this name.
    pub fn key(&self, name: &str) -> Option<&'static KeyDescription> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of its keys.
    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

impl KeyDescription {
    /// How to write its value.
    pub(super) fn hint(&self) -> String {
        match &self.kind {
            Kind::Text(form) | Kind::Texts { form, .. } => form.hint.to_owned(),
            Kind::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                match words.as_slice() {
                    [first, last] => format!("write {first} or {last}"),
                    _ => format!("write one of {}", words.join(", ")),
                }
            }
            Kind::Number { min, max, unit } => {
                format!("write a whole number of {unit} from {min} to {max}")
            }
            Kind::Flag => "write true or false, without quotes".to_owned(),
            Kind::Section(_) | Kind::Sections { .. } => String::new(),
        }
    }
}

/// Most ports that a LAN names.
const LAN_PORTS_MAX: usize = 64;
/// Most resolvers asked; the tenth is never reached.
const UPSTREAMS_MAX: usize = 8;
/// Most time servers, and most pools; selection uses ten sources at most (RFC 5905, NMAX 50).
const TIME_SERVERS_MAX: usize = 8;
/// Most reservations: more than a household's network of /22 holds.
const RESERVATIONS_MAX: usize = 1024;
/// Most local records.
const RECORDS_MAX: usize = 4096;
/// How wrong a pretended clock may begin, milliseconds: a century each way.
const CLOCK_ERROR_MS_MAX: i64 = 3_155_760_000_000;

const HOST: TextForm = TextForm {
    what: "a host name",
    hint: "write one word such as \"printer\"",
    pattern: "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
};
const DOMAIN: TextForm = TextForm {
    what: "a domain name",
    hint: "write a name such as \"nas\" or \"nas.lan\"",
    pattern: "^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\\.?$",
};
const LAN_DOMAIN: TextForm = TextForm {
    what: "a domain name",
    hint: "write \"lan\" or \"home.arpa\"",
    pattern: DOMAIN.pattern,
};
const MAC: TextForm = TextForm {
    what: "a device's hardware address",
    hint: "write six pairs of hex digits: \"02:00:5e:00:53:01\"",
    pattern: "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
};
const IPV4: TextForm = TextForm {
    what: "an IPv4 address",
    hint: "write an address such as \"192.168.1.100\"",
    pattern: "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$",
};
const IP: TextForm = TextForm {
    what: "an IP address",
    hint: "write an address such as \"127.0.0.1\"",
    pattern: "^[0-9A-Fa-f.:]+$",
};
const NETWORK: TextForm = TextForm {
    what: "an IPv4 address with the network's length",
    hint: "write the box's address and the network's length: \"192.168.1.1/24\"",
    pattern: "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$",
};
const PORT: TextForm = TextForm {
    what: "a port",
    hint: "write \"mac:02:00:5e:00:53:01\", \"path:pci-0000:00:03.0\" or a link's name such as \"eth1\"",
    pattern: "^(mac:[0-9A-Fa-f:]{17}|path:[!-~]+|[!-~]{1,15})$",
};
const PORT_OR_AUTO: TextForm = TextForm {
    what: "a port, or \"auto\"",
    hint: "write \"auto\", \"mac:...\", \"path:...\" or a link's name",
    pattern: PORT.pattern,
};
const RESOLVER: TextForm = TextForm {
    what: "a resolver's address, with a port where it is not 53",
    hint: "write an address such as \"9.9.9.9\" or \"9.9.9.9:53\"",
    pattern: "^[0-9A-Fa-f.:\\[\\]%]+$",
};
const TIME_SERVER: TextForm = TextForm {
    what: "a time server's address or name, with a port where it is not 123",
    hint: "write an address or a name such as \"ntp.example.net\"",
    pattern: "^[0-9A-Za-z_.:\\[\\]%-]+$",
};
const RECORD_VALUE: TextForm = TextForm {
    what: "an address, a name or a text, by the record's type",
    hint: "write an address, a name or a text",
    pattern: "",
};

/// The whole.
pub const CONFIGURATION: SectionDescription = SectionDescription {
    path: "",
    sentence: "The configuration of a Lintel box. What is not written has its default.",
    keys: &[
        key(
            "version",
            Kind::Number {
                min: 1,
                max: super::version::VERSION as i64,
                unit: "the text's form",
            },
            "The version of this text's form. A text without it is of version 1; an older one is brought forward when it is read.",
        ),
        section("system", &SYSTEM),
        section("wan", &WAN),
        section("lan", &LAN),
        section("dhcp", &DHCP),
        section("dns", &DNS),
        section("ntp", &NTP),
        section("run", &RUN),
    ],
};

pub(super) const SYSTEM: SectionDescription = SectionDescription {
    path: "system",
    sentence: "The box itself.",
    keys: &[key(
        "hostname",
        Kind::Text(&HOST),
        "The box's own name; it answers to it in DNS.",
    )],
};

pub(super) const WAN: SectionDescription = SectionDescription {
    path: "wan",
    sentence: "The way to the internet: which port leads there (\"auto\" finds it), and how the address comes about (\"dhcp\", or \"none\" for a box without internet).",
    keys: &[
        key(
            "port",
            Kind::Text(&PORT_OR_AUTO),
            "The port that leads to the internet. \"auto\" means the one that the board labels so, else the one on which a DHCP server answers.",
        ),
        key(
            "kind",
            Kind::Word(&["dhcp", "none"]),
            "How the address there comes about: \"dhcp\" asks the provider or the modem, \"none\" serves the household alone.",
        ),
    ],
};

pub(super) const LAN: SectionDescription = SectionDescription {
    path: "lan",
    sentence: "The household's network: the box's address there, its ports (none named: every port that is not the WAN), and the domain of its names.",
    keys: &[
        key(
            "address",
            Kind::Text(&NETWORK),
            "The box's address and the network's length.",
        ),
        key(
            "ports",
            Kind::Texts {
                form: &PORT,
                entries_max: LAN_PORTS_MAX,
            },
            "Ports that belong to it; none named means every port that is not the WAN.",
        ),
        key(
            "domain",
            Kind::Text(&LAN_DOMAIN),
            "Domain under which the household's names live.",
        ),
    ],
};

pub(super) const DHCP: SectionDescription = SectionDescription {
    path: "dhcp",
    sentence: "Addresses for the household's devices.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            "Whether the box gives addresses at all.",
        ),
        key(
            "lease_s",
            Kind::Number {
                // A year; the smallest is for `lintel run`, and a box wants more.
                min: super::check::LEASE_S_MIN_RUN as i64,
                max: super::check::LEASE_S_MAX as i64,
                unit: "seconds",
            },
            "How long a device may keep its address, seconds.",
        ),
        section("pool", &POOL),
        KeyDescription {
            name: "reservations",
            required: false,
            kind: Kind::Sections {
                entry: &RESERVATION,
                entries_max: RESERVATIONS_MAX,
            },
            sentence: "",
        },
    ],
};

pub(super) const POOL: SectionDescription = SectionDescription {
    path: "dhcp.pool",
    sentence: "The addresses to give, both ends included. Without it: .100 to .249 of a /24, else the network's upper half.",
    keys: &[
        needed("first", Kind::Text(&IPV4), "First address given."),
        needed("last", Kind::Text(&IPV4), "Last address given."),
    ],
};

pub(super) const RESERVATION: SectionDescription = SectionDescription {
    path: "dhcp.reservations",
    sentence: "A fixed address for one device.",
    keys: &[
        needed("mac", Kind::Text(&MAC), "The device's hardware address."),
        needed(
            "address",
            Kind::Text(&IPV4),
            "Its address, inside the household's network.",
        ),
        key("name", Kind::Text(&HOST), "Its name in DNS."),
    ],
};

pub(super) const DNS: SectionDescription = SectionDescription {
    path: "dns",
    sentence: "Names: the resolvers to ask (none named: the provider's), whether public names may not point into private networks, and the size of the memory for answers.",
    keys: &[
        key(
            "upstreams",
            Kind::Texts {
                form: &RESOLVER,
                entries_max: UPSTREAMS_MAX,
            },
            "Resolvers to ask; none named means those that the provider names.",
        ),
        key(
            "rebind_protection",
            Kind::Flag,
            "Drop answers for public names that point into private networks.",
        ),
        key(
            "cache_bytes_max",
            Kind::Number {
                min: 65_536,
                max: 268_435_456,
                unit: "octets",
            },
            "Most octets of answers kept in memory.",
        ),
        KeyDescription {
            name: "records",
            required: false,
            kind: Kind::Sections {
                entry: &RECORD,
                entries_max: RECORDS_MAX,
            },
            sentence: "",
        },
    ],
};

pub(super) const RECORD: SectionDescription = SectionDescription {
    path: "dns.records",
    sentence: "A name of the household's own.",
    keys: &[
        needed(
            "name",
            Kind::Text(&DOMAIN),
            "Its name; one without a dot lives under the household's domain.",
        ),
        needed(
            "type",
            Kind::Word(&["A", "AAAA", "CNAME", "TXT", "PTR"]),
            "What it holds: an IPv4 address, an IPv6 address, another name, a text, or the name of an address.",
        ),
        needed(
            "value",
            Kind::Text(&RECORD_VALUE),
            "The address, the name or the text.",
        ),
        key(
            "ttl",
            Kind::Number {
                min: 0,
                max: i32::MAX as i64,
                unit: "seconds",
            },
            "How long others may remember it, seconds.",
        ),
    ],
};

pub(super) const NTP: SectionDescription = SectionDescription {
    path: "ntp",
    sentence: "The clock: time servers to ask (by address or name), names that stand for many of them, whether the provider's are asked too, and whether the box tells the household's devices the time.",
    keys: &[
        key(
            "servers",
            Kind::Texts {
                form: &TIME_SERVER,
                entries_max: TIME_SERVERS_MAX,
            },
            "Time servers to ask, by address or name.",
        ),
        key(
            "pools",
            Kind::Texts {
                form: &TIME_SERVER,
                entries_max: TIME_SERVERS_MAX,
            },
            "Names that stand for many servers, of which a few are asked.",
        ),
        key(
            "provider",
            Kind::Flag,
            "Ask the time servers that the provider names, too.",
        ),
        key(
            "serve",
            Kind::Flag,
            "Answer the household's devices, and name the box to them as their time server.",
        ),
    ],
};

pub(super) const RUN: SectionDescription = SectionDescription {
    path: "run",
    sentence: "Only for `lintel run`: where the roles listen.",
    keys: &[
        key(
            "address",
            Kind::Text(&IP),
            "Address of the listening sockets; unspecified means every local address.",
        ),
        port("dns_port", "DNS over UDP and TCP."),
        port("dhcp_port", "The DHCP server."),
        port("http_port", "The web front."),
        port("https_port", "The web front over TLS."),
        port("ntp_port", "NTP."),
        key(
            "clock_error_ms",
            Kind::Number {
                min: -CLOCK_ERROR_MS_MAX,
                max: CLOCK_ERROR_MS_MAX,
                unit: "milliseconds",
            },
            "How far ahead the pretended clock begins, milliseconds; behind when negative.",
        ),
        key(
            "sandbox",
            Kind::Flag,
            "Whether the roles keep their uid and sandbox; without, debuggers work.",
        ),
    ],
};

const fn key(name: &'static str, kind: Kind, sentence: &'static str) -> KeyDescription {
    KeyDescription {
        name,
        required: false,
        kind,
        sentence,
    }
}

const fn needed(name: &'static str, kind: Kind, sentence: &'static str) -> KeyDescription {
    KeyDescription {
        name,
        required: true,
        kind,
        sentence,
    }
}

const fn port(name: &'static str, sentence: &'static str) -> KeyDescription {
    let kind = Kind::Number {
        min: 1,
        max: 65_535,
        unit: "port",
    };
    key(name, kind, sentence)
}

const fn section(name: &'static str, section: &'static SectionDescription) -> KeyDescription {
    key(name, Kind::Section(section), "")
}
