//! What upstreams send, or fail to: the half of the machine that faces outwards.

use std::net::SocketAddr;

use embassy_time::{Duration, Instant};
use lintel_wire::dns::{Packet, Rcode};

use super::{ATTEMPTS_PER_QUESTION_MAX, Forwarder};
use crate::dns::accept::{self, QuestionMatch};
use crate::dns::counters::Reason;
use crate::dns::io::{Event, Output, SocketSlot};
use crate::dns::open::Via;
use crate::rng::Rng;

/// Replies that are not its own, after which a question goes over TCP: somebody is guessing.
const MISSES_MAX: u8 = 8;
impl Forwarder {
    /// Judges a message that came to `slot`; over TCP the connection says from whom.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        slot: SocketSlot,
        from: Option<SocketAddr>,
        message: &[u8],
        rng: &mut dyn Rng,
    ) {
        let Some(attempt) = self.attempts.get_mut(slot) else {
            return self.counters.drop(Reason::ReplyStale);
        };
        let (at, chosen, via) = (attempt.open, attempt.upstream, attempt.via);
        let (cased, edns) = (attempt.cased, attempt.edns);
        let rtt = now.saturating_duration_since(attempt.sent_at);
        let Some(upstream) = self.upstreams.get_mut(chosen) else {
            return;
        };
        let from_other = from.is_some_and(|from| !same_socket(from, upstream.address));
        let packet = Packet::new_checked(message)
            .ok()
            .filter(|packet| packet.flags().response);
        let matched = packet.as_ref().map_or(QuestionMatch::No, |packet| {
            accept::question_match(packet, &attempt.question)
        });
        let reason = match &packet {
            _ if from_other => Some(Reason::ReplySource),
            None => Some(Reason::ReplyMalformed),
            Some(packet) if packet.id() != attempt.id => Some(Reason::ReplyId),
            _ => match matched {
                QuestionMatch::Exact => None,
                QuestionMatch::OtherCase if cased => Some(Reason::ReplyCase),
                QuestionMatch::OtherCase => None,
                // Old servers answer EDNS with nothing but a header. That is never an answer, but
                // reason enough to ask the same server in another way.
                QuestionMatch::Missing if edns => None,
                QuestionMatch::Missing | QuestionMatch::No => Some(Reason::ReplyQuestion),
            },
        };
        let via_tcp = via == Via::Tcp;
        if let Some(reason) = reason {
            self.counters.drop(reason);
            attempt.misses = attempt.misses.saturating_add(1);
            let misses = attempt.misses;
            match reason {
                // Over TCP nobody forges blindly: the server does change letters.
                Reason::ReplyCase if via_tcp => {
                    upstream.changes_case(now);
                    self.outputs
                        .push_back(Output::Event(Event::UpstreamChangesCase(upstream.address)));
                }
                Reason::ReplyCase => return self.resend(now, slot, at, chosen, Via::Tcp, rng),
                _ if via_tcp => {
                    // On a connection of our own anything wrong is the server's fault.
                    self.close(slot);
                    self.blame(now, chosen, false);
                    return self.ask_next(now, at, rng);
                }
                _ if misses >= MISSES_MAX => {
                    return self.resend(now, slot, at, chosen, Via::Tcp, rng);
                }
                _ => return,
            }
        }
        let Some(packet) = packet else { return };
        if matched == QuestionMatch::Missing {
            self.refuses_edns(now, chosen);
            return self.resend(now, slot, at, chosen, via, rng);
        }
        if packet.flags().truncated && !via_tcp {
            self.heard(chosen, rtt);
            return self.resend(now, slot, at, chosen, Via::Tcp, rng);
        }
        let Some(question) = self.open.get(at) else {
            return;
        };
        let verdict = accept::judge(
            &packet,
            &question.question,
            question.dnssec_ok,
            edns,
            &self.config,
        );
        match verdict {
            accept::Verdict::Answer(answer) => {
                self.heard(chosen, rtt);
                self.finish(now, at, answer);
            }
            accept::Verdict::Rebind(answer) => {
                self.counters.drop(Reason::ReplyRebind);
                self.heard(chosen, rtt);
                self.finish(now, at, answer);
            }
            accept::Verdict::NoEdns => {
                self.refuses_edns(now, chosen);
                self.resend(now, slot, at, chosen, via, rng);
            }
            accept::Verdict::Failed(rcode) => {
                self.close(slot);
                if rcode == Rcode::SERVFAIL {
                    // It is there, only this question failed.
                    self.heard(chosen, rtt);
                } else {
                    self.blame(now, chosen, false);
                }
                if let Some(question) = self.open.get_mut(at) {
                    question.said_failed = true;
                }
                self.ask_next(now, at, rng);
            }
            accept::Verdict::Dropped(reason) => {
                self.counters.drop(reason);
                self.close(slot);
                self.ask_next(now, at, rng);
            }
        }
    }

    /// Asks the same upstream once more in another way.
    fn resend(
        &mut self,
        now: Instant,
        slot: SocketSlot,
        at: usize,
        chosen: usize,
        via: Via,
        rng: &mut dyn Rng,
    ) {
        self.close(slot);
        if self
            .open
            .get(at)
            .is_some_and(|question| question.sent < ATTEMPTS_PER_QUESTION_MAX)
        {
            self.send(now, at, chosen, via, rng);
        } else {
            self.ask_next(now, at, rng);
        }
    }

    /// An upstream answered.
    fn heard(&mut self, chosen: usize, rtt: Duration) {
        let Some(upstream) = self.upstreams.get_mut(chosen) else {
            return;
        };
        if upstream.answered(rtt) {
            self.outputs
                .push_back(Output::Event(Event::UpstreamBack(upstream.address)));
            self.cache.forget_failures();
        }
    }

    /// An upstream did not answer, unless that was counted already.
    pub(super) fn blame(&mut self, now: Instant, chosen: usize, blamed: bool) {
        let Some(upstream) = self.upstreams.get_mut(chosen).filter(|_| !blamed) else {
            return;
        };
        if upstream.failed(now) {
            self.outputs
                .push_back(Output::Event(Event::UpstreamDown(upstream.address)));
        }
    }

    /// Blames those who have been silent for as long as they are waited for.
    pub(super) fn blame_silent(&mut self, now: Instant, at: usize) {
        let slots = self
            .open
            .get(at)
            .map(|question| question.attempts.clone())
            .unwrap_or_default();
        for slot in slots {
            let Some(attempt) = self.attempts.get_mut(slot) else {
                continue;
            };
            let blamed = std::mem::replace(&mut attempt.blamed, true);
            let chosen = attempt.upstream;
            self.blame(now, chosen, blamed);
        }
    }

    fn refuses_edns(&mut self, now: Instant, chosen: usize) {
        let Some(upstream) = self.upstreams.get_mut(chosen) else {
            return;
        };
        upstream.refuses_edns(now);
        self.outputs
            .push_back(Output::Event(Event::UpstreamRefusesEdns(upstream.address)));
    }
}

/// Same address and port; scope and flow label of IPv6 are not the sender's to choose.
fn same_socket(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical() && a.port() == b.port()
}
