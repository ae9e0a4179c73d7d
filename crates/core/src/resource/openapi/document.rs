//! An OpenAPI document, as it is read: its operations, in order, and what they refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::operation::{self, Compiled};
use super::path::{Loose, Template};
use super::{Operation, Route, Verb};
use crate::resource::problem::{At, Fault, Problems};
use crate::resource::{field::name, shape};

/// How many operations may be tools of one server, and how large all of their definitions may be, in bytes.
const MOST_TOOLS: usize = 512;
const MOST_DEFINED: usize = 2 * 1024 * 1024;
/// How many operations a document may have.
const MOST_OPERATIONS: usize = 8192;
/// How many wrong operations of a document are told.
const MOST_TOLD: usize = 16;
/// How many references may lead on from one another.
const MOST_REFERENCES: usize = 8;

/// A document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'d> {
    root: &'d Value,
    /// It is of 3.0, whose schemas are of no JSON Schema.
    pub(super) is_old: bool,
}

/// An operation of a document, before it is compiled.
struct Entry<'d> {
    path: &'d str,
    verb: Verb,
    name: String,
    item: &'d Value,
    operation: &'d Value,
}

impl<'d> Document<'d> {
    /// # Errors
    /// A version that is not read.
    pub(super) fn of(root: &'d Value) -> Result<Self, Fault> {
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        let is = |line: &str| version.strip_prefix(line).is_some_and(|rest| rest.starts_with('.'));
        if is("3.0") || is("3.1") {
            return Ok(Self { root, is_old: is("3.0") });
        }
        let reason = match root.get("swagger") {
            Some(_) => "the document is of Swagger 2, which is not read",
            None => "the document does not say that it is of OpenAPI 3.0 or 3.1",
        };
        Err(Fault::new(
            reason,
            "give a document with openapi: 3.0.x or 3.1.x; older ones are converted by many tools",
        ))
    }

