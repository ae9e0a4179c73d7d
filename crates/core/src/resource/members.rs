//! `MCPServer.spec.members`: one address for several MCP servers (ADR 82).
//!
//! What is said of tools is said in the records of the servers that have them: a tool of a member is decided as the tool of its own server, and
//! nobody may by a server with members what the members' own policies do not permit.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

use super::Meta;
use super::endpoint::{DEFAULT_TIMEOUT_MS, Endpoint, HeaderRules};
use super::field::name;
use super::problem::{At, Fault, Problems};

/// The scheme of the address of a server with members, which nothing is reached by.
const SCHEME: &str = "members";
/// Most members of one server.
const MOST: usize = 32;
/// Longest name of a member, in bytes: it stands before the name of each tool, for which models have 64 at times.
const LONGEST_NAME: usize = 32;
/// Between a member and its tool or prompt: what all models take in a name. A member's name has no `_`, so the first is where it ends.
pub const IN_NAMES: &str = "__";
/// Between a member and the URI of its resource: what a scheme may have (RFC 3986 section 3.1).
const IN_URIS: char = '+';
/// How a URI begins by which a host knows what it may show (MCP Apps, extension `io.modelcontextprotocol/ui`): with anything before it, it is none to it.
const OF_HOSTS: &str = "ui://";
/// A member's name. It has no `_`, by which it ends in a tool's name, and no `+`, by which it ends in a URI, whose scheme it begins.
const NAME: &str = "^[a-z]([a-z0-9-]*[a-z0-9])?$";

/// The servers that one server stands for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// As they were written; no two have one name, or are one server.
    pub all: Arc<[Member]>,
    /// What becomes of what is asked of all while one of them does not answer.
    pub when_down: WhenDown,
}

/// A server that another one stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What its tools and prompts are known by there: `name__tool`.
    pub name: Arc<str>,
    /// `namespace/name` of its record.
    pub server: Arc<str>,
}

impl Members {
    /// The member of this name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.all.iter().find(|member| *member.name == *name)
    }

    /// Whose tool or prompt this is, and what it is called there.
    pub fn of_name<'n>(&self, full: &'n str) -> Option<(&Member, &'n str)> {
        let (member, own) = split_name(full)?;
        Some((self.named(member)?, own))
    }

    /// The same of a resource.
    pub fn of_uri<'n>(&self, full: &'n str) -> Option<(&Member, Cow<'n, str>)> {
        let (member, own) = split_uri(full)?;
        Some((self.named(member)?, own))
    }
}

/// The member that a name of a tool or a prompt begins with, and what it is called there.
pub fn split_name(full: &str) -> Option<(&str, &str)> {
    full.split_once(IN_NAMES).filter(|(_, own)| !own.is_empty())
}

/// The same of a resource. Its URI has the member before it, or, of what hosts know by `ui://`, behind that ([`full_uri`]).
pub fn split_uri(full: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some(behind) = full.strip_prefix(OF_HOSTS) {
        return behind.split_once(IN_URIS).map(|(member, own)| (member, format!("{OF_HOSTS}{own}").into()));
    }
    full.split_once(IN_URIS).filter(|(_, own)| !own.is_empty()).map(|(member, own)| (member, own.into()))
}

/// What a resource of a member is called by at a server with members: `MEMBER+URI`, and `ui://MEMBER+…` of one that begins so.
pub fn full_uri(member: &str, own: &str) -> String {
    match own.strip_prefix(OF_HOSTS) {
        Some(behind) => format!("{OF_HOSTS}{member}{IN_URIS}{behind}"),
        None => format!("{member}{IN_URIS}{own}"),
    }
}

impl Endpoint {
    /// Whether it is that of a server with members: nothing is reached by it.
    pub fn is_of_members(&self) -> bool {
        self.url.scheme() == SCHEME
    }
}

/// What becomes of what is asked of all members (initialize, lists) while one of them does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenDown {
    /// The others answer, and the one that does not is named.
    #[default]
    Omit,
    /// It fails, and names the one.
    Fail,
}

/// A server that this one stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberSpec {
    /// What its tools and prompts are known by here: NAME__TOOL, and its resources by NAME+URI. Lower-case letters, digits and '-', 32 at most.
    #[schemars(schema_with = "name_schema")]
    pub name: String,
    /// The MCPServer that it is.
    pub server: ServerRef,
}

/// An MCPServer, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerRef {
    /// Its namespace; that of this object when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "namespace_schema")]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(schema_with = "object_name_schema")]
    pub name: String,
}

fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": NAME})
}

fn namespace_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"})
}

fn object_name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"})
}

