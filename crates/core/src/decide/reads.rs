//! What a policy looks at on one side of an edge. Objects that are equal in all of it have the same answer, so one of them is asked for
//! all of them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, ResourceConstraint, Var,
};
use cedar_policy::{Entities, EntityUid};

use super::index::Side;
use super::statement::entity_uid;
use super::tree;

/// One thing that is looked at. The type is always looked at, and is not among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Read {
    /// Which object it is.
    Itself,
    /// The value of an attribute, with all that it leads to.
    Attribute(Box<str>),
    /// The value of one tag.
    Tag(Box<str>),
    /// Which tags there are.
    Tags,
    /// Whether it is this one.
    Is(EntityUid),
    /// Whether it is this one or in it.
    Member(EntityUid),
}

impl Read {
    /// Whether it tells objects of one owner apart by what their callers call them.
    pub(crate) fn is_of_name(&self) -> bool {
        match self {
            Self::Itself => true,
            Self::Attribute(name) => matches!(&**name, "name" | "uri"),
            Self::Tag(_) | Self::Tags | Self::Is(_) | Self::Member(_) => false,
        }
    }
}

/// All that a policy looks at on `side`; `other` is what is on the other side, where that is one thing. May say more than there is,
/// never less.
pub(crate) fn all(body: &pst::Template, side: Side, other: Option<&EntityUid>) -> BTreeSet<Read> {
    let mut found = Found { side, other, reads: BTreeSet::new(), met: 0, understood: 0 };
    match side {
        Side::Principal => match &body.principal {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
            PrincipalConstraint::Eq(entity) => found.scope(entity, Read::Is),
            PrincipalConstraint::In(entity) | PrincipalConstraint::IsIn(_, entity) => {
                found.scope(entity, Read::Member);
            }
        },
        Side::Resource => match &body.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
            ResourceConstraint::Eq(entity) => found.scope(entity, Read::Is),
            ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
                found.scope(entity, Read::Member);
            }
        },
    }
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |part| found.part(part));
    }
    // Where it stands in a way that is not known here, everything of it may matter.
    if found.met != found.understood {
        found.reads.insert(Read::Itself);
    }
    found.reads
}

struct Found<'a> {
    side: Side,
    other: Option<&'a EntityUid>,
    reads: BTreeSet<Read>,
    /// How often the variable stands somewhere.
    met: usize,
    /// How often in a way that `reads` covers.
    understood: usize,
}

impl Found<'_> {
    fn scope(&mut self, entity: &EntityOrSlot, read: fn(EntityUid) -> Read) {
        match entity {
            EntityOrSlot::Entity(uid) => {
                self.reads.insert(entity_uid(uid).map_or(Read::Itself, read));
            }
            EntityOrSlot::Slot(_) => drop(self.reads.insert(Read::Itself)),
        }
    }

    fn part(&mut self, part: &Expr) {
        match part {
            Expr::Var(var) if Side::of(var) == Some(self.side) => self.met += 1,
            Expr::GetAttr { expr, attr } if self.is_it(expr) => {
                self.covered([Read::Attribute((&**attr).into())]);
            }
            Expr::HasAttr { expr, attrs } if self.is_it(expr) => {
                self.covered([Read::Attribute((&**attrs.first()).into())]);
            }
            Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, right } if self.is_it(left) => {
                self.covered([tree::string(right).map_or(Read::Tags, |key| Read::Tag(key.into()))]);
            }
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq, left, right } => {
                for (one, other) in [(left, right), (right, left)] {
                    if self.is_it(one)
                        && let Some(uid) = self.named(other)
                    {
                        self.covered([Read::Is(uid)]);
                    }
                }
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } if self.is_it(left) => self.membership(right),
            Expr::Is { expr, in_expr, .. } if self.is_it(expr) => match in_expr {
                None => self.covered([]),
                Some(group) => self.membership(group),
            },
            _ => {}
        }
    }

    fn membership(&mut self, group: &Expr) {
        let named: Option<Vec<EntityUid>> = match group {
            Expr::Set(elements) => elements.iter().map(|element| self.named(element)).collect(),
            one => self.named(one).map(|uid| vec![uid]),
        };
        if let Some(named) = named {
            self.covered(named.into_iter().map(Read::Member));
        }
    }

    fn covered(&mut self, reads: impl IntoIterator<Item = Read>) {
        self.understood += 1;
        self.reads.extend(reads);
    }

    fn is_it(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Var(var) if Side::of(var) == Some(self.side))
    }

    /// The one thing that an expression stands for.
    fn named(&self, expr: &Expr) -> Option<EntityUid> {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => entity_uid(uid),
            Expr::Var(Var::Principal | Var::Resource) if !self.is_it(expr) => self.other.cloned(),
            _ => None,
        }
    }
}

/// What is looked at on one side by several policies together.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// What an object may be in, each with its number.
    groups: HashMap<EntityUid, usize>,
    /// Everything else.
    others: BTreeSet<Read>,
}

impl Extend<Read> for Looked {
    fn extend<I: IntoIterator<Item = Read>>(&mut self, reads: I) {
        for read in reads {
            match read {
                Read::Member(group) => {
                    let next = self.groups.len();
                    self.groups.entry(group).or_insert(next);
                }
                other => drop(self.others.insert(other)),
            }
        }
    }
}

