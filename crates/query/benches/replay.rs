//! Recorded calls decided again by proposed policies, and least privilege from what was used. One JSON object a line.
//!
//! 1,000,000 recorded calls (or `VIDIMUS_REPLAY_CALLS`) of 10,000 agents under 10,000 policies, by two configurations. The proposed policies
//! differ in one of a hundred; one of a hundred looks at an argument that no record has.

#![expect(clippy::print_stdout, reason = "its output")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::About;
use vidimus_core::record::Record;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Config, Ledger};
use vidimus_query::replay::{By, Objects, ReplayQuestion, replay};
use vidimus_query::suggest::{SuggestQuestion, suggest};
use vidimus_registry::configurations::{Archive, Configurations};

const AGENTS: usize = 10_000;
const POLICIES: usize = 10_000;
const GROUPS: usize = 2_500;
const SERVERS: usize = 100;
const TOOLS: usize = 40;
/// Different tools that one agent calls.
const OF_AN_AGENT: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let calls: usize = std::env::var("VIDIMUS_REPLAY_CALLS").map_or(Ok(1_000_000), |text| text.parse())?;
    let root = tempfile::tempdir()?;
    let world = |name: &str, round: usize| load(&root.path().join(name), round);
    let (first, second, proposed) = (world("first", 0)?, world("second", 1)?, world("proposed", 2)?);
    let archive = root.path().join("configurations");
    let mut kept = Configurations::open(&archive)?;
    let begun = Instant::now();
    kept.keep(&first)?;
    print("configuration_first_kept", begun, calls);
    let begun = Instant::now();
    kept.keep(&second)?;
    print("configuration_kept", begun, calls);
    let ledger = root.path().join("ledger");
    record(&ledger, [&first, &second], calls)?;
    drop((first, second));

    let archive = Archive::at(&archive);
    let by = By::Proposed(proposed, Objects::InForce);
    let begun = Instant::now();
    let answer = replay(&ledger, &archive, &ReplayQuestion::default(), &by, &mut |_| {})?;
    print("replay", begun, calls);
    let total = answer.calls;
    let all = [total.stays_allowed, total.stays_denied, total.allow_to_deny, total.unknown];
    assert!(
        total.all() == calls as u64 && all.iter().all(|count| *count > 0),
        "{total:?} {:?}",
        answer.unusable
    );
    let begun = Instant::now();
    let answer = suggest(&ledger, &SuggestQuestion::default(), &mut |_| {})?;
    print("suggest", begun, calls);
    assert!(answer.principals > AGENTS / 2 && answer.damage.is_empty(), "{}", answer.principals);
    Ok(())
}

fn load(directory: &Path, round: usize) -> io::Result<Arc<Snapshot>> {
    const IN_A_FILE: usize = 500;
    fs::create_dir(directory)?;
    let text = |all: std::ops::Range<usize>, one: &dyn Fn(usize) -> String| all.map(one).collect::<String>();
    for first in (0..AGENTS).step_by(IN_A_FILE) {
        let some = first..(first + IN_A_FILE).min(AGENTS);
        fs::write(directory.join(format!("agents-{first}.yaml")), text(some, &agent))?;
    }
    for first in (0..POLICIES).step_by(IN_A_FILE) {
        let some = first..(first + IN_A_FILE).min(POLICIES);
        fs::write(
            directory.join(format!("policies-{first}.yaml")),
            text(some, &|number| policy(number, round)),
        )?;
    }
    fs::write(directory.join("servers.yaml"), text(0..SERVERS, &server))?;
    let loaded = vidimus_registry::load(directory);
    match loaded.rejections.first() {
        None => Ok(loaded.snapshot),
        Some(one) => Err(io::Error::other(format!("{}: {}", one.object, one.reason))),
    }
}

fn agent(number: usize) -> String {
    format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: agent-{number}, namespace: estate}}\nspec:\n  owner: \
         person{}@example.com\n  team: team-{}\n  purpose: Measurements\n  riskLevel: low\n  groups: [group-{}]\n  identities:\n    - spiffe: \
         spiffe://estate.test/agent-{number}\n",
        number % 300,
        number % 200,
        number % GROUPS
    )
}

