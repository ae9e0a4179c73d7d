//! The annotations of a policy that say what becomes of a call: `@approval("role")` on a forbid, with how many people, for how long, and
//! who else after how long.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::Effect;
use cedar_policy::pst::{self, Clause, Expr, Var};
use sha2::{Digest as _, Sha256};

use super::statement::Actions;
use super::{changes, tree};
use crate::approval::{DEFAULT_LIFETIME, Escalation, MAX_LIFETIME, MAX_QUORUM, Requirement};
use crate::call::Action;
use crate::obligation::{MAX_POINTER, MAX_POINTERS};
use crate::quantity;

/// Longest role in bytes.
const MAX_ROLE: usize = 128;

/// The annotations that say more of an `@approval`, and nothing without one.
const OF_APPROVAL: [&str; 6] =
    ["quorum", "lifetime", "window", "escalation", "escalate_after", "redact_shown"];

/// An annotation that does not say what it is there for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misannotated {
    #[error("@approval is on a permit: what permits a call cannot hold it")]
    OnPermit { role: String },
    #[error("@{annotation}(\"{role}\") names no role of 1 to {MAX_ROLE} bytes without control characters")]
    NoRole { annotation: &'static str, role: String },
    #[error("@quorum(\"{value}\") is no number of people, 1 to {MAX_QUORUM}")]
    Quorum { value: String },
    #[error("@{annotation}(\"{value}\") is no time of 1s to 30d")]
    Time { annotation: &'static str, value: String },
    #[error("@{annotation} says something of an @approval, and there is none")]
    Alone { annotation: &'static str, value: String },
    #[error("@{annotation} says nothing without @{lacks}")]
    Half { annotation: &'static str, lacks: &'static str, value: String },
    #[error("@escalation(\"{role}\") names the role that is asked anyway")]
    SameRole { role: String },
    #[error("@escalate_after(\"{value}\") is not before the question is over, after {} s", lifetime.as_secs())]
    AfterTheEnd { value: String, lifetime: Duration },
    #[error("@{annotation} is on a permit: another permit would let the call pass as it is")]
    ChangesOnPermit { annotation: &'static str, value: String },
    #[error("@{annotation} is about {action}, and this policy about other actions as well")]
    ChangesOther { annotation: &'static str, action: &'static str, value: String },
    #[error("@{other} says what becomes of a call that is not changed, and @{annotation} changes it")]
    ChangesBeside { annotation: &'static str, other: &'static str, value: String },
    #[error(
        "@{annotation}(\"{value}\") names no values: 1 to {MAX_POINTERS} JSON pointers of at most {MAX_POINTER} bytes"
    )]
    Pointers { annotation: &'static str, value: String },
    #[error("@cap_tokens(\"{value}\") is no number of tokens, 1 to 4294967295")]
    Tokens { value: String },
    #[error("@keep is on a forbid: of what is refused no payload is kept")]
    KeepsOnForbid { value: String },
    #[error("@keep is about payloads of calls, and this policy is about no call")]
    KeepsOther { value: String },
    #[error("@keep(\"{value}\") names something that is neither arguments nor answer, or nothing")]
    Keeps { value: String },
    #[error("@guard is on a permit: what permits a call cannot be lifted")]
    GuardsOnPermit { value: String },
    #[error("@guard is about what calls say, and this policy is about no call")]
    GuardsOther { value: String },
    #[error("@{annotation}(\"{value}\") names no guard")]
    NoGuard { annotation: &'static str, value: String },
    #[error("@guard_answer(\"{value}\") asks a webhook, and those are asked about what calls say")]
    AsksOfAnswers { value: String },
    #[error("@on_finding(\"{value}\") is neither record nor redact")]
    OnFinding { value: String },
    #[error("@limit is on a permit: another permit would let the call pass uncounted")]
    LimitOnPermit { value: String },
    #[error(
        "@{other} says what becomes of a call that is refused, held or changed, and @limit lets it pass while there is room"
    )]
    LimitBeside { other: &'static str, value: String },
    #[error("@limit counts calls, and this policy is about no call, or about something else as well")]
    LimitOther { value: String },
    #[error("@limit(\"{value}\") names no limit that spec.limits of this policy declares")]
    LimitUnknown { value: String },
    #[error("@limit(\"{value}\") is of models, and this policy about other actions as well")]
    LimitOfModels { value: String },
    #[error(
        "@limit(\"{value}\") looks at context.limits, context.approval or the whole context: which calls count is known before them"
    )]
    LimitLooks { value: String },
}

