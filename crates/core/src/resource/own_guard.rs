//! Guards that a policy declares (`spec.guards`, ADR 87): regular expressions, a JSON Schema, or a webhook that is asked. Which calls wait for one is said by a forbid
//! of the same policy that carries `@guard("name")`.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Meta;
use super::check::Document;
use super::endpoint::{beside, check_roots, text_schema};
use super::field::{name, timeout, web_url};
use super::problem::{At, Fault, Problems};
use crate::guard::Guard;
use crate::json_schema::{HeldSchema, check_keywords};

/// The most guards that one policy declares.
pub const MAX_GUARDS: usize = 16;

/// The most patterns of one guard.
pub const MAX_PATTERNS: usize = 16;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1_024;

/// The most that a compiled pattern may take, in bytes: `(a{1000}){1000}` is short.
const MAX_COMPILED: usize = 1 << 20;

/// How many matches of a pattern are counted in a text.
const MOST_COUNTED: usize = 16;

/// How long a webhook is waited for where its policy says nothing, in milliseconds.
const UNSAID_TIMEOUT: u32 = 1_000;

/// The longest that a webhook may be waited for, in milliseconds: the call waits with it.
const MAX_TIMEOUT: u32 = 10_000;

/// A guard: one of regex, schema and webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.regex), has(self.schema), has(self.webhook)].exists_one(given, given)",
    "message": "a guard is one of regex, schema and webhook",
}]))]
pub struct GuardSpec {
    /// What @guard calls it by. In context.guarded it is namespace/policy/name.
    #[schemars(schema_with = "name::plain_schema")]
    pub name: String,
    /// What is looked for in each text, number and name of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub regex: Option<Vec<PatternSpec>>,
    /// A JSON Schema that the arguments of a tool, the parts of a message to an agent, or a request of a model are held to; and of an answer its structured
    /// content, its parts or its texts. A reference leads to a place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "held_schema")]
    pub schema: Option<Map<String, Value>>,
    /// Who is asked about a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
}

fn held_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true})
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternSpec {
    /// What records call it by.
    #[schemars(schema_with = "name::plain_schema")]
    pub kind: String,
    /// A regular expression, in the syntax of the Rust crate regex: linear, so without look-around and back-references. It matches anywhere in a text.
    #[schemars(length(min = 1, max = 1024))]
    pub pattern: String,
}

/// A server that is asked about each call that waits for the guard, by a POST of JSON, and answers what it finds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSpec {
    /// Its address.
    #[schemars(schema_with = "web_url::schema")]
    pub url: String,
    /// PEM file of the roots to trust instead of the system's. A relative path starts at the file of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub ca_file: Option<String>,
    /// How long its answer is waited for: 1s, when it is left out, and 10s at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub timeout: Option<String>,
    /// What becomes of a call about which it gives no answer that can be understood: closed (it is refused, also when it is left out), or open (it passes,
    /// and its record says so).
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What becomes of a call at which a guard could not look.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// What waits for the guard stands.
    #[default]
    Closed,
    /// It is lifted.
    Open,
}

impl OnFailure {
    /// What becomes of such calls, in words.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Closed => "are refused",
            Self::Open => "pass",
        }
    }
}

/// A guard of a policy's own, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnGuard {
    /// `namespace/policy/name`.
    pub id: Arc<str>,
    /// What @guard calls it by.
    pub name: Arc<str>,
    /// How it looks.
    pub looks: Looks,
}

/// Patterns, each by the name that records have for it.
type Patterns = Box<[(Arc<str>, Pattern)]>;

/// How a guard looks at a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Looks {
    /// For these, each by the name that records have for it.
    Patterns(Patterns),
    /// Whether what is said is what this lets it be.
    Schema(HeldSchema),
    /// It asks.
    Webhook(Webhook),
}

/// A webhook, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Its address: http or https, with a host.
    pub url: Arc<str>,
    /// The file of the roots that are trusted instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Arc<str>>,
    /// How long its whole answer is waited for.
    pub timeout_ms: u32,
    /// What becomes of a call where there is none.
    pub on_failure: OnFailure,
}

/// A regular expression, compiled. Two of one text are the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Regex);

impl Pattern {
    /// How often it matches in a text, as far as that is counted: 16 at most. Looking for one match is linear, and that for each may go through all that
    /// is behind it (`B.*END|B`).
    pub fn count(&self, text: &str) -> u32 {
        u32::try_from(self.places(text).count()).unwrap_or(u32::MAX)
    }

