//! What a file holds, and what is allowed by what all files hold: told from what somebody meant, not from how it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::Outcome;
use vidimus_core::snapshot::Snapshot;

pub(super) const IDENTITIES: usize = 3;
pub(super) const TOOLS: usize = 3;
const GROUPS: usize = 2;

/// A caller's identity and a tool.
pub(super) type Call = (usize, usize);

/// SplitMix64 (Steele et al., 2014).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What one file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct State(Vec<Document>);

#[derive(Clone, Debug)]
struct Document {
    name: usize,
    what: What,
    /// No two documents are the same.
    version: u64,
    malformed: Option<Malformed>,
    /// Whether it was in force, and so what it refuses can be known.
    known: bool,
}

#[derive(Clone, Debug)]
enum What {
    Agent { identities: BTreeSet<usize>, groups: BTreeSet<usize>, quarantined: bool },
    Policy { permits: Vec<usize>, forbids: Vec<Forbid> },
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Forbid {
    Tool(usize),
    Group(usize),
}

#[derive(Clone, Copy, Debug)]
enum Malformed {
    /// Not even its name can be read.
    Unreadable,
    /// Its name can.
    Misspelt,
    /// It says that it is of another kind.
    OtherKind,
}

impl State {
    pub(super) fn of(dice: &mut Dice) -> Self {
        Self((0..=dice.below(2)).map(|_| Document::of(dice)).collect())
    }

    /// Some document more, less, other, malformed or repaired.
    pub(super) fn changed(mut self, dice: &mut Dice) -> Self {
        for _ in 0..=dice.below(2) {
            if self.0.is_empty() || dice.chance(20) {
                self.0.push(Document::of(dice));
                continue;
            }
            let place = dice.below(self.0.len());
            let document = &mut self.0[place];
            match dice.below(6) {
                0 => drop(self.0.remove(place)),
                1 => *document = Document::of(dice),
                2 => document.malformed = None,
                _ if document.known => {
                    let malformed = [Malformed::Unreadable, Malformed::Misspelt, Malformed::OtherKind];
                    document.malformed = Some(*dice.one(&malformed));
                }
                _ => {}
            }
        }
        self
    }

    /// The tools that it permits somebody, if nothing else refuses.
    pub(super) fn permits(&self) -> BTreeSet<usize> {
        let good = self.0.iter().filter(|document| document.malformed.is_none());
        let permits = good.filter_map(|document| match &document.what {
            What::Policy { permits, .. } => Some(permits),
            What::Agent { .. } | What::Server => None,
        });
        permits.flatten().copied().collect()
    }

    /// Whether nothing of it is malformed.
    pub(super) fn is_good(&self) -> bool {
        self.0.iter().all(|document| document.malformed.is_none())
    }

    pub(super) fn without_permits(mut self) -> Self {
        for document in &mut self.0 {
            if let What::Policy { permits, .. } = &mut document.what {
                permits.clear();
            }
        }
        self
    }

    pub(super) fn with_server(mut self, dice: &mut Dice) -> Self {
        let version = dice.next() % 1_000_000;
        self.0.push(Document { name: 0, what: What::Server, version, malformed: None, known: false });
        self
    }

    pub(super) fn are_known(&mut self) {
        let good = self.0.iter_mut().filter(|document| document.malformed.is_none());
        good.for_each(|document| document.known = true);
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(Document::text).collect()
    }
}

impl Document {
    fn of(dice: &mut Dice) -> Self {
        let some = |dice: &mut Dice, of: usize| (0..of).filter(|_| dice.chance(50)).collect::<BTreeSet<_>>();
        let (name, what) = match dice.below(20) {
            0..8 => {
                let mut identities = BTreeSet::from([dice.below(IDENTITIES)]);
                identities.extend(dice.chance(15).then(|| dice.below(IDENTITIES)));
                let groups = some(dice, GROUPS);
                (dice.below(9), What::Agent { identities, groups, quarantined: dice.chance(20) })
            }
            8..19 => {
                let permits = some(dice, TOOLS).into_iter().collect();
                let tools = some(dice, TOOLS).into_iter().filter(|_| dice.chance(35)).map(Forbid::Tool);
                let mut forbids: Vec<Forbid> = tools.collect();
                forbids.extend((0..GROUPS).filter(|_| dice.chance(8)).map(Forbid::Group));
                (dice.below(9), What::Policy { permits, forbids })
            }
            _ => (0, What::Server),
        };
        Self { name, what, version: dice.next() % 1_000_000, malformed: None, known: false }
    }

    fn forbids(&self) -> Vec<Forbid> {
        match &self.what {
            What::Policy { forbids, .. } => forbids.clone(),
            What::Agent { .. } | What::Server => Vec::new(),
        }
    }

    fn kind(&self) -> &'static str {
        match self.what {
            What::Agent { .. } => "Agent",
            What::Policy { .. } => "Policy",
            What::Server => "MCPServer",
        }
    }

