//! controld: the real core over the real store, and the loop and disk around it.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_ipc::call::{Call, Reply};
use lintel_ipc::init::{InitReply, InitRequest, Start};
use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_roles::controld::core::{Core, Input, Now, Output, Via};
use serde_json::Value;

use super::Router;
use crate::durable::Disk;
use crate::plant::Plant;
use crate::properties::{Property, Violation};
use crate::world::{Alarm, Event, Outside, Said, Who};

/// Messages that wait while controld waits for the disk: what the channels' buffers hold.
const INBOX_MAX: usize = 4096;

/// The role.
pub struct Controld {
    /// The machine, while the role runs.
    pub core: Option<Core>,
    /// The disk under it.
    pub disk: Disk,
    start: Start,
    lives: u64,
    inbox: VecDeque<Input>,
    /// What is said when the flush has ended.
    held: Vec<Output>,
    flushing: bool,
    alarm: Alarm,
    /// Texts of `config.apply` on their way, by the call's number.
    applying: BTreeMap<u64, String>,
    /// Leases that the household ends, by the call's number.
    forgetting: BTreeMap<u64, Ipv4Addr>,
}

impl Controld {
    pub(super) fn new(labelled: bool, factory_config: String) -> Self {
        let wan_path = labelled.then(|| "pci-0000:00:03.0".to_owned());
        Self {
            core: None,
            disk: Disk::default(),
            start: Start {
                board: BoardSpec {
                    name: "sim".to_owned(),
                    title: "Simulation".to_owned(),
                    wan_path,
                },
                factory_config,
                version: "0".to_owned(),
                boot_id: "0".to_owned(),
                ..Start::of(RoleName::Controld)
            },
            lives: 0,
            inbox: VecDeque::new(),
            held: Vec::new(),
            flushing: false,
            alarm: Alarm::default(),
            applying: BTreeMap::new(),
            forgetting: BTreeMap::new(),
        }
    }

    /// Whether it waits for the disk, and others for it.
    pub fn busy(&self) -> bool {
        self.flushing || !self.inbox.is_empty()
    }

    /// Something waits to be heard.
    pub(super) fn hear(&mut self, input: Input) {
        if self.core.is_some() && self.inbox.len() < INBOX_MAX {
            self.inbox.push_back(input);
        }
    }

    /// The process ends; what it committed is in the page cache.
    pub(super) fn killed(&mut self, out: &mut Outside) {
        let image = self.core.as_mut().and_then(|core| image(out, core));
        if let Some(image) = image {
            self.disk.process_ends(image);
        }
        self.forget(out);
    }

    /// The power goes.
    pub(super) fn power_cut(&mut self, out: &mut Outside) {
        let cached = self.core.as_mut().and_then(|core| image(out, core));
        self.disk.cut(cached, &mut out.dice);
        self.forget(out);
    }

    fn forget(&mut self, out: &mut Outside) {
        // What was done and not answered yet may be done or not.
        for address in std::mem::take(&mut self.forgetting).into_values() {
            out.ledger.forgotten(address);
        }
        self.core = None;
        self.inbox.clear();
        self.held.clear();
        self.flushing = false;
        self.alarm = Alarm::default();
        self.applying.clear();
    }
}

impl Router {
    pub(super) fn controld_starts(&mut self, out: &mut Outside) {
        let now = self.now(out);
        let store = self.controld.disk.open();
        self.controld.lives += 1;
        let mut start = self.controld.start.clone();
        start.boot_id = format!("{:032x}", self.boot);
        let core = Core::new(now, start, store, Box::new(out.dice.rng()));
        out.trace.hear(out.now);
        match core {
            Ok(core) => self.controld.core = Some(core),
            Err(error) => {
                out.breaks(Violation {
                    property: Property::Revisions,
                    text: format!("controld does not start: {error}"),
                });
                return;
            }
        }
        self.check_stored(out);
        self.flush_if_promised(out, 0);
        self.controld_alarm(out);
    }

    /// A message for controld.
    pub(super) fn controld_hears(&mut self, out: &mut Outside, input: Input) {
        self.controld.hear(input);
        self.controld_turn(out);
    }

