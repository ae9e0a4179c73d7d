//! What Cedar itself says of a call, and what the rules around the policies make of it, worked out anew: policy texts, objects and
//! calls are turned into Cedar's terms here, by code of its own (objects by way of JSON, whole policies instead of an index, arguments
//! read by `serde_json`). Slow, and short enough to be read against `docs/policies.md`.

#[path = "oracle/arguments.rs"]
pub(crate) mod arguments;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request, Response,
    RestrictedExpression as Expression, Schema, ValidationMode, ValidationWarning, Validator,
};
use serde_json::{Value, json};
use sha2::Digest as _;
use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Arguments, Call, SentParts, Target};
use vidimus_core::caller::User;
use vidimus_core::decide::schema::TEXT;
use vidimus_core::entity::{self, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{
    Agent, AuthorityClass, Labels, LlmProvider, McpServer, Meta, Names, Object, Principal, Service,
};
use vidimus_core::snapshot::{ACT_WITH_APPROVAL_ID, ADVISE_ID, QUARANTINE_ID};

use self::arguments::{flatten, seen_by_none};

/// The built-in policies, as `docs/policies.md` describes them; those of classes with the agents of the class in place of a word.
pub(crate) const BUILT_IN: [(&str, &str); 3] = [
    (
        QUARANTINE_ID,
        r#"forbid (principal, action in [Action::"mcp", Action::"a2a", Action::"llm", Action::"listModels"], resource)
           when { principal.quarantined || (resource is Agent && resource.quarantined) || (resource is Skill && resource.quarantined) };"#,
    ),
    (
        ADVISE_ID,
        r#"forbid (principal, action == Action::"invokeTool", resource)
           when { principal is Agent && principal.authority_stated && principal.authority_class == "advise" || context.chain.agents.containsAny(ADVISING) }
           unless { resource.read_only };"#,
    ),
    (
        ACT_WITH_APPROVAL_ID,
        r#"@approval("approvers") forbid (principal, action == Action::"invokeTool", resource)
           when { principal is Agent && principal.authority_stated && principal.authority_class == "act-with-approval" || context.chain.agents.containsAny(APPROVED) }
           unless { resource.read_only || context has approval };"#,
    ),
];

static SCHEMA: LazyLock<(Schema, Validator)> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(TEXT).unwrap();
    let validator = Validator::new(schema.clone());
    (schema, validator)
});

/// What is about calls: a policy that leaves the action open says nothing of people (ADR 34).
static OF_CALLS: LazyLock<Validator> = LazyLock::new(|| {
    let text = TEXT.split("// ---- people --").next().unwrap();
    Validator::new(Schema::from_cedarschema_str(text).unwrap().0)
});

/// The entity types of registered objects and of their parts.
const KINDS: [&str; 9] =
    ["Agent", "Service", "MCPServer", "LLMProvider", "Tool", "Resource", "Prompt", "Skill", "Model"];

/// A2A methods that are about an agent and can name no skill.
const OF_NO_SKILL: &[&str] = &["GetAgentCard", "GetExtendedAgentCard", "ListTasks"];

/// Arguments that a use is tried with, to find out whether some call of it is allowed.
const TRIED: [&str; 6] = [
    "{}",
    r#"{"n": 5, "text": "abc", "items": [5], "deep": {"a/b": 7}, "m~n": "tilde"}"#,
    r#"{"n": 0, "text": "a", "items": ["a", 2], "deep": {"a/b": 7}, "m~n": "5"}"#,
    r#"{"n": -3, "text": "5", "items": ["5"], "deep": {"a/b": 12}}"#,
    r#"{"n": 10, "text": "", "items": [9]}"#,
    "5",
];

/// What is called: the entity type, the key of the registered object, and the name of the part, where it is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Thing {
    kind: &'static str,
    owner: String,
    part: Option<String>,
}

impl Thing {
    fn id(&self) -> String {
        match &self.part {
            Some(part) => format!("{}/{part}", self.owner),
            None => self.owner.clone(),
        }
    }

    /// The registered object itself.
    fn whole(&self) -> Self {
        let kind = match self.kind {
            "Tool" | "Resource" | "Prompt" => "MCPServer",
            "Skill" => "Agent",
            "Model" => "LLMProvider",
            whole => whole,
        };
        Self { kind, owner: self.owner.clone(), part: None }
    }

    fn of(target: &Target<'_>) -> Self {
        let (kind, meta, part) = match target {
            Target::Tool { server, name } => ("Tool", &server.meta, Some(*name)),
            Target::Resource { server, uri } => ("Resource", &server.meta, Some(*uri)),
            Target::Prompt { server, name } => ("Prompt", &server.meta, Some(*name)),
            Target::Server(server) => ("MCPServer", &server.meta, None),
            Target::Agent(agent) => ("Agent", &agent.meta, None),
            Target::Skill { agent, name } => ("Skill", &agent.meta, Some(*name)),
            Target::Model { provider, name } => ("Model", &provider.meta, Some(*name)),
            Target::Provider(provider) => ("LLMProvider", &provider.meta, None),
        };
        Self { kind, owner: meta.key(), part: part.map(str::to_owned) }
    }
}

/// What policies say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// `None` when allowed.
    pub(crate) code: Option<Code>,
    /// The policies that decided, or that failed.
    pub(crate) policies: BTreeSet<String>,
    /// The forbids that ask for an approval, where nothing else refuses.
    pub(crate) asking: BTreeSet<String>,
    /// The forbids that change what is allowed or held.
    pub(crate) changing: BTreeSet<String>,
}

impl Answer {
    pub(crate) fn new(code: Option<Code>, policies: BTreeSet<String>) -> Self {
        Self { code, policies, asking: BTreeSet::new(), changing: BTreeSet::new() }
    }

    /// As it is told: whom a call waits for that is denied all the same is not.
    fn told(self) -> Self {
        if self.is_permitted() { self } else { Self::new(self.code, self.policies) }
    }

    /// Whether it is allowed, or would be with an approval.
    pub(crate) fn is_permitted(&self) -> bool {
        matches!(self.code, None | Some(Code::ApprovalRequired))
    }

