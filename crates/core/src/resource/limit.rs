//! What a policy declares to be limited (`spec.limits`): how much calls may take in a while, counted apart by whom or what they are of. Which calls
//! count for it is said by a forbid of the same policy that carries `@limit("name")` (ADR 73).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Meta;
use super::field::{age, name};
use super::llm_provider::{micro_units, price_schema};
use super::problem::{At, Fault, Problems};
use crate::call::{Ask, Call, Target};

/// The most limits that one policy declares.
pub const MAX_LIMITS: usize = 16;

/// The longest window of a limit that is counted by chains, in milliseconds: no chain lives longer, and each has a count of its own.
const LONGEST_OF_CHAINS: u64 = 24 * 3_600_000;

/// The most of anything but money.
const MOST: u64 = 1_000_000_000_000;

/// By what the calls that count for a limit are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Per {
    /// Who calls: the agent or service.
    Principal,
    /// The person for whom it calls. All calls that are for nobody count together.
    User,
    /// The team of who calls.
    Team,
    /// The model that is called.
    Model,
    /// The tool that is called.
    Tool,
    /// The namespace of who calls.
    Namespace,
    /// The chain of calls.
    Chain,
}

impl Per {
    /// As it stands in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::User => "user",
            Self::Team => "team",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Namespace => "namespace",
            Self::Chain => "chain",
        }
    }

    /// What of a call it is, in two parts; both are empty where the call has none.
    const fn of<'c>(self, by: &CountedBy<'c>) -> [&'c str; 2] {
        match self {
            Self::Principal => by.principal,
            Self::User => by.user,
            Self::Team => ["", by.team],
            Self::Model => by.model,
            Self::Tool => by.tool,
            Self::Namespace => ["", by.namespace],
            Self::Chain => ["", by.transaction],
        }
    }
}

/// By what calls can be counted apart, as one call has it; empty where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedBy<'c> {
    /// Who calls: kind and `namespace/name`.
    pub principal: [&'c str; 2],
    /// For whom: issuer and subject.
    pub user: [&'c str; 2],
    /// Of which team the caller is.
    pub team: &'c str,
    /// The model: `namespace/name` of its provider, and its name there.
    pub model: [&'c str; 2],
    /// The tool: `namespace/name` of its server, and its name there.
    pub tool: [&'c str; 2],
    /// Of which namespace the caller is.
    pub namespace: &'c str,
    /// Of which chain the call is.
    pub transaction: &'c str,
}

impl<'c> CountedBy<'c> {
    /// As a call has it.
    pub fn of(call: &Call<'c>) -> Self {
        let caller = call.principal();
        let by = Self {
            principal: [caller.kind().as_str(), &*caller.entity().id],
            user: call.user().map_or(["", ""], |user| [&*user.issuer, &*user.subject]),
            team: caller.team(),
            namespace: &caller.meta().namespace,
            transaction: &call.chain().transaction,
            ..Self::default()
        };
        match call.ask.target {
            Target::Model { provider, name } => Self { model: [&*provider.id.id, name], ..by },
            Target::Tool { server, name } => Self { tool: [&*server.id.id, name], ..by },
            _ => by,
        }
    }
}

/// What becomes of calls that count for a limit while the store is lost that gateways share (`--standing`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum WhenLost {
    /// They are refused.
    #[default]
    Closed,
    /// Each gateway counts by itself, with what passed through it before.
    Local,
}

/// How much calls may take in a while. Of requests, tokens, spend and concurrency it names one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.requests), has(self.tokens), has(self.spend), has(self.concurrency)].filter(one, one).size() == 1",
        "message": "a limit is of one of requests, tokens, spend and concurrency",
    },
    {
        "rule": "has(self.concurrency) != has(self.window)",
        "message": "a limit has a window, and one of concurrency has none",
    },
]))]
pub struct LimitSpec {
    /// What @limit calls it by.
    #[schemars(schema_with = "name::plain_schema")]
    pub name: String,
    /// How many calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000u64))]
    pub requests: Option<u64>,
    /// How many tokens of models, of questions and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000u64))]
    pub tokens: Option<u64>,
    /// What models may cost by the prices of their records, as a decimal in quotes: "25.00".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price_schema")]
    pub spend: Option<String>,
    /// How many calls at once, over all gateways that share a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000u64))]
    pub concurrency: Option<u64>,
    /// By what calls are counted apart; all together when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub per: Vec<Per>,
    /// In which time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<LimitWindowSpec>,
    /// What becomes of calls while the store is lost that gateways share: closed (they are refused, also when it is left out), or local (each gateway
    /// counts by itself).
    #[serde(default)]
    pub when_lost: WhenLost,
}