    /// The householder calls.
    pub fn call(&mut self, out: &mut Outside, call: Call) {
        if self.controld.core.is_none() {
            return;
        }
        if let Some(text) = call.params.get("toml").and_then(Value::as_str) {
            self.controld.applying.insert(call.id, text.to_owned());
        }
        // From now on it may be gone, whether dhcpd runs to hear of it or not.
        let ip = call.params.get("ip").and_then(Value::as_str);
        if let Some(Ok(address)) = ip.map(str::parse) {
            out.ledger.forgotten(address);
            self.controld.forgetting.insert(call.id, address);
        }
        let via = Via::Control(1);
        let memory = None;
        self.controld_hears(out, Input::Call { via, call, memory });
    }

    /// controld's deadline has come.
    pub fn controld_wakes(&mut self, out: &mut Outside) {
        self.controld.alarm.rang(out.now);
        if self.controld.flushing {
            return; // It is looked at again when the flush has ended.
        }
        self.controld_turn(out);
        if self.controld.flushing {
            return;
        }
        let now = self.now(out);
        let Some(core) = &mut self.controld.core else {
            return;
        };
        let promised = core.store_mut().promised_writes();
        core.handle_timeout(now);
        self.after_core(out, promised);
        self.controld_alarm(out);
    }

    /// The flush has ended: what was promised is said.
    pub fn flushed(&mut self, out: &mut Outside, life: u64) {
        if life != self.controld.lives || !self.controld.flushing {
            return;
        }
        self.controld.flushing = false;
        self.controld.disk.end_flush();
        self.clock_on_disk |= self.clock_noticed;
        for output in std::mem::take(&mut self.controld.held) {
            self.controld_says(out, output);
        }
        self.controld_wakes(out);
    }

    /// Takes what waits, until it waits for the disk itself.
    pub(super) fn controld_turn(&mut self, out: &mut Outside) {
        while !self.controld.flushing
            && let Some(input) = self.next_input()
        {
            let now = self.now(out);
            let Some(core) = &mut self.controld.core else {
                return;
            };
            let promised = core.store_mut().promised_writes();
            core.handle(now, input);
            self.after_core(out, promised);
        }
        self.controld_alarm(out);
    }

    /// The next input; everything that dhcpd said by now is one.
    fn next_input(&mut self) -> Option<Input> {
        let input = self.controld.inbox.pop_front()?;
        let Input::Dhcpd(mut group) = input else {
            return Some(input);
        };
        let mut others = VecDeque::new();
        for waiting in self.controld.inbox.drain(..) {
            match waiting {
                Input::Dhcpd(more) => group.extend(more),
                other => others.push_back(other),
            }
        }
        self.controld.inbox = others;
        Some(Input::Dhcpd(group))
    }

    fn after_core(&mut self, out: &mut Outside, promised: u64) {
        self.clock_noticed = true;
        out.trace.hear(out.now);
        let Some(core) = &mut self.controld.core else {
            return;
        };
        let mut said = Vec::new();
        while let Some(output) = core.poll() {
            said.push(output);
        }
        if self.flush_if_promised(out, promised) {
            self.controld.held.extend(said);
        } else {
            self.clock_on_disk = true;
            for output in said {
                self.controld_says(out, output);
            }
        }
    }

    /// What was committed takes its time to the disk; controld waits for it.
    fn flush_if_promised(&mut self, out: &mut Outside, promised: u64) -> bool {
        let Some(core) = &mut self.controld.core else {
            return false;
        };
        if core.store_mut().promised_writes() == promised {
            return false;
        }
        if let Some(image) = image(out, core) {
            self.controld.disk.begin_flush(image);
        }
        let slow = out.dice.per_mille(20);
        let wait = if slow {
            Duration::from_millis(out.dice.range(50, 6_500))
        } else {
            Duration::from_micros(out.dice.range(100, 20_000))
        };
        let life = self.controld.lives;
        if out.plant == Some(Plant::SkippedSync) {
            // The answers leave at once; the disk follows when the kernel writes back.
            self.controld.disk.write_back_later();
            return false;
        }
        self.controld.flushing = true;
        out.after(wait, Event::Flushed { life });
        true
    }