    fn held(asking: BTreeSet<String>) -> Self {
        Self { asking: asking.clone(), ..Self::new(Some(Code::ApprovalRequired), asking) }
    }
}

/// What satisfied policies there are, whatever follows from them.
#[derive(Default)]
struct Said {
    failed: BTreeSet<String>,
    permits: BTreeSet<String>,
    /// Forbids that ask nobody.
    refusing: BTreeSet<String>,
    asking: BTreeSet<String>,
    /// Forbids that change what they are about.
    changing: BTreeSet<String>,
}

impl Said {
    fn answer(self) -> Answer {
        let Self { failed, permits, mut refusing, asking, changing } = self;
        if !failed.is_empty() {
            return Answer::new(Some(Code::PolicyError), failed);
        }
        if !refusing.is_empty() {
            refusing.extend(asking);
            return Answer::new(Some(Code::ForbiddenByPolicy), refusing);
        }
        match (permits.is_empty(), asking.is_empty()) {
            (true, _) => Answer { asking, ..Answer::new(Some(Code::NoPermit), BTreeSet::new()) },
            (false, true) => Answer { changing, ..Answer::new(None, permits) },
            (false, false) => Answer { changing, ..Answer::held(asking) },
        }
    }
}

/// What a decision must be.
#[derive(Debug)]
pub(crate) enum Expected {
    Exactly(Answer),
    /// No policy permits the whole; it is allowed where some use of a part could be.
    ByUse {
        /// Some call of some use is allowed.
        must: bool,
        /// The action and the entity of each use that could be allowed, as far as the policies say that do not look at arguments;
        /// and those among them that permit it.
        may: BTreeMap<String, BTreeSet<String>>,
        /// What is answered where it is denied: one of these.
        refused: Vec<Answer>,
        /// What holds it where it would be allowed.
        asking: BTreeSet<String>,
    },
}

/// One configuration, in Cedar's terms.
pub(crate) struct Oracle {
    schema: &'static Schema,
    /// Namespace of a resource → the policies that govern it.
    governing: HashMap<String, Governing>,
    /// Permits that look at arguments.
    permits_on_arguments: Vec<String>,
    on_arguments: BTreeSet<String>,
    /// The entities that policies name: type and id.
    named: BTreeSet<(String, String)>,
    registered: Registered,
    entities: Entities,
    /// Parts that calls name, made already.
    made: RefCell<BTreeMap<Thing, Entity>>,
    /// The policies that are accepted.
    pub(crate) accepted: BTreeSet<String>,
}

/// The policies of one effect, and of forbids one role that they ask for, if any, or those that change what they are about.
struct Part {
    effect: Effect,
    role: Option<String>,
    changes: bool,
    policies: PolicySet,
}

/// What governs the resources of one namespace.
struct Governing {
    all: PolicySet,
    parts: Vec<Part>,
    /// Of those that look at no arguments.
    fixed: Vec<Part>,
    /// Whether some permit does.
    permits_on_arguments: bool,
}

impl Governing {
    fn of(all: &[Policy], on_arguments: &BTreeSet<String>) -> Self {
        let looks = |policy: &Policy| on_arguments.contains(&policy.id().to_string());
        let fixed: Vec<Policy> = all.iter().filter(|one| !looks(one)).cloned().collect();
        Self {
            all: PolicySet::from_policies(all.iter().cloned()).unwrap(),
            parts: parts(all),
            fixed: parts(&fixed),
            permits_on_arguments: all.iter().any(|one| one.effect() == Effect::Permit && looks(one)),
        }
    }
}

fn parts(policies: &[Policy]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for policy in policies {
        let (effect, role) = (policy.effect(), policy.annotation("approval").map(str::to_owned));
        let changes =
            ["redact", "redact_answer", "cap_tokens"].iter().any(|one| policy.annotation(one).is_some());
        let is_alike = |part: &Part| (part.effect, &part.role, part.changes) == (effect, &role, changes);
        let place = parts.iter().position(is_alike);
        let place = place.unwrap_or_else(|| {
            parts.push(Part { effect, role, changes, policies: PolicySet::new() });
            parts.len() - 1
        });
        parts[place].policies.add(policy.clone()).unwrap();
    }
    parts
}

#[derive(Default)]
struct Registered {
    agents: BTreeMap<String, Agent>,
    services: BTreeMap<String, Service>,
    servers: BTreeMap<String, McpServer>,
    providers: BTreeMap<String, LlmProvider>,
}

/// The text of a policy with the agents of each class that it speaks of.
fn of_classes(text: &str, objects: &[Object]) -> String {
    let agents = |class: AuthorityClass| {
        let of_class = objects.iter().filter_map(|object| match object {
            Object::Agent(agent) if agent.authority_stated && agent.authority_class == class => {
                Some(format!("Agent::{:?}", &*agent.id.id))
            }
            _ => None,
        });
        format!("[{}]", of_class.collect::<Vec<_>>().join(", "))
    };
    text.replace("ADVISING", &agents(AuthorityClass::Advise))
        .replace("APPROVED", &agents(AuthorityClass::ActWithApproval))
}

