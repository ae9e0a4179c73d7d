//! What is kept of a snapshot so that the next start need not type-check its policies again, which is most of what a start costs: that the check was made,
//! by which program, and what it said. Each policy is parsed and compiled all the same; only the answer of a check that is of its text and the schema
//! alone is taken over, and only from where nobody else can write.

use std::sync::{Arc, LazyLock};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::compile;
use super::world::World;
use super::{Had, Made, Places, Snapshot, digest as digests};
use crate::decide::schema;
use crate::resource::{Object, ObjectKey, Policy};

/// To be raised when the check refuses something else than it did while version and schema stay the same.
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

    /// One to build the first on, which takes over what was made of these policies. It is for [`Snapshot::next`] only, and decides nothing itself.
    ///
    /// That the checks were made, and by this program ([`checks`]), is for the caller to know. What does not compile all the same is left out, and is refused
    /// when the next snapshot is built.
    pub fn of_checked(checked: &[Checked]) -> Self {
        let texts: Vec<(&Arc<Policy>, &[String])> =
            checked.iter().map(|one| (&one.policy, one.said.as_slice())).collect();
        let (mut objects, mut made, mut places) = (Vec::new(), Vec::new(), Places::default());
        for (one, compiled) in checked.iter().zip(compile::compile_all_checked(&texts)) {
            let Ok(compiled) = compiled else { continue };
            let object = Object::Policy(one.policy.clone());
            places.insert(ObjectKey::of(&object), objects.len());
            made.push(Made {
                digest: digests::of_object(&object),
                own: None,
                compiled: Some(Arc::new(compiled)),
                names: None,
            });
            objects.push(object);
        }
        let world = Arc::new(World::of(&objects, &[]));
        Self { objects, made, places, world, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Origin, check};

    fn policy(cedar: &str) -> Object {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "a", "name": "p"}, "spec": {"description": "a test", "cedar": cedar},
        });
        check(&Origin::default(), &document).unwrap()
    }

    fn checked(object: &Object, said: &[String]) -> Checked {
        let Object::Policy(policy) = object else { panic!("of another kind") };
        Checked { policy: policy.clone(), said: said.to_vec() }
    }

    /// A snapshot that is built on it is the same as one that is built on nothing, with the same remarks.
    #[test]
    fn what_was_checked_is_taken_over_and_makes_the_same_snapshot() {
        for cedar in [
            "permit (principal, action == Action::\"invokeTool\", resource);",
            "forbid (principal, action == Action::\"invokeTool\", resource) when { context.delegation_depth > 3 };\npermit (principal, action, resource);",
            "permit (principal, action == Action::\"invokeTool\", resource) when { principal.risk_level == \"lоw\" };",
        ] {
            let object = policy(cedar);
            let (built, _) = Snapshot::build(vec![object.clone()]);
            let said = built.type_check(&object).unwrap().to_vec();
            let (next, rejected) =
                Snapshot::of_checked(&[checked(&object, &said)]).rebuilt(vec![object], vec![]);
            assert!(rejected.is_empty(), "{rejected:?}");
            assert_eq!(next.digest(), built.digest());
            assert_eq!(next.warnings(), built.warnings(), "{cedar}");
            assert!(next.policies().eq(built.policies()));
        }
    }

    /// It really is the check that is left out: what only that finds passes here, and so nobody else may say that it was made.
    #[test]
    fn another_text_is_checked_and_what_does_not_parse_is_refused_all_the_same() {
        let mistyped = policy(
            "permit (principal, action == Action::\"invokeTool\", resource) when { principal.risk_level == 1 };",
        );
        let (next, rejected) =
            Snapshot::of_checked(&[checked(&mistyped, &[])]).rebuilt(vec![mistyped.clone()], vec![]);
        assert_eq!((next.objects().len(), rejected.len()), (1, 0));
        let good = policy("permit (principal, action, resource);");
        let on = Snapshot::of_checked(&[checked(&good, &[])]);
        for bad in [mistyped, policy("permit (principal")] {
            let (next, rejected) = on.rebuilt(vec![bad.clone()], vec![]);
            assert_eq!((next.objects().len(), rejected.len()), (0, 1));
            assert!(next.type_check(&bad).is_none());
        }
        let unparsed = policy("permit (principal");
        let (next, rejected) =
            Snapshot::of_checked(&[checked(&unparsed, &[])]).rebuilt(vec![unparsed], vec![]);
        assert_eq!((next.objects().len(), rejected.len()), (0, 1));
    }
}