impl Misannotated {
    /// What to write instead.
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::OnPermit { .. } => {
                "put it on a forbid: @approval(\"role\") forbid (…) unless { context has approval && context.approval.role == \"role\" };"
            }
            Self::NoRole { .. } => {
                "name who may approve: @approval(\"payments-approvers\"), as in context.approval.role"
            }
            Self::Quorum { .. } => "write how many different people have to approve: @quorum(\"2\")",
            Self::Time { .. } => {
                "write a time with its unit: @lifetime(\"4h\"), @window(\"10m\"), @escalate_after(\"15m\")"
            }
            Self::Alone { .. } => "add @approval(\"role\"), or leave it out",
            Self::Half { annotation: "on_finding", .. } => {
                "add @guard or @guard_answer with the guard that it is about, or leave it out"
            }
            Self::Half { .. } | Self::SameRole { .. } => {
                "say who else may approve, and after how long: @escalation(\"managers\") @escalate_after(\"15m\")"
            }
            Self::AfterTheEnd { .. } => {
                "write a time that is shorter than @lifetime, which is 1h when it is left out"
            }
            Self::ChangesOnPermit { .. } => {
                "put it on a forbid, which then changes the calls that it is about instead of refusing them"
            }
            Self::ChangesOther { .. } => {
                "name the action in the head: @redact, @redact_answer and @redact_shown with action == Action::\"invokeTool\", @on_finding(\"redact\") of a @guard with that, callModel or callAgent, @cap_tokens with action == Action::\"callModel\", @guard_answer with either, or with readResource, getPrompt or callAgent"
            }
            Self::ChangesBeside { .. } => {
                "write two policies: one that changes the call, and one that holds or refuses it"
            }
            Self::Pointers { .. } => {
                "write JSON pointers (RFC 6901) with spaces between them; * is every member or element: @redact(\"/card /items/*/cvv\")"
            }
            Self::Tokens { .. } => "write how many tokens a model may answer with: @cap_tokens(\"1000\")",
            Self::KeepsOnForbid { .. } | Self::KeepsOther { .. } => {
                "put it on the permit of the calls whose payload is to be kept: @keep(\"arguments\") permit (…);"
            }
            Self::GuardsOnPermit { .. } | Self::GuardsOther { .. } => {
                "put it on a forbid of calls: @guard(\"secrets\") forbid (…) unless { context.guarded.contains(\"secrets\") };"
            }
            Self::NoGuard { .. } => {
                "write secrets, personal_data or injection, or the name of an entry of spec.guards of this policy"
            }
            Self::AsksOfAnswers { .. } => {
                "write a guard that looks by itself: secrets, personal_data, injection, or one of spec.guards with regex"
            }
            Self::OnFinding { .. } => {
                "write @on_finding(\"record\") or @on_finding(\"redact\"), or leave it out: what is found then refuses the call"
            }
            Self::Keeps { .. } => {
                "write what is kept: @keep(\"arguments\"), @keep(\"answer\") or @keep(\"arguments, answer\")"
            }
            Self::LimitOnPermit { .. } => {
                "put it on a forbid, which then lets the calls pass that it is about while there is room"
            }
            Self::LimitBeside { .. } => {
                "write two policies: one that counts the call, and one that holds, changes or refuses it"
            }
            Self::LimitOther { .. } => {
                "name actions of calls in the head: action == Action::\"invokeTool\", action in Action::\"llm\""
            }
            Self::LimitUnknown { .. } => {
                "write the name of an entry of spec.limits; several with spaces between them: @limit(\"per-minute per-day\")"
            }
            Self::LimitOfModels { .. } => "name the action in the head: action == Action::\"callModel\"",
            Self::LimitLooks { .. } => {
                "write two policies: one that counts the call, and a forbid that looks at context.limits"
            }
        }
    }

    /// The annotation's text.
    pub(crate) fn value(&self) -> &str {
        match self {
            Self::OnPermit { role } | Self::NoRole { role, .. } | Self::SameRole { role } => role,
            Self::Quorum { value }
            | Self::Time { value, .. }
            | Self::Alone { value, .. }
            | Self::Half { value, .. }
            | Self::AfterTheEnd { value, .. } => value,
            Self::ChangesOnPermit { value, .. }
            | Self::ChangesOther { value, .. }
            | Self::ChangesBeside { value, .. }
            | Self::Pointers { value, .. }
            | Self::Tokens { value }
            | Self::KeepsOnForbid { value }
            | Self::KeepsOther { value }
            | Self::GuardsOnPermit { value }
            | Self::GuardsOther { value }
            | Self::NoGuard { value, .. }
            | Self::AsksOfAnswers { value }
            | Self::OnFinding { value }
            | Self::Keeps { value }
            | Self::LimitOnPermit { value }
            | Self::LimitBeside { value, .. }
            | Self::LimitOther { value }
            | Self::LimitUnknown { value }
            | Self::LimitOfModels { value }
            | Self::LimitLooks { value } => value,
        }
    }
}

