//! The annotations of a forbid by which it changes a call instead of refusing it: `@redact("/pointer")`, `@redact_answer("/pointer")`,
//! `@cap_tokens("1000")`, `@guard_answer("injection")`.

use std::sync::Arc;

use cedar_policy::Effect;

use super::annotation::Misannotated;
use super::guarding;
use super::statement::Actions;
use crate::call::Action;
use crate::json;
use crate::obligation::{Change, MAX_POINTER, MAX_POINTERS, Obligation};
use crate::resource::OwnGuard;

/// What may not stand beside them: it says what becomes of a call that is refused or held, and such a policy does neither.
const NOT_BESIDE: [&str; 3] = ["approval", "ends_chain", "guard"];

/// What has answers at which guards look.
const ANSWERED: [Action; 5] =
    [Action::InvokeTool, Action::ReadResource, Action::GetPrompt, Action::CallAgent, Action::CallModel];

/// What a policy has changed of the calls that it is about, sorted; `None` where it changes nothing. `declared` are the guards of its object.
pub(super) fn of(
    policy: &cedar_policy::Policy,
    actions: Actions,
    (id, declared): (&Arc<str>, &[Arc<OwnGuard>]),
) -> Result<Option<Arc<[Obligation]>>, Misannotated> {
    let mut changes: Vec<Change> = Vec::new();
    for (annotation, of) in [
        ("redact", Change::RedactArgument as fn(Arc<str>) -> Change),
        ("redact_answer", Change::RedactAnswer),
    ] {
        let Some(value) = policy.annotation(annotation) else { continue };
        check(policy, (annotation, value), actions, &[Action::InvokeTool])?;
        let pointers = pointers(annotation, value)?;
        changes.extend(pointers.into_iter().map(|pointer| of(pointer.into())));
    }
    if let Some(value) = policy.annotation("cap_tokens") {
        check(policy, ("cap_tokens", value), actions, &[Action::CallModel])?;
        let tokens = value.parse().ok().filter(|tokens| *tokens > 0);
        let tokens = tokens.ok_or_else(|| Misannotated::Tokens { value: value.to_owned() })?;
        changes.push(Change::CapTokens(tokens));
    }
    if let Some(value) = policy.annotation("guard_answer") {
        check(policy, ("guard_answer", value), actions, &ANSWERED)?;
        let guard = guarding::named("guard_answer", value, declared)?;
        if guard.webhook().is_some() {
            return Err(Misannotated::AsksOfAnswers { value: value.to_owned() });
        }
        changes.push(Change::GuardAnswer(guard, guarding::on_finding(policy)?));
    }
    changes.sort_unstable();
    changes.dedup();
    let demanded = changes.into_iter().map(|change| Obligation { change, policy: id.clone() });
    let demanded: Arc<[Obligation]> = demanded.collect();
    Ok((!demanded.is_empty()).then_some(demanded))
}

/// The JSON pointers that an annotation names.
pub(super) fn pointers<'v>(annotation: &'static str, value: &'v str) -> Result<Vec<&'v str>, Misannotated> {
    let pointers: Vec<&str> = value.split_whitespace().collect();
    let fits = |pointer: &&str| pointer.len() <= MAX_POINTER && is_pointer(pointer);
    match (1..=MAX_POINTERS).contains(&pointers.len()) && pointers.iter().all(fits) {
        true => Ok(pointers),
        false => Err(Misannotated::Pointers { annotation, value: value.to_owned() }),
    }
}

