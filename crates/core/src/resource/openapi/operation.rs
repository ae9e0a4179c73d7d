//! One operation of a document, as a tool.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::Document;
use super::parameter::{LEAVE_OUT, Parameter, Place, Read};
use super::path::{Loose, Template};
use super::schema::{Schemas, Wrong};
use super::{BODY, Body, Operation, Route, Verb, body};
use crate::resource::problem::Fault;

/// The longest description of a tool, in characters, and the longest schema of its arguments, in bytes: as long as arguments are held to.
const LONGEST: usize = 4096;
const LONGEST_SCHEMA: usize = 60 * 1024;
/// How many parameters an operation may have.
const MOST: usize = 128;

/// A tool, and where it is.
pub(super) struct Compiled {
    pub(super) operation: Operation,
    pub(super) route: Route,
}

/// What the record gives with each request, whatever its operation.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// What the registered address has in its query.
    pub(super) query: Vec<String>,
    /// Where the key is, and by which name: the gateway writes it, so it is no argument.
    pub(super) key: Option<(Place, Arc<str>)>,
}

impl Given {
    fn is_key(&self, parameter: &Parameter) -> bool {
        self.key.as_ref().is_some_and(|(place, name)| {
            // Upper and lower case are the same to some servers, in a query too.
            *place == parameter.place && name.eq_ignore_ascii_case(&parameter.name)
        })
    }
}

/// Compiles one operation.
///
/// # Errors
/// What is wrong with it, or not supported.
pub(super) fn compiled<'d>(
    document: &Document<'d>,
    (name, verb, template): (&str, Verb, Template),
    (item, operation): (&'d Value, &'d Value),
    given: &Given,
) -> Result<Compiled, Wrong> {
    if item.get("servers").or(operation.get("servers")).is_some() {
        let reason = "it has servers of its own, and a call goes to spec.openapi.url alone";
        return Err(Fault::new(reason, LEAVE_OUT).into());
    }
    let mut parameters = parameters(document, item, operation)?;
    parameters.retain(|(one, ..)| !given.is_key(one));
    check_path(&template, &parameters)?;
    let body = body::of(document, operation)?;
    let parameters = with_arguments(parameters, body.is_some())?;
    let is_given = |name: &str| given.query.iter().any(|one| one.eq_ignore_ascii_case(name));
    let in_url = |one: &Parameter| one.place == Place::Query && is_given(&one.name);
    if let Some((parameter, ..)) = parameters.iter().find(|(one, ..)| in_url(one)) {
        let reason =
            format!("its parameter {:?} is in the query of spec.openapi.url already", parameter.name);
        return Err(Fault::new(reason, "take it out of the URL, or leave the operation out").into());
    }
    let mut schema = schema(Schemas::of(document, true), &parameters, body.as_ref())?;
    if schema.to_string().len() > LONGEST_SCHEMA {
        // What it says to people goes before what it says of arguments.
        schema = self::schema(Schemas::of(document, false), &parameters, body.as_ref())?;
    }
    if schema.to_string().len() > LONGEST_SCHEMA {
        let reason = format!("the schema of its arguments is larger than {LONGEST_SCHEMA} bytes");
        return Err(Fault::new(reason, LEAVE_OUT).into());
    }
    let definition = json!({
        "name": name, "description": description(operation, verb, &template),
        "inputSchema": schema, "annotations": annotations(operation, verb),
    });
    let parameters = parameters.into_iter().map(|(parameter, ..)| parameter).collect();
    let body = body.map(|(body, _)| body);
    let loose = Loose::of(template.text());
    let route = Route { template: Some(template.clone()), loose, verb, tool: Some(name.into()) };
    let operation =
        Operation { verb, path: template, parameters, body, definition: definition.to_string().into() };
    Ok(Compiled { operation, route })
}

