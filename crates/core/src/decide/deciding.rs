//! A call while it is decided: what takes time to work out of it is worked out once, however many policies look at it.

use std::cell::OnceCell;
use std::ops::Deref;

use crate::call::Call;

/// The digest of a call as a step of a plan, once some policy has asked for it.
pub(crate) type Step = OnceCell<Option<Box<str>>>;

/// A call, and what was worked out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deciding<'a> {
    call: Call<'a>,
    step: &'a Step,
}

impl<'a> Deciding<'a> {
    pub(crate) const fn of(call: Call<'a>, step: &'a Step) -> Self {
        Self { call, step }
    }

    /// As [`Call::step`].
    pub(crate) fn step(&self) -> Option<&'a str> {
        self.step.get_or_init(|| self.call.step().map(Into::into)).as_deref()
    }

    /// As [`Call::seen_by`]: what people approved changes nothing of what was worked out.
    pub(crate) fn seen_by(&self, role: &str) -> Self {
        Self { call: self.call.seen_by(role), step: self.step }
    }
}

impl<'a> Deref for Deciding<'a> {
    type Target = Call<'a>;

    fn deref(&self) -> &Call<'a> {
        &self.call
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::call::{Action, Arguments, Ask, Call, STEPS_DIGESTED, SoFar, Target};
    use crate::caller::{Caller, Chain, Proven, UnixMillis};
    use crate::json::Json;
    use crate::resource::{self, Origin, Principal};
    use crate::snapshot::Snapshot;

    /// Policies that look at the digest: permits and forbids, by the residual language and by Cedar's own evaluator, and one that is
    /// only tried.
    #[test]
    fn the_digest_of_a_step_is_worked_out_once_for_all_policies() {
        let object = |kind: &str, name: &str, spec: Value| {
            let object = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "a", "name": name}, "spec": spec});
            resource::check(&Origin::default(), &object).expect("an object")
        };
        let owner = "ada.lovelace@example.com";
        let mut objects = vec![
            object(
                "Agent",
                "bot",
                json!({"owner": owner, "team": "t", "purpose": "p", "riskLevel": "low", "identities": [{"oidc": {"issuer": "https://i", "subject": "s"}}]}),
            ),
            object(
                "MCPServer",
                "tools",
                json!({"owner": owner, "team": "t", "riskLevel": "low", "endpoint": {"url": "http://tools.example/mcp"}}),
            ),
        ];
        for (number, (effect, condition)) in [
            ("permit", r#"context.call_digest like "sha256:*""#),
            ("permit", r#"context.call_digest like "*a*" || context.call_digest like "*:*""#),
            ("forbid", r#"context.call_digest == "none""#),
            ("forbid", r#"{digest: context.call_digest} == {digest: "none"}"#),
        ]
        .into_iter()
        .enumerate()
        {
            let cedar = format!(
                "{effect} (principal, action == Action::\"invokeTool\", resource) when {{ {condition} }};"
            );
            let mode = if number == 1 { "observe" } else { "enforce" };
            let spec = json!({"description": "d", "cedar": cedar, "mode": mode});
            objects.push(object("Policy", &format!("p{number}"), spec));
        }
        let (world, rejected) = Snapshot::build(objects);
        assert!(rejected.is_empty(), "{rejected:?}");
        let proven = Proven {
            principal: Principal::Agent(world.agent("a/bot").expect("an agent").clone()),
            identity: "oidc:https://i#s".into(),
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        };
        let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
        let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
        let arguments = Json::parse(br#"{"amount": 5}"#).expect("JSON");
        let target = Target::Tool { server: world.mcp_server("a/tools").expect("a server"), name: "pay" };
        let ask = Ask {
            arguments: Arguments::Known(&arguments),
            ..Ask::about("tools/call", Action::InvokeTool, target)
        };
        let call = Call {
            caller: &caller,
            ask,
            now: UnixMillis(0),
            source_ip: None,
            so_far: SoFar::nothing(),
            approvals: &[],
        };
        let before = STEPS_DIGESTED.get();
        let decision = world.authorize(&call);
        assert_eq!(decision.code(), None);
        assert!(decision.facts().iter().any(|(name, _)| &**name == "context.call_digest"));
        assert_eq!(STEPS_DIGESTED.get() - before, 1);
    }
}
