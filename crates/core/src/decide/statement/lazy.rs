//! A policy that Cedar evaluates, made when it is first asked for.

use std::fmt;
use std::sync::OnceLock;

use cedar_policy::{PolicyId, pst};

use super::NotCompiled;

/// What Cedar evaluates takes some times as much room as what it is made of, and most policies are about edges that nobody uses for now.
/// Once made it is kept, so that an edge finds it.
#[derive(Clone, Debug)]
pub(crate) struct LazyPolicy {
    pst: pst::Policy,
    made: OnceLock<Box<cedar_policy::Policy>>,
}

impl LazyPolicy {
    /// With the policy that will be made of it: what Cedar does not take is known at once.
    pub(super) fn new(body: &pst::Template) -> Result<(Self, cedar_policy::Policy), NotCompiled> {
        let narrow = pst::StaticPolicy::try_from(body.clone());
        let pst = pst::Policy::Static(narrow.map_err(|error| NotCompiled::Fault(error.to_string()))?);
        let policy = made_of(&pst)?;
        Ok((Self { pst, made: OnceLock::new() }, policy))
    }

    pub(crate) const fn pst(&self) -> &pst::Policy {
        &self.pst
    }

    /// As Cedar evaluates it.
    ///
    /// # Errors
    /// None that was not met when it was compiled.
    pub(crate) fn evaluated(&self) -> Result<&cedar_policy::Policy, NotCompiled> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = made_of(&self.pst)?;
        Ok(self.made.get_or_init(|| Box::new(made)))
    }

    /// The same under another id.
    pub(super) fn new_id(&self, id: PolicyId) -> Self {
        Self { pst: self.pst.new_id(id.into()), made: OnceLock::new() }
    }
}

/// As Cedar writes it.
impl fmt::Display for LazyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pst)
    }
}

fn made_of(pst: &pst::Policy) -> Result<cedar_policy::Policy, NotCompiled> {
    cedar_policy::Policy::from_pst(pst.clone()).map_err(|error| NotCompiled::Fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_made_when_it_is_first_evaluated_and_once() {
        let text = "@reason(\"r\") permit (principal, action, resource) unless { principal.quarantined };";
        let parsed = cedar_policy::Policy::parse(Some(PolicyId::new("n/p")), text).unwrap();
        let (lazy, wanted) = LazyPolicy::new(parsed.to_pst().unwrap().body()).unwrap();
        assert!(lazy.made.get().is_none());
        assert_eq!((lazy.to_string(), lazy.made.get().is_none()), (wanted.to_string(), true));
        let made = lazy.evaluated().unwrap();
        assert_eq!((made, made.to_string()), (&wanted, wanted.to_string()));
        assert!(std::ptr::eq(made, lazy.evaluated().unwrap()));
        let other = lazy.new_id(PolicyId::new("x"));
        assert_eq!(other.evaluated().unwrap().id(), &PolicyId::new("x"));
    }
}