impl Oracle {
    pub(crate) fn new(objects: &[Object]) -> Self {
        let (schema, validator) = &*SCHEMA;
        let registered = Registered::of(objects);
        let mut namespaces: BTreeSet<String> = BTreeSet::new();
        let mut all: Vec<(Option<String>, Policy)> = BUILT_IN
            .iter()
            .map(|(id, text)| {
                (None, Policy::parse(Some(PolicyId::new(id)), of_classes(text, objects)).unwrap())
            })
            .collect();
        let (mut accepted, mut named, mut on_arguments) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for object in objects {
            namespaces.insert(meta(object).namespace.to_string());
            let Object::Policy(policy) = object else { continue };
            let id = policy.meta.key();
            let parsed = Policy::parse(Some(PolicyId::new(&id)), &*policy.cedar).unwrap();
            let is_open = matches!(parsed.action_constraint(), ActionConstraint::Any);
            let validator = if is_open { &OF_CALLS } else { validator };
            let result = validator
                .validate(&PolicySet::from_policies([parsed.clone()]).unwrap(), ValidationMode::Strict);
            let impossible = |warning| matches!(warning, &ValidationWarning::ImpossiblePolicy(_));
            if !result.validation_passed() || result.validation_warnings().any(impossible) {
                continue;
            }
            named.extend(literals(&policy.cedar));
            // The digest is of the arguments.
            let of_arguments = ["context.args", "context.numbers", "context.call_digest", "context.guarded"];
            if of_arguments.iter().any(|one| policy.cedar.contains(one)) {
                on_arguments.insert(id.clone());
            }
            accepted.insert(id);
            let own = policy.meta.namespace.to_string();
            all.push(((policy.scope == Scope::Namespace).then_some(own), parsed));
        }
        let permits_on_arguments = all
            .iter()
            .filter(|(_, one)| one.effect() == Effect::Permit && on_arguments.contains(&one.id().to_string()))
            .map(|(_, one)| one.id().to_string())
            .collect();
        let governing = namespaces.into_iter().map(|namespace| {
            let of = all.iter().filter(|(own, _)| own.as_ref().is_none_or(|own| *own == namespace));
            let all: Vec<Policy> = of.map(|(_, policy)| policy.clone()).collect();
            (namespace, Governing::of(&all, &on_arguments))
        });
        let governing = governing.collect();
        let parts = named.iter().filter_map(|(kind, id)| registered.thing(kind, id));
        let mut everything: BTreeMap<String, Value> = registered.all();
        everything.extend(parts.map(|part| (part.id() + part.kind, registered.entity(&part))));
        let values: Vec<Value> = everything.into_values().collect();
        let entities = Entities::from_json_value(Value::Array(values), Some(schema)).unwrap();
        Self {
            schema,
            governing,
            permits_on_arguments,
            on_arguments,
            named,
            registered,
            entities,
            made: RefCell::default(),
            accepted,
        }
    }

    /// What the policies say of a call with these arguments, and nothing else.
    pub(crate) fn policies(&self, call: &Call<'_>, arguments: Option<&Value>) -> Answer {
        self.ask(call, call.ask.action, &Thing::of(&call.ask.target), arguments)
    }

    /// What other policies would say of a call.
    pub(crate) fn by(&self, policies: &PolicySet, call: &Call<'_>, arguments: Option<&Value>) -> Answer {
        let parts = policies.policies().map(|policy| Part {
            effect: policy.effect(),
            role: None,
            changes: false,
            policies: PolicySet::from_policies([policy.clone()]).unwrap(),
        });
        let about = (call.ask.action, &Thing::of(&call.ask.target));
        self.said_with(&parts.collect::<Vec<_>>(), call, about, of_call(call, arguments)).answer()
    }