    fn text(&self) -> String {
        let spec = match &self.what {
            What::Agent { identities, groups, quarantined } => {
                let identities: String =
                    identities.iter().map(|id| format!("    - spiffe: spiffe://t/i{id}\n")).collect();
                let groups: Vec<String> = groups.iter().map(|group| format!("g{group}")).collect();
                format!(
                    "  owner: a.person@example.com\n  team: t\n  purpose: p{}\n  riskLevel: low\n  identities:\n{identities}  groups: [{}]\n{}",
                    self.version,
                    groups.join(", "),
                    if *quarantined { "  quarantined: true\n" } else { "" }
                )
            }
            What::Policy { .. } => {
                let cedar = self.statements(true).replace('\n', "\n    ");
                format!("  description: d{}\n  scope: Cluster\n  cedar: |\n    {cedar}\n", self.version)
            }
            What::Server => format!(
                "  owner: a.person@example.com\n  team: t\n  riskLevel: low\n  endpoint: {{url: \"http://s{}/\"}}\n",
                self.version
            ),
        };
        let text = format!(
            "---\napiVersion: vidimus.dev/v1alpha1\nkind: {}\nmetadata: {{name: x{}, namespace: ns}}\nspec:\n{spec}",
            self.kind(),
            self.name
        );
        match self.malformed {
            None => text,
            Some(Malformed::Unreadable) => format!("{text}  bad: [\n"),
            Some(Malformed::OtherKind) => {
                let other = if self.kind() == "Agent" { "Policy" } else { "Agent" };
                text.replace(&format!("kind: {}", self.kind()), &format!("kind: {other}"))
            }
            Some(Malformed::Misspelt) => text.replace("owner:", "ownr:").replace("permit (", "pemit ("),
        }
    }

    /// Of a policy.
    fn statements(&self, with_permits: bool) -> String {
        let What::Policy { permits, forbids } = &self.what else { return String::new() };
        let permit =
            |tool: &usize| format!("permit (principal, action, resource == Tool::\"ns/x0/t{tool}\");");
        let forbid = |forbid: &Forbid| match forbid {
            Forbid::Tool(tool) => format!("forbid (principal, action, resource == Tool::\"ns/x0/t{tool}\");"),
            Forbid::Group(group) => format!("forbid (principal in Group::\"g{group}\", action, resource);"),
        };
        let mut all: Vec<String> = forbids.iter().map(forbid).collect();
        if with_permits {
            // First, so that what is cut off is what forbids; and one that is there always.
            all.insert(0, "permit (principal, action == Action::\"getPrompt\", resource);".to_owned());
            all.splice(0..0, permits.iter().map(permit));
        }
        all.join("\n")
    }
}

/// The calls that are allowed by the files, each hidden or not, where those are `emptied` that held this: what they forbade stays
/// forbidden.
pub(super) fn allowed<'a>(
    files: impl Iterator<Item = (&'a State, bool)>,
    emptied: impl Iterator<Item = &'a State>,
) -> BTreeSet<Call> {
    let mut documents: Vec<(&Document, bool)> = Vec::new();
    for (state, hidden) in files {
        let good = |document: &Document| document.malformed.is_none() && !hidden;
        documents.extend(state.0.iter().map(|document| (document, good(document))));
    }
    // What is malformed and never was in force can be known to nobody.
    documents.retain(|(document, good)| *good || document.known);
    let mut names: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    let mut claims: BTreeMap<usize, usize> = BTreeMap::new();
    for (document, _) in &documents {
        *names.entry((document.kind(), document.name)).or_default() += 1;
        if let What::Agent { identities, .. } = &document.what {
            identities.iter().for_each(|identity| *claims.entry(*identity).or_default() += 1);
        }
    }
    let in_force =
        |document: &Document, good: bool| good && names.get(&(document.kind(), document.name)) == Some(&1);
    let server = documents.iter().any(|(one, good)| matches!(one.what, What::Server) && in_force(one, *good));
    let mut permitted = BTreeSet::new();
    let mut forbidden: BTreeSet<Forbid> = emptied
        .flat_map(|state| &state.0)
        .filter(|document| document.known)
        .flat_map(Document::forbids)
        .collect();
    for (document, good) in &documents {
        let What::Policy { permits, forbids } = &document.what else { continue };
        if in_force(document, *good) {
            permitted.extend(permits.iter().copied());
        }
        forbidden.extend(forbids.iter().copied());
    }
    let mut calls = BTreeSet::new();
    for (document, good) in &documents {
        let What::Agent { identities, groups, quarantined } = &document.what else { continue };
        let barred = groups.iter().any(|group| forbidden.contains(&Forbid::Group(*group)));
        if !server || *quarantined || barred || !in_force(document, *good) {
            continue;
        }
        for identity in identities.iter().filter(|identity| claims.get(identity) == Some(&1)) {
            let tools = permitted.iter().filter(|tool| !forbidden.contains(&Forbid::Tool(**tool)));
            calls.extend(tools.map(|tool| (*identity, *tool)));
        }
    }
    calls
}

/// The calls that a snapshot allows.
pub(super) fn allowed_by(snapshot: &Snapshot) -> BTreeSet<Call> {
    let mut calls = BTreeSet::new();
    let Some(server) = snapshot.mcp_server("ns/x0") else { return calls };
    for identity in 0..IDENTITIES {
        let Some(principal) = snapshot.principal_by_spiffe(&format!("spiffe://t/i{identity}")) else {
            continue;
        };
        let proven = Proven {
            principal: principal.clone(),
            identity: "spiffe://t/i".into(),
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        };
        let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
        let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
        for tool in 0..TOOLS {
            let name = format!("t{tool}");
            let target = Target::Tool { server, name: &name };
            let ask =
                Ask { arguments: Arguments::None, ..Ask::about("tools/call", Action::InvokeTool, target) };
            let call = vidimus_core::call::Call {
                caller: &caller,
                ask,
                now: UnixMillis(1),
                source_ip: None,
                so_far: vidimus_core::call::SoFar::nothing(),
                approvals: &[],
            };
            if snapshot.authorize(&call).outcome() == Outcome::Allow {
                calls.insert((identity, tool));
            }
        }
    }
    calls
}