impl Looked {
    /// What is seen of one object, as a text that is the same for those that are equal in it.
    pub(crate) fn seen(&self, of: &EntityUid, entities: &Entities) -> String {
        let mut text = of.type_name().to_string();
        let above = entities.ancestors(of).into_iter().flatten();
        let mut groups: Vec<usize> =
            std::iter::once(of).chain(above).filter_map(|group| self.groups.get(group).copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        let entity = entities.get(of);
        let attribute = |name: &str| entity.and_then(|entity| entity.attr(name)).and_then(Result::ok);
        // Writing to a text does not fail.
        let _ = write!(text, " {groups:?}");
        for read in &self.others {
            let _ = match read {
                Read::Itself => write!(text, " {of}"),
                Read::Attribute(name) => write!(text, " {:?}", attribute(name)),
                Read::Tag(key) => {
                    write!(text, " {:?}", entity.and_then(|entity| entity.tag(key)).and_then(Result::ok))
                }
                Read::Tags => {
                    let tags = entity.into_iter().flat_map(cedar_policy::Entity::tags);
                    let mut tags: Vec<_> = tags.map(|(key, value)| (key.to_owned(), value.ok())).collect();
                    tags.sort();
                    write!(text, " {tags:?}")
                }
                Read::Is(uid) | Read::Member(uid) => write!(text, " {}", uid == of),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn reads(text: &str, side: Side) -> String {
        let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
        let other: EntityUid = "MCPServer::\"o/o\"".parse().unwrap();
        let all = all(pst.body(), side, Some(&other));
        let shown = all.iter().map(|read| match read {
            Read::Itself => "itself".to_owned(),
            Read::Attribute(name) => format!(".{name}"),
            Read::Tag(key) => format!("[{key}]"),
            Read::Tags => "[]".to_owned(),
            Read::Is(uid) => format!("={uid}"),
            Read::Member(uid) => format!("<{uid}"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// What is passed on in a way that is not understood makes every object its own.
    #[test]
    fn what_is_looked_at_is_known_or_everything() {
        for (policy, principal, resource) in [
            ("permit (principal, action, resource);", "", ""),
            ("permit (principal is Agent, action, resource is Tool);", "", ""),
            (
                r#"permit (principal == Agent::"a/x", action, resource in ToolSet::"s");"#,
                r#"=Agent::"a/x""#,
                r#"<ToolSet::"s""#,
            ),
            (
                r#"permit (principal is Agent in Group::"g", action, resource) when { principal.team == resource.team };"#,
                r#".team <Group::"g""#,
                ".team",
            ),
            (
                r#"forbid (principal, action, resource) unless { principal.hasTag("a") && principal.getTag("a") == "b" };"#,
                "[a]",
                "",
            ),
            (r"permit (principal, action, resource) when { principal.hasTag(context.method) };", "[]", ""),
            (
                r#"permit (principal, action, resource) when { principal in [Group::"g", Group::"h"] || principal is Agent in Team::"t" };"#,
                r#"<Group::"g" <Group::"h" <Team::"t""#,
                "",
            ),
            (
                r#"permit (principal, action, resource) when { Agent::"a/x" == principal || principal != Agent::"a/y" };"#,
                r#"=Agent::"a/x" =Agent::"a/y""#,
                "",
            ),
            (
                "permit (principal, action, resource) when { principal == resource };",
                r#"=MCPServer::"o/o""#,
                r#"=MCPServer::"o/o""#,
            ),
            ("permit (principal, action, resource) when { resource.server.team == \"t\" };", "", ".server"),
            ("permit (principal, action, resource) when { principal has version };", ".version", ""),
            (
                "permit (principal, action, resource) when { context.chain.agents.contains(principal) };",
                "itself",
                "",
            ),
            (
                r#"permit (principal, action, resource) when { principal.team == "t" && [principal] == [resource] };"#,
                "itself .team",
                "itself",
            ),
            // What is compared with itself is not compared with the other side.
            ("permit (principal, action, resource) when { principal == principal };", "itself", ""),
            (
                "permit (principal, action, resource) when { principal in resource.server };",
                "itself",
                ".server",
            ),
            ("permit (principal, action, resource) when { Agent::\"a/x\" in principal };", "itself", ""),
            (
                "permit (principal, action, resource) when { (if context.chain.cycle then principal else Agent::\"a/x\").team == \"t\" };",
                "itself",
                "",
            ),
        ] {
            assert_eq!(reads(policy, Side::Principal), principal, "{policy}");
            assert_eq!(reads(policy, Side::Resource), resource, "{policy}");
        }
    }

    #[test]
    fn which_reads_tell_apart_by_name() {
        let group: EntityUid = "ToolSet::\"s\"".parse().unwrap();
        for (read, is_of_name) in [
            (Read::Itself, true),
            (Read::Attribute("name".into()), true),
            (Read::Attribute("uri".into()), true),
            (Read::Attribute("server".into()), false),
            (Read::Tag("name".into()), false),
            (Read::Tags, false),
            (Read::Is(group.clone()), false),
            (Read::Member(group), false),
        ] {
            assert_eq!(read.is_of_name(), is_of_name, "{read:?}");
        }
    }
}