/// In which time a limit counts; one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.fixed) != has(self.sliding)",
    "message": "a window is fixed or sliding",
}]))]
pub struct LimitWindowSpec {
    /// Times of this length one after the other, counted from 1970-01-01T00:00Z: of 24h they are days in UTC. With each it begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "age::schema")]
    pub fixed: Option<String>,
    /// The last so long, whenever it is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "age::schema")]
    pub sliding: Option<String>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Calls.
    Requests,
    /// Tokens of models, of questions and answers.
    Tokens,
    /// What they cost, in millionths of the currency unit.
    Spend,
    /// Calls under way.
    Concurrency,
}

impl Measure {
    /// As it stands in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Spend => "spend",
            Self::Concurrency => "concurrency",
        }
    }

    /// Whether only models use any of it.
    pub const fn is_of_models(self) -> bool {
        matches!(self, Self::Tokens | Self::Spend)
    }
}

/// In which time a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitWindow {
    /// Times of so many milliseconds, from the Unix epoch on.
    Fixed(u64),
    /// The last so many milliseconds.
    Sliding(u64),
    /// While calls are under way.
    UnderWay,
}

impl LimitWindow {
    /// How long it is; nothing where it is as long as calls are under way.
    pub const fn length(self) -> Duration {
        match self {
            Self::Fixed(length) | Self::Sliding(length) => Duration::from_millis(length),
            Self::UnderWay => Duration::ZERO,
        }
    }
}

/// A limit, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// `namespace/policy/name`.
    pub id: Arc<str>,
    /// What @limit calls it by.
    pub name: Arc<str>,
    /// What it counts.
    pub of: Measure,
    /// How much calls may take; of spend in millionths of the currency unit.
    pub amount: i64,
    /// By what calls are counted apart, sorted, each once.
    pub per: Box<[Per]>,
    /// In which time.
    pub window: LimitWindow,
    /// What becomes of calls while the store is lost that gateways share.
    pub when_lost: WhenLost,
}

impl Limit {
    /// What a call takes of it at most, to be reserved before it is made.
    pub fn takes(&self, ask: &Ask<'_>) -> i64 {
        match self.of {
            Measure::Requests | Measure::Concurrency => 1,
            Measure::Tokens => ask.reserves().0,
            Measure::Spend => ask.reserves().1,
        }
    }

    /// What is counted, and how: limits of which that is the same share their counts.
    pub fn counts_as(&self) -> (&str, Measure, LimitWindow, &[Per]) {
        (&*self.id, self.of, self.window, &*self.per)
    }

    /// By whose count a call counts: two parts for each of [`Limit::per`], one after the other.
    pub fn counted_by<'c>(&self, by: &CountedBy<'c>, part: impl FnMut(&'c str)) {
        self.per.iter().flat_map(|per| per.of(by)).for_each(part);
    }
}

/// Sorts them by their ids, each once. Of two that count as one, as a limit does as it was and as it is being written, stays the one that leaves less,
/// and is closed without the store where either is. Two of one id that count otherwise both hold.
pub(crate) fn each_once(limits: &mut Vec<Arc<Limit>>) {
    limits.sort_by(|one, other| (one.counts_as(), one.amount).cmp(&(other.counts_as(), other.amount)));
    limits.dedup_by(|next, kept| {
        let is_one = next.counts_as() == kept.counts_as();
        if is_one && next.when_lost < kept.when_lost {
            Arc::make_mut(kept).when_lost = next.when_lost;
        }
        is_one
    });
}

/// For people: `100 requests for each principal in 3600 s`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Measure::Concurrency => write!(f, "{} calls at once", self.amount)?,
            Measure::Spend => {
                write!(f, "{}.{:06} of spend", self.amount / 1_000_000, self.amount % 1_000_000)?;
            }
            of => write!(f, "{} {}", self.amount, of.as_str())?,
        }
        let mut word = " for each ";
        for per in &self.per {
            write!(f, "{word}{}", per.as_str())?;
            word = " and ";
        }
        match self.window {
            LimitWindow::Fixed(length) => write!(f, " in each {} s", length / 1_000),
            LimitWindow::Sliding(length) => write!(f, " in any {} s", length / 1_000),
            LimitWindow::UnderWay => Ok(()),
        }
    }
}