/// What a policy asks of people; `None` where it asks nobody. `policy` has the annotations, `compiled` is what it is in force.
pub(crate) fn requirement(
    policy: &cedar_policy::Policy,
    (compiled, actions): (&cedar_policy::Policy, Actions),
    id: &Arc<str>,
) -> Result<Option<Arc<Requirement>>, Misannotated> {
    let Some(role) = policy.annotation("approval") else {
        let alone = OF_APPROVAL.into_iter().find_map(|name| Some((name, policy.annotation(name)?)));
        return alone.map_or(Ok(None), |(annotation, value)| {
            Err(Misannotated::Alone { annotation, value: value.to_owned() })
        });
    };
    if policy.effect() == Effect::Permit {
        return Err(Misannotated::OnPermit { role: role.to_owned() });
    }
    check_role("approval", role)?;
    let quorum = policy.annotation("quorum").map_or(Ok(1), quorum)?;
    let lifetime = time(policy, "lifetime")?.unwrap_or(DEFAULT_LIFETIME);
    let window = time(policy, "window")?;
    let escalation = escalation(policy, role, lifetime)?;
    let redact_shown = redact_shown(policy, actions)?;
    let reason = policy.annotation("reason").filter(|text| !text.is_empty()).map(Arc::from);
    let mut said = format!("{compiled}\n{role:?} {quorum} {lifetime:?} {window:?} {reason:?}");
    if let Some(Escalation { role, after }) = &escalation {
        // What escalates to nobody has the digest that it had before there was any of this.
        let _ = write!(said, " {role:?} {after:?}");
    }
    if !redact_shown.is_empty() {
        let _ = write!(said, " shown without {redact_shown:?}");
    }
    Ok(Some(Arc::new(Requirement {
        policy: id.clone(),
        role: role.into(),
        quorum,
        lifetime,
        window,
        escalation,
        redact_shown,
        reason,
        digest: Sha256::digest(said).into(),
    })))
}

fn check_role(annotation: &'static str, role: &str) -> Result<(), Misannotated> {
    match role.trim().is_empty() || role.len() > MAX_ROLE || role.chars().any(char::is_control) {
        true => Err(Misannotated::NoRole { annotation, role: role.to_owned() }),
        false => Ok(()),
    }
}