/// That the policy is a forbid, on calls that can be changed so, and says nothing else of them. `those` are the actions of such calls.
fn check(
    policy: &cedar_policy::Policy,
    (annotation, value): (&'static str, &str),
    actions: Actions,
    those: &[Action],
) -> Result<(), Misannotated> {
    if policy.effect() == Effect::Permit {
        return Err(Misannotated::ChangesOnPermit { annotation, value: value.to_owned() });
    }
    if !actions.are_among(those) {
        let action = those.first().map_or("", |action| action.as_str());
        return Err(Misannotated::ChangesOther { annotation, action, value: value.to_owned() });
    }
    let beside = NOT_BESIDE.into_iter().find(|other| policy.annotation(other).is_some());
    beside.map_or(Ok(()), |other| {
        Err(Misannotated::ChangesBeside { annotation, other, value: value.to_owned() })
    })
}

/// RFC 6901, but for the whole document, and with every escape whole.
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.len() > 1 && escapes && json::segments(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::own_guard::{Looks, OnFailure, Webhook};

    const TOOLS: &str = "action == Action::\"invokeTool\"";

    fn read(text: &str) -> Result<Vec<String>, Misannotated> {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        let looks = Looks::Webhook(Webhook {
            url: "http://opa.example/".into(),
            ca_file: None,
            timeout_ms: 1,
            on_failure: OnFailure::Closed,
        });
        let asks = OwnGuard { id: "a/p/opa".into(), name: "opa".into(), looks };
        let looks = Looks::Patterns(Box::default());
        let hosts = OwnGuard { id: "a/p/hosts".into(), name: "hosts".into(), looks };
        let declared = [Arc::new(asks), Arc::new(hosts)];
        let demanded = of(&policy, actions, (&"a/p".into(), &declared))?;
        Ok(demanded.iter().flat_map(|all| all.iter()).map(|one| one.change.to_string()).collect())
    }

    #[test]
    fn what_is_changed_is_read() {
        for (annotations, action, expected) in [
            ("", "action", &[][..]),
            ("@redact(\"/card\")", TOOLS, &["@redact(\"/card\")"]),
            (
                "@redact(\" /card  /items/*/cvv /card\") @redact_answer(\"/a~1b\")",
                TOOLS,
                &["@redact(\"/card\")", "@redact(\"/items/*/cvv\")", "@redact_answer(\"/a~1b\")"],
            ),
            ("@cap_tokens(\"1000\")", "action == Action::\"callModel\"", &["@cap_tokens(\"1000\")"]),
            ("@cap_tokens(\"1\")", "action in Action::\"llm\"", &["@cap_tokens(\"1\")"]),
            ("@guard_answer(\"injection\")", TOOLS, &["@guard_answer(\"injection\")"]),
            (
                "@guard_answer(\"secrets\") @on_finding(\"record\")",
                TOOLS,
                &["@guard_answer(\"secrets record\")"],
            ),
            (
                "@guard_answer(\"secrets\")",
                "action in [Action::\"callModel\", Action::\"callAgent\", Action::\"invokeTool\"]",
                &["@guard_answer(\"secrets\")"],
            ),
            (
                "@guard_answer(\"secrets\") @on_finding(\"redact\")",
                "action in [Action::\"readResource\", Action::\"getPrompt\"]",
                &["@guard_answer(\"secrets redact\")"],
            ),
            ("@guard_answer(\"hosts\")", "action in Action::\"llm\"", &["@guard_answer(\"a/p/hosts\")"]),
        ] {
            let text = format!("{annotations} forbid (principal, {action}, resource);");
            assert_eq!(read(&text), Ok(expected.iter().map(ToString::to_string).collect()), "{text}");
        }
    }

    /// What could not be kept is refused where it is written.
    #[test]
    fn what_cannot_be_changed_is_refused() {
        let long = format!("@redact(\"/{}\")", "x".repeat(MAX_POINTER));
        let many = format!("@redact(\"{}\")", "/a ".repeat(MAX_POINTERS + 1));
        let model = "action == Action::\"callModel\"";
        for (annotations, effect, action, message) in [
            ("@redact(\"/a\")", "permit", TOOLS, "@redact is on a permit"),
            ("@cap_tokens(\"5\")", "permit", model, "@cap_tokens is on a permit"),
            (
                "@redact(\"/a\")",
                "forbid",
                "action",
                "@redact is about invokeTool, and this policy about other actions",
            ),
            ("@redact(\"/a\")", "forbid", "action in Action::\"mcp\"", "about other actions"),
            ("@redact_answer(\"/a\")", "forbid", model, "@redact_answer is about invokeTool"),
            ("@cap_tokens(\"5\")", "forbid", TOOLS, "@cap_tokens is about callModel"),
            ("@redact(\"\")", "forbid", TOOLS, "names no values"),
            ("@redact", "forbid", TOOLS, "names no values"),
            ("@redact(\"card\")", "forbid", TOOLS, "names no values"),
            ("@redact(\"/\")", "forbid", TOOLS, "names no values"),
            ("@redact(\"/a~2\")", "forbid", TOOLS, "names no values"),
            ("@redact(\"/a~\")", "forbid", TOOLS, "names no values"),
            (&long, "forbid", TOOLS, "names no values"),
            (&many, "forbid", TOOLS, "names no values"),
            ("@guard_answer(\"all\")", "forbid", TOOLS, "names no guard"),
            ("@guard_answer(\"secrets\")", "forbid", "action", "@guard_answer is about invokeTool"),
            (
                "@guard_answer(\"secrets\")",
                "forbid",
                "action in Action::\"mcp\"",
                "@guard_answer is about invokeTool",
            ),
            ("@guard_answer(\"opa\")", "forbid", model, "asks a webhook"),
            ("@guard_answer(\"secrets\") @guard(\"secrets\")", "forbid", TOOLS, "@guard says"),
            ("@cap_tokens(\"0\")", "forbid", model, "is no number of tokens"),
            ("@cap_tokens(\"few\")", "forbid", model, "is no number of tokens"),
            ("@cap_tokens(\"4294967296\")", "forbid", model, "is no number of tokens"),
            (
                "@redact(\"/a\") @approval(\"r\")",
                "forbid",
                TOOLS,
                "@approval says what becomes of a call that is not changed",
            ),
            ("@redact(\"/a\") @ends_chain", "forbid", TOOLS, "@ends_chain says"),
        ] {
            let text = format!("{annotations} {effect} (principal, {action}, resource);");
            let error = read(&text).expect_err(&text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(!error.fix().is_empty());
        }
    }
}
