//! What the next snapshot costs after one object changed, in an estate of 10,000 agents, 1,000 servers and 10,000 policies. One JSON object
//! a line; the full build stands beside it.
//!
//! Each kind of change is made again and again to objects picked at random, and each time only `Snapshot::rebuilt` is timed: what a source
//! read already is the same in memory. The change back at the end of a kind is not counted.

#![expect(clippy::print_stdout, reason = "its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use vidimus_core::act::{Act, OfSubject};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::{ActKind, ActRecord, VERSION};
use vidimus_core::resource::{Agent, McpServer, Object, Policy, RiskLevel};
use vidimus_core::snapshot::{Configuration, Overlay, Prepared, Snapshot};
use vidimus_core::standing::Standing;

#[path = "../../testkit/src/estate.rs"]
#[expect(dead_code, unreachable_pub, reason = "the estate is written for other users as well")]
mod estate;

use estate::{Dice, Estate};

const SEED: u64 = 42;
const POLICIES: usize = 10_000;
const AGENTS: usize = 10_000;
const SERVERS: usize = 1_000;
const ROUNDS: usize = 101;
const BUILDS: usize = 3;
/// Policies that are long to compile.
const HEAVY: usize = 30;
const GOAL_MS: f64 = 10.0;
const GOAL_MB: f64 = 150.0;

type Change = fn(&mut Vec<Object>, &mut Dice, usize);

