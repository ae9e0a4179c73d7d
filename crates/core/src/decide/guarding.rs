//! The annotations of a forbid that a guard lifts: `@guard("secrets")`, and `@on_finding("redact")` where what it finds is not to refuse the
//! call (ADR 77).

use std::sync::Arc;

use cedar_policy::Effect;
use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Var};

use super::annotation::Misannotated;
use super::statement::Actions;
use super::tree;
use crate::call::Action;
use crate::guard::{Guard, Guarding, OnFinding};
use crate::resource::OwnGuard;

/// What may not stand beside `@on_finding`: it says what becomes of a call that something was found in.
const NOT_BESIDE: [&str; 2] = ["approval", "ends_chain"];

/// Of which what is found can be redacted.
const REDACTED: [Action; 3] = [Action::InvokeTool, Action::CallAgent, Action::CallModel];

const ON_FINDING: &str = "on_finding";

/// The guard that lifts a policy; `None` where none does. `declared` are those of its object.
pub(super) fn of(
    policy: &cedar_policy::Policy,
    actions: Actions,
    declared: &[Arc<OwnGuard>],
) -> Result<Option<Guarding>, Misannotated> {
    let Some(value) = policy.annotation("guard") else {
        let alone = policy.annotation(ON_FINDING).filter(|_| policy.annotation("guard_answer").is_none());
        return alone.map_or(Ok(None), |value| {
            Err(Misannotated::Half { annotation: ON_FINDING, lacks: "guard", value: value.to_owned() })
        });
    };
    if policy.effect() == Effect::Permit {
        return Err(Misannotated::GuardsOnPermit { value: value.to_owned() });
    }
    if !actions.are_of_calls() {
        return Err(Misannotated::GuardsOther { value: value.to_owned() });
    }
    let guard = named("guard", value, declared)?;
    let on_finding = on_finding(policy)?;
    // Nothing else says anything in which a value has a place.
    if on_finding == OnFinding::Redact && !actions.are_among(&REDACTED) {
        let action = Action::InvokeTool.as_str();
        return Err(Misannotated::ChangesOther {
            annotation: ON_FINDING,
            action,
            value: "redact".to_owned(),
        });
    }
    Ok(Some(Guarding { guard, on_finding, observes: false }))
}

/// The guard that an annotation names: one that is built in, or one of `declared`.
pub(super) fn named(
    annotation: &'static str,
    value: &str,
    declared: &[Arc<OwnGuard>],
) -> Result<Guard, Misannotated> {
    let own = || declared.iter().find(|own| *own.name == *value).cloned().map(Guard::Own);
    Guard::named(value)
        .or_else(own)
        .ok_or_else(|| Misannotated::NoGuard { annotation, value: value.to_owned() })
}

/// What `context.guarded` has for the guard that an annotation names, in the policy of this id.
fn in_context(value: &str, id: &str) -> String {
    match Guard::named(value) {
        Some(_) => value.to_owned(),
        None => format!("{}/{value}", id.split('#').next().unwrap_or_default()),
    }
}

/// What becomes of that in which something is found.
pub(super) fn on_finding(policy: &cedar_policy::Policy) -> Result<OnFinding, Misannotated> {
    let Some(value) = policy.annotation(ON_FINDING) else { return Ok(OnFinding::Refuse) };
    let on_finding = match value {
        "record" => OnFinding::Record,
        "redact" => OnFinding::Redact,
        _ => return Err(Misannotated::OnFinding { value: value.to_owned() }),
    };
    if let Some(other) = NOT_BESIDE.into_iter().find(|other| policy.annotation(other).is_some()) {
        return Err(Misannotated::ChangesBeside { annotation: ON_FINDING, other, value: value.to_owned() });
    }
    Ok(on_finding)
}

/// What the author of a policy should look at: a guard that its condition does not wait for lifts nothing.
pub(super) fn remark(policy: &cedar_policy::Policy, body: &pst::Template, id: &str) -> Option<String> {
    let value = policy.annotation("guard")?;
    let guard = in_context(value, id);
    let (mut looks, mut other) = (false, false);
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |expr| match expr {
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } if is_guarded(left) => {
                looks |= tree::string(right) == Some(&*guard);
            }
            Expr::BinaryOp { left, right, .. } => other |= is_guarded(left) || is_guarded(right),
            _ => {}
        });
    }
    (!looks && !other).then(|| {
        format!(
            "{id}: @guard(\"{value}\") lifts nothing that the condition does not wait for; write unless {{ context.guarded.contains(\"{guard}\") }}"
        )
    })
}