    /// The call as Cedar sees it, with only those entities that it can look at.
    pub(crate) fn question(&self, call: &Call<'_>, arguments: Option<&Value>) -> Question<'_> {
        let thing = Thing::of(&call.ask.target);
        let caller = Thing {
            kind: if call.principal().kind() == EntityKind::Agent { "Agent" } else { "Service" },
            owner: call.principal().meta().key(),
            part: None,
        };
        let seen = [caller, thing.whole(), thing.clone()].into_iter().chain(self.named_things());
        let seen: BTreeMap<String, Value> =
            seen.map(|one| (one.id() + one.kind, self.registered.entity(&one))).collect();
        let all = seen.into_values().collect();
        let entities = Entities::from_json_value(Value::Array(all), Some(self.schema)).unwrap();
        let entities = entities.add_entities(of_call(call, arguments), None).unwrap();
        let request = self.request(call, call.ask.action, &thing);
        Question { policies: &self.governing(&thing).all, request, entities }
    }

    /// What the decision on a call with these arguments must be.
    pub(crate) fn authorize(&self, call: &Call<'_>, arguments: Option<&Value>) -> Expected {
        if let Some(denied) = limited(call) {
            return Expected::Exactly(denied);
        }
        if arguments.is_some_and(seen_by_none) && !self.passes_unseen(call) {
            let policies = ["vidimus/arguments".to_owned()].into();
            return Expected::Exactly(Answer::new(Some(Code::Unrepresentable), policies));
        }
        let (thing, whole) = (Thing::of(&call.ask.target), self.policies(call, arguments));
        let uses = match thing.kind {
            "Skill" => {
                let agent = Thing { kind: "Agent", part: None, ..thing };
                let of_agent = self.ask(call, Action::CallAgent, &agent, None);
                return Expected::Exactly(both(whole, of_agent).told());
            }
            _ if whole.code != Some(Code::NoPermit) => return Expected::Exactly(whole.told()),
            "MCPServer" => self.uses_of_server(&thing),
            "Agent" if OF_NO_SKILL.contains(&call.ask.method) => self.skills(&thing),
            "LLMProvider" => self.models(&thing),
            _ => return Expected::Exactly(whole.told()),
        };
        let mut must = false;
        let mut may = BTreeMap::new();
        let asking = whole.asking.clone();
        let mut refused = vec![whole.told()];
        for (action, part) in uses {
            let plainly = self.ask(call, action, &part, None);
            let tried = TRIED.iter().filter(|_| action == Action::InvokeTool);
            must |= plainly.is_permitted()
                || tried
                    .map(|text| serde_json::from_str(text).unwrap())
                    .any(|arguments: Value| self.ask(call, action, &part, Some(&arguments)).is_permitted());
            if let Some(permits) = self.possible(call, action, &part) {
                may.insert(format!("{} {}/{}", action.as_str(), part.kind, part.id()), permits);
            }
            refused.push(plainly.told());
        }
        // Where all uses are forbidden, the first says why.
        let refused =
            match refused.iter().skip(1).all(|one| !one.is_permitted() && one.code != Some(Code::NoPermit)) {
                true => refused.split_off(1),
                false => vec![refused.swap_remove(0)],
            };
        Expected::ByUse { must, may, refused, asking }
    }

    /// Whether the record of the tool lets arguments pass that policies cannot see.
    pub(crate) fn passes_unseen(&self, call: &Call<'_>) -> bool {
        let Thing { kind: "Tool", owner, part: Some(name) } = Thing::of(&call.ask.target) else {
            return false;
        };
        self.registered.servers[&owner].tools.get(name.as_str()).is_some_and(|tool| tool.unseen_arguments)
    }

    /// What the policies say of a call, had `context.args` (or `numbers`) the tag `value` at a pointer.
    pub(crate) fn with_tag(
        &self,
        call: &Call<'_>,
        arguments: &Value,
        (pointer, as_number): (&str, bool),
        value: i64,
    ) -> Answer {
        let thing = Thing::of(&call.ask.target);
        let (mut texts, mut numbers) = (HashMap::new(), HashMap::new());
        flatten(String::new(), arguments, &mut texts, &mut numbers);
        match as_number {
            true => drop(numbers.insert(pointer.to_owned(), value)),
            false => drop(texts.insert(pointer.to_owned(), value.to_string())),
        }
        let of_call = of_arguments(texts, numbers).into_iter().chain(of_user(call)).collect();
        self.said_with(&self.governing(&thing).parts, call, (call.ask.action, &thing), of_call)
            .answer()
            .told()
    }

    /// Whether a policy looks at some arguments.
    pub(crate) fn is_on_arguments(&self, id: &str) -> bool {
        self.on_arguments.contains(id)
    }

    /// The permits whose outcome some arguments could change.
    pub(crate) fn permits_on_arguments(&self) -> impl Iterator<Item = &str> {
        self.permits_on_arguments.iter().map(String::as_str)
    }

    /// What of a server may be used: what its record lists, what policies name, and anything else.
    fn uses_of_server(&self, server: &Thing) -> Vec<(Action, Thing)> {
        let record = &self.registered.servers[&server.owner];
        let listed = record.tool_sets.values().flatten().chain(record.tools.keys()).map(ToString::to_string);
        let tools = listed.map(|name| (Action::InvokeTool, "Tool", name));
        let of =
            [(Action::InvokeTool, "Tool"), (Action::ReadResource, "Resource"), (Action::GetPrompt, "Prompt")];
        let named = of
            .into_iter()
            .flat_map(|(action, kind)| self.names(kind, &server.owner).map(move |name| (action, kind, name)));
        let thing =
            |(action, kind, name)| (action, Thing { kind, owner: server.owner.clone(), part: Some(name) });
        let all: BTreeSet<(Action, Thing)> = tools.chain(named).map(thing).collect();
        all.into_iter().collect()
    }

    fn skills(&self, agent: &Thing) -> Vec<(Action, Thing)> {
        let thing = |name| Thing { kind: "Skill", owner: agent.owner.clone(), part: Some(name) };
        self.names("Skill", &agent.owner).map(|name| (Action::CallAgent, thing(name))).collect()
    }

    fn models(&self, provider: &Thing) -> Vec<(Action, Thing)> {
        let thing =
            |name: &str| Thing { kind: "Model", owner: provider.owner.clone(), part: Some(name.to_owned()) };
        let models = &self.registered.providers[&provider.owner].models;
        models.iter().map(|model| (Action::CallModel, thing(&model.name))).collect()
    }

    /// The names of parts of `owner` that policies name, and one that none names.
    fn names(&self, kind: &'static str, owner: &str) -> impl Iterator<Item = String> {
        let prefix = format!("{owner}/");
        let named = self.named.iter().filter(move |(of, _)| of == kind);
        named.filter_map(move |(_, id)| Some(id.strip_prefix(&prefix)?.to_owned())).chain(["*".to_owned()])
    }

    /// The permits of a use that do not look at arguments, if it could be allowed; policies that do are taken at their best.
    fn possible(&self, call: &Call<'_>, action: Action, part: &Thing) -> Option<BTreeSet<String>> {
        let governing = self.governing(part);
        let said = self.said_with(&governing.fixed, call, (action, part), of_call(call, None));
        let permitted =
            || !said.permits.is_empty() || action == Action::InvokeTool && governing.permits_on_arguments;
        (said.failed.is_empty() && said.refusing.is_empty() && permitted()).then_some(said.permits)
    }

    fn governing(&self, thing: &Thing) -> &Governing {
        let (namespace, _) = thing.owner.split_once('/').unwrap();
        &self.governing[namespace]
    }

    /// The registered entities, and parts of them, that policies name.
    fn named_things(&self) -> impl Iterator<Item = Thing> {
        self.named.iter().filter_map(|(kind, id)| self.registered.thing(kind, id))
    }

    fn ask(&self, call: &Call<'_>, action: Action, thing: &Thing, arguments: Option<&Value>) -> Answer {
        self.said_with(&self.governing(thing).parts, call, (action, thing), of_call(call, arguments)).answer()
    }

    fn said_with(
        &self,
        parts: &[Part],
        call: &Call<'_>,
        (action, thing): (Action, &Thing),
        mut more: Vec<Entity>,
    ) -> Said {
        if self.entities.get(&uid(thing.kind, &thing.id())).is_none() {
            let mut made = self.made.borrow_mut();
            let make = || Entity::from_json_value(self.registered.entity(thing), Some(self.schema)).unwrap();
            more.push(made.entry(thing.clone()).or_insert_with(make).clone());
        }
        let entities = self.entities.clone().add_entities(more, None).unwrap();
        let mut said = Said::default();
        let mut views: BTreeMap<usize, (Request, Entities)> = BTreeMap::new();
        for Part { effect, role, changes, policies } in parts {
            // Each policy sees the approval of the role that it asks for, or the first.
            let of_role = |approval: &Approval| role.as_deref() == Some(&*approval.role);
            let seen = call.approvals.iter().position(of_role).unwrap_or(0);
            let (request, entities) = views.entry(seen).or_insert_with(|| {
                let call = Call { approvals: call.approvals.get(seen..).unwrap_or_default(), ..*call };
                (self.request(&call, action, thing), with_approver(&entities, &call))
            });
            let response = Authorizer::new().is_authorized(request, policies, entities);
            said.failed.extend(failed(&response));
            let satisfied = response.diagnostics().reason().map(ToString::to_string);
            match (effect, role) {
                (Effect::Permit, _) => said.permits.extend(satisfied),
                (Effect::Forbid, _) if *changes => said.changing.extend(satisfied),
                (Effect::Forbid, None) => said.refusing.extend(satisfied),
                (Effect::Forbid, Some(_)) => said.asking.extend(satisfied),
            }
        }
        said
    }

    fn request(&self, call: &Call<'_>, action: Action, thing: &Thing) -> Request {
        let action_uid = uid("Action", action.as_str());
        let context = context(call, action, thing);
        let principal = uid(call.principal().kind().as_str(), &call.principal().meta().key());
        let resource = uid(thing.kind, &thing.id());
        Request::new(principal, action_uid, resource, context, Some(self.schema)).unwrap()
    }
}

/// One call, ready for Cedar.
pub(crate) struct Question<'a> {
    policies: &'a PolicySet,
    request: Request,
    entities: Entities,
}