impl Limit {
    /// Those of a policy; what is none is reported.
    pub(super) fn check_all(
        specs: &[LimitSpec],
        meta: &Meta,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Arc<[Arc<Self>]> {
        if specs.is_empty() {
            // The empty one, of which there is one.
            return Arc::default();
        }
        if specs.len() > MAX_LIMITS {
            let fault = Fault::new("a policy declares 16 limits at most", "divide it into several policies");
            problems.report(at, &specs.len().to_string(), fault);
        }
        for (index, spec) in specs.iter().enumerate() {
            if specs.iter().take(index).any(|other| other.name == spec.name) {
                let fault = Fault::new(
                    "another limit of this policy has the name",
                    "give each limit its own name, by which @limit calls it",
                );
                let at = at.index(index);
                problems.report(at.key("name"), &spec.name, fault);
            }
        }
        let checked = specs.iter().enumerate();
        let checked = checked.filter_map(|(index, spec)| spec.check(meta, at.index(index), problems));
        checked.map(Arc::new).collect()
    }
}

impl LimitSpec {
    fn check(&self, meta: &Meta, at: At<'_>, problems: &mut Problems) -> Option<Limit> {
        problems.take(at.key("name"), &self.name, name::check_plain(&self.name));
        let spend = match &self.spend {
            Some(text) => Some(problems.take(at.key("spend"), text, micro_units(text))?),
            None => None,
        };
        let amounts = [
            (Measure::Requests, self.requests),
            (Measure::Tokens, self.tokens),
            (Measure::Spend, spend),
            (Measure::Concurrency, self.concurrency),
        ];
        let mut given = amounts.into_iter().filter_map(|(of, amount)| Some((of, amount?)));
        let (Some((of, amount)), None) = (given.next(), given.next()) else {
            let fault = Fault::new(
                "a limit is of one of requests, tokens, spend and concurrency",
                "write one of them: requests: 100",
            );
            problems.report(at, &self.name, fault);
            return None;
        };
        let amount = match i64::try_from(amount) {
            Ok(fits) if (1..=MOST).contains(&amount) => fits,
            _ => {
                let fault = Fault::new("nothing can be so much or so little", "write 1 to 1000000000000");
                problems.report(at.key(of.as_str()), &amount.to_string(), fault);
                return None;
            }
        };
        let window = self.check_window(of, at, problems)?;
        let mut per = self.per.clone();
        per.sort_unstable();
        per.dedup();
        if per.contains(&Per::Chain) && window.length() > Duration::from_millis(LONGEST_OF_CHAINS) {
            let fault = Fault::new(
                "no chain lives longer than 24h, and each would keep its count so long",
                "write a window of 24h at most, or leave chain out of per",
            );
            problems.report(at.key("window"), &self.name, fault);
            return None;
        }
        Some(Limit {
            id: format!("{}/{}", meta.key(), self.name).into(),
            name: self.name.as_str().into(),
            of,
            amount,
            per: per.into(),
            window,
            when_lost: self.when_lost,
        })
    }

    fn check_window(&self, of: Measure, at: At<'_>, problems: &mut Problems) -> Option<LimitWindow> {
        let at = at.key("window");
        let (fixed, sliding) = match (&self.window, of) {
            (None, Measure::Concurrency) => return Some(LimitWindow::UnderWay),
            (Some(window), of) if of != Measure::Concurrency => (&window.fixed, &window.sliding),
            (window, _) => {
                let value = if window.is_some() { "given" } else { "" };
                let fault = Fault::new(
                    "a limit has a window, and one of concurrency has none",
                    "write window: {sliding: 1h}, or leave it out where calls at once are counted",
                );
                problems.report(at, value, fault);
                return None;
            }
        };
        match (fixed, sliding) {
            (Some(text), None) => {
                problems.take(at.key("fixed"), text, age::check(text)).map(LimitWindow::Fixed)
            }
            (None, Some(text)) => {
                problems.take(at.key("sliding"), text, age::check(text)).map(LimitWindow::Sliding)
            }
            _ => {
                let fault = Fault::new(
                    "a window is fixed or sliding",
                    "write one of them: {fixed: 24h}, {sliding: 1h}",
                );
                problems.report(at, "", fault);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Object, Origin, check};

    fn read(limits: &Value) -> Result<Arc<[Arc<Limit>]>, String> {
        let spec = json!({"description": "d", "limits": limits,
            "cedar": "@limit(\"a\") forbid (principal, action == Action::\"callModel\", resource);"});
        let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "n", "name": "p"}, "spec": spec});
        match check(&Origin::default(), &document) {
            Ok(Object::Policy(policy)) => Ok(policy.limits.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                Err(problems.iter().map(|one| format!("{}: {}\n", one.field, one.reason)).collect())
            }
        }
    }