const CHANGES: [(&str, Change); 8] = [
    ("risk of an agent", risk),
    ("groups of an agent", groups),
    ("an agent more", agent_more),
    ("an agent less", agent_less),
    ("a policy", policy),
    ("a policy more", policy_more),
    ("a policy less", policy_less),
    ("a server", server),
];

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let before = resident();
    let objects = objects();
    let mut built = Vec::new();
    let mut last = Snapshot::default();
    for _ in 0..BUILDS {
        let given = objects.clone();
        let begun = Instant::now();
        let (snapshot, rejected) = Snapshot::build(given);
        built.push(begun.elapsed().as_secs_f64() * 1e3);
        if !rejected.is_empty() {
            println!("{rejected:#?}");
            return;
        }
        last = snapshot;
        if built.len() == 1 {
            print_memory(before);
        }
    }
    print("rebuild", &mut built, r#""changed":"everything""#, None);
    let mut dice = Dice::new(SEED);
    for (what, change) in CHANGES {
        let mut changed = objects.clone();
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            change(&mut changed, &mut dice, round);
            let given = changed.clone();
            let begun = Instant::now();
            let (next, rejected) = black_box(last.rebuilt(given, Vec::new()));
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            if !rejected.is_empty() || next.digest() == last.digest() {
                println!("{what}, round {round}: {rejected:#?}");
                return;
            }
            last = next;
        }
        print("rebuild", &mut times, &format!(r#""changed":"{what}""#), Some(GOAL_MS));
        (last, _) = last.rebuilt(objects.clone(), Vec::new());
    }
    acts(&last, objects);
}

/// What an act costs on top of a change that brought policies which are long to compile: they are compiled once, beside what is in force, and not
/// again with each act. The change itself, compiled while it is built, stands beside it.
fn acts(last: &Snapshot, mut objects: Vec<Object>) {
    let Some(Object::Policy(like)) = objects.last().cloned() else { return };
    let heavy: Vec<Arc<Policy>> = (0..HEAVY).map(|number| heavy(&like, number)).collect();
    objects.extend(heavy.iter().cloned().map(Object::Policy));
    let begun = Instant::now();
    let (_, rejected) = black_box(last.rebuilt(objects.clone(), Vec::new()));
    let mut compiled = [begun.elapsed().as_secs_f64() * 1e3];
    if !rejected.is_empty() {
        println!("{rejected:#?}");
        return;
    }
    print("rebuild", &mut compiled, &format!(r#""changed":"{HEAVY} policies of 60 KB""#), None);
    let mut prepared = Prepared::default();
    prepared.prepare(&heavy, &[]);
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let Some(standing) = quarantine(round) else { return };
        let (objects, prepared) = (objects.clone(), prepared.clone());
        let configuration = Configuration { objects, prepared, standing, ..Configuration::default() };
        let begun = Instant::now();
        black_box(last.next(configuration));
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    print("rebuild", &mut times, r#""changed":"an act, beside them""#, Some(GOAL_MS));
    let ratio = percentile(&times, 0.5) / percentile(&compiled, 0.5);
    println!(
        r#"{{"name":"rebuild_act_beside_heavy","value":{ratio:.3},"unit":"ratio","parameters":{{{}}},"goal":0.1,"holds":{}}}"#,
        parameters(),
        ratio <= 0.1
    );
}

/// Twelve forbids with sixty conditions each, which are of one agent.
fn heavy(like: &Policy, number: usize) -> Arc<Policy> {
    let one =
        |n| format!("principal.hasTag(\"a-tag-{n}\") && principal.getTag(\"a-tag-{n}\") like \"*x*y*{n}*\"");
    let condition = (0..60).map(one).collect::<Vec<_>>().join(" || ");
    let forbid = format!(
        "forbid (principal == Agent::\"evil/a{number}\", action == Action::\"invokeTool\", resource) when {{ {condition} }};\n"
    );
    let mut policy = Policy { cedar: forbid.repeat(12).into(), ..like.clone() };
    policy.meta.namespace = "evil".into();
    policy.meta.name = format!("heavy-{number}").into();
    Arc::new(policy)
}

fn quarantine(round: usize) -> Option<Arc<Overlay>> {
    let mut standing = Standing::default();
    standing.apply(&ActRecord {
        act: Act::Quarantine(OfSubject { subject: format!("Agent/estate/agent-{round}").parse().ok()? }),
        actor: "User/urn:vidimus:local#admin".into(),
        id: format!("{round}").into(),
        kind: ActKind,
        note: false,
        shared: None,
        time: "2026-01-01T00:00:00.000000Z".into(),
        version: VERSION,
        why: "a measurement".into(),
    });
    Overlay::of(&standing).ok().map(Arc::new)
}

/// What the objects and the first snapshot of them take.
fn print_memory(before: Option<f64>) {
    if let (Some(before), Some(after)) = (before, resident()) {
        println!(
            r#"{{"name":"rebuild_memory","value":{:.1},"unit":"MB","parameters":{{{}}},"goal":{GOAL_MB},"holds":{}}}"#,
            after - before,
            parameters(),
            after - before <= GOAL_MB
        );
    }
}

/// The estate, with servers up to [`SERVERS`].
fn objects() -> Vec<Object> {
    let mut objects = Estate::generate(SEED, POLICIES, AGENTS);
    let servers: Vec<Arc<McpServer>> = objects
        .iter()
        .filter_map(|object| match object {
            Object::McpServer(server) => Some(server.clone()),
            _ => None,
        })
        .collect();
    let more = servers.iter().cycle().take(SERVERS - servers.len()).enumerate().map(|(number, server)| {
        let mut server = (**server).clone();
        server.meta.name = format!("more-{number}").into();
        server.id = EntityId::new(EntityKind::McpServer, server.meta.key());
        Object::McpServer(Arc::new(server))
    });
    let more: Vec<Object> = more.collect();
    objects.splice(AGENTS..AGENTS, more);
    objects
}

#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn risk(objects: &mut Vec<Object>, dice: &mut Dice, _: usize) {
    if let Some(Object::Agent(agent)) = one(objects, dice, |object| matches!(object, Object::Agent(_))) {
        let risk_level = if agent.risk_level == RiskLevel::Low { RiskLevel::High } else { RiskLevel::Low };
        *agent = Arc::new(Agent { risk_level, ..(**agent).clone() });
    }
}

#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn groups(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    if let Some(Object::Agent(agent)) = one(objects, dice, |object| matches!(object, Object::Agent(_))) {
        *agent =
            Arc::new(Agent { groups: [Arc::from(format!("changed-{round}"))].into(), ..(**agent).clone() });
    }
}

fn agent_more(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    let Some(Object::Agent(agent)) = one(objects, dice, |object| matches!(object, Object::Agent(_))) else {
        return;
    };
    let mut agent = (**agent).clone();
    agent.meta.name = format!("added-{round}").into();
    agent.id = EntityId::new(EntityKind::Agent, agent.meta.key());
    let id = format!("spiffe://estate.test/added-{round}");
    agent.identities = vec![vidimus_core::resource::Identity::Spiffe(id.into())];
    objects.insert(dice.below(AGENTS), Object::Agent(Arc::new(agent)));
}

fn agent_less(objects: &mut Vec<Object>, dice: &mut Dice, _: usize) {
    // All agents stand at the beginning.
    drop(objects.remove(dice.below(AGENTS - ROUNDS)));
}

#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn policy(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    if let Some(Object::Policy(policy)) = one(objects, dice, |object| matches!(object, Object::Policy(_))) {
        *policy = Arc::new(Policy { cedar: forbid(round), ..(**policy).clone() });
    }
}

