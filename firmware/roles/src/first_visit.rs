//! What somebody with a new box is asked, in one order wherever they are asked: on the pages of the
//! first visit, and by `lintel setup`.

use lintel_model::config::{Config, Problem, TimeServer};
use serde_json::{Value, json};

/// A question about a part of the configuration.
pub(crate) struct Question {
    /// The question.
    pub(crate) title: &'static str,
    /// What an answer looks like, for a prompt and for the label of a field.
    pub(crate) prompt: &'static str,
    /// For who does not know.
    pub(crate) help: &'static str,
    /// Where problems with the answer are told; also names the field.
    pub(crate) path: &'static str,
    /// Every answer there is, with what it means; empty where any text may be one.
    pub(crate) choices: &'static [(&'static str, &'static str)],
    /// The answer that the configuration has.
    pub(crate) current: fn(&Config) -> String,
    /// Puts an answer into the JSON form of a configuration.
    pub(crate) put: fn(&mut Value, &str),
}

/// Questions that belong together.
pub(crate) struct Step {
    /// What they are about.
    pub(crate) title: &'static str,
    /// The questions.
    pub(crate) questions: &'static [Question],
}

/// All of them, after the password and before the plan.
pub(crate) const STEPS: [Step; 3] = [
    Step {
        title: "How the internet comes",
        questions: &[WAN_KIND],
    },
    Step {
        title: "The home network",
        questions: &[LAN_ADDRESS, LAN_DOMAIN],
    },
    Step {
        title: "The box itself",
        questions: &[HOSTNAME, TIME],
    },
];

/// A configuration with an answer in it.
pub(crate) struct Answered {
    pub(crate) config: Config,
    /// The range of addresses to give lay in the network before, and was left to the box.
    pub(crate) pool_moved: bool,
}

/// The configuration of a tree in which answers were put.
pub(crate) fn answered(mut tree: Value) -> Result<Answered, Vec<Problem>> {
    let read = Config::from_json(&tree);
    let pool = |problem: &Problem| problem.path.starts_with("dhcp.pool");
    if let Err(problems) = &read
        && problems.iter().all(pool)
    {
        // The range of the old network: without one the box takes the usual of the new.
        tree["dhcp"]["pool"] = Value::Null;
        if let Ok(config) = Config::from_json(&tree) {
            return Ok(Answered {
                config,
                pool_moved: true,
            });
        }
    }
    read.map(|config| Answered {
        config,
        pool_moved: false,
    })
}

const WAN_KIND: Question = Question {
    title: "How does the box get into the internet?",
    prompt: "dhcp or none",
    help: "dhcp: a modem or the provider gives the box its address; this is most common. \
           none: the box serves the household alone, without internet.",
    path: "wan.kind",
    choices: &[
        ("dhcp", "A modem or the provider gives the box its address"),
        ("none", "Not at all: it serves the household alone"),
    ],
    current: |config| {
        let tree = serde_json::to_value(config.wan.kind).unwrap_or_default();
        tree.as_str().unwrap_or_default().to_owned()
    },
    put: |tree, answer| tree["wan"]["kind"] = json!(answer.to_ascii_lowercase()),
};

const LAN_ADDRESS: Question = Question {
    title: "Which address does the box have in the household's network?",
    prompt: "address/length",
    help: "An address of a private network and the network's length. 192.168.1.1/24 has room \
           for some 250 devices. Choose another network than your modem's or your workplace's.",
    path: "lan.address",
    choices: &[],
    current: |config| config.lan.address.to_string(),
    put: |tree, answer| {
        let answer = match answer.contains('/') {
            true => answer.to_owned(),
            false => format!("{answer}/24"),
        };
        tree["lan"]["address"] = json!(answer);
    },
};

const LAN_DOMAIN: Question = Question {
    title: "Which domain do the household's names live under?",
    prompt: "domain",
    help: "A device called \"printer\" is reached as printer.lan when the domain is \"lan\". \
           \"lan\" and \"home.arpa\" belong to nobody else.",
    path: "lan.domain",
    choices: &[],
    current: |config| config.lan.domain.to_string(),
    put: |tree, answer| tree["lan"]["domain"] = json!(answer),
};

const HOSTNAME: Question = Question {
    title: "What is the box called? It answers to this name in the household.",
    prompt: "name",
    help: "One word of letters, digits and hyphens. With the domain \"lan\" a box called \
           \"attic\" is reached as attic.lan.",
    path: "system.hostname",
    choices: &[],
    current: |config| config.system.hostname.to_string(),
    put: |tree, answer| tree["system"]["hostname"] = json!(answer),
};

const TIME: Question = Question {
    title: "Where does the box get the time from?",
    prompt: "servers",
    help: "Names or addresses of time servers, with blanks between. pool.ntp.org is run by \
           volunteers all over the world. Those that the provider names are asked too.",
    path: "ntp",
    choices: &[],
    current: |config| {
        let all = config.ntp.servers.iter().chain(&config.ntp.pools);
        let names: Vec<String> = all.map(ToString::to_string).collect();
        names.join(" ")
    },
    put: |tree, answer| {
        // A name may stand for many servers; an address is one. What is neither is left for
        // the configuration's rules to refuse.
        let name = |word: &&str| matches!(word.parse(), Ok(TimeServer::Name(..)));
        let words = answer.split([' ', ',']).filter(|word| !word.is_empty());
        let (pools, servers): (Vec<&str>, Vec<&str>) = words.partition(name);
        tree["ntp"]["pools"] = json!(pools);
        tree["ntp"]["servers"] = json!(servers);
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever takes every default changes nothing.
    #[test]
    fn the_answers_that_stand_there_change_nothing() {
        let text = "[lan]\naddress = \"10.0.0.1/16\"\n[ntp]\nservers = [\"192.0.2.1\"]\n";
        for config in [Config::default(), Config::parse(text).unwrap()] {
            let mut tree = serde_json::to_value(&config).unwrap();
            for question in STEPS.iter().flat_map(|step| step.questions) {
                let current = (question.current)(&config);
                let known = question.choices.iter().any(|(value, _)| *value == current);
                assert!(question.choices.is_empty() || known, "{}", question.path);
                (question.put)(&mut tree, &current);
            }
            let answered = answered(tree).ok().unwrap();
            assert_eq!(answered.config, config);
            assert!(!answered.pool_moved);
        }
    }
}
