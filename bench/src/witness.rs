//! Evidence that a governed call was governed: before a figure is taken, and again for every call behind it.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::estate::PROVIDER_KEY;
use crate::gateway::Gateway;
use crate::load;
use crate::scenario::{End, Scenario};
use crate::upstream::Seen;
use crate::wire::{self, Reply};

/// Longest life of a minted token, seconds (issue 3, "Per-hop credential").
const LONGEST_LIFE: i64 = 120;
/// Least policies that must have decided a call together.
const LEAST_POLICIES: usize = 3;

/// What was counted by the gateway and by the upstream at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls allowed, of the scenario's protocol.
    decisions: u64,
    /// Effects that went well, of the scenario's protocol.
    effects: u64,
    /// Requests that arrived upstream.
    upstream: u64,
}

impl Counts {
    pub(crate) fn take(scenario: Scenario, gateway: &Gateway, upstream: SocketAddr) -> anyhow::Result<Self> {
        let protocol = scenario.protocol();
        let allowed =
            format!(r#"vidimus_decisions_total{{protocol="{protocol}",outcome="allow",code="allowed"}}"#);
        let ended = format!(r#"vidimus_effects_total{{protocol="{protocol}",result="ok"}}"#);
        Ok(Self {
            decisions: gateway.metric(&allowed)?,
            effects: gateway.metric(&ended)?,
            upstream: seen(upstream)?.requests,
        })
    }

    /// Every governed call must have had a decision, an effect, and its arrival upstream, where `others` came as well; `None`
    /// when others come that are not counted.
    pub(crate) fn must_have_grown(
        &self,
        before: &Self,
        governed: u64,
        others: Option<u64>,
    ) -> anyhow::Result<()> {
        let grown = Self {
            decisions: self.decisions - before.decisions,
            effects: self.effects - before.effects,
            upstream: self.upstream - before.upstream,
        };
        let upstream = others.map_or(grown.upstream, |others| governed + others);
        let expected = Self { decisions: governed, effects: governed, upstream };
        ensure!(
            grown == expected,
            "{governed} governed and {others:?} other calls were counted as {grown:?}"
        );
        Ok(())
    }
}

/// What arrived upstream.
pub(crate) fn seen(upstream: SocketAddr) -> anyhow::Result<Seen> {
    let reply = wire::get(upstream, "/control/seen")?.expect(&[200])?;
    Ok(serde_json::from_slice(&reply.body)?)
}

/// Makes three governed calls and looks at all that each must leave behind.
pub(crate) fn examine(
    scenario: Scenario,
    gateway: &Gateway,
    end: End<'_>,
    upstream: SocketAddr,
) -> anyhow::Result<()> {
    let token = end.tokens.first().context("no caller")?;
    let mut minted: Vec<String> = Vec::new();
    let mut look = |ask: &dyn Fn() -> anyhow::Result<Reply>| {
        let before = Counts::take(scenario, gateway, upstream)?;
        let reply = ask()?;
        Counts::take(scenario, gateway, upstream)?.must_have_grown(&before, 1, Some(0))?;
        let seen = seen(upstream)?.authorizations.pop_back().context("the upstream remembers no request")?;
        let seen = String::from_utf8(seen)?;
        ensure!(!seen.contains(token.as_str()), "the caller's own token went upstream");
        ensure!(!minted.contains(&seen) || scenario.protocol() == "llm", "two calls had the same token");
        credential(scenario, &seen)?;
        minted.push(seen);
        let call = reply.header("vidimus-call").context("the answer names no call")?;
        records(gateway, call)
    };
    if scenario.is_grpc() {
        let calls = scenario.calls(end, 1)?.pop().context("no calls")?;
        return calls.iter().take(3).try_for_each(|call| look(&|| load::ask(end.address, call)));
    }
    let script = scenario.scripts(end, 1)?.pop().context("no requests")?;
    script.iter().take(3).try_for_each(|request| {
        look(&|| {
            let reply = wire::exchange(end.address, &request.bytes)?.expect(&[200])?;
            (request.check)(&reply.body).with_context(|| reply.text())?;
            Ok(reply)
        })
    })
}

/// A token for this destination and a couple of minutes, or the provider's key.
fn credential(scenario: Scenario, authorization: &str) -> anyhow::Result<()> {
    let credential = authorization.strip_prefix("Bearer ").context("no bearer credential went upstream")?;
    if scenario.protocol() == "llm" {
        ensure!(credential == PROVIDER_KEY, "the provider did not get its key");
        return Ok(());
    }
    let payload = credential.split('.').nth(1).context("what went upstream is not a JWT")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    let number = |name: &str| {
        claims.get(name).and_then(Value::as_i64).with_context(|| format!("no {name} in {claims}"))
    };
    ensure!(number("exp")? - number("iat")? <= LONGEST_LIFE, "the minted token lives too long: {claims}");
    let audience = claims.get("aud").map(Value::to_string).unwrap_or_default();
    ensure!(audience.contains("http://127.0.0.1:"), "the minted token is for {audience}");
    ensure!(
        ["sub", "jti", "txn", "act"].iter().all(|name| claims.get(name).is_some()),
        "claims are missing: {claims}"
    );
    Ok(())
}

/// The two records of a call, as `vidimus audit` finds them.
fn records(gateway: &Gateway, call: &str) -> anyhow::Result<()> {
    let text = gateway.command(&["audit", "show", call, "-o", "json"])?;
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .with_context(|| text.clone())?;
    let found = objects(&Value::Array(documents));
    let of = |kind: &str| found.iter().find(|r| r.get("kind").and_then(Value::as_str) == Some(kind)).cloned();
    let decision = of("decision").with_context(|| format!("no decision record of {call}: {text}"))?;
    ensure!(of("effect").is_some(), "no effect record of {call}: {text}");
    let policies = decision.get("policies").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(policies >= LEAST_POLICIES, "{policies} policies decided: {decision}");
    Ok(())
}

/// Every object in a document, at any depth.
fn objects(document: &Value) -> Vec<Value> {
    match document {
        Value::Array(elements) => elements.iter().flat_map(objects).collect(),
        Value::Object(members) => {
            let mut all = vec![document.clone()];
            all.extend(members.values().flat_map(objects));
            all
        }
        _ => Vec::new(),
    }
}