fn policy_more(objects: &mut Vec<Object>, _: &mut Dice, round: usize) {
    let Some(Object::Policy(policy)) = objects.last() else { return };
    let mut policy = Policy { cedar: forbid(round), ..(**policy).clone() };
    policy.meta.name = format!("added-{round}").into();
    objects.push(Object::Policy(Arc::new(policy)));
}

fn policy_less(objects: &mut Vec<Object>, dice: &mut Dice, _: usize) {
    // All policies stand at the end.
    drop(objects.remove(objects.len() - 1 - dice.below(POLICIES - ROUNDS)));
}

#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn server(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    if let Some(Object::McpServer(server)) =
        one(objects, dice, |object| matches!(object, Object::McpServer(_)))
    {
        let sets = [(Arc::from(format!("new-{round}")), [Arc::from("tool-1")].into())];
        let tool_sets = server.tool_sets.iter().map(|(name, set)| (name.clone(), set.clone()));
        let tool_sets = tool_sets.chain(sets).collect();
        *server = Arc::new(McpServer { tool_sets, ..(**server).clone() });
    }
}

fn forbid(round: usize) -> Arc<str> {
    format!(
        "forbid (principal in Group::\"group-{round}\", action == Action::\"invokeTool\", resource) \
         when {{ principal.risk_level == \"critical\" && context.delegation_depth > {round} }};"
    )
    .into()
}

/// One of those that `is` holds of.
fn one<'o>(
    objects: &'o mut [Object],
    dice: &mut Dice,
    is: impl Fn(&Object) -> bool,
) -> Option<&'o mut Object> {
    let count = objects.iter().filter(|object| is(object)).count();
    let nth = dice.below(count);
    objects.iter_mut().filter(|object| is(object)).nth(nth)
}

/// What of the process is in memory, in MB, where the system tells.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1e3)
}

fn percentile(times: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let place = ((times.len() as f64 - 1.0) * share).ceil() as usize;
    times.get(place).copied().unwrap_or(f64::NAN)
}

fn parameters() -> String {
    format!(r#""agents":{AGENTS},"servers":{SERVERS},"policies":{POLICIES}"#)
}

fn print(name: &str, times: &mut [f64], more: &str, goal: Option<f64>) {
    times.sort_unstable_by(f64::total_cmp);
    for (statistic, share) in [("p50", 0.5), ("p99", 0.99)] {
        let value = percentile(times, share);
        let goal =
            goal.map(|goal| format!(r#","goal":{goal},"holds":{}"#, value <= goal)).unwrap_or_default();
        println!(
            r#"{{"name":"{name}","value":{value:.3},"unit":"ms","parameters":{{{},{more},"rounds":{},"statistic":"{statistic}"}}{goal}}}"#,
            parameters(),
            times.len()
        );
    }
}
