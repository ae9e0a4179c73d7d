//! The annotation of a permit by which the record of what it permits keeps a payload: `@keep("arguments, answer")` (ADR 55).

use cedar_policy::Effect;

use super::annotation::Misannotated;
use super::statement::Actions;
use crate::keep::Keep;

/// What a policy has records keep of the calls that it permits.
pub(super) fn of(policy: &cedar_policy::Policy, actions: Actions) -> Result<Keep, Misannotated> {
    let Some(value) = policy.annotation("keep") else { return Ok(Keep::default()) };
    let value = || value.to_owned();
    if policy.effect() == Effect::Forbid {
        return Err(Misannotated::KeepsOnForbid { value: value() });
    }
    if !actions.are_of_calls() {
        return Err(Misannotated::KeepsOther { value: value() });
    }
    let mut keep = Keep::default();
    let text = value();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match word {
            "arguments" => keep.arguments = true,
            "answer" => keep.answer = true,
            _ => return Err(Misannotated::Keeps { value: value() }),
        }
    }
    if keep.is_nothing() { Err(Misannotated::Keeps { value: text }) } else { Ok(keep) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "(principal, action, resource);";

    fn read(text: &str) -> Result<Keep, Misannotated> {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        of(&policy, actions)
    }

    #[test]
    fn what_is_kept_is_read() {
        for (annotation, arguments, answer) in [
            ("", false, false),
            ("@keep(\"arguments\")", true, false),
            ("@keep(\"answer\")", false, true),
            ("@keep(\"arguments, answer\")", true, true),
            ("@keep(\" answer arguments answer,\")", true, true),
        ] {
            assert_eq!(
                read(&format!("{annotation} permit {ALL}")),
                Ok(Keep { arguments, answer }),
                "{annotation}"
            );
        }
    }

    /// What nobody would keep is refused where it is written.
    #[test]
    fn what_says_nothing_is_refused() {
        let operate = "permit (principal, action in Action::\"operate\", resource);";
        let kernel = "permit (principal, action == Action::\"readFile\", resource);";
        let (permit, forbid) = (format!("permit {ALL}"), format!("forbid {ALL}"));
        for (annotation, policy, message) in [
            ("@keep(\"arguments\")", forbid.as_str(), "@keep is on a forbid"),
            ("@keep(\"arguments\")", operate, "about no call"),
            ("@keep(\"answer\")", kernel, "about no call"),
            ("@keep", &permit, "neither arguments nor answer"),
            ("@keep(\"\")", &permit, "neither arguments nor answer"),
            ("@keep(\" , \")", &permit, "neither arguments nor answer"),
            ("@keep(\"answers\")", &permit, "neither arguments nor answer"),
            ("@keep(\"Arguments\")", &permit, "neither arguments nor answer"),
            ("@keep(\"arguments, all\")", &permit, "neither arguments nor answer"),
        ] {
            let error = read(&format!("{annotation} {policy}")).expect_err(annotation);
            assert!(error.to_string().contains(message), "{annotation} {policy}: {error}");
            assert!(!error.fix().is_empty());
        }
    }
}