    /// A component of a kind, by its name.
    pub(super) fn component(&self, kind: &str, name: &str) -> Option<&'d Value> {
        self.root.get("components")?.get(kind)?.get(name)
    }

    /// What a reference object of a kind leads to, or the value itself.
    ///
    /// # Errors
    /// A reference that leads elsewhere, or does not end.
    pub(super) fn resolved(&self, kind: &str, value: &'d Value) -> Result<&'d Value, Fault> {
        const FIX: &str = "have the document's own components referred to, and nothing else";
        let mut value = value;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = value.get("$ref") else { return Ok(value) };
            let text = reference.as_str().unwrap_or_default();
            let shown: String = text.chars().take(64).collect();
            let below = text
                .strip_prefix("#/components/")
                .and_then(|rest| rest.strip_prefix(kind)?.strip_prefix('/'));
            let Some(name) = below else {
                let reason = match text.starts_with('#') {
                    true => format!("its reference {shown:?} is not one to components/{kind}"),
                    false => format!("its reference {shown:?} is to another document, which is not fetched"),
                };
                return Err(Fault::new(reason, FIX));
            };
            value = self
                .component(kind, name)
                .ok_or_else(|| Fault::new(format!("its reference {shown:?} leads to nothing"), FIX))?;
        }
        Err(Fault::new("its references do not end", FIX))
    }

    /// All operations of it, in the order of paths and methods. What is wrong with a path as a whole is reported.
    fn entries(&self, at: At<'_>, problems: &mut Problems) -> Vec<Entry<'d>> {
        let mut entries = Vec::new();
        let Some(Value::Object(paths)) = self.root.get("paths") else {
            let fault = Fault::new("the document has no paths", "give one that has operations");
            problems.report(at.key("paths"), "", fault);
            return entries;
        };
        let paths_at = at.key("paths");
        for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
            let item = problems.take(paths_at.key(path), "", self.resolved("pathItems", item));
            for verb in Verb::ALL {
                let Some((item, operation)) = item.and_then(|item| Some((item, item.get(verb.key())?)))
                else {
                    continue;
                };
                let name = named(operation, verb, path);
                entries.push(Entry { path, verb, name, item, operation });
            }
        }
        entries
    }

    /// The operations that are tools (all, where none is named), and every path of the document.
    pub(super) fn compiled(
        &self,
        (wanted, wanted_at): (&[String], At<'_>),
        (at, query): (At<'_>, &[String]),
        problems: &mut Problems,
    ) -> (BTreeMap<Arc<str>, Operation>, Vec<Route>) {
        let entries = self.entries(at, problems);
        if entries.len() > MOST_OPERATIONS {
            let reason = format!("the document has more than {MOST_OPERATIONS} operations");
            problems.report(at.key("paths"), "", Fault::new(reason, "leave out what is not needed of it"));
            return (BTreeMap::new(), Vec::new());
        }
        check_wanted(&entries, wanted, wanted_at, problems);
        let (mut tools, mut routes, mut told, mut size) = (BTreeMap::new(), Vec::new(), 0, 0);
        let is_tool = |entry: &&Entry<'_>| wanted.is_empty() || wanted.contains(&entry.name);
        for Entry { path, verb, .. } in entries.iter().filter(|entry| !is_tool(entry)) {
            // It is no tool, and a path that is its own is none of a tool's either, also where that is not read here.
            let (template, loose) = (Template::parse(path).ok(), Loose::of(path));
            routes.push(Route { template, loose, verb: *verb, tool: None });
        }
        let paths_at = at.key("paths");
        for entry in entries.iter().filter(is_tool) {
            let path_at = paths_at.key(entry.path);
            let at = path_at.key(entry.verb.key());
            let template = Template::parse(entry.path);
            // What is beyond that is told once, and not looked at.
            if told == MOST_TOLD || tools.len() > MOST_TOOLS || size > MOST_DEFINED {
                break;
            }
            match template
                .map_err(Into::into)
                .and_then(|template| self.tool(entry, (template, query), (&tools, &routes)))
            {
                Ok(Compiled { operation, route }) => {
                    size += operation.definition.len();
                    routes.push(route);
                    tools.insert(entry.name.as_str().into(), operation);
                }
                Err(wrong) => {
                    told += 1;
                    problems.report(at, &wrong.value, wrong.fault);
                }
            }
        }
        check_size(tools.len(), size, at, problems);
        (tools, routes)
    }

    /// One operation as a tool, beside those before it.
    fn tool(
        &self,
        entry: &Entry<'d>,
        (template, query): (Template, &[String]),
        (tools, routes): (&BTreeMap<Arc<str>, Operation>, &[Route]),
    ) -> Result<Compiled, super::schema::Wrong> {
        let (verb, name) = (entry.verb, &*entry.name);
        if let Some(known) = tools.keys().find(|known| known.eq_ignore_ascii_case(name)) {
            let reason = format!("its tool would be called as another is: {known}");
            return Err(Fault::new(reason, "give each operation an operationId of its own").into());
        }
        let of_verb = routes.iter().filter(|route| route.verb == verb);
        let mut of_verb = of_verb.filter_map(|route| route.template.as_ref());
        if let Some(known) = of_verb.find(|known| known.is_like(&template)) {
            let reason = format!("its path cannot be told from {:?}", known.text());
            return Err(Fault::new(reason, super::parameter::LEAVE_OUT).into());
        }
        name::check_tool(name)?;
        operation::compiled(self, (name, verb, template), (entry.item, entry.operation), query)
    }
}

/// What the tool of an operation is called: its operationId, or else its method and path, in characters that every client takes.
fn named(operation: &Value, verb: Verb, path: &str) -> String {
    let given = operation.get("operationId").and_then(Value::as_str).filter(|id| !id.is_empty());
    let text = given.map_or_else(|| format!("{}{path}", verb.key()), str::to_owned);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    let mut name: String = text.chars().map(plain).collect();
    if given.is_none() {
        let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
        name = words.join("_");
    }
    name
}

fn check_wanted(entries: &[Entry<'_>], wanted: &[String], at: At<'_>, problems: &mut Problems) {
    for (index, name) in wanted.iter().enumerate() {
        if entries.iter().any(|entry| entry.name == *name) {
            continue;
        }
        let fix = match shape::nearest(entries.iter().map(|entry| &*entry.name), name) {
            Some(near) => format!("did you mean {near}?"),
            None => "name operations by their operationId, or by method and path: get_pets_id".to_owned(),
        };
        problems.report(at.index(index), name, Fault::new("the document has no such operation", fix));
    }
}

fn check_size(tools: usize, size: usize, at: At<'_>, problems: &mut Problems) {
    let fix = "name those that agents need in spec.openapi.operations";
    if tools == 0 && problems.is_empty() {
        let fault = Fault::new(
            "the document has no operation that could be a tool",
            "give one that has get, put, post, delete or patch",
        );
        problems.report(at.key("paths"), "", fault);
    }
    if tools > MOST_TOOLS {
        problems.report(at, "", Fault::new(format!("more than {MOST_TOOLS} operations would be tools"), fix));
    }
    if size > MOST_DEFINED {
        let reason = format!("the definitions of its tools take more than {MOST_DEFINED} bytes");
        problems.report(at, "", Fault::new(reason, fix));
    }
}