/// What calls of a server with members go to, and the members. Its address is nobody's.
pub(super) fn check(
    specs: &[MemberSpec],
    when_down: WhenDown,
    meta: &Meta,
    at: At<'_>,
    problems: &mut Problems,
) -> Option<(Endpoint, Members)> {
    let mut all: Vec<Member> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = at.index(index);
        problems.take(at.key("name"), &spec.name, check_name(&spec.name));
        let server = at.key("server");
        let namespace = spec.server.namespace.as_deref().unwrap_or(&meta.namespace);
        problems.take(server.key("namespace"), namespace, name::check_namespace(namespace));
        problems.take(server.key("name"), &spec.server.name, name::check_object_name(&spec.server.name));
        let key = format!("{namespace}/{}", spec.server.name);
        let twice = if key == meta.key() {
            Some((server, &*key, "the server is no member of itself", "name another server"))
        } else if all.iter().any(|other| *other.name == *spec.name) {
            let fix = "give each member a name of its own";
            Some((at.key("name"), &*spec.name, "another member has this name", fix))
        } else if all.iter().any(|other| *other.server == *key) {
            let fix = "remove one: its tools would have two names";
            Some((server, &*key, "the server is a member already", fix))
        } else {
            None
        };
        if let Some((at, value, reason, fix)) = twice {
            problems.report(at, value, Fault::new(reason, fix));
        }
        all.push(Member { name: spec.name.as_str().into(), server: key.into() });
    }
    if all.len() > MOST {
        let fault = Fault::new(format!("more than {MOST} members"), "divide them among several servers");
        problems.report(at, &all.len().to_string(), fault);
    }
    let address = format!("{SCHEME}://{}/{}", meta.namespace, meta.name);
    let no_address = |_: url::ParseError| Fault::new("its name makes no address", "give it another name");
    let url = problems.take(at, &address, address.parse::<Url>().map_err(no_address))?;
    let endpoint = Endpoint {
        audience: url.as_str().into(),
        url,
        ca_file: None,
        timeout_ms: DEFAULT_TIMEOUT_MS,
        headers: HeaderRules::default(),
        card: None,
        rest: None,
        rest_alone: false,
        stale_after: None,
        mcp: None,
        grpc: None,
        a2a: None,
        tenant: None,
        job: None,
        grpc_tools: None,
        agent: None,
        openapi: None,
        key: None,
    };
    Some((endpoint, Members { all: all.into(), when_down }))
}

fn check_name(text: &str) -> Result<(), Fault> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if begins && text.len() <= LONGEST_NAME && text.bytes().all(is_inner) && !text.ends_with('-') {
        return Ok(());
    }
    let fix = format!(
        "use 1 to {LONGEST_NAME} lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit"
    );
    Err(Fault::new("not a name of a member", fix))
}

/// Reports what belongs into the records of the members.
pub(super) fn has_nothing_of_tools(given: [(&str, bool); 5], spec: At<'_>, problems: &mut Problems) {
    for (field, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        let fix = "say it in the record of the member: a tool is decided as that server's";
        problems.report(
            spec.key(field),
            "",
            Fault::new("a server with members has no tools of its own", fix),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Object, Origin, check};
    use super::*;

    fn checked(spec: &Value) -> Result<Arc<super::super::McpServer>, Vec<String>> {
        let mut all = json!({"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low"});
        all.as_object_mut().expect("a mapping").extend(spec.as_object().cloned().unwrap_or_default());
        let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer",
            "metadata": {"namespace": "f", "name": "front"}, "spec": all});
        match check(&Origin::default(), &document) {
            Ok(Object::McpServer(server)) => Ok(server),
            Ok(_) => panic!("a server"),
            Err(all) => Err(all.into_iter().map(|one| one.field).collect()),
        }
    }

    fn member(name: &str, server: &str) -> Value {
        json!({"name": name, "server": {"name": server}})
    }

    #[test]
    fn members_are_servers_by_names_of_their_own() {
        let other = json!({"name": "crm", "server": {"namespace": "sales", "name": "crm"}});
        let server = checked(&json!({"members": [member("ledger", "ledger"), other]})).expect("accepted");
        let members = server.members.as_ref().expect("members");
        assert_eq!(members.when_down, WhenDown::Omit);
        let keys: Vec<_> = members.all.iter().map(|one| (&*one.name, &*one.server)).collect();
        assert_eq!(keys, [("ledger", "f/ledger"), ("crm", "sales/crm")]);
        assert!(members.named("crm").is_some() && members.named("Crm").is_none());
        assert!(server.endpoint.is_of_members() && server.endpoint.url.as_str() == "members://f/front");
    }

    #[test]
    fn of_two_that_share_something_that_is_the_value() {
        for (again, value) in
            [(member("a", "y"), "a"), (member("b", "x"), "f/x"), (member("b", "front"), "f/front")]
        {
            let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer",
                "metadata": {"namespace": "f", "name": "front"},
                "spec": {"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low", "members": [member("a", "x"), again]}});
            let refused = check(&Origin::default(), &document).expect_err("refused");
            assert_eq!(refused[0].value, value, "{refused:?}");
        }
    }

    /// Attack: names by which a tool of one member is taken for that of another.
    #[test]
    fn a_name_that_could_be_taken_for_another_is_refused() {
        for bad in
            ["", "a_b", "a__b", "a+b", "a/b", "A", "1a", "-a", "a-", "a b", "é", "a.b", &"a".repeat(33)]
        {
            let refused = checked(&json!({"members": [member(bad, "x")]})).map(|_| ());
            assert!(refused.is_err(), "{bad:?}");
        }
        for good in ["a", "a1", "a-b", "a--b", &"a".repeat(32)] {
            assert!(checked(&json!({"members": [member(good, "x")]})).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn what_two_members_share_and_what_a_server_with_members_cannot_say_is_refused() {
        let one = || member("a", "x");
        for (spec, field) in [
            (json!({"members": [one(), member("a", "y")]}), "spec.members[1].name"),
            (json!({"members": [one(), member("b", "x")]}), "spec.members[1].server"),
            (json!({"members": [member("a", "front")]}), "spec.members[0].server"),
            (json!({"members": [one()], "endpoint": {"url": "http://h"}}), "spec.members"),
            (json!({"members": [one()], "toolSets": {"s": ["t"]}}), "spec.toolSets"),
            (json!({"members": [one()], "tools": {"t": {}}}), "spec.tools"),
            (json!({"whenDown": "fail", "endpoint": {"url": "http://h"}}), "spec.whenDown"),
        ] {
            let refused = checked(&spec).map(|_| ()).expect_err("refused");
            assert!(refused.iter().any(|one| one == field), "{spec}: {refused:?}");
        }
    }
}