    /// Attack: a policy of the same name, with a wide limit of the same name, so that the narrow one is not counted.
    #[test]
    fn limits_of_one_id_that_count_otherwise_all_hold() {
        let limit = |amount, window, when_lost| Limit {
            id: "n/p/a".into(),
            name: "a".into(),
            of: Measure::Requests,
            amount,
            per: Box::default(),
            window,
            when_lost,
        };
        let (hour, second) = (LimitWindow::Sliding(3_600_000), LimitWindow::Sliding(1_000));
        let given = [
            limit(100, hour, WhenLost::Local),
            limit(5, second, WhenLost::Local),
            limit(200, hour, WhenLost::Closed),
            Limit { of: Measure::Tokens, ..limit(9, hour, WhenLost::Local) },
            Limit { per: [Per::User].into(), ..limit(9, hour, WhenLost::Local) },
        ];
        let mut all: Vec<Arc<Limit>> = given.into_iter().map(Arc::new).collect();
        each_once(&mut all);
        let found: Vec<(Measure, i64, LimitWindow, usize, WhenLost)> =
            all.iter().map(|one| (one.of, one.amount, one.window, one.per.len(), one.when_lost)).collect();
        let expected = [
            (Measure::Requests, 5, second, 0, WhenLost::Local),
            (Measure::Requests, 100, hour, 0, WhenLost::Closed),
            (Measure::Requests, 9, hour, 1, WhenLost::Local),
            (Measure::Tokens, 9, hour, 0, WhenLost::Local),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_limited_is_read() {
        for (limit, said) in [
            (
                json!({"name": "a", "requests": 100, "per": ["user", "principal", "user"], "window": {"sliding": "1h"}}),
                "100 requests for each principal and user in any 3600 s",
            ),
            (json!({"name": "a", "tokens": 5, "window": {"fixed": "24h"}}), "5 tokens in each 86400 s"),
            (
                json!({"name": "a", "spend": "25.5", "per": ["team"], "window": {"fixed": "1h30m"}}),
                "25.500000 of spend for each team in each 5400 s",
            ),
            (json!({"name": "a", "concurrency": 4, "per": ["tool"]}), "4 calls at once for each tool"),
        ] {
            let all = read(&json!([limit])).unwrap();
            assert_eq!((all[0].to_string().as_str(), &*all[0].id), (said, "n/p/a"));
            assert_eq!(all[0].when_lost, WhenLost::Closed);
        }
        let local =
            read(&json!([{"name": "a", "requests": 1, "window": {"fixed": "1s"}, "whenLost": "local"}]));
        assert_eq!(local.unwrap()[0].when_lost, WhenLost::Local);
        assert_eq!(read(&json!([])).map(|all| all.len()), Ok(0));
    }

    #[test]
    fn what_limits_nothing_is_refused() {
        let window = json!({"sliding": "1h"});
        for (limits, field) in [
            (json!([{"name": "a", "window": window}]), "spec.limits[0]: a limit is of one"),
            (
                json!([{"name": "a", "requests": 1, "tokens": 1, "window": window}]),
                "spec.limits[0]: a limit is of one",
            ),
            (json!([{"name": "a", "requests": 1}]), "spec.limits[0].window: a limit has a window"),
            (json!([{"name": "a", "concurrency": 1, "window": window}]), "spec.limits[0].window"),
            (json!([{"name": "a", "requests": 1, "window": {}}]), "spec.limits[0].window: a window is"),
            (
                json!([{"name": "a", "requests": 1, "window": {"fixed": "1h", "sliding": "1h"}}]),
                "spec.limits[0].window: a window is",
            ),
            (json!([{"name": "a", "requests": 1, "window": {"fixed": "1"}}]), "spec.limits[0].window.fixed"),
            (
                json!([{"name": "a", "requests": 1, "window": {"sliding": "1ms"}}]),
                "spec.limits[0].window.sliding",
            ),
            (json!([{"name": "a", "requests": 0, "window": window}]), "spec.limits[0].requests"),
            (json!([{"name": "a", "spend": "0", "window": window}]), "spec.limits[0].spend"),
            (json!([{"name": "a", "spend": "much", "window": window}]), "spec.limits[0].spend: not a price"),
            (json!([{"name": " ", "requests": 1, "window": window}]), "spec.limits[0].name"),
            (
                json!([{"name": "a", "requests": 1, "window": window}, {"name": "a", "tokens": 1, "window": window}]),
                "spec.limits[1].name: another limit",
            ),
            (
                json!([{"name": "a", "requests": 1, "window": window, "per": ["moon"]}]),
                "spec.limits[0].per[0]",
            ),
            (
                json!([{"name": "a", "requests": 1, "window": {"sliding": "25h"}, "per": ["chain"]}]),
                "spec.limits[0].window: no chain lives",
            ),
        ] {
            let said = read(&limits).expect_err(field);
            assert!(said.contains(field), "{limits}: {said}");
        }
        for fits in [
            json!([{"name": "a", "requests": 1, "window": {"fixed": "24h"}, "per": ["chain"]}]),
            json!([{"name": "a", "concurrency": 1, "per": ["chain"]}]),
        ] {
            assert!(read(&fits).is_ok(), "{fits}");
        }
        let one = |number: usize| json!({"name": format!("a{number}"), "requests": 1, "window": window});
        let many: Vec<Value> = (0..=MAX_LIMITS).map(one).collect();
        assert!(read(&json!(many)).is_err());
    }
}
