//! An OpenAPI document, as it is read: its operations, in order, and what they refer to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::operation::{self, Compiled, Given};
use super::path::Template;
use super::schema::Wrong;
use super::{LeftOut, Operation, Route, Verb};
use crate::json::segments;
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

/// How many parts of schemas all operations of a document may have, those that are left out among them: a reference is short, and what it leads to is not.
const MOST_PARTS: usize = 2_000_000;

/// A document.
#[derive(Debug)]
pub(super) struct Document<'d> {
    root: &'d Value,
    /// It is of 3.0, whose schemas are of no JSON Schema.
    pub(super) is_old: bool,
    /// How many more parts of schemas are looked at.
    parts: Cell<usize>,
}

/// An operation of a document, before it is compiled.
struct Entry<'d> {
    path: &'d str,
    verb: Verb,
    name: String,
    item: &'d Value,
    operation: &'d Value,
}

/// What the operations of a document come to.
#[derive(Default)]
pub(super) struct Operations {
    pub(super) tools: BTreeMap<Arc<str>, Operation>,
    pub(super) routes: Vec<Route>,
    pub(super) left_out: Vec<LeftOut>,
    /// How many are left out beside those.
    pub(super) more_left_out: usize,
}

impl Operations {
    fn leave_out(&mut self, at: At<'_>, name: Option<&str>, wrong: Wrong) {
        if self.left_out.len() == MOST_TOLD {
            self.more_left_out += 1;
            return;
        }
        let Wrong { value, fault: Fault { reason, fix } } = wrong;
        let operation = name.map(str::to_owned);
        self.left_out.push(LeftOut { field: at.to_string(), operation, value, reason, fix });
    }
}

/// What several operations have, so that none of them can be a tool: a name, or a path.
struct Shared<'e> {
    names: BTreeMap<String, Vec<&'e str>>,
    paths: BTreeMap<(&'static str, String), Vec<&'e str>>,
}

impl<'e> Shared<'e> {
    fn of(entries: &'e [Entry<'_>], is_tool: impl Fn(&Entry<'_>) -> bool) -> Self {
        let mut shared = Self { names: BTreeMap::new(), paths: BTreeMap::new() };
        for entry in entries {
            if is_tool(entry) {
                shared.names.entry(entry.name.to_ascii_lowercase()).or_default().push(&entry.name);
            }
            if let Ok(template) = Template::parse(entry.path) {
                let of_path = shared.paths.entry((entry.verb.key(), template.shape())).or_default();
                of_path.push(entry.path);
            }
        }
        shared
    }

    fn check(&self, entry: &Entry<'_>, template: &Template) -> Result<(), Fault> {
        let named = self.names.get(&entry.name.to_ascii_lowercase());
        if let Some([one, other, ..]) = named.map(Vec::as_slice) {
            let known = if **one == *entry.name { other } else { one };
            let reason = format!("its tool would be called as another is: {known}");
            return Err(Fault::new(reason, "give each operation an operationId of its own"));
        }
        let on_path = self.paths.get(&(entry.verb.key(), template.shape()));
        if let Some([one, other, ..]) = on_path.map(Vec::as_slice) {
            let known = if **one == *entry.path { other } else { one };
            let reason = format!("its path cannot be told from {known:?}");
            return Err(Fault::new(reason, "have one of the two taken out of the document"));
        }
        Ok(())
    }
}