    /// Where it matches in a text, in bytes: of as many matches as are counted.
    pub fn places(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        self.0.find_iter(text).take(MOST_COUNTED).map(|found| found.range())
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!("it has to have 1 to {MAX_PATTERN} bytes"));
        }
        let compiled = RegexBuilder::new(&text).size_limit(MAX_COMPILED).build();
        let compiled = compiled.map_err(|error| error.to_string())?;
        if compiled.is_match("") {
            return Err("it matches every text, since it matches nothing at all".to_owned());
        }
        Ok(Self(compiled))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl OwnGuard {
    /// Those of a policy; what is none is reported.
    pub(super) fn check_all(
        specs: &[GuardSpec],
        (meta, document): (&Meta, Document<'_>),
        at: At<'_>,
        problems: &mut Problems,
    ) -> Arc<[Arc<Self>]> {
        if specs.is_empty() {
            // The empty one, of which there is one.
            return Arc::default();
        }
        if specs.len() > MAX_GUARDS {
            let fault = Fault::new("a policy declares 16 guards at most", "divide it into several policies");
            problems.report(at, &specs.len().to_string(), fault);
        }
        for (index, spec) in specs.iter().enumerate() {
            let fault = if Guard::named(&spec.name).is_some() {
                Fault::new(
                    "a guard that is built in has the name",
                    "give it another name, by which @guard calls it",
                )
            } else if specs.iter().take(index).any(|other| other.name == spec.name) {
                Fault::new(
                    "another guard of this policy has the name",
                    "give each guard its own name, by which @guard calls it",
                )
            } else {
                continue;
            };
            let at = at.index(index);
            problems.report(at.key("name"), &spec.name, fault);
        }
        let checked = specs.iter().enumerate();
        let checked =
            checked.filter_map(|(index, spec)| spec.check((meta, document), at.index(index), problems));
        checked.map(Arc::new).collect()
    }
}

impl GuardSpec {
    fn check(
        &self,
        (meta, document): (&Meta, Document<'_>),
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<OwnGuard> {
        problems.take(at.key("name"), &self.name, name::check_plain(&self.name));
        let looks = match (&self.regex, &self.schema, &self.webhook) {
            (Some(patterns), None, None) => Looks::Patterns(checked(patterns, at.key("regex"), problems)?),
            (None, Some(schema), None) => Looks::Schema(held(schema, at.key("schema"), problems)?),
            (None, None, Some(webhook)) => {
                Looks::Webhook(webhook.check(document, at.key("webhook"), problems)?)
            }
            _ => {
                let fault = Fault::new(
                    "a guard is one of regex, schema and webhook",
                    "write one of them: regex: [{kind: host, pattern: '…'}]",
                );
                problems.report(at, &self.name, fault);
                return None;
            }
        };
        let id = format!("{}/{}/{}", meta.namespace, meta.name, self.name);
        Some(OwnGuard { id: id.into(), name: self.name.as_str().into(), looks })
    }
}

fn checked(specs: &[PatternSpec], at: At<'_>, problems: &mut Problems) -> Option<Patterns> {
    if !(1..=MAX_PATTERNS).contains(&specs.len()) {
        let fault = Fault::new("a guard has 1 to 16 patterns", "divide it into several guards");
        problems.report(at, &specs.len().to_string(), fault);
        return None;
    }
    let mut patterns = Vec::new();
    for (index, PatternSpec { kind, pattern }) in specs.iter().enumerate() {
        let at = at.index(index);
        problems.take(at.key("kind"), kind, name::check_plain(kind));
        let compiled = Pattern::try_from(pattern.clone()).map_err(|why| {
            let fix = "write a regular expression of the Rust crate regex, which has no look-around and no back-references";
            Fault::new(format!("not a regular expression that can be used: {why}"), fix)
        });
        // Of several that are none each is told; then there is no guard.
        let compiled = problems.take(at.key("pattern"), pattern, compiled);
        patterns.extend(compiled.map(|compiled| (Arc::from(kind.as_str()), compiled)));
    }
    Some(patterns.into())
}

fn held(schema: &Map<String, Value>, at: At<'_>, problems: &mut Problems) -> Option<HeldSchema> {
    let text = Value::Object(schema.clone()).to_string();
    let compiled = HeldSchema::try_from(text.clone()).map_err(|why| {
        let fix = "write a schema of draft 6 or later that is one by its own draft, whose references lead to places in it (#/$defs/…), with patterns of the Rust crate regex";
        Fault::new(format!("nothing can be held to it: {why}"), fix)
    });
    let said = check_keywords(schema).map_err(|(reason, fix)| Fault::new(reason, fix));
    problems.take(at, &text, compiled.and_then(|compiled| said.map(|()| compiled)))
}

impl WebhookSpec {
    fn check(&self, document: Document<'_>, at: At<'_>, problems: &mut Problems) -> Option<Webhook> {
        let url = problems.take(at.key("url"), &self.url, web_url::check(&self.url));
        let given = self.timeout.as_deref();
        let timeout_ms = given.map_or(Some(UNSAID_TIMEOUT), |text| {
            let checked = timeout::check(text).and_then(|timeout| match timeout {
                0..=MAX_TIMEOUT => Ok(timeout),
                _ => Err(Fault::new(
                    "the call waits for it, and 10s is the most",
                    "write a duration from 1ms to 10s",
                )),
            });
            problems.take(at.key("timeout"), text, checked)
        });
        let ca_file = self.ca_file.as_deref().map(|roots| beside(document.file, roots));
        check_roots(self.ca_file.as_deref(), document, at, problems);
        let on_failure = self.on_failure;
        Some(Webhook { url: url?.as_str().into(), ca_file, timeout_ms: timeout_ms?, on_failure })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Object, Origin, check};

    fn read(guards: &Value) -> Result<Arc<[Arc<OwnGuard>]>, String> {
        let spec =
            json!({"description": "d", "guards": guards, "cedar": "permit (principal, action, resource);"});
        let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "n", "name": "p"}, "spec": spec});
        match check(&Origin::default(), &document) {
            Ok(Object::Policy(policy)) => Ok(policy.guards.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                Err(problems.iter().map(|one| format!("{}: {}\n", one.field, one.reason)).collect())
            }
        }
    }

    #[test]
    fn what_a_policy_looks_for_is_read_and_kept_as_it_was() {
        let given = json!([
            {"name": "hosts", "regex": [{"kind": "host", "pattern": r"\b[a-z0-9-]+\.corp\.example\b"}]},
            {"name": "opa", "webhook": {"url": "http://opa.example:8181/v1/data/guard", "timeout": "500ms", "onFailure": "open"}},
            {"name": "strict", "webhook": {"url": "https://dlp.example/"}},
            {"name": "amount", "schema": {"type": "object", "properties": {"amount": {"maximum": 100}}, "additionalProperties": false}},
        ]);
        let all = read(&given).unwrap();
        assert_eq!(
            all.iter().map(|one| &*one.id).collect::<Vec<_>>(),
            ["n/p/hosts", "n/p/opa", "n/p/strict", "n/p/amount"]
        );
        let Looks::Patterns(patterns) = &all[0].looks else { panic!("{all:?}") };
        assert_eq!(patterns[0].1.count("see a.corp.example and b-1.corp.example, not corp.example"), 2);
        let url = "http://opa.example:8181/v1/data/guard".into();
        assert_eq!(
            all[1].looks,
            Looks::Webhook(Webhook { url, ca_file: None, timeout_ms: 500, on_failure: OnFailure::Open })
        );
        let Looks::Webhook(strict) = &all[2].looks else { panic!("{all:?}") };
        assert_eq!((strict.timeout_ms, strict.on_failure), (1_000, OnFailure::Closed));
        let Looks::Schema(schema) = &all[3].looks else { panic!("{all:?}") };
        for (value, fits) in
            [(json!({"amount": 100}), true), (json!({"amount": 101}), false), (json!({"amounT": 1}), false)]
        {
            assert_eq!(schema.lets(&value), fits, "{value}");
        }
        for one in all.iter() {
            let kept = serde_json::to_string(&**one).unwrap();
            assert_eq!(serde_json::from_str::<OwnGuard>(&kept).unwrap(), **one, "{kept}");
        }
    }

    /// Attack: a text of which each match is looked for to its end.
    #[test]
    fn a_text_of_many_matches_takes_no_longer_for_them() {
        let pattern = Pattern::try_from("B.*SECRET|BEGIN".to_owned()).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(pattern.count(&"BEGIN".repeat(200_000)), 16);
        // Of a build that is not optimized, on a machine with other work. What is quadratic takes an hour.
        assert!(began.elapsed().as_secs() < 60);
    }

    #[test]
    fn what_cannot_look_is_refused() {
        let regex = |pattern: &str| json!([{"name": "a", "regex": [{"kind": "k", "pattern": pattern}]}]);
        let webhook = |webhook: &Value| json!([{"name": "a", "webhook": webhook}]);
        let schema = |schema: &Value| json!([{"name": "a", "schema": schema}]);
        let long = "a".repeat(MAX_PATTERN + 1);
        let many: Vec<Value> = (0..=MAX_PATTERNS).map(|_| json!({"kind": "k", "pattern": "a"})).collect();
        for (guards, field) in [
            (json!([{"name": "a"}]), "spec.guards[0]: a guard is one of"),
            (
                json!([{"name": "a", "regex": [], "webhook": {"url": "http://a.example/"}}]),
                "spec.guards[0]: a guard is one of",
            ),
            (json!([{"name": "a", "regex": []}]), "spec.guards[0].regex"),
            (json!([{"name": "a", "regex": many}]), "spec.guards[0].regex"),
            (
                json!([{"name": "secrets", "webhook": {"url": "http://a.example/"}}]),
                "spec.guards[0].name: a guard that is",
            ),
            (
                json!([{"name": "a/b", "webhook": {"url": "http://a.example/"}}]),
                "spec.guards[0].name: not a plain",
            ),
            (
                json!([{"name": "a", "webhook": {"url": "http://a.example/"}}, {"name": "a", "regex": [{"kind": "k", "pattern": "x"}]}]),
                "spec.guards[1].name: another guard",
            ),
            (
                json!([{"name": "a", "schema": {}, "webhook": {"url": "http://a.example/"}}]),
                "spec.guards[0]: a guard is one of",
            ),
            (schema(&json!(true)), "spec.guards[0].schema"),
            (
                schema(&json!({"type": "everything"})),
                "spec.guards[0].schema: nothing can be held to it: /type: ",
            ),
            (schema(&json!({"typ": "object"})), "spec.guards[0].schema: /typ is no keyword"),
            (schema(&json!({})), "spec.guards[0].schema: it lets everything be"),
            (schema(&json!({"$ref": "https://schemas.example/s"})), "spec.guards[0].schema: nothing can"),
            (schema(&json!({"$ref": "file:///etc/passwd"})), "spec.guards[0].schema: nothing can"),
            (schema(&json!({"pattern": "(?=a)"})), "spec.guards[0].schema: nothing can"),
            (schema(&json!({"pattern": "((a{1000}){1000}){1000}"})), "spec.guards[0].schema: nothing can"),
            (schema(&json!({"description": "x".repeat(65_536)})), "spec.guards[0].schema: nothing can"),
            (regex(""), "spec.guards[0].regex[0].pattern"),
            (regex("("), "spec.guards[0].regex[0].pattern: not a regular"),
            (regex("(?=a)b"), "spec.guards[0].regex[0].pattern: not a regular"),
            (regex(r"(a)\1"), "spec.guards[0].regex[0].pattern: not a regular"),
            (regex("a*"), "matches every text"),
            (regex("((a{100}){100}){100}"), "spec.guards[0].regex[0].pattern: not a regular"),
            (regex(&long), "spec.guards[0].regex[0].pattern"),
            (webhook(&json!({"url": "ftp://a.example/"})), "spec.guards[0].webhook.url"),
            (webhook(&json!({"url": "http://169.254.169.254/"})), "spec.guards[0].webhook.url"),
            (webhook(&json!({"url": "http://u:p@a.example/"})), "spec.guards[0].webhook.url"),
            (
                webhook(&json!({"url": "http://a.example/", "timeout": "11s"})),
                "spec.guards[0].webhook.timeout",
            ),
            (webhook(&json!({"url": "http://a.example/", "timeout": "5"})), "spec.guards[0].webhook.timeout"),
        ] {
            let said = read(&guards).expect_err(field);
            assert!(said.contains(field), "{guards}: {said}");
        }
        let one =
            |number: usize| json!({"name": format!("a{number}"), "webhook": {"url": "http://a.example/"}});
        let many: Vec<Value> = (0..=MAX_GUARDS).map(one).collect();
        assert!(read(&json!(many)).is_err());
        let several = json!([{"kind": "a b", "pattern": "("}, {"kind": "k", "pattern": "a*"}]);
        let said = read(&json!([{"name": "a", "regex": several}])).expect_err("three faults");
        for field in ["regex[0].kind", "regex[0].pattern", "regex[1].pattern"] {
            assert!(said.contains(field), "{said}");
        }
    }
}