/// Who else may approve, and after how long: before the question is over, or nobody ever could.
fn escalation(
    policy: &cedar_policy::Policy,
    asked: &str,
    lifetime: Duration,
) -> Result<Option<Escalation>, Misannotated> {
    let half =
        |annotation, lacks, value: &str| Misannotated::Half { annotation, lacks, value: value.to_owned() };
    let (role, value) = match (policy.annotation("escalation"), policy.annotation("escalate_after")) {
        (None, None) => return Ok(None),
        (Some(role), None) => return Err(half("escalation", "escalate_after", role)),
        (None, Some(value)) => return Err(half("escalate_after", "escalation", value)),
        (Some(role), Some(value)) => (role, value),
    };
    check_role("escalation", role)?;
    if role == asked {
        return Err(Misannotated::SameRole { role: role.to_owned() });
    }
    let after = time(policy, "escalate_after")?.unwrap_or(lifetime);
    match after < lifetime {
        true => Ok(Some(Escalation { role: role.into(), after })),
        false => Err(Misannotated::AfterTheEnd { value: value.to_owned(), lifetime }),
    }
}

/// What of the arguments is not shown, sorted: of calls of tools, which alone have arguments with places.
fn redact_shown(policy: &cedar_policy::Policy, actions: Actions) -> Result<Arc<[Arc<str>]>, Misannotated> {
    const ANNOTATION: &str = "redact_shown";
    let Some(value) = policy.annotation(ANNOTATION) else { return Ok(Arc::default()) };
    if !actions.are_only(Action::InvokeTool) {
        let (annotation, action) = (ANNOTATION, Action::InvokeTool.as_str());
        return Err(Misannotated::ChangesOther { annotation, action, value: value.to_owned() });
    }
    let mut pointers: Vec<Arc<str>> =
        changes::pointers(ANNOTATION, value)?.into_iter().map(Arc::from).collect();
    pointers.sort_unstable();
    pointers.dedup();
    Ok(pointers.into())
}

fn quorum(value: &str) -> Result<u32, Misannotated> {
    let number = value.parse().ok().filter(|number| (1..=MAX_QUORUM).contains(number));
    number.ok_or_else(|| Misannotated::Quorum { value: value.to_owned() })
}

fn time(policy: &cedar_policy::Policy, annotation: &'static str) -> Result<Option<Duration>, Misannotated> {
    let Some(value) = policy.annotation(annotation) else { return Ok(None) };
    let fits = |time: &Duration| *time >= Duration::from_secs(1) && *time <= MAX_LIFETIME;
    let time = quantity::duration(value).ok().filter(fits);
    time.map(Some).ok_or_else(|| Misannotated::Time { annotation, value: value.to_owned() })
}