fn server(number: usize) -> String {
    let tools: Vec<String> = (0..TOOLS).map(|tool| format!("tool-{tool}")).collect();
    format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: server-{number}, namespace: estate}}\nspec:\n  owner: \
         person@example.com\n  team: team-{}\n  riskLevel: medium\n  endpoint: {{url: \"http://127.0.0.1:1/mcp\"}}\n  toolSets: {{set-{number}: \
         [{}]}}\n",
        number % 200,
        tools.join(", ")
    )
}

/// Four for each group: on a set, with a depth, and some that look at an argument or forbid.
fn policy(number: usize, round: usize) -> String {
    let (group, set) = (number % GROUPS, (number / GROUPS + number) % SERVERS);
    let depth =
        if round == 2 && number.is_multiple_of(100) { 0 } else { 3 + usize::from(number < round * 10) };
    let argument = round == 2 && number % 100 == 50;
    let condition = match argument {
        true => "context.numbers.hasTag(\"/amount\") && context.numbers.getTag(\"/amount\") < 10".to_owned(),
        false => format!("principal.risk_level == \"low\" && context.delegation_depth <= {depth}"),
    };
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: policy-{number}, namespace: estate}}\nspec:\n  description: \
         Measurements\n  cedar: |\n    permit (principal in Group::\"group-{group}\", action == Action::\"invokeTool\", resource in \
         ToolSet::\"set-{set}\")\n    when {{ {condition} }};\n",
    );
    text
}

/// One call after another, by one configuration and then by the other.
fn record(
    ledger: &Path,
    worlds: [&Arc<Snapshot>; 2],
    calls: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(Config { dir: ledger.to_owned(), ..Config::default() })?;
    let missing = || io::Error::other("not registered");
    for number in 0..calls {
        let world = worlds.get(number * 2 / calls).ok_or_else(missing)?;
        let agent = number.wrapping_mul(7_919) % AGENTS;
        let tool = (number / AGENTS) % OF_AN_AGENT;
        // Three of four are to what some policy of the group's is about.
        let set = if tool == 3 {
            (agent + 50) % SERVERS
        } else {
            (agent % GROUPS + tool * GROUPS + tool) % SERVERS
        };
        let principal = world.agent(&format!("estate/agent-{agent}")).ok_or_else(missing)?;
        let server = world.mcp_server(&format!("estate/server-{set}")).ok_or_else(missing)?;
        let now = UnixMillis(1_790_000_000_000 + i64::try_from(number)?);
        let proven = Proven {
            principal: Principal::Agent(principal.clone()),
            identity: format!("spiffe://estate.test/agent-{agent}").into(),
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        };
        let chain = Chain {
            transaction: "0190f2d0-0000-7000-8000-000000000000".into(),
            started: now,
            actors: Vec::new(),
        };
        let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
        let name = format!("tool-{}", agent % TOOLS);
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name: &name });
        let decision = world.authorize(&Call {
            caller: &caller,
            ask,
            now,
            source_ip: None,
            approvals: &[],
            so_far: SoFar::nothing(),
        });
        let id: Arc<str> = format!("0190f2d0-0000-7000-8000-{number:012}").into();
        let about = About {
            id: &id,
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            parent: None,
            time: "2026-11-27T12:00:00.000000Z",
            protocol: "mcp",
            body: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            snapshot: world.digest(),
            approval: None,
            on_account_of: None,
            kept: None,
            aged: None,
        };
        runtime.block_on(ledger.record(&Record::Decision(decision.record(&about))))?;
    }
    runtime.block_on(ledger.close());
    Ok(())
}

fn print(name: &str, begun: Instant, calls: usize) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        r#"{{"name":"{name}","value":{seconds:.3},"unit":"s","parameters":{{"agents":{AGENTS},"policies":{POLICIES},"calls":{calls}}}}}"#
    );
}
