//! The annotation of a forbid by which calls count for limits of its policy: `@limit("name …")` (ADR 73). While there is room, such a forbid lets
//! the calls pass that it is about.

use std::sync::Arc;

use cedar_policy::Effect;
use cedar_policy::pst::{self, Clause, Expr};

use super::annotation::{self, Misannotated};
use super::chain_reads::passes_whole;
use super::statement::Actions;
use super::tree;
use crate::call::Action;
use crate::resource::Limit;

/// What may not stand beside it: it says what becomes of a call that is refused, held or changed.
const NOT_BESIDE: [&str; 5] = ["approval", "ends_chain", "redact", "redact_answer", "cap_tokens"];

/// The limits that the calls count for which a policy is about, by their ids; `None` where they count for none. `declared` are those of its object,
/// `body` is what the policy says.
pub(super) fn of(
    policy: &cedar_policy::Policy,
    (body, actions): (&pst::Template, Actions),
    declared: &[Arc<Limit>],
) -> Result<Option<Arc<[Arc<Limit>]>>, Misannotated> {
    let Some(value) = policy.annotation("limit") else { return Ok(None) };
    let text = || value.to_owned();
    if policy.effect() == Effect::Permit {
        return Err(Misannotated::LimitOnPermit { value: text() });
    }
    if let Some(other) = NOT_BESIDE.into_iter().find(|other| policy.annotation(other).is_some()) {
        return Err(Misannotated::LimitBeside { other, value: text() });
    }
    if !actions.are_of_calls() || actions.of_people(None) {
        return Err(Misannotated::LimitOther { value: text() });
    }
    // Which calls count is known before what is left, and whatever people approve.
    if annotation::looks_at_approval(body) || looks_at_limits(body) {
        return Err(Misannotated::LimitLooks { value: text() });
    }
    let named =
        value.split_whitespace().map(|name| declared.iter().find(|limit| *limit.name == *name).cloned());
    let mut limits: Vec<Arc<Limit>> =
        named.collect::<Option<_>>().ok_or_else(|| Misannotated::LimitUnknown { value: text() })?;
    if limits.is_empty() {
        return Err(Misannotated::LimitUnknown { value: text() });
    }
    if limits.iter().any(|limit| limit.of.is_of_models()) && !actions.are_only(Action::CallModel) {
        return Err(Misannotated::LimitOfModels { value: text() });
    }
    limits.sort_by(|one, other| one.id.cmp(&other.id));
    limits.dedup();
    Ok(Some(limits.into()))
}

/// Whether some condition looks at `context.limits`, or passes the context on as a whole.
pub(super) fn looks_at_limits(body: &pst::Template) -> bool {
    let mut looks = false;
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |expr| {
            looks |= match expr {
                Expr::GetAttr { attr, .. } => attr.as_str() == "limits",
                expr => passes_whole(expr),
            };
        });
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::limit::{LimitWindow, Measure, WhenLost};

    fn limit(name: &str, of: Measure) -> Arc<Limit> {
        Arc::new(Limit {
            id: format!("n/p/{name}").into(),
            name: name.into(),
            of,
            amount: 1,
            per: Box::default(),
            window: LimitWindow::Fixed(1_000),
            when_lost: WhenLost::Closed,
        })
    }

    fn read(text: &str) -> Result<Vec<String>, Misannotated> {
        let declared = [
            limit("calls", Measure::Requests),
            limit("money", Measure::Spend),
            limit("once", Measure::Concurrency),
        ];
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let pst = policy.to_pst().unwrap();
        let actions = Actions::of(&pst.body().action);
        let limits = of(&policy, (pst.body(), actions), &declared)?;
        Ok(limits.iter().flat_map(|all| all.iter()).map(|one| one.name.to_string()).collect())
    }

    #[test]
    fn what_calls_count_for_is_read() {
        let model = "action == Action::\"callModel\"";
        for (annotation, action, expected) in [
            ("", "action", &[][..]),
            ("@limit(\"calls\")", "action", &["calls"]),
            ("@limit(\" once  calls once\")", "action in Action::\"mcp\"", &["calls", "once"]),
            ("@limit(\"money calls\")", model, &["calls", "money"]),
        ] {
            let text = format!("{annotation} forbid (principal, {action}, resource);");
            assert_eq!(read(&text), Ok(expected.iter().map(ToString::to_string).collect()), "{text}");
        }
    }

    /// What nobody could count is refused where it is written.
    #[test]
    fn what_cannot_be_counted_is_refused() {
        let all = "(principal, action, resource);";
        let model = "(principal, action == Action::\"callModel\", resource);";
        for (annotations, policy, message) in [
            ("@limit(\"calls\")", format!("permit {all}"), "@limit is on a permit"),
            ("@limit(\"cals\")", format!("forbid {all}"), "names no limit"),
            ("@limit(\"calls cals\")", format!("forbid {all}"), "names no limit"),
            ("@limit(\"\")", format!("forbid {all}"), "names no limit"),
            ("@limit", format!("forbid {all}"), "names no limit"),
            ("@limit(\"money\")", format!("forbid {all}"), "of models"),
            ("@limit(\"calls money\")", format!("forbid {all}"), "of models"),
            ("@limit(\"calls\") @approval(\"r\")", format!("forbid {all}"), "@approval says"),
            ("@limit(\"calls\") @ends_chain", format!("forbid {all}"), "@ends_chain says"),
            ("@limit(\"calls\") @cap_tokens(\"1\")", format!("forbid {model}"), "@cap_tokens says"),
            (
                "@limit(\"calls\")",
                "forbid (principal, action == Action::\"exec\", resource);".to_owned(),
                "about no call",
            ),
            (
                "@limit(\"calls\")",
                "forbid (principal, action in [Action::\"callModel\", Action::\"grant\"], resource);"
                    .to_owned(),
                "about no call",
            ),
            (
                "@limit(\"calls\")",
                "forbid (principal, action, resource) unless { context has approval };".to_owned(),
                "looks at",
            ),
            (
                "@limit(\"calls\")",
                "forbid (principal, action, resource) when { context.limits.hasTag(\"a\") };".to_owned(),
                "looks at",
            ),
            (
                "@limit(\"calls\")",
                "forbid (principal, action, resource) when { context == context };".to_owned(),
                "looks at",
            ),
        ] {
            let text = format!("{annotations} {policy}");
            let error = read(&text).expect_err(&text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(!error.fix().is_empty());
        }
    }
}