/// Whether some condition looks at the approval; a forbid that does not is never lifted by one.
pub(crate) fn looks_at_approval(body: &pst::Template) -> bool {
    let mut looks = false;
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |expr| {
            looks |= match expr {
                Expr::GetAttr { .. } => {
                    matches!(tree::path(expr), Some((Var::Context, names)) if names.first() == Some(&"approval"))
                }
                Expr::HasAttr { expr, attrs } => {
                    matches!(&**expr, Expr::Var(Var::Context)) && attrs.first().as_str() == "approval"
                }
                _ => false,
            };
        });
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Arc<Requirement>>, Misannotated> {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        requirement(&policy, (&policy, actions), &"a/p".into())
    }

    fn asked(text: &str) -> Requirement {
        let text = format!("{text} forbid (principal, action, resource);");
        (*read(&text).unwrap().unwrap()).clone()
    }

    #[test]
    fn what_is_asked_of_people_is_read() {
        let plain = asked("@approval(\"payers\")");
        assert_eq!((&*plain.role, plain.quorum, plain.window), ("payers", 1, None));
        assert_eq!((plain.lifetime, plain.reason.as_deref()), (DEFAULT_LIFETIME, None));
        let all = asked(
            "@approval(\"p\") @quorum(\"2\") @lifetime(\"4h\") @window(\"1h30m\") @reason(\"money leaves\")",
        );
        assert_eq!((all.quorum, all.lifetime), (2, Duration::from_secs(4 * 3_600)));
        assert_eq!(
            (all.window, all.reason.as_deref()),
            (Some(Duration::from_secs(5_400)), Some("money leaves"))
        );
        let escalates = asked("@approval(\"p\") @escalation(\"managers\") @escalate_after(\"15m\")");
        let after = Duration::from_secs(900);
        assert_eq!(escalates.escalation, Some(Escalation { role: "managers".into(), after }));
        assert_eq!((plain.escalation, all.escalation), (None, None));
        // The first and the last of each.
        let longest = format!("@approval(\"{}\")", "r".repeat(MAX_ROLE));
        for fits in [
            longest.as_str(),
            "@approval(\"a\") @quorum(\"1\")",
            "@approval(\"a\") @quorum(\"16\")",
            "@approval(\"a\") @lifetime(\"1s\")",
            "@approval(\"a\") @lifetime(\"30d\")",
            "@approval(\"a\") @escalation(\"m\") @escalate_after(\"3599s\")",
        ] {
            asked(fits);
        }
        let longer =
            format!("@approval(\"{}\") forbid (principal, action, resource);", "r".repeat(MAX_ROLE + 1));
        assert!(matches!(read(&longer), Err(Misannotated::NoRole { .. })));
        assert_eq!(read("forbid (principal, action, resource);"), Ok(None));
    }

    #[test]
    fn what_is_not_shown_is_read_and_is_of_tools_alone() {
        const TOOLS: &str = "forbid (principal, action == Action::\"invokeTool\", resource);";
        let of = |annotation: &str| {
            read(&format!("@approval(\"a\") {annotation} {TOOLS}")).map(|asked| asked.unwrap())
        };
        let asked = of("@redact_shown(\"/ssn /cards/*/number /ssn\")").unwrap();
        assert_eq!(
            asked.redact_shown.iter().map(|one| &**one).collect::<Vec<_>>(),
            ["/cards/*/number", "/ssn"]
        );
        let digests = ["", "@redact_shown(\"/a\")", "@redact_shown(\"/b\")", "@redact_shown(\"/a /b\")"];
        let digests: std::collections::HashSet<_> =
            digests.iter().map(|one| of(one).unwrap().digest).collect();
        assert_eq!(digests.len(), 4, "another redaction is another question");
        for bad in ["@redact_shown", "@redact_shown(\"ssn\")", "@redact_shown(\"/\")"] {
            let wrong = of(bad).unwrap_err().to_string();
            assert!(wrong.contains("names no values"), "{wrong}");
        }
        let other = read("@approval(\"a\") @redact_shown(\"/a\") forbid (principal, action, resource);");
        assert!(other.unwrap_err().to_string().contains("about invokeTool"));
        let alone = read(&format!("@redact_shown(\"/a\") {TOOLS}"));
        assert!(alone.unwrap_err().to_string().contains("there is none"));
    }

    /// An approval under another text, another role or other terms is none.
    #[test]
    fn whatever_is_asked_otherwise_has_another_digest() {
        let texts = [
            "@approval(\"a\")",
            "@approval(\"b\")",
            "@approval(\"a\") @quorum(\"2\")",
            "@approval(\"a\") @lifetime(\"2h\")",
            "@approval(\"a\") @window(\"1h\")",
            "@approval(\"a\") @reason(\"r\")",
            "@approval(\"a\") @escalation(\"m\") @escalate_after(\"15m\")",
            "@approval(\"a\") @escalation(\"m\") @escalate_after(\"16m\")",
            "@approval(\"a\") @escalation(\"n\") @escalate_after(\"15m\")",
        ];
        let digests: std::collections::HashSet<_> = texts.iter().map(|text| asked(text).digest).collect();
        assert_eq!(digests.len(), texts.len());
        let other = read("@approval(\"a\") forbid (principal, action, resource) when { false };").unwrap();
        assert!(!digests.contains(&other.unwrap().digest));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for (annotations, effect, message) in [
            ("@approval(\"a\")", "permit", "@approval is on a permit: what permits a call cannot hold it"),
            ("@approval(\"\")", "forbid", "@approval(\"\") names no role"),
            ("@approval", "forbid", "@approval(\"\") names no role"),
            ("@approval(\" \")", "forbid", "names no role"),
            ("@approval(\"a\\n\")", "forbid", "names no role"),
            ("@approval(\"a\") @quorum(\"0\")", "forbid", "@quorum(\"0\") is no number of people, 1 to 16"),
            ("@approval(\"a\") @quorum(\"17\")", "forbid", "@quorum(\"17\")"),
            ("@approval(\"a\") @quorum(\"two\")", "forbid", "@quorum(\"two\")"),
            ("@approval(\"a\") @lifetime(\"4\")", "forbid", "@lifetime(\"4\") is no time"),
            ("@approval(\"a\") @lifetime(\"31d\")", "forbid", "@lifetime(\"31d\")"),
            ("@approval(\"a\") @window(\"0s\")", "forbid", "@window(\"0s\")"),
            ("@quorum(\"2\")", "forbid", "@quorum says something of an @approval, and there is none"),
            ("@window(\"1h\")", "permit", "@window says something of an @approval, and there is none"),
            (
                "@escalation(\"m\") @escalate_after(\"5m\")",
                "forbid",
                "@escalation says something of an @approval",
            ),
            (
                "@approval(\"a\") @escalation(\"m\")",
                "forbid",
                "@escalation says nothing without @escalate_after",
            ),
            (
                "@approval(\"a\") @escalate_after(\"5m\")",
                "forbid",
                "@escalate_after says nothing without @escalation",
            ),
            (
                "@approval(\"a\") @escalation(\"\") @escalate_after(\"5m\")",
                "forbid",
                "@escalation(\"\") names no role",
            ),
            ("@approval(\"a\") @escalation(\"a\") @escalate_after(\"5m\")", "forbid", "that is asked anyway"),
            (
                "@approval(\"a\") @escalation(\"m\") @escalate_after(\"5\")",
                "forbid",
                "@escalate_after(\"5\") is no time",
            ),
            (
                "@approval(\"a\") @escalation(\"m\") @escalate_after(\"soon\")",
                "forbid",
                "@escalate_after(\"soon\")",
            ),
            ("@approval(\"a\") @escalation(\"m\") @escalate_after(\"1h\")", "forbid", "over, after 3600 s"),
            (
                "@approval(\"a\") @lifetime(\"5m\") @escalation(\"m\") @escalate_after(\"15m\")",
                "forbid",
                "@escalate_after(\"15m\") is not before the question is over, after 300 s",
            ),
        ] {
            let wrong = read(&format!("{annotations} {effect} (principal, action, resource);")).unwrap_err();
            assert!(wrong.to_string().contains(message), "{annotations}: {wrong}");
            assert!(!wrong.fix().is_empty() && annotations.contains(wrong.value().trim()), "{annotations}");
        }
    }

    #[test]
    fn a_forbid_that_no_approval_lifts_is_known() {
        for (conditions, looks) in [
            ("", false),
            ("unless { context has approval && context.approval.role == \"a\" }", true),
            ("when { !(context has approval) || context.approval.by.email != \"x\" }", true),
            ("unless { context has approval }", true),
            ("unless { context.approval.role == \"a\" }", true),
            ("unless { context.chain has approval || principal has approval }", false),
            ("when { context.method == \"a\" }", false),
        ] {
            let text = format!("forbid (principal, action, resource) {conditions};");
            let pst = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
            assert_eq!(looks_at_approval(pst.body()), looks, "{conditions}");
        }
    }

    /// Who has approved is asked anew where other values are kept from him, and not where they are named in another order.
    #[test]
    fn what_is_not_shown_is_part_of_what_is_asked() {
        let text = "forbid (principal, action == Action::\"invokeTool\", resource);";
        let plain = cedar_policy::Policy::parse(None, text).unwrap();
        let actions = Actions::of(&plain.to_pst().unwrap().body().action);
        let digest = |annotation: &str| {
            let text = format!("@approval(\"p\") {annotation} {text}");
            let policy = cedar_policy::Policy::parse(None, text).unwrap();
            requirement(&policy, (&plain, actions), &"a/p".into()).unwrap().unwrap().digest
        };
        let [none, one, other, both, turned] =
            ["", "/a", "/b", "/a /b", "/b /a"].map(|pointers| match pointers {
                "" => digest(""),
                some => digest(&format!("@redact_shown(\"{some}\")")),
            });
        assert!(none != one && one != other && other != both, "{none:?} {one:?} {other:?} {both:?}");
        assert_eq!(both, turned);
    }
}