impl Question<'_> {
    /// Cedar's answer, with the one rule that differs from plain Cedar: a policy that fails denies, instead of being skipped.
    pub(crate) fn answer(&self) -> Answer {
        let response = Authorizer::new().is_authorized(&self.request, self.policies, &self.entities);
        let failed: BTreeSet<String> = failed(&response).collect();
        if !failed.is_empty() {
            return Answer::new(Some(Code::PolicyError), failed);
        }
        let policies: BTreeSet<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let code = match response.decision() {
            Decision::Allow => None,
            Decision::Deny if policies.is_empty() => Some(Code::NoPermit),
            Decision::Deny => Some(Code::ForbiddenByPolicy),
        };
        Answer::new(code, policies)
    }
}

/// The entities that a call brings along: its arguments and its user.
fn of_call(call: &Call<'_>, arguments: Option<&Value>) -> Vec<Entity> {
    let (mut texts, mut numbers) = (HashMap::new(), HashMap::new());
    if let Some(arguments) = arguments {
        flatten(String::new(), arguments, &mut texts, &mut numbers);
    }
    of_arguments(texts, numbers).into_iter().chain(of_user(call)).collect()
}

fn of_arguments(texts: HashMap<String, String>, numbers: HashMap<String, i64>) -> [Entity; 2] {
    let texts = texts.into_iter().map(|(pointer, text)| (pointer, Expression::new_string(text)));
    let numbers = numbers.into_iter().map(|(pointer, number)| (pointer, Expression::new_long(number)));
    [
        Entity::new_with_tags(uid("Arguments", "call"), [], [], texts).unwrap(),
        Entity::new_with_tags(uid("Numbers", "call"), [], [], numbers).unwrap(),
    ]
}

fn of_user(call: &Call<'_>) -> Option<Entity> {
    call.user().map(user_entity)
}

/// The policies that failed.
fn failed(response: &Response) -> impl Iterator<Item = String> {
    response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(failed) => failed.policy_id().to_string(),
    })
}

/// The person who approved, beside the others.
fn with_approver(entities: &Entities, call: &Call<'_>) -> Entities {
    let approver = call.approvals.first().map(|approval| user_entity(&approval.by));
    entities.clone().add_entities(approver, None).unwrap()
}

fn user_entity(user: &User) -> Entity {
    let texts =
        [("issuer", Some(&user.issuer)), ("subject", Some(&user.subject)), ("email", user.email.as_ref())];
    let attributes = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Expression::new_string(text?.to_string()))));
    let groups = user.groups.iter().map(|group| uid("UserGroup", &format!("{}#{group}", user.issuer)));
    let groups: Vec<EntityUid> = groups.collect();
    Entity::new_with_tags(user_uid(user), attributes, groups, []).unwrap()
}

fn user_uid(user: &User) -> EntityUid {
    uid("User", &format!("{}#{}", user.issuer, user.subject))
}

/// The limits of an agent's own record.
fn limited(call: &Call<'_>) -> Option<Answer> {
    if let Some(by) = &call.so_far.ended {
        return Some(Answer { code: Some(Code::ChainEnded), ..Answer::new(None, [by.to_string()].into()) });
    }
    let Principal::Agent(agent) = call.principal() else { return None };
    let denied = |code, limit: &str| Answer {
        code: Some(code),
        ..Answer::new(None, [format!("Agent/{} spec.delegation.{limit}", agent.meta.key())].into())
    };
    let depth = call.chain().actors.len() as i64 + 1;
    let exceeds = |found: i64, limit: Option<u32>| limit.is_some_and(|limit| found > i64::from(limit));
    if exceeds(depth, agent.delegation.max_depth) {
        return Some(denied(Code::DelegationTooDeep, "maxDepth"));
    }
    if exceeds(call.so_far.fan_out, agent.delegation.max_fan_out) {
        return Some(denied(Code::DelegationTooWide, "maxFanOut"));
    }
    let limits = &agent.delegation;
    let over =
        |found: i64, limit: Option<u64>| limit.is_some_and(|limit| i128::from(found) > i128::from(limit));
    let (tokens, spend) = used(call);
    let limits = [
        (over(call.so_far.calls, limits.max_calls.map(u64::from)), "maxCalls"),
        (over(tokens, limits.max_tokens), "maxTokens"),
        (over(spend, limits.max_spend), "maxSpend"),
        (over(call.now.0 - call.chain().started.0, limits.max_age), "maxAge"),
        (limits.no_cycles && is_cycle(call), "allowCycles"),
    ];
    limits.into_iter().find(|(beyond, _)| *beyond).map(|(_, limit)| denied(Code::ChainLimit, limit))
}

fn meta(object: &Object) -> &Meta {
    match object {
        Object::Agent(agent) => &agent.meta,
        Object::McpServer(server) => &server.meta,
        Object::LlmProvider(provider) => &provider.meta,
        Object::Service(service) => &service.meta,
        Object::Policy(policy) => &policy.meta,
    }
}