    fn controld_says(&mut self, out: &mut Outside, output: Output) {
        let (role, said) = match output {
            Output::Netd(message) => (RoleName::Netd, Said::ToNetd(message)),
            Output::Wand(message) => (RoleName::Wand, Said::ToWand(message)),
            Output::Dhcpd(message) => (RoleName::Dhcpd, Said::ToDhcpd(message)),
            Output::Dnsd(message) => (RoleName::Dnsd, Said::ToDnsd(message)),
            Output::Init { id, request } => {
                let reply = match request {
                    InitRequest::Services => InitReply::Services(Vec::new()),
                    InitRequest::Logs { .. } => InitReply::Logs(Vec::new()),
                    _ => InitReply::Done,
                };
                self.controld.hear(Input::Init { id, reply });
                return;
            }
            Output::Control { reply, .. } => return self.replied(out, &reply),
            Output::Webd(_)
            | Output::Timed(_)
            | Output::Measure(_)
            | Output::Events(_)
            | Output::Seal(_)
            | Output::Restart => return,
        };
        self.tell(out, role, said);
    }

    /// What was answered is promised.
    fn replied(&mut self, out: &mut Outside, reply: &Reply) {
        let text = self.controld.applying.remove(&reply.id);
        // One that was given while the call waited for the disk is ended with it.
        if let Some(address) = self.controld.forgetting.remove(&reply.id) {
            out.ledger.forgotten(address);
        }
        let Ok(value) = &reply.result else {
            out.note("user", || format!("is told no: {:?}", reply.result));
            return;
        };
        let outcome = value
            .get("outcome")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let revision = value.get("revision").and_then(Value::as_u64);
        out.note("user", || {
            format!("call {}: {outcome} {revision:?}", reply.id)
        });
        if let (Some(text), Some(revision), true) =
            (text, revision, matches!(outcome, "applied" | "waiting"))
        {
            out.ledger.revisions.insert(revision, text);
        }
    }

    /// After any start: what was promised is there.
    fn check_stored(&mut self, out: &mut Outside) {
        let now = self.now(out);
        let Some(core) = &mut self.controld.core else {
            return;
        };
        // controld may have ended before the clock was set: its first input moves the rows.
        let note = core.store_mut().clock_note().ok().flatten();
        let counted = note.map_or(now, |note| Now::since_start(now.mono, note.start_unix_s));
        let unix_s = counted.unix_s;
        let in_force = core.revision();
        let bindings = match core.store_mut().bindings() {
            Ok(bindings) => bindings,
            Err(error) => {
                let text = format!("the bindings cannot be read: {error}");
                let property = Property::Survives;
                return out.breaks(Violation { property, text });
            }
        };
        let lost = out.ledger.survived(out.now, unix_s, &bindings, None);
        out.breaks(lost);
        let mut broken = None;
        for (number, text) in out.ledger.revisions.iter().rev().take(3) {
            match core.store_mut().revision(*number) {
                Ok(Some(revision)) if revision.toml == *text => {}
                other => broken = Some(format!("revision {number} is {other:?}")),
            }
        }
        let newest = out.ledger.revisions.keys().next_back();
        if broken.is_none() && newest.is_some_and(|newest| in_force < Some(*newest)) {
            broken = Some(format!(
                "{in_force:?} is in force, {newest:?} was answered for"
            ));
        }
        out.breaks(broken.map(|text| Violation {
            property: Property::Revisions,
            text,
        }));
    }

    fn controld_alarm(&mut self, out: &mut Outside) {
        let clocks = self.clocks(out.now);
        if self.controld.flushing {
            return;
        }
        let Some(core) = &self.controld.core else {
            return;
        };
        let at = clocks.true_time(core.deadline());
        let at = at.map(|at: Instant| at.max(out.now));
        self.controld
            .alarm
            .set(out, Who::Role(RoleName::Controld), at);
    }

    fn now(&self, out: &Outside) -> Now {
        self.clocks(out.now).now()
    }
}

fn image(out: &mut Outside, core: &mut Core) -> Option<Vec<u8>> {
    match core.store_mut().image() {
        Ok(image) => Some(image),
        Err(error) => {
            out.breaks(Violation {
                property: Property::Survives,
                text: format!("the database cannot be copied: {error}"),
            });
            None
        }
    }
}
