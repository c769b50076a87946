//! Calls to controld, and the streams of events whose sessions they vouch for.

use embassy_time::Instant;
use lintel_ipc::call::{Call, Caller, Origin, Reply};
use lintel_ipc::webd::{FromWebd, Happened};
use lintel_rt::poller::Token;
use serde_json::Value;

use super::{CALLS_MAX, Client, Shell, Stream, Waiter};
use crate::webd::app::token_of;
use crate::webd::front::admission::Source;
use crate::webd::front::answer::{self, Answer};
use crate::webd::front::connection::{Input, Request, Surroundings};
use crate::webd::front::events::HEARTBEAT;
use crate::webd::front::head::Refusal;
use crate::webd::front::limits;

impl Shell {
    pub(super) fn on_jobs(&mut self) {
        self.jobs.drain_wake();
        while let Some(job) = self.jobs.next() {
            self.call(
                job.method,
                job.params,
                job.caller,
                Waiter::Worker(job.reply),
            );
        }
    }

    /// Sends a call. Without a session the waiter is dropped, which is its answer.
    pub(super) fn call(
        &mut self,
        method: &str,
        params: Value,
        caller: Caller,
        waiter: Waiter,
    ) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        let id = self.next_call;
        self.next_call += 1;
        let call = Call {
            id,
            method: method.to_owned(),
            params,
            caller,
        };
        if let Err(error) = session.send(&FromWebd::Call(call)) {
            self.lose_session(&error);
            return false;
        }
        self.calls.insert(id, waiter);
        while self.calls.len() > CALLS_MAX {
            self.calls.pop_first();
        }
        self.watch_session();
        true
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        match self.calls.remove(&reply.id) {
            // A worker that waits no longer has closed its end.
            Some(Waiter::Worker(to)) => {
                let _ = to.try_send(reply);
            }
            Some(Waiter::Stream {
                client,
                token,
                last_id,
            }) => self.begin_stream(client, token, last_id.as_deref(), holds(&reply)),
            Some(Waiter::Recheck(client)) if !holds(&reply) => {
                self.clients.remove(&client);
            }
            Some(Waiter::Recheck(_)) | None => {}
        }
    }

    pub(super) fn ask_stream(&mut self, id: Token, request: &Request) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let source = Source::from(client.peer);
        let open = |(_, c): &(&Token, &Client)| c.stream.is_some();
        let own = |(_, c): &(&Token, &Client)| Source::from(c.peer) == source;
        let all = self.clients.iter().filter(open).count();
        let ours = self.clients.iter().filter(open).filter(own).count();
        if all >= limits::STREAMS_MAX || ours >= limits::STREAMS_PER_SOURCE_MAX {
            return self.answer(id, &answer::refusal(Refusal::Busy, false));
        }
        let token = token_of(&request.head.fields, client.tls.is_some());
        let waiter = Waiter::Stream {
            client: id,
            token: token.clone(),
            last_id: request.head.field("last-event-id").map(str::to_owned),
        };
        let caller = caller(client, token);
        if !self.call("auth.status", serde_json::json!({}), caller, waiter) {
            self.answer(id, &answer::refusal(Refusal::Busy, false));
        }
    }

    pub(super) fn begin_stream(
        &mut self,
        id: Token,
        token: Option<String>,
        last: Option<&str>,
        holds: bool,
    ) {
        let now = self.now();
        if !holds {
            let problem = serde_json::json!({
                "status": 401,
                "type": "not-logged-in",
                "title": "A session is needed",
            });
            let refused = Answer {
                status: 401,
                fields: vec![("content-type", "application/problem+json".to_owned())],
                body: problem.to_string().into_bytes(),
            };
            self.answer(id, &refused);
            return self.settle(id);
        }
        let mut first = answer::stream_head();
        first.extend_from_slice(&self.history.resume(last));
        self.stream_input(id, Input::Stream(&first));
        if let Some(client) = self.clients.get_mut(&id) {
            client.stream = Some(Stream {
                token,
                heartbeat_at: now + limits::STREAM_HEARTBEAT,
                recheck_at: now + limits::STREAM_RECHECK,
            });
        }
    }

    pub(super) fn on_event(&mut self, event: &Happened) {
        let frame = self.history.push(event).to_vec();
        let streams = self.clients.iter().filter(|(_, c)| c.stream.is_some());
        let ids: Vec<Token> = streams.map(|(id, _)| *id).collect();
        for id in ids {
            self.stream_input(id, Input::Event(&frame));
        }
    }

    pub(super) fn stream_input(&mut self, id: Token, input: Input<'_>) {
        let now = self.now();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: 0,
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client.machine.handle_input(now, input, around);
            self.settle(id);
        }
    }

    pub(super) fn keep_stream(&mut self, id: Token, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some(stream) = &mut client.stream else {
            return;
        };
        let beat = stream.heartbeat_at <= now;
        if beat {
            stream.heartbeat_at = now + limits::STREAM_HEARTBEAT;
        }
        if stream.recheck_at <= now {
            stream.recheck_at = now + limits::STREAM_RECHECK;
            let token = stream.token.clone();
            let caller = caller(client, token);
            // While controld is away the stream stays: it says nothing new.
            self.call(
                "auth.status",
                serde_json::json!({}),
                caller,
                Waiter::Recheck(id),
            );
        }
        if beat {
            self.stream_input(id, Input::Event(HEARTBEAT));
        }
    }
}

fn caller(client: &Client, token: Option<String>) -> Caller {
    Caller {
        origin: Origin::Web,
        address: Some(client.peer),
        link_index: client.link,
        token,
    }
}

/// Whether `auth.status` says that this caller may watch.
fn holds(reply: &Reply) -> bool {
    let flag = |value: &Value, name: &str| value.get(name).and_then(Value::as_bool) == Some(true);
    reply
        .result
        .as_ref()
        .is_ok_and(|value| flag(value, "logged_in") || flag(value, "data_failed"))
}