/// The schema of the arguments.
fn schema(
    mut schemas: Schemas<'_, '_>,
    parameters: &[Described<'_>],
    body: Option<&(Body, Cow<'_, Value>)>,
) -> Result<Value, Wrong> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (parameter, schema, description) in parameters {
        let mut schema = schemas.copied(schema, &parameter.name)?;
        if let (Some(text), Some(members)) = (description, schema.as_object_mut()) {
            members.insert("description".to_owned(), json!(shortened(text)));
        }
        required.extend(parameter.required.then(|| parameter.argument.to_string()));
        properties.insert(parameter.argument.to_string(), schema);
    }
    if let Some((body, schema)) = body {
        properties.insert(BODY.to_owned(), schemas.copied(schema, BODY)?);
        required.extend(body.required.then(|| BODY.to_owned()));
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema.extend((!required.is_empty()).then(|| ("required".to_owned(), json!(required))));
    let referred = schemas.finish()?;
    schema.extend((!referred.is_empty()).then(|| ("$defs".to_owned(), Value::Object(referred))));
    Ok(Value::Object(schema))
}

/// A parameter, its schema, and what its document says of it.
type Described<'d> = (Parameter, &'d Value, Option<&'d str>);

/// Those of the operation, and those of its path that it does not have itself.
fn parameters<'d>(
    document: &Document<'d>,
    item: &'d Value,
    operation: &'d Value,
) -> Result<Vec<Described<'d>>, Fault> {
    let mut found: Vec<Described<'d>> = Vec::new();
    for (holder, is_own) in [(operation, true), (item, false)] {
        let Some(list) = holder.get("parameters") else { continue };
        let list = list.as_array().ok_or_else(|| Fault::new("its parameters are no list", LEAVE_OUT))?;
        for parameter in list {
            let parameter = document.resolved(parameter)?;
            let Read::Is(read, schema) = Read::of(document, parameter)? else { continue };
            let is_known = |(known, ..): &Described<'d>| known.place == read.place && known.name == read.name;
            if found.iter().any(is_known) {
                if is_own {
                    return Err(Fault::new(
                        format!("its parameter {:?} is there twice", read.name),
                        LEAVE_OUT,
                    ));
                }
                continue;
            }
            let description = parameter.get("description").and_then(Value::as_str);
            found.push((read, schema, description));
        }
    }
    if found.len() > MOST {
        return Err(Fault::new(format!("it has more than {MOST} parameters"), LEAVE_OUT));
    }
    Ok(found)
}

/// That the parameters in the path are those that the path has.
fn check_path(template: &Template, parameters: &[Described<'_>]) -> Result<(), Fault> {
    let of_path =
        |name: &str| parameters.iter().any(|(one, ..)| one.place == Place::Path && *one.name == *name);
    if let Some(missing) = template.parameters().find(|name| !of_path(name)) {
        return Err(Fault::new(format!("nothing says what {{{missing}}} in its path is"), LEAVE_OUT));
    }
    let mut given = parameters.iter().filter(|(one, ..)| one.place == Place::Path);
    match given.find(|(one, ..)| !template.parameters().any(|name| *name == *one.name)) {
        Some((other, ..)) => {
            let reason =
                format!("its parameter {:?} is said to be in the path, which does not have it", other.name);
            Err(Fault::new(reason, LEAVE_OUT))
        }
        None => Ok(()),
    }
}

/// What the tool calls each: as the API does, and where two would have one name, with the place before it.
fn with_arguments(mut parameters: Vec<Described<'_>>, has_body: bool) -> Result<Vec<Described<'_>>, Fault> {
    let names: Vec<Arc<str>> = parameters.iter().map(|(one, ..)| one.name.clone()).collect();
    let is_shared = |name: &str| {
        let same = names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count();
        same > 1 || has_body && name.eq_ignore_ascii_case(BODY)
    };
    for (parameter, ..) in &mut parameters {
        if is_shared(&parameter.name) {
            parameter.argument = format!("{}_{}", parameter.place.as_str(), parameter.name).into();
        }
    }
    let mut arguments: Vec<String> =
        parameters.iter().map(|(one, ..)| one.argument.to_ascii_lowercase()).collect();
    arguments.sort_unstable();
    if arguments.windows(2).any(|pair| pair.first() == pair.get(1)) {
        let reason = "two of its parameters have names that differ by nothing, or by case alone";
        return Err(Fault::new(reason, LEAVE_OUT));
    }
    Ok(parameters)
}

/// What it does, for the model that may call it.
fn description(operation: &Value, verb: Verb, template: &Template) -> String {
    let text =
        |key: &str| operation.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    match (text("summary"), text("description")) {
        (Some(summary), Some(more)) if summary != more => shortened(&format!("{summary}\n\n{more}")),
        (Some(one), _) | (None, Some(one)) => shortened(one),
        (None, None) => format!("{} {}", verb.as_str(), template.text()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// What HTTP says of its method (RFC 9110 section 9.2), in the words of MCP.
fn annotations(operation: &Value, verb: Verb) -> Value {
    let mut annotations = json!({"readOnlyHint": verb.is_safe()});
    if let Some(members) = annotations.as_object_mut() {
        if !verb.is_safe() {
            members.insert("idempotentHint".to_owned(), json!(verb.is_idempotent()));
        }
        if matches!(verb, Verb::Delete | Verb::Put) {
            members.insert("destructiveHint".to_owned(), json!(true));
        }
        let title = operation.get("summary").and_then(Value::as_str).filter(|text| text.len() <= 128);
        members.extend(title.map(|title| ("title".to_owned(), json!(title))));
    }
    annotations
}
