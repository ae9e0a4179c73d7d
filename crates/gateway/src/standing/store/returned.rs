//! What agents know that are called comes back to who called them, as far as the store knows: of many calls in one round trip.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{RedisResult, Script, ScriptInvocation};
use vidimus_core::call::Collected;
use vidimus_core::refusal::Refusal;

use super::super::chains::MOST_LABELS;
use super::{BORN, Store, TOGETHER, collected, labels_key, lost, millis, not_understood, read_key};
use crate::standing::taken::Taken;

static RETURNED: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("remember.lua"), include_str!("returned.lua"))));

impl Store {
    /// What the agents know that these calls went to comes back to who called them; each with the life of its chain. What comes back first
    /// is first. Gives the calls to agents, each with what that knows.
    ///
    /// # Errors
    /// `standing_unavailable`; also where the store has lost what it had, so what the agents know is not in it.
    pub async fn returned<'t>(
        &self,
        calls: impl Iterator<Item = (&'t Taken, Duration)>,
        window: Duration,
    ) -> Result<Vec<(&'t Taken, Vec<Collected>)>, Refusal> {
        let live = self.live()?;
        let script = |(taken, life)| Some((taken, of_call(taken, (life, window), live.born())?));
        let all: Vec<_> = calls.filter_map(script).collect();
        let mut found = Vec::with_capacity(all.len());
        for together in all.chunks(TOGETHER) {
            let mut pipe = redis::pipe();
            // It is known there when it was run before; to ask first would be one more round trip.
            pipe.load_script(&RETURNED).ignore();
            for (_, script) in together {
                pipe.invoke_script(script);
            }
            let mut own = live.connection();
            let done: RedisResult<Vec<Vec<String>>> = Box::pin(pipe.query_async(&mut own)).await;
            let done = done.map_err(|error| live.failed(error))?;
            if done.len() != together.len() {
                return Err(not_understood());
            }
            for ((taken, _), answer) in together.iter().zip(done) {
                match answer.split_first().map(|(says, knows)| (says.as_str(), knows)) {
                    Some(("ok", knows)) => {
                        let knows: Option<Vec<Collected>> = knows.chunks(2).map(collected).collect();
                        found.push((*taken, knows.ok_or_else(not_understood)?));
                    }
                    // Over a connection that is whole: it is connected to anew, and told again what it had.
                    Some(("lost", [])) => {
                        live.is_broken();
                        return Err(lost());
                    }
                    _ => return Err(not_understood()),
                }
            }
        }
        Ok(found)
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
