//! What agents know that are called comes back to who called them, as far as the store knows: of many calls in one round trip.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, ScriptInvocation};
use vidimus_core::refusal::Refusal;

use super::super::chains::MOST_LABELS;
use super::{BORN, Store, TOGETHER, labels_key, lost, millis, read_key, unavailable};
use crate::standing::taken::Taken;

static RETURNED: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("remember.lua"), include_str!("returned.lua"))));

impl Store {
    /// What the agents know that these calls went to comes back to who called them; each with the life of its chain. What comes back first
    /// is first.
    ///
    /// # Errors
    /// `standing_unavailable`; also where the store has lost what it had, so what the agents know is not in it.
    pub async fn returned<'t>(
        &self,
        calls: impl Iterator<Item = (&'t Taken, Duration)>,
        window: Duration,
    ) -> Result<(), Refusal> {
        let born = self.born.load(Ordering::Acquire);
        let all: Vec<_> = calls.filter_map(|(taken, life)| of_call(taken, (life, window), born)).collect();
        if all.is_empty() {
            return Ok(());
        }
        let Some(connection) = self.connection.load_full() else {
            return Err(unavailable("there is no connection to it"));
        };
        for together in all.chunks(TOGETHER) {
            let mut pipe = redis::pipe();
            // It is known there when it was run before; to ask first would be one more round trip.
            pipe.load_script(&RETURNED).ignore();
            for script in together {
                pipe.invoke_script(script);
            }
            let mut own = MultiplexedConnection::clone(&connection);
            let done: RedisResult<Vec<i64>> = Box::pin(pipe.query_async(&mut own)).await;
            let done = done.map_err(|error| self.failed(&connection, error))?;
            // Over a connection that is whole: it is connected to anew, and told again what it had.
            if done.len() != together.len() || done.iter().any(|one| *one != 1) {
                self.is_broken(&connection);
                return Err(lost());
            }
        }
        Ok(())
    }
}

/// `None` of a call to no agent.
fn of_call(
    taken: &Taken,
    (life, window): (Duration, Duration),
    born: i64,
) -> Option<ScriptInvocation<'static>> {
    let flow = taken.flow.as_ref()?;
    let callee = flow.callee.as_ref()?;
    let mut script = RETURNED.prepare_invoke();
    script.key(BORN).key(labels_key(&taken.transaction)).key(read_key(callee));
    for caller in &flow.callers {
        script.key(read_key(caller));
    }
    script.arg(millis(life)).arg(millis(window)).arg(flow.person.as_deref().unwrap_or_default());
    script.arg(MOST_LABELS).arg(born);
    Some(script)
}
