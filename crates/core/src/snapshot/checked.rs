//! What is kept of a snapshot so that the next start need not type-check its policies again, which is most of what a start costs: that the check was made,
//! by which program, and what it said. Each policy is parsed and compiled all the same; only the answer of a check that is of its text and the schema
//! alone is taken over, and only from where nobody else can write.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Had, Snapshot};
use crate::decide::schema;
use crate::resource::{Object, Policy};

/// To be raised when the check refuses something else than it did, or the document of an object has another form ([`crate::resource::check_again`]), while
/// version and schema stay the same.
const FORM: u32 = 1;

/// A policy whose type check was made, and what that said: mostly nothing.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The object.
    pub policy: Arc<Policy>,
    /// For its author.
    pub said: Vec<String>,
}

/// Whose checks they are: version and schema of this program. What another one has checked is checked again.
pub fn checks() -> &'static str {
    static CHECKS: LazyLock<String> = LazyLock::new(|| {
        let schema = HEXLOWER.encode(&Sha256::digest(schema::TEXT.as_bytes()));
        format!("{FORM} {} {schema}", env!("CARGO_PKG_VERSION"))
    });
    &CHECKS
}

impl Snapshot {
    /// What the type check has said of a policy that is in force or refuses here, as it is; `None` of anything else.
    pub fn type_check(&self, object: &Object) -> Option<&[String]> {
        let Object::Policy(_) = object else { return None };
        let compiled = match self.had(object) {
            Had::All(made) => made.compiled.as_ref()?,
            Had::Compiled(compiled) => compiled,
            Had::Nothing => return None,
        };
        Some(compiled.type_remarks())
    }
}

/// What was said of each, by where the policy is in memory.
pub(super) fn by_policy(checked: &[Checked]) -> HashMap<*const Policy, &[String]> {
    checked.iter().map(|one| (Arc::as_ptr(&one.policy), one.said.as_slice())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Configuration;
    use super::*;
    use crate::resource::{Origin, Rejection, check};

    fn policy(cedar: &str) -> Object {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "a", "name": "p"}, "spec": {"description": "a test", "cedar": cedar},
        });
        check(&Origin::default(), &document).unwrap()
    }

    fn built(object: &Object, checked: Vec<Checked>) -> (Snapshot, Vec<Rejection>) {
        let objects = vec![object.clone()];
        Snapshot::default().next(Configuration { objects, checked, ..Configuration::default() })
    }

    fn checked(object: &Object, said: &[String]) -> Checked {
        let Object::Policy(policy) = object else { panic!("of another kind") };
        Checked { policy: policy.clone(), said: said.to_vec() }
    }

    /// A snapshot of what was checked before is the same as one that checks it, with the same remarks.
    #[test]
    fn what_was_checked_makes_the_same_snapshot() {
        for cedar in [
            "permit (principal, action == Action::\"invokeTool\", resource);",
            "forbid (principal, action == Action::\"invokeTool\", resource) when { context.delegation_depth > 3 };\npermit (principal, action, resource);",
            "permit (principal, action == Action::\"invokeTool\", resource) when { principal.risk_level == \"lоw\" };",
        ] {
            let object = policy(cedar);
            let (one, _) = built(&object, vec![]);
            let said = one.type_check(&object).unwrap().to_vec();
            let (other, rejected) = built(&object, vec![checked(&object, &said)]);
            assert!(rejected.is_empty(), "{rejected:?}");
            assert_eq!(one.digest(), other.digest());
            assert_eq!(one.warnings(), other.warnings(), "{cedar}");
            assert!(one.policies().eq(other.policies()));
        }
    }

    /// It really is the check that is left out: what only that finds passes here, and so nobody else may say that it was made.
    #[test]
    fn another_object_is_checked_and_what_does_not_parse_is_refused_all_the_same() {
        let text = "permit (principal, action == Action::\"invokeTool\", resource) when { principal.risk_level == 1 };";
        let mistyped = policy(text);
        let (next, rejected) = built(&mistyped, vec![checked(&mistyped, &[])]);
        assert_eq!((next.objects().len(), rejected.len()), (1, 0));
        // One that says the same is another one.
        let same = policy(text);
        let (next, rejected) = built(&same, vec![checked(&mistyped, &[])]);
        assert_eq!((next.objects().len(), rejected.len()), (0, 1));
        assert!(next.type_check(&same).is_none());
        let unparsed = policy("permit (principal");
        let (next, rejected) = built(&unparsed, vec![checked(&unparsed, &[])]);
        assert_eq!((next.objects().len(), rejected.len()), (0, 1));
    }
}