/// A skill is refused where it or its agent is; it is permitted where it or its agent is, and held where either is.
fn both(skill: Answer, agent: Answer) -> Answer {
    let refused = |answer: &Answer| !answer.is_permitted() && answer.code != Some(Code::NoPermit);
    let permitted = skill.is_permitted() || agent.is_permitted();
    match (refused(&skill), refused(&agent)) {
        (true, _) => skill,
        (false, true) => agent,
        _ if permitted && !(skill.asking.is_empty() && agent.asking.is_empty()) => {
            Answer::held(skill.asking.into_iter().chain(agent.asking).collect())
        }
        (false, false) if skill.code.is_none() => skill,
        (false, false) if agent.code.is_none() => agent,
        (false, false) => skill,
    }
}

/// The entities that a policy's text names: `Type::"id"`, but for actions.
fn literals(text: &str) -> Vec<(String, String)> {
    let ends = text.match_indices("::\"");
    let found = ends.filter_map(|(at, quote)| {
        let before = &text[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric()).map_or(0, |place| place + 1);
        let rest = &text[at + quote.len()..];
        Some((before[start..].to_owned(), rest.split_once('"')?.0.to_owned()))
    });
    found.filter(|(kind, _)| kind != "Action").collect()
}

fn uid(kind: &str, id: &str) -> EntityUid {
    thread_local! {
        // Cedar parses a name as it parses a policy, which is slow.
        static NAMES: RefCell<HashMap<String, EntityTypeName>> = RefCell::default();
    }
    NAMES.with_borrow_mut(|names| {
        let name = names.entry(kind.to_owned()).or_insert_with(|| kind.parse().unwrap());
        EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
    })
}

/// Tokens and spend of a chain with this call, by its estimate.
fn used(call: &Call<'_>) -> (i64, i64) {
    let estimated = call.ask.tokens_estimated;
    let price = match call.ask.target {
        Target::Model { provider, name } => provider
            .models
            .iter()
            .find(|model| &*model.name == name)
            .and_then(|model| model.price)
            .map_or(0, |price| price.input),
        _ => 0,
    };
    let cost = (i128::from(estimated) * i128::from(price) + 999_999) / 1_000_000;
    let cost = i64::try_from(cost).unwrap_or(i64::MAX);
    (call.so_far.tokens.saturating_add(estimated), call.so_far.spend.saturating_add(cost))
}

/// Whether caller or called acted before, or are one.
fn is_cycle(call: &Call<'_>) -> bool {
    let called = match call.ask.target {
        Target::Agent(agent) | Target::Skill { agent, .. } => Some(agent.id.clone()),
        _ => None,
    };
    let caller = call.principal().id();
    let acted = |who: &entity::EntityId| call.chain().actors.contains(who);
    acted(&caller) || called.is_some_and(|called| called == caller || acted(&called))
}

/// What `context.call_digest` is of a call of a tool: `docs/policies.md`, Plans.
fn step(call: &Call<'_>, thing: &Thing) -> String {
    fn is_exact(value: &Json<'_>) -> bool {
        let within = -(1_i128 << 53)..=1_i128 << 53;
        match value {
            Json::Int(number) => within.contains(&i128::from(*number)),
            Json::UInt(number) => within.contains(&i128::from(*number)),
            Json::Float(number) => number.abs() < 9_007_199_254_740_992.0,
            Json::Array(items) => items.iter().all(is_exact),
            Json::Object(members) => members.iter().all(|(_, value)| is_exact(value)),
            _ => true,
        }
    }
    let arguments = match call.ask.arguments {
        Arguments::Known(arguments) => Some(arguments),
        _ => None,
    };
    let arguments = arguments.filter(|given| !["{}", "null"].contains(&given.canonical().as_str()));
    if !arguments.is_none_or(is_exact) {
        return "unrepresentable".to_owned();
    }
    let arguments =
        arguments.map(|given| format!("\"arguments\":{},", given.canonical())).unwrap_or_default();
    let target = json!(format!("{}/{}", thing.kind, thing.id()));
    let method = json!(call.ask.method);
    let text = format!("{{{arguments}\"method\":{method},\"target\":{target},\"version\":2}}");
    let digest = sha2::Sha256::digest(text);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// The context of an action, as `docs/policies.md` lists it.
fn context(call: &Call<'_>, action: Action, thing: &Thing) -> Context {
    let (chain, caller) = (call.chain(), (call.principal().kind().as_str(), call.principal().meta().key()));
    let acted =
        |kind: &str, key: &str| chain.actors.iter().any(|one| one.kind.as_str() == kind && &*one.id == key);
    let called = matches!(thing.kind, "Agent" | "Skill").then_some(&thing.owner);
    let cycle = acted(caller.0, &caller.1)
        || called.is_some_and(|called| acted("Agent", called) || caller == ("Agent", called.clone()));
    let agents = chain.actors.iter().filter(|actor| actor.kind == EntityKind::Agent);
    let depth = chain.actors.len() as i64 + 1;
    let now = jiff::Timestamp::from_millisecond(call.now.0).unwrap();
    let utc = now.to_zoned(jiff::tz::TimeZone::UTC);
    let entity = |kind, id| Expression::new_entity_uid(uid(kind, id));
    let text = |text: &str| Expression::new_string(text.to_owned());
    let record = [
        ("depth", Expression::new_long(depth)),
        ("fan_out", Expression::new_long(call.so_far.fan_out)),
        ("calls", Expression::new_long(call.so_far.calls)),
        ("tokens", Expression::new_long(used(call).0)),
        ("spend", Expression::new_long(used(call).1)),
        ("age", Expression::new_duration(format!("{}ms", call.now.0 - chain.started.0))),
        ("cycle", Expression::new_bool(cycle)),
        ("agents", Expression::new_set(agents.map(|agent| entity("Agent", &agent.id)))),
    ];
    let record = Expression::new_record(record.map(|(name, value)| (name.to_owned(), value))).unwrap();
    let mut pairs = vec![
        ("method", text(call.ask.method)),
        ("delegation_depth", Expression::new_long(depth)),
        ("chain", record),
        ("now", Expression::new_datetime(format!("{now:.3}"))),
        ("labels", Expression::new_set(call.so_far.labels.iter().map(|one| text(&one.label)))),
        ("weekday", text(&utc.strftime("%A").to_string().to_lowercase())),
        ("hour", Expression::new_long(utc.hour().into())),
        ("transaction", text(&chain.transaction)),
        ("identity", text(call.identity())),
        ("guarded", Expression::new_set(call.ask.guarded.lifting().map(text))),
        ("limits", entity("Limits", "call")),
    ];
    pairs.extend(call.user().map(|user| ("on_behalf_of", Expression::new_entity_uid(user_uid(user)))));
    if let Some(approval) = call.approvals.first() {
        let at = jiff::Timestamp::from_millisecond(approval.at.0).unwrap();
        let record = [
            ("role", text(&approval.role)),
            ("by", Expression::new_entity_uid(user_uid(&approval.by))),
            ("at", Expression::new_datetime(format!("{at:.3}"))),
        ];
        let record = Expression::new_record(record.map(|(name, value)| (name.to_owned(), value)));
        pairs.push(("approval", record.unwrap()));
    }
    if let Some(instance) = call.instance() {
        let mut members = vec![("id".to_owned(), text(&instance.id))];
        members.push(("kind".to_owned(), text(&format!("{:?}", instance.kind).to_lowercase())));
        members.extend(instance.name.iter().map(|name| ("name".to_owned(), text(name))));
        members.extend(instance.node.iter().map(|node| ("node".to_owned(), text(node))));
        pairs.push(("instance", Expression::new_record(members).unwrap()));
    }
    if let Some(address) = call.source_ip {
        // A policy on `10.0.0.0/8` sees `::ffff:10.1.2.3` as the IPv4 address that it is.
        let text = address.to_string();
        pairs.push(("source_ip", Expression::new_ip(text.strip_prefix("::ffff:").unwrap_or(&text))));
    }
    match action {
        Action::InvokeTool => {
            pairs.extend([("args", entity("Arguments", "call")), ("numbers", entity("Numbers", "call"))]);
            pairs.push(("call_digest", text(&step(call, thing))));
        }
        Action::CallModel | Action::ListModels => pairs.extend([
            ("tokens_estimated", Expression::new_long(call.ask.tokens_estimated)),
            ("streaming", Expression::new_bool(call.ask.streaming)),
        ]),
        Action::CallAgent => {
            pairs.extend(call.ask.push_url.map(|url| ("push_notification_url", text(url))));
            let parts = SentParts::of(&call.ask.content).map(|parts| {
                let types = parts.media_types.iter().map(|one| text(one)).collect::<Vec<_>>();
                Expression::new_record([
                    ("media_types".to_owned(), Expression::new_set(types)),
                    ("largest".to_owned(), Expression::new_long(parts.largest)),
                    ("bytes".to_owned(), Expression::new_long(parts.bytes)),
                ])
                .unwrap()
            });
            pairs.extend(parts.map(|parts| ("parts", parts)));
        }
        _ => {}
    }
    Context::from_pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value))).unwrap()
}

