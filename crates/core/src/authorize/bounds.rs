//! What is refused whatever policies say: a chain that was ended, what is beyond the limits of a record, and what cannot be seen as it is.

use super::*;

/// A call of a chain that was ended.
pub(super) fn ended(call: &Call<'_>) -> Option<Finding> {
    let by = call.so_far.ended.as_ref()?;
    Some(refused(Code::ChainEnded, by.clone(), [(ENDED_BY.into(), by.clone())].into()))
}

/// The limits of the agent's own record on what a whole chain may come to.
pub(super) fn too_much(call: &Call<'_>) -> Option<Finding> {
    let Principal::Agent(agent) = call.principal() else { return None };
    let limits = agent.delegation;
    let beyond = |limit, maximum: Option<u64>, name, found: i64| {
        let maximum = maximum.and_then(|maximum| i64::try_from(maximum).ok())?;
        (found > maximum).then(|| beyond(agent, Code::ChainLimit, limit, maximum, (name, found)))
    };
    let cycle = || {
        let acted_before = limits.no_cycles && cycle(call);
        acted_before.then(|| {
            let facts: [Fact; 2] = [
                ("context.chain.cycle".into(), "true".into()),
                ("principal.delegation.allowCycles".into(), "false".into()),
            ];
            refused(Code::ChainLimit, limit_name(agent, "allowCycles"), facts.into())
        })
    };
    // What a chain had come to does not stand in the record of a call that continued it.
    if matches!(call.ask.arguments, Arguments::Recorded(_)) && !call.chain().actors.is_empty() {
        return cycle();
    }
    beyond("maxCalls", limits.max_calls.map(u64::from), "context.chain.calls", call.so_far.calls)
        .or_else(|| beyond("maxTokens", limits.max_tokens, "context.chain.tokens", call.chain_tokens()))
        .or_else(|| beyond("maxSpend", limits.max_spend, "context.chain.spend", call.chain_spend()))
        .or_else(|| beyond("maxAge", limits.max_age, "context.chain.age", call.chain_age()))
        .or_else(cycle)
}

/// The limit on how deep a chain may be: that of the agent's own record, and that of every chain.
pub(super) fn too_deep(call: &Call<'_>) -> Option<Finding> {
    let found = ("context.delegation_depth", call.chain().depth());
    if let Principal::Agent(agent) = call.principal()
        && let Some(maximum) = agent.delegation.max_depth
        && found.1 > i64::from(maximum)
    {
        return Some(beyond(agent, Code::DelegationTooDeep, "maxDepth", maximum.into(), found));
    }
    let maximum = i64::try_from(MAX_DEPTH).unwrap_or(i64::MAX);
    let limit = ("vidimus.max_depth".into(), maximum.to_string().into());
    (found.1 > maximum).then(|| limited(Code::DelegationTooDeep, "vidimus/max-depth".into(), limit, found))
}

/// The limit of the agent's own record on how many destinations it may reach in one chain.
pub(super) fn too_wide(call: &Call<'_>) -> Option<Finding> {
    let Principal::Agent(agent) = call.principal() else { return None };
    let (maximum, fan_out) = (i64::from(agent.delegation.max_fan_out?), call.so_far.fan_out);
    (fan_out > maximum)
        .then(|| beyond(agent, Code::DelegationTooWide, "maxFanOut", maximum, ("context.fan_out", fan_out)))
}

/// The denial of an argument that no policy can see exactly.
pub(super) fn unrepresentable(call: &Call<'_>) -> Option<Finding> {
    let misfit = misfit(call)?;
    let fact: Fact = (format!("context.args[{:?}]", misfit.pointer).into(), misfit.what.into());
    Some(refused(Code::Unrepresentable, "vidimus/arguments".into(), [fact].into()))
}

/// The denial of a tool that the record of its server does not pin, or that is not what it pins. What an earlier call made is asked for whatever
/// the tool is by now.
pub(super) fn drifted(call: &Call<'_>) -> Option<Finding> {
    let Target::Tool { server, name } = call.ask.target else { return None };
    let integrity = server.integrity.as_ref().filter(|_| !asks_of_made(call.ask.method))?;
    let (said, at_first_sight) = (call.ask.definition, integrity.is_at_first_sight(name));
    let pin = match at_first_sight {
        true => call.ask.first_seen,
        false => integrity.pins.get(name).map(|pin| &**pin),
    };
    let is_it = match (pin, said) {
        (Some(pin), said) => said.is_none_or(|said| pin == said),
        // Who carries the call looks first, and pins what it sees.
        (None, None) => at_first_sight,
        (None, Some(_)) => false,
    };
    if is_it {
        return None;
    }
    let facts: [Fact; 3] = [
        ("resource.definition".into(), said.unwrap_or("not asked for").into()),
        ("resource.drifted".into(), "true".into()),
        ("resource.pinned".into(), pin.unwrap_or("not pinned").into()),
    ];
    let field = if at_first_sight { "unpinned" } else { "pins" };
    let by = format!("{} spec.integrity.{field}", server.id).into();
    Some(refused(Code::ToolDrifted, by, facts.into()))
}

/// The denial by a limit of the agent's own record.
fn beyond(agent: &Agent, code: Code, limit: &str, maximum: i64, (name, found): (&str, i64)) -> Finding {
    let fact = (format!("principal.delegation.{limit}").into(), maximum.to_string().into());
    limited(code, limit_name(agent, limit), fact, (name, found))
}

fn limit_name(agent: &Agent, limit: &str) -> Arc<str> {
    format!("{} spec.delegation.{limit}", agent.id).into()
}

/// The denial by a limit that is no policy, named as if it were one.
fn limited(code: Code, by: Arc<str>, limit: Fact, (name, found): (&str, i64)) -> Finding {
    refused(code, by, [(name.into(), found.to_string().into()), limit].into())
}
