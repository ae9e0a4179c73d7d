//! `trust_score` may only tighten: where no policy was warned of, less of it never allows what more of it does not.

use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use crate::generate::Dice;
use crate::world::{Facts, agent, cluster, server};

const SCORES: [Option<u8>; 5] = [None, Some(10), Some(50), Some(51), Some(90)];

/// A condition about the score, or about something else.
fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 || dice.chance(35) {
        return match dice.below(8) {
            0..5 => {
                let (op, bound) = (dice.one(&[">=", ">", "<", "<=", "=="]), dice.one(&["10", "50", "51"]));
                match dice.below(3) {
                    0 => format!("(principal has trust_score && {bound} {op} principal.trust_score)"),
                    _ => format!("(principal has trust_score && principal.trust_score {op} {bound})"),
                }
            }
            5 => "(principal has trust_score)".to_owned(),
            6 => "principal.quarantined".to_owned(),
            _ => "true".to_owned(),
        };
    }
    let (a, b) = (condition(dice, depth - 1), condition(dice, depth - 1));
    match dice.below(6) {
        0 | 1 => format!("({a} && {b})"),
        2 => format!("({a} || {b})"),
        3 | 4 => format!("!({a})"),
        _ => format!("(if {} then {a} else {b})", condition(dice, depth - 1)),
    }
}

/// As much trust as is asked for, in one way or another.
fn enough(dice: &mut Dice, depth: usize) -> String {
    let bound = dice.one(&["10", "50", "51"]);
    let atom = format!("(principal has trust_score && principal.trust_score >= {bound})");
    if depth == 0 {
        return atom;
    }
    format!("({} {} {atom})", enough(dice, depth - 1), dice.one(&["&&", "||"]))
}

fn policies(dice: &mut Dice) -> String {
    if dice.chance(40) {
        let (permit, forbid) = (enough(dice, 1), enough(dice, 1));
        return format!(
            "permit (principal is Agent, action, resource) when {{ {permit} }};\nforbid (principal is Agent, action, resource) unless {{ {forbid} }};"
        );
    }
    let policy = |dice: &mut Dice| {
        let (effect, clause) = (dice.one(&["permit", "forbid"]), dice.one(&["when", "unless"]));
        format!("{effect} (principal is Agent, action, resource) {clause} {{ {} }};\n", condition(dice, 2))
    };
    (0..=dice.below(3)).map(|_| policy(dice)).collect()
}

/// With an agent of each score; `None` where the policies are refused, as some can never apply.
fn world(policies: &str) -> Option<Snapshot> {
    let mut all = vec![Object::McpServer(Arc::new(server("a", "s"))), cluster(policies)];
    for (number, score) in SCORES.into_iter().enumerate() {
        let mut agent = agent("a", &number.to_string());
        agent.trust_score = score;
        all.push(Object::Agent(Arc::new(agent)));
    }
    let (snapshot, rejected) = Snapshot::build(all);
    rejected.is_empty().then_some(snapshot)
}

/// Which of the agents may call, from the least trusted one on.
fn allowed(world: &Snapshot) -> Vec<bool> {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    let may = |number: usize| {
        let facts = Facts::of(world, &format!("a/{number}"));
        facts.authorize(world, Action::InvokeTool, target).allowed()
    };
    (0..SCORES.len()).map(may).collect()
}

#[test]
fn less_trust_never_allows_more() {
    let mut dice = Dice::new(12);
    let (mut tightened, mut warned, mut loosened) = (0, 0, 0);
    for _ in 0..300 {
        let text = policies(&mut dice);
        let Some(world) = world(&text) else { continue };
        let allowed = allowed(&world);
        let grows = allowed.windows(2).all(|pair| pair[0] <= pair[1]);
        let is_warned = world.warnings().iter().any(|warning| warning.reason.contains("trust_score"));
        assert!(grows || is_warned, "{allowed:?}\n{text}");
        tightened += usize::from(!is_warned && allowed[0] != allowed[4]);
        warned += usize::from(is_warned);
        loosened += usize::from(!grows);
    }
    assert!(tightened > 10 && warned > 50 && loosened > 10, "{tightened} {warned} {loosened}");
}
