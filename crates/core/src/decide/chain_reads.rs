//! What of the state of chains anything looks at: nothing else is counted.

use cedar_policy::pst::{Clause, Expr, Template, Var};

use super::tree;
use crate::resource::Object;

/// What is looked at of what is counted over several calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    /// What the limits of these objects look at beside the policies. Where no object brings labels, only those that are kept are looked at.
    pub(crate) fn with_objects(self, objects: &[Object]) -> Self {
        let mut brought = false;
        let (mut counts, mut ends) = (self.counts, self.ends);
        for object in objects {
            match object {
                Object::Agent(agent) => {
                    counts |= agent.delegation.counts_chains();
                    ends |= agent.delegation.ends_chains();
                    brought |= agent.labels.brought().next().is_some();
                }
                Object::McpServer(server) => {
                    brought |= server.labels.all().any(|labels| labels.brought().next().is_some());
                }
                Object::LlmProvider(provider) => brought |= provider.labels.brought().next().is_some(),
                Object::Service(_) | Object::Policy(_) => {}
            }
        }
        Self { counts, ends, labels: self.labels && brought, labels_kept: self.labels, ..self }
    }

    /// Whether nothing is.
    pub const fn is_nothing(self) -> bool {
        !(self.counts || self.fan_out || self.labels)
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
