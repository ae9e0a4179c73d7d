//! Annotations that may not say what is meant. Cedar takes any name, so that a misspelt one is none, and the policy is weaker than it reads.

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Var};

use super::tree;
use crate::resource::nearest;

/// The names that say something here.
const KNOWN: [&str; 15] = [
    "id",
    "approval",
    "quorum",
    "lifetime",
    "window",
    "escalation",
    "escalate_after",
    "reason",
    "ends_chain",
    "cap_tokens",
    "redact",
    "redact_answer",
    "redact_shown",
    "keep",
    "limit",
];

/// Other names of the same purpose, which are no misspelling: they say something to people, or to other readers of Cedar.
const OF_PEOPLE: [&str; 6] = ["description", "doc", "title", "name", "author", "owner"];

/// What the author of a policy should look at, `reason; what to do` each.
pub(crate) fn remarks(policy: &cedar_policy::Policy, body: &pst::Template, id: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    for (name, _) in policy.annotations() {
        if KNOWN.contains(&name) || OF_PEOPLE.contains(&name) {
            continue;
        }
        // What is far from all is another reader's.
        if let Some(near) = nearest(KNOWN.into_iter(), name) {
            remarks.push(format!("{id}: @{name} says nothing here; did you mean @{near}?"));
        }
    }
    if let Some(role) = policy.annotation("approval") {
        let asked = roles(body);
        if let Some(other) = asked.first()
            && asked.iter().all(|asked| asked != role)
        {
            remarks.push(format!(
                "{id}: @approval(\"{role}\") asks people of one role and the condition looks for {other:?}, so no approval lets a call pass; write the same role in both"
            ));
        }
    }
    remarks
}

/// The roles that conditions compare `context.approval.role` with; none where they look at it in another way too.
fn roles(body: &pst::Template) -> Vec<String> {
    let (mut found, mut looks) = (Vec::new(), 0_usize);
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |expr| {
            looks += usize::from(is_role(expr));
            if let Expr::BinaryOp { op: BinaryOp::Eq, left, right } = expr {
                let with = |one: &Expr, other: &Expr| {
                    tree::string(other).filter(|_| is_role(one)).map(str::to_owned)
                };
                found.extend(with(left, right).or_else(|| with(right, left)));
            }
        });
    }
    if looks == found.len() { found } else { Vec::new() }
}

fn is_role(expr: &Expr) -> bool {
    matches!(tree::path(expr), Some((Var::Context, names)) if *names == ["approval", "role"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        remarks(&policy, policy.to_pst().unwrap().body(), "a/p")
    }

    #[test]
    fn a_misspelt_annotation_is_told_and_another_readers_is_not() {
        for (annotation, near) in [
            ("@quorom(\"2\")", Some("quorum")),
            ("@life_time(\"4h\")", Some("lifetime")),
            ("@aproval(\"payers\")", Some("approval")),
            ("@endschain", Some("ends_chain")),
            ("@resaon(\"x\")", Some("reason")),
            ("@escalate_afer(\"5m\")", Some("escalate_after")),
            ("@kep(\"answer\")", Some("keep")),
            ("@quorum(\"2\")", None),
            ("@keep(\"answer\")", None),
            ("@id(\"x\")", None),
            ("@ends_chain", None),
            ("@reason(\"x\")", None),
            ("@doc(\"x\")", None),
            ("@description(\"x\")", None),
            ("@ticket(\"x\")", None),
            ("@compliance(\"x\")", None),
        ] {
            let said = said(&format!("{annotation} forbid (principal, action, resource);"));
            match near {
                Some(near) => {
                    assert!(
                        said.len() == 1 && said[0].contains(&format!("did you mean @{near}?")),
                        "{said:?}"
                    );
                }
                None => assert!(said.is_empty(), "{annotation}: {said:?}"),
            }
        }
    }

    #[test]
    fn an_approval_that_no_approval_of_its_role_lifts_is_told() {
        for (condition, is_told) in [
            ("unless { context has approval && context.approval.role == \"payers\" }", false),
            ("unless { context has approval && \"payers\" == context.approval.role }", false),
            ("unless { context has approval && context.approval.role == \"payer\" }", true),
            (
                "unless { context has approval && (context.approval.role == \"x\" || context.approval.role == \"payers\") }",
                false,
            ),
            ("unless { context has approval && [\"x\"].contains(context.approval.role) }", false),
            ("unless { context has approval }", false),
        ] {
            let said =
                said(&format!("@approval(\"payers\") forbid (principal, action, resource) {condition};"));
            assert_eq!(!said.is_empty(), is_told, "{condition}: {said:?}");
        }
    }
}