impl Registered {
    fn of(objects: &[Object]) -> Self {
        let mut registered = Self::default();
        for object in objects {
            let key = meta(object).key();
            match object {
                Object::Agent(agent) => drop(registered.agents.insert(key, (**agent).clone())),
                Object::Service(service) => drop(registered.services.insert(key, (**service).clone())),
                Object::McpServer(server) => drop(registered.servers.insert(key, (**server).clone())),
                Object::LlmProvider(one) => drop(registered.providers.insert(key, (**one).clone())),
                Object::Policy(_) => {}
            }
        }
        registered
    }

    /// The registered object, or the part of one, that a policy names.
    fn thing(&self, kind: &str, id: &str) -> Option<Thing> {
        let (namespace, rest) = id.split_once('/')?;
        let (name, part) = rest.split_once('/').map_or((rest, None), |(name, part)| (name, Some(part)));
        let owner = format!("{namespace}/{name}");
        let there = match (kind, part) {
            ("Service", None) => self.services.contains_key(&owner),
            ("Agent", None) | ("Skill", Some(_)) => self.agents.contains_key(&owner),
            ("LLMProvider", None) | ("Model", Some(_)) => self.providers.contains_key(&owner),
            ("MCPServer", None) | ("Tool" | "Resource" | "Prompt", Some(_)) => {
                self.servers.contains_key(&owner)
            }
            _ => false,
        };
        let kind = KINDS.into_iter().find(|one| *one == kind)?;
        there.then(|| Thing { kind, owner, part: part.map(str::to_owned) })
    }

    fn all(&self) -> BTreeMap<String, Value> {
        let keys = |kind: &'static str, keys: Vec<&String>| {
            keys.into_iter()
                .map(move |key| Thing { kind, owner: key.clone(), part: None })
                .collect::<Vec<_>>()
        };
        let mut things = keys("Agent", self.agents.keys().collect());
        things.extend(keys("Service", self.services.keys().collect()));
        things.extend(keys("MCPServer", self.servers.keys().collect()));
        things.extend(keys("LLMProvider", self.providers.keys().collect()));
        things.into_iter().map(|thing| (thing.id() + thing.kind, self.entity(&thing))).collect()
    }

    /// The entity in Cedar's JSON, with the attributes and parents that `docs/policies.md` lists.
    fn entity(&self, thing: &Thing) -> Value {
        let part = thing.part.as_deref().unwrap_or_default();
        let (attributes, parents, labels) = match thing.kind {
            "Agent" => of_agent(&self.agents[&thing.owner]),
            "Service" => of_service(&self.services[&thing.owner]),
            "MCPServer" => of_server(&self.servers[&thing.owner]),
            "LLMProvider" => of_provider(&self.providers[&thing.owner]),
            "Skill" => of_skill(&self.agents[&thing.owner], part),
            "Model" => of_model(&self.providers[&thing.owner], part),
            kind => of_part_of_server(&self.servers[&thing.owner], kind, part),
        };
        let parents: Vec<Value> =
            parents.into_iter().map(|(kind, id)| json!({"type": kind, "id": id})).collect();
        json!({
            "uid": {"type": thing.kind, "id": thing.id()}, "attrs": attributes, "parents": parents,
            "tags": labels,
        })
    }
}

