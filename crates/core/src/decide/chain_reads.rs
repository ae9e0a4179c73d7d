//! What of the state of chains anything looks at: nothing else is counted.

use cedar_policy::pst::{Clause, Expr, Template, Var};

use super::tree;
use crate::resource::{DelegationLimits, Object};

/// What is looked at of what is counted over several calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainReads {
    /// Calls, tokens and spend of whole chains.
    pub counts: bool,
    /// How many objects each caller reaches in a chain. For agents with `maxFanOut` it is counted in any case.
    pub fan_out: bool,
    /// What chains and agents have read.
    pub labels: bool,
    /// Something looks at labels: those that are kept count, also where nothing brings any more.
    pub labels_kept: bool,
    /// Something can end a chain.
    pub ends: bool,
}

impl ChainReads {
    const ALL: Self = Self { counts: true, fan_out: true, labels: true, labels_kept: false, ends: false };

    /// What a policy looks at. Careful: more where in doubt.
    pub(crate) fn of_policy(body: &Template) -> Self {
        let mut reads = Self::default();
        for clause in body.clauses() {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            tree::walk(condition, &mut |expr| reads = reads.and(Self::of_expression(expr)));
        }
        reads
    }

    fn of_expression(expr: &Expr) -> Self {
        match expr {
            Expr::GetAttr { attr, .. } => Self::of_attribute(attr),
            Expr::HasAttr { attrs, .. } => {
                attrs.iter().map(|attr| Self::of_attribute(attr)).fold(Self::default(), Self::and)
            }
            _ if passes_whole(expr) => Self::ALL,
            _ => Self::default(),
        }
    }

    /// By its name alone: no other attribute of the schema has one of these.
    fn of_attribute(name: &str) -> Self {
        match name {
            "calls" | "tokens" | "spend" => Self { counts: true, ..Self::default() },
            "fan_out" => Self { fan_out: true, ..Self::default() },
            "labels" => Self { labels: true, ..Self::default() },
            _ => Self::default(),
        }
    }

    /// What either looks at.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            counts: self.counts || other.counts,
            fan_out: self.fan_out || other.fan_out,
            labels: self.labels || other.labels,
            labels_kept: self.labels_kept || other.labels_kept,
            ends: self.ends || other.ends,
        }
    }

    /// What the limits of objects look at beside the policies. Where no object brings labels, only those that are kept are looked at.
    pub(crate) const fn with_limits(self, limits: Limits) -> Self {
        let (counts, ends) = (self.counts || limits.counting > 0, self.ends || limits.ending > 0);
        Self { counts, ends, labels: self.labels && limits.bringing > 0, labels_kept: self.labels, ..self }
    }

    /// Whether nothing is.
    pub const fn is_nothing(self) -> bool {
        !(self.counts || self.fan_out || self.labels)
    }
}

/// How many objects have limits on chains, or bring labels to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    counting: usize,
    ending: usize,
    bringing: usize,
    with_age: usize,
}

impl Limits {
    fn of(object: &Object) -> Self {
        let (limits, brings) = match object {
            Object::Agent(agent) => (agent.delegation, agent.labels.brought().next().is_some()),
            Object::McpServer(server) => {
                let brings = server.labels.all().any(|labels| labels.brought().next().is_some());
                (DelegationLimits::default(), brings)
            }
            Object::LlmProvider(provider) => {
                (DelegationLimits::default(), provider.labels.brought().next().is_some())
            }
            Object::Service(_) | Object::Policy(_) => return Self::default(),
        };
        Self {
            counting: limits.counts_chains().into(),
            ending: limits.ends_chains().into(),
            bringing: brings.into(),
            with_age: limits.max_age.is_some().into(),
        }
    }

    pub(crate) fn add(&mut self, object: &Object) {
        let of = Self::of(object);
        self.counting += of.counting;
        self.ending += of.ending;
        self.bringing += of.bringing;
        self.with_age += of.with_age;
    }

    pub(crate) fn remove(&mut self, object: &Object) {
        let of = Self::of(object);
        self.counting -= of.counting;
        self.ending -= of.ending;
        self.bringing -= of.bringing;
        self.with_age -= of.with_age;
    }

    /// Whether some agent has a limit on how old its chains become.
    pub(crate) const fn have_age(self) -> bool {
        self.with_age > 0
    }
}

/// Whether it passes the context, or its chain, on as a whole, or compares it.
pub(super) fn passes_whole(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { left, right, .. } => is_whole(left) || is_whole(right),
        Expr::Set(elements) => elements.iter().any(|one| is_whole(one)),
        Expr::Record(members) => members.values().any(|one| is_whole(one)),
        Expr::IfThenElse { then_expr, else_expr, .. } => is_whole(then_expr) || is_whole(else_expr),
        _ => false,
    }
}

/// The context, or its chain, and not one member of it.
fn is_whole(expr: &Expr) -> bool {
    matches!(tree::path(expr), Some((Var::Context, names)) if names.is_empty() || names == ["chain"])
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn what_a_policy_looks_at_is_known() {
        let none = ChainReads::default();
        let counts = ChainReads { counts: true, ..none };
        for (condition, reads) in [
            ("context.chain.depth > 1 && context.chain.cycle", none),
            ("context.chain.age > duration(\"1h\")", none),
            ("principal.team == \"a\" && resource.reads.contains(\"confidential\")", none),
            ("context.chain.calls > 1", counts),
            ("true || context.chain.tokens > 1", counts),
            ("context.chain has spend", counts),
            ("(if context.chain.cycle then context else context).chain.spend > 1", ChainReads::ALL),
            ("context.chain.fan_out > 1", ChainReads { fan_out: true, ..none }),
            ("context.labels.contains(\"untrusted\")", ChainReads { labels: true, ..none }),
            ("context has labels", ChainReads { labels: true, ..none }),
            ("context == context", ChainReads::ALL),
            ("[context.chain].contains(context.chain)", ChainReads::ALL),
            ("[context.chain] == [context.chain]", ChainReads::ALL),
            ("{a: context.chain} == {a: context.chain}", ChainReads::ALL),
        ] {
            let text = format!("permit (principal, action, resource) unless {{ {condition} }};");
            let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
            assert_eq!(ChainReads::of_policy(pst.body()), reads, "{condition}");
        }
    }

    /// What ends a chain, and what is kept of others, has nothing to be counted.
    #[test]
    fn what_looks_at_nothing_is_known() {
        let none = ChainReads::default();
        assert!(none.is_nothing() && ChainReads { labels_kept: true, ends: true, ..none }.is_nothing());
        for one in [
            ChainReads { counts: true, ..none },
            ChainReads { fan_out: true, ..none },
            ChainReads { labels: true, ..none },
        ] {
            assert!(!one.is_nothing(), "{one:?}");
        }
    }
}
