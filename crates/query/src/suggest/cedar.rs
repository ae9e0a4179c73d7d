//! The text of policies that permit what was used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use vidimus_core::authorize::OF_NO_SKILL;
use vidimus_core::entity::EntityKind;
use vidimus_core::snapshot::MAX_CEDAR;

use super::used::{EntityKey, Use, Uses};

/// The edges that a text permits.
type Edges<'a> = Vec<(&'a (String, EntityKey), &'a Use)>;

/// One statement, and what of the uses it is for.
struct Statement<'a> {
    text: String,
    edges: Edges<'a>,
}

/// How many resources one statement lists. Of more each has its own: those that are about another one are then found not to matter by an
/// index, and not one by one.
const MAX_LISTED: usize = 16;

/// Texts of at most [`MAX_CEDAR`] bytes each, with the edges that each permits.
pub(super) fn texts<'a>(principal: &EntityKey, uses: &'a Uses) -> Vec<(String, Edges<'a>)> {
    let mut all: Vec<(String, Edges<'a>)> = Vec::new();
    for Statement { text, edges } in statements(principal, uses) {
        match all.last_mut() {
            Some((last, last_edges)) if last.len() + text.len() <= MAX_CEDAR - 1_024 => {
                last.push_str(&text);
                last_edges.extend(edges);
            }
            _ => all.push((text, edges)),
        }
    }
    all
}

fn statements<'a>(principal: &EntityKey, uses: &'a Uses) -> Vec<Statement<'a>> {
    // Who uses a part of something has what is needed for it without a policy of its own.
    let part = |kinds: &[EntityKind]| -> BTreeSet<&str> {
        let of = uses.keys().filter(|(_, resource)| kinds.iter().any(|kind| resource.is(*kind)));
        of.map(|(_, resource)| resource.owner()).collect()
    };
    let servers = part(&[EntityKind::Tool, EntityKind::Resource, EntityKind::Prompt]);
    let providers = part(&[EntityKind::Model]);
    let skilled = part(&[EntityKind::Skill]);
    let mut lists: BTreeMap<(&str, &str), Edges<'a>> = BTreeMap::new();
    let mut implied: Edges<'a> = Vec::new();
    let mut statements = Vec::new();
    for edge @ ((action, resource), used) in uses {
        let of_no_skill = || used.methods.iter().all(|method| OF_NO_SKILL.contains(&method.as_str()));
        if resource.is(EntityKind::McpServer) && servers.contains(&*resource.id)
            || resource.is(EntityKind::LlmProvider) && providers.contains(&*resource.id)
            || resource.is(EntityKind::Agent) && skilled.contains(&*resource.id) && of_no_skill()
        {
            implied.push(edge);
        } else if resource.is(EntityKind::Agent) {
            let text = whole_agent(principal, edge, uses, of_no_skill());
            statements.push(Statement { text, edges: vec![edge] });
        } else if resource.is(EntityKind::Skill) {
            lists.entry((action, "resource is Skill")).or_default().push(edge);
        } else {
            lists.entry((action, "resource")).or_default().push(edge);
        }
    }
    for ((action, scope), edges) in lists {
        if edges.len() <= MAX_LISTED {
            statements.push(Statement { text: list(principal, action, scope, &edges), edges });
            continue;
        }
        for edge in edges {
            statements.push(Statement { text: list(principal, action, scope, &[edge]), edges: vec![edge] });
        }
    }
    if let Some(first) = statements.first_mut() {
        first.edges.extend(implied);
    }
    statements
}

/// A permit of one agent as a whole. Who may call the whole may name any of its skills, so of those only what was used is left; and
/// who asked for nothing but its card may do no more.
fn whole_agent(
    principal: &EntityKey,
    ((action, agent), used): (&(String, EntityKey), &Use),
    uses: &Uses,
    of_no_skill: bool,
) -> String {
    let mut text = String::new();
    let scope = format!("principal == {}, action == Action::{action:?}", principal.cedar());
    // Writing to a string does not fail.
    if of_no_skill {
        let methods: Vec<String> = used.methods.iter().map(|method| format!("{method:?}")).collect();
        let methods = methods.join(", ");
        let _ = writeln!(text, "permit ({scope}, resource == {})", agent.cedar());
        let _ = writeln!(text, "when {{ [{methods}].contains(context.method) }};");
        return text;
    }
    let _ = writeln!(text, "permit ({scope}, resource == {});", agent.cedar());
    let _ = write!(text, "forbid ({scope}, resource is Skill in {})", agent.cedar());
    let skills = uses.keys().map(|(_, resource)| resource);
    let skills: Vec<String> = skills
        .filter(|resource| resource.is(EntityKind::Skill) && resource.owner() == agent.id)
        .map(EntityKey::cedar)
        .collect();
    let _ = match skills.is_empty() {
        true => writeln!(text, ";"),
        false => writeln!(text, "\nunless {{ [{}].contains(resource) }};", skills.join(", ")),
    };
    text
}

fn list(principal: &EntityKey, action: &str, scope: &str, edges: &[(&(String, EntityKey), &Use)]) -> String {
    let mut text = String::new();
    let head = format!("permit (principal == {}, action == Action::{action:?}", principal.cedar());
    let _ = match edges {
        [((_, resource), _)] => writeln!(text, "{head}, resource == {});", resource.cedar()),
        edges => {
            let listed: Vec<String> = edges.iter().map(|((_, resource), _)| resource.cedar()).collect();
            writeln!(
                text,
                "{head}, {scope})\nwhen {{ [\n  {}\n].contains(resource) }};",
                listed.join(",\n  ")
            )
        }
    };
    text
}