type Parents = Vec<(&'static str, String)>;
type Described = (Value, Parents, BTreeMap<String, String>);

fn owned(of: &Meta, team: &str) -> Parents {
    vec![("Namespace", of.namespace.to_string()), ("Team", team.to_owned())]
}

fn of_names(kind: &'static str, names: &Names) -> Parents {
    names.iter().map(|name| (kind, name.to_string())).collect()
}

fn of_agent(agent: &Agent) -> Described {
    let mut attributes = json!({
        "owner": &*agent.owner, "team": &*agent.team, "capabilities": agent.capabilities,
        "risk_level": agent.risk_level.as_str(), "risk": agent.risk_level.rank(), "environment": &*agent.environment,
        "authority_class": agent.authority_class.as_str(), "quarantined": agent.quarantined,
        "authority_stated": agent.authority_stated,
    });
    let mut parents = [owned(&agent.meta, &agent.team), of_names("Group", &agent.groups)].concat();
    add_labels(&mut attributes, &[&agent.labels]);
    if let Some(score) = agent.trust_score {
        attributes["trust_score"] = json!(score);
    }
    if let Some(version) = &agent.version {
        attributes["version"] = json!(&**version);
    }
    if let Some(class) = &agent.sandbox_class {
        attributes["sandbox_class"] = json!(&**class);
        parents.push(("AgentClass", class.to_string()));
    }
    (attributes, parents, agent.meta.labels.clone())
}

/// The labels of an entity: what all of these say.
fn add_labels(attributes: &mut Value, labels: &[&Labels]) {
    let all = |of: fn(&Labels) -> &Names| labels.iter().flat_map(|one| of(one).clone()).collect::<Names>();
    attributes["reads"] = json!(all(|one| &one.reads));
    attributes["returns"] = json!(all(|one| &one.returns));
    attributes["sends"] = json!(all(|one| &one.sends));
}

fn of_service(service: &Service) -> Described {
    let attributes = json!({
        "owner": &*service.owner, "team": &*service.team, "capabilities": service.capabilities,
        "risk_level": service.risk_level.as_str(), "risk": service.risk_level.rank(),
        "environment": &*service.environment, "quarantined": service.quarantined,
    });
    let parents = [owned(&service.meta, &service.team), of_names("Group", &service.groups)].concat();
    (attributes, parents, service.meta.labels.clone())
}

fn of_server(server: &McpServer) -> Described {
    let mut attributes = json!({
        "owner": &*server.owner, "team": &*server.team, "capabilities": server.capabilities,
        "risk_level": server.risk_level.as_str(), "risk": server.risk_level.rank(),
        "environment": &*server.environment,
    });
    add_labels(&mut attributes, &[&server.labels.server]);
    (attributes, owned(&server.meta, &server.team), server.meta.labels.clone())
}

fn of_provider(provider: &LlmProvider) -> Described {
    let mut attributes = json!({
        "provider": {"__entity": {"type": "LLMProvider", "id": provider.meta.key()}}, "name": &*provider.meta.name,
        "owner": &*provider.owner, "team": &*provider.team, "kind": provider.provider.as_str(),
        "environment": &*provider.environment,
    });
    add_labels(&mut attributes, &[&provider.labels]);
    (attributes, owned(&provider.meta, &provider.team), provider.meta.labels.clone())
}

fn of_skill(agent: &Agent, name: &str) -> Described {
    let key = agent.meta.key();
    let mut attributes = json!({
        "agent": {"__entity": {"type": "Agent", "id": key}}, "name": name, "team": &*agent.team,
        "capabilities": agent.capabilities, "risk_level": agent.risk_level.as_str(), "risk": agent.risk_level.rank(),
        "environment": &*agent.environment, "authority_class": agent.authority_class.as_str(),
        "quarantined": agent.quarantined,
    });
    add_labels(&mut attributes, &[&agent.labels]);
    (attributes, vec![("Agent", key)], BTreeMap::new())
}

fn of_model(provider: &LlmProvider, name: &str) -> Described {
    let key = provider.meta.key();
    let mut attributes = json!({
        "provider": {"__entity": {"type": "LLMProvider", "id": key}}, "name": name, "team": &*provider.team,
        "environment": &*provider.environment,
    });
    add_labels(&mut attributes, &[&provider.labels]);
    let sets = provider.models.iter().filter(|model| &*model.name == name);
    let sets = sets.flat_map(|model| of_names("ModelSet", &model.sets));
    (attributes, sets.chain([("LLMProvider", key)]).collect(), BTreeMap::new())
}

fn of_part_of_server(server: &McpServer, kind: &str, name: &str) -> Described {
    let key = server.meta.key();
    // A tool that the record does not list has the server's risk, and may destroy something.
    let tool = server.tools.get(name).filter(|_| kind == "Tool");
    let level = tool.map_or(server.risk_level, |tool| tool.risk_level);
    let mut attributes = json!({
        "server": {"__entity": {"type": "MCPServer", "id": key}}, "team": &*server.team,
        "risk_level": level.as_str(), "risk": level.rank(), "environment": &*server.environment,
    });
    let mut labels = vec![&server.labels.server];
    if kind == "Tool" {
        let listed = |set: &str| server.tool_sets.get(set).is_some_and(|tools| tools.contains(name));
        labels.extend(server.labels.sets.iter().filter(|(set, _)| listed(set)).map(|(_, labels)| labels));
        labels.extend(server.labels.tools.get(name));
    }
    add_labels(&mut attributes, &labels);
    attributes[if kind == "Resource" { "uri" } else { "name" }] = json!(name);
    let mut parents = vec![("MCPServer", key)];
    if kind == "Tool" {
        attributes["read_only"] = json!(tool.is_some_and(|tool| tool.read_only));
        attributes["destructive"] = json!(tool.is_none_or(|tool| tool.destructive));
        attributes["drifted"] = json!(false);
        let sets = server.tool_sets.iter().filter(|(_, tools)| tools.contains(name));
        parents.extend(sets.map(|(set, _)| ("ToolSet", set.to_string())));
    }
    (attributes, parents, BTreeMap::new())
}