impl<'d> Document<'d> {
    /// # Errors
    /// A version that is not read.
    pub(super) fn of(root: &'d Value) -> Result<Self, Fault> {
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        let is = |line: &str| version.strip_prefix(line).is_some_and(|rest| rest.starts_with('.'));
        if is("3.0") || is("3.1") {
            return Ok(Self { root, is_old: is("3.0"), parts: Cell::new(MOST_PARTS) });
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

    /// Whether so many parts of schemas are still looked at.
    pub(super) fn takes(&self, parts: usize) -> bool {
        let left = self.parts.get().checked_sub(parts);
        self.parts.set(left.unwrap_or(0));
        left.is_some()
    }

    /// What a reference leads to, and the pointer to it (RFC 6901), which is the same however the reference is written.
    ///
    /// # Errors
    /// Why it leads nowhere: words that go on after what refers.
    pub(super) fn at(&self, reference: &str) -> Result<(String, &'d Value), &'static str> {
        let pointer = reference.strip_prefix('#').ok_or("is to another document, which is not fetched")?;
        let pointer = decode(pointer).filter(|pointer| pointer.starts_with('/'));
        let pointer = pointer.ok_or("is no path from the document's root (#/…)")?;
        let value = self.at_pointer(&pointer)?;
        Ok((pointer, value))
    }

    /// What a pointer leads to.
    ///
    /// # Errors
    /// As [`Document::at`].
    pub(super) fn at_pointer(&self, pointer: &str) -> Result<&'d Value, &'static str> {
        let mut value = self.root;
        for step in segments(pointer).into_iter().flatten() {
            let below = match value {
                Value::Object(members) => members.get(&*step),
                Value::Array(list) => step.parse::<usize>().ok().and_then(|index| list.get(index)),
                _ => None,
            };
            value = below.ok_or("leads to nothing")?;
            // What is within would be relative to that.
            if value.get("$id").is_some_and(Value::is_string) {
                return Err("leads into a schema with an address of its own ($id)");
            }
        }
        Ok(value)
    }

    /// What a reference object leads to, or the value itself.
    ///
    /// # Errors
    /// A reference that leads elsewhere, or does not end.
    pub(super) fn resolved(&self, value: &'d Value) -> Result<&'d Value, Fault> {
        const FIX: &str = "have parts of the same document referred to, and nothing else";
        let mut value = value;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = value.get("$ref") else { return Ok(value) };
            let text = reference.as_str().unwrap_or_default();
            let shown: String = text.chars().take(64).collect();
            value = self.at(text).map_err(|why| Fault::new(format!("its reference {shown:?} {why}"), FIX))?.1;
        }
        Err(Fault::new("its references do not end", FIX))
    }

    /// All operations of it, in the order of paths and methods, and the paths of which they are not known.
    fn entries(&self, at: At<'_>, problems: &mut Problems) -> (Vec<Entry<'d>>, Vec<(&'d str, Fault)>) {
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        let Some(Value::Object(paths)) = self.root.get("paths") else {
            let fault = Fault::new("the document has no paths", "give one that has operations");
            problems.report(at.key("paths"), "", fault);
            return (entries, unknown);
        };
        for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
            let item = match self.resolved(item) {
                Ok(item) => item,
                Err(fault) => {
                    unknown.push((&**path, fault));
                    continue;
                }
            };
            for verb in Verb::ALL {
                let Some(operation) = item.get(verb.key()) else { continue };
                let name = named(operation, verb, path);
                entries.push(Entry { path, verb, name, item, operation });
            }
        }
        (entries, unknown)
    }

    /// The operations that are tools (all that can be, where none is named), and every path of the document. What is not supported is left out where
    /// nobody named it and another is left, and else a fault.
    pub(super) fn compiled(
        &self,
        (wanted, wanted_at): (&[String], At<'_>),
        (at, given): (At<'_>, &Given),
        problems: &mut Problems,
    ) -> Operations {
        let (entries, unknown) = self.entries(at, problems);
        if entries.len() > MOST_OPERATIONS {
            let reason = format!("the document has more than {MOST_OPERATIONS} operations");
            problems.report(at.key("paths"), "", Fault::new(reason, "leave out what is not needed of it"));
            return Operations::default();
        }
        check_wanted(&entries, wanted, wanted_at, problems);
        let is_tool = |entry: &Entry<'_>| wanted.is_empty() || wanted.contains(&entry.name);
        let shared = Shared::of(&entries, is_tool);
        let (mut all, mut size) = (Operations::default(), 0);
        let paths_at = at.key("paths");
        for entry in &entries {
            if !is_tool(entry) {
                all.routes.push(Route::of_none(entry.path, entry.verb));
                continue;
            }
            // What is beyond that is told once, and not looked at.
            if all.tools.len() > MOST_TOOLS || size > MOST_DEFINED {
                break;
            }
            match self.tool(entry, &shared, given) {
                Ok(Compiled { operation, route }) => {
                    size += operation.definition.len();
                    all.routes.push(route);
                    all.tools.insert(entry.name.as_str().into(), operation);
                }
                Err(wrong) => {
                    all.routes.push(Route::of_none(entry.path, entry.verb));
                    let path_at = paths_at.key(entry.path);
                    all.leave_out(path_at.key(entry.verb.key()), Some(&entry.name), wrong);
                }
            }
        }
        for (path, fault) in unknown {
            all.routes.extend(Verb::ALL.map(|verb| Route::of_none(path, verb)));
            all.leave_out(paths_at.key(path), None, fault.into());
        }
        if !wanted.is_empty() || all.tools.is_empty() {
            let is_fault = |one: &LeftOut| wanted.is_empty() || one.operation.is_some();
            for one in std::mem::take(&mut all.left_out).into_iter().filter(is_fault) {
                problems.report_in(one.field, &one.value, Fault::new(one.reason, one.fix));
            }
            all.more_left_out = 0;
        }
        check_size(all.tools.len(), size, at, problems);
        all
    }

    /// One operation as a tool.
    fn tool(&self, entry: &Entry<'d>, shared: &Shared<'_>, given: &Given) -> Result<Compiled, Wrong> {
        let template = Template::parse(entry.path)?;
        shared.check(entry, &template)?;
        name::check_tool(&entry.name)?;
        let named = (&*entry.name, entry.verb, template);
        operation::compiled(self, named, (entry.item, entry.operation), given)
    }
}

/// A fragment of an address, its escapes undone (RFC 3986 section 2.1); `None` of one that is broken.
fn decode(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
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