fn is_guarded(expr: &Expr) -> bool {
    matches!(tree::path(expr), Some((Var::Context, names)) if *names == ["guarded"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::own_guard::Looks;

    fn read(text: &str) -> Result<Option<Guarding>, Misannotated> {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        let looks = Looks::Patterns(Box::default());
        let own = OwnGuard { id: "n/p/hosts".into(), name: "hosts".into(), looks };
        of(&policy, actions, &[Arc::new(own)])
    }

    const TOOLS: &str = "forbid (principal, action == Action::\"invokeTool\", resource);";
    const ALL: &str = "forbid (principal, action, resource);";

    #[test]
    fn what_a_guard_lifts_is_read() {
        for (annotations, policy, expected) in [
            ("", ALL, None),
            ("@guard(\"secrets\")", ALL, Some((Guard::Secrets, OnFinding::Refuse))),
            (
                "@guard(\"personal_data\") @approval(\"dpo\")",
                ALL,
                Some((Guard::PersonalData, OnFinding::Refuse)),
            ),
            (
                "@guard(\"injection\") @on_finding(\"record\")",
                ALL,
                Some((Guard::Injection, OnFinding::Record)),
            ),
            ("@guard(\"secrets\") @on_finding(\"redact\")", TOOLS, Some((Guard::Secrets, OnFinding::Redact))),
        ] {
            let read = read(&format!("{annotations} {policy}")).expect(annotations);
            assert_eq!(read.map(|one| (one.guard, one.on_finding)), expected, "{annotations}");
        }
        for actions in
            ["action in [Action::\"callModel\", Action::\"callAgent\"]", "action in Action::\"llm\""]
        {
            let text = format!(
                "@guard(\"secrets\") @on_finding(\"redact\") forbid (principal, {actions}, resource);"
            );
            assert_eq!(
                read(&text).map(|one| one.map(|one| one.on_finding)),
                Ok(Some(OnFinding::Redact)),
                "{text}"
            );
        }
        let own = read(&format!("@guard(\"hosts\") {ALL}")).expect("a guard of its own");
        assert_eq!(own.map(|one| one.guard.as_str().to_owned()).as_deref(), Some("n/p/hosts"));
    }

    #[test]
    fn what_no_guard_could_lift_is_refused_where_it_is_written() {
        let permit = "permit (principal, action, resource);";
        let operate = "forbid (principal, action in Action::\"operate\", resource);";
        for (annotations, policy, message) in [
            ("@guard(\"secrets\")", permit, "on a permit"),
            ("@guard(\"secrets\")", operate, "about no call"),
            ("@guard(\"secret\")", ALL, "names no guard"),
            ("@guard", ALL, "names no guard"),
            ("@on_finding(\"record\")", ALL, "says nothing without @guard"),
            ("@guard(\"secrets\") @on_finding(\"pass\")", ALL, "is neither record nor redact"),
            ("@guard(\"secrets\") @on_finding(\"redact\")", ALL, "@on_finding is about invokeTool"),
            ("@guard(\"secrets\") @on_finding(\"record\") @approval(\"r\")", ALL, "@approval says"),
            ("@guard(\"secrets\") @on_finding(\"record\") @ends_chain", ALL, "@ends_chain says"),
        ] {
            let error = read(&format!("{annotations} {policy}")).expect_err(annotations);
            assert!(error.to_string().contains(message), "{annotations} {policy}: {error}");
            assert!(!error.fix().is_empty());
        }
    }

    #[test]
    fn a_guard_that_nothing_waits_for_is_told() {
        for (condition, is_told) in [
            ("unless { context.guarded.contains(\"secrets\") }", false),
            ("unless { context.guarded.containsAll([\"secrets\", \"injection\"]) }", false),
            ("unless { context.guarded.contains(\"injection\") }", true),
            ("", true),
        ] {
            let text = format!("@guard(\"secrets\") forbid (principal, action, resource) {condition};");
            let policy = cedar_policy::Policy::parse(None, &text).unwrap();
            let told = remark(&policy, policy.to_pst().unwrap().body(), "a/p");
            assert_eq!(told.is_some(), is_told, "{condition}: {told:?}");
        }
        // One of its own is in the context by a name that no other policy's has.
        for (name, is_told) in [("a/p/hosts", false), ("hosts", true), ("b/p/hosts", true)] {
            let text = format!(
                "@guard(\"hosts\") forbid (principal, action, resource) unless {{ context.guarded.contains(\"{name}\") }};"
            );
            let policy = cedar_policy::Policy::parse(None, text).unwrap();
            let told = remark(&policy, policy.to_pst().unwrap().body(), "a/p#1");
            assert_eq!(told.is_some(), is_told, "{name}: {told:?}");
        }
    }
}
