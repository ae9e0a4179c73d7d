//! JSON Schema of protobuf messages, as their JSON mapping writes them. A type that stands in others, or in itself, is written once (`$defs`), so a
//! schema is as long as its types and has no depth.
//!
//! Arguments have one spelling, which is the one that is described: names in lower camel case, enums by name, and whole numbers as numbers, by which
//! policies compare them. Of an answer, those that not every client has exactly (beyond 2^53 - 1) are text.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use serde_json::{Map, Value, json};

use crate::resource::problem::Fault;

/// Most types of one message, itself and all that it has.
const MOST_TYPES: usize = 256;
/// The longest description, in bytes.
const LONGEST_COMMENT: usize = 4096;
/// The largest whole number that is one in every client: 2^53 - 1.
const MOST_EXACT: i64 = 9_007_199_254_740_991;

/// What the authors of a description wrote above each thing.
#[derive(Debug, Default)]
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// Of all files that these services are described with.
    pub(super) fn of(services: &[ServiceDescriptor]) -> Self {
        let mut all = HashMap::new();
        let Some(pool) = services.first().map(ServiceDescriptor::parent_pool) else { return Self(all) };
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.map(|info| info.location.iter()).into_iter().flatten() {
                let comment = location.leading_comments.as_deref().and_then(trimmed);
                if let Some(comment) = comment {
                    all.insert((file.name().to_owned(), location.path.clone()), comment);
                }
            }
        }
        Self(all)
    }

    pub(super) fn find(&self, file: &FileDescriptor, path: &[i32]) -> Option<&str> {
        self.0.get(&(file.name().to_owned(), path.to_vec())).map(String::as_str)
    }

    /// The schema of what is sent.
    pub(super) fn input(&self, message: &MessageDescriptor) -> Result<Value, Fault> {
        let mut schemas = Schemas { comments: self, is_input: true, defs: Map::new(), waiting: Vec::new() };
        let root = match well_known(message.full_name(), true) {
            Some(Value::Object(schema)) => schema,
            _ => schemas.object(message),
        };
        schemas.whole(root)
    }

    /// The schema of what is answered; `None` where that is no object in JSON.
    pub(super) fn output(
        &self,
        message: &MessageDescriptor,
        is_stream: bool,
    ) -> Result<Option<Value>, Fault> {
        let mut schemas = Schemas { comments: self, is_input: false, defs: Map::new(), waiting: Vec::new() };
        let root = match well_known(message.full_name(), false) {
            _ if is_stream => {
                let messages = json!({"type": "array", "items": schemas.message(message)});
                let of_list = [("messages".to_owned(), messages)].into_iter().collect::<Map<String, Value>>();
                object_of(of_list, &["messages".to_owned()])
            }
            Some(Value::Object(schema)) if schema.get("type") == Some(&json!("object")) => schema,
            Some(_) => return Ok(None),
            None => schemas.object(message),
        };
        schemas.whole(root).map(Some)
    }
}

/// Whether the arguments of a tool can be this message: MCP has them as an object.
pub(super) fn takes_object(message: &MessageDescriptor) -> bool {
    well_known(message.full_name(), true).is_none_or(|schema| schema.get("type") == Some(&json!("object")))
}

fn trimmed(comment: &str) -> Option<String> {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    let mut text = lines.join("\n").trim().to_owned();
    text.truncate(text.floor_char_boundary(LONGEST_COMMENT));
    (!text.is_empty()).then_some(text)
}

/// The schema of one message, while it is written.
struct Schemas<'c> {
    comments: &'c Comments,
    /// It is what is sent: nothing else passes than it says.
    is_input: bool,
    /// Types by their full names; of those that wait nothing is said yet.
    defs: Map<String, Value>,
    waiting: Vec<MessageDescriptor>,
}

impl Schemas<'_> {
    fn whole(mut self, mut root: Map<String, Value>) -> Result<Value, Fault> {
        while let Some(next) = self.waiting.pop() {
            let schema = self.object(&next);
            self.defs.insert(next.full_name().to_owned(), Value::Object(schema));
            if self.defs.len() > MOST_TYPES {
                let reason = format!("a message of it has more than {MOST_TYPES} types in it");
                return Err(Fault::new(
                    reason,
                    "leave out the services with such methods (spec.grpc.services)",
                ));
            }
        }
        if !self.defs.is_empty() {
            root.insert("$defs".to_owned(), Value::Object(self.defs));
        }
        Ok(Value::Object(root))
    }

    fn object(&mut self, message: &MessageDescriptor) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields() {
            if field.is_required() {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), self.field(&field));
        }
        let mut object = object_of(properties, if self.is_input { &required } else { &[] });
        if self.is_input {
            object.insert("additionalProperties".to_owned(), json!(false));
        }
        let comment = self.comments.find(&message.parent_file(), message.path());
        let mut said: Vec<String> = comment.map(ToOwned::to_owned).into_iter().collect();
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let names: Vec<String> = oneof.fields().map(|field| field.json_name().to_owned()).collect();
            said.push(format!("At most one of: {}.", names.join(", ")));
        }
        if !said.is_empty() {
            object.insert("description".to_owned(), json!(said.join("\n")));
        }
        object
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let kind = field.kind();
        let of_map =
            kind.as_message().filter(|_| field.is_map()).map(MessageDescriptor::map_entry_value_field);
        let schema = match of_map {
            Some(value) => json!({"type": "object", "additionalProperties": self.kind(&value.kind())}),
            None if field.cardinality() == Cardinality::Repeated => {
                json!({"type": "array", "items": self.kind(&kind)})
            }
            None => self.kind(&kind),
        };
        match (schema, self.comments.find(&field.parent_file(), field.path())) {
            (Value::Object(mut schema), Some(comment)) => {
                schema.insert("description".to_owned(), json!(comment));
                Value::Object(schema)
            }
            (schema, _) => schema,
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Message(message) => self.message(message),
            Kind::Enum(one) => self.names(one),
            scalar => of_scalar(scalar, self.is_input),
        }
    }

    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if let Some(schema) = well_known(name, self.is_input) {
            return schema;
        }
        if !self.defs.contains_key(name) {
            self.defs.insert(name.to_owned(), Value::Null);
            self.waiting.push(message.clone());
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn names(&mut self, one: &EnumDescriptor) -> Value {
        let name = one.full_name();
        if name == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let reference = json!({"$ref": format!("#/$defs/{name}")});
        if self.defs.contains_key(name) {
            return reference;
        }
        let names: Vec<String> = one.values().map(|value| value.name().to_owned()).collect();
        let mut schema = json!({"type": "string", "enum": names});
        if !self.is_input {
            // A server may know more of them than its description.
            schema = json!({"anyOf": [schema, {"type": "integer"}]});
        }
        if let (Value::Object(schema), Some(comment)) =
            (&mut schema, self.comments.find(&one.parent_file(), one.path()))
        {
            schema.insert("description".to_owned(), json!(comment));
        }
        self.defs.insert(name.to_owned(), schema);
        reference
    }
}

fn object_of(properties: Map<String, Value>, required: &[String]) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn of_scalar(kind: &Kind, is_input: bool) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Double | Kind::Float => {
            json!({"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]})
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 if is_input => {
            json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX})
        }
        Kind::Uint64 | Kind::Fixed64 if is_input => {
            json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"anyOf": [
            {"type": "integer", "minimum": -MOST_EXACT, "maximum": MOST_EXACT},
            {"type": "string", "pattern": "^-?[0-9]{16,19}$"},
        ]}),
        Kind::Uint64 | Kind::Fixed64 => json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MOST_EXACT},
            {"type": "string", "pattern": "^[0-9]{16,20}$"},
        ]}),
        // They are no scalars, and written elsewhere.
        Kind::Message(_) | Kind::Enum(_) => json!({}),
    }
}

/// Types that have a form of their own in JSON (protobuf, "ProtoJSON Format").
fn well_known(name: &str, is_input: bool) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => {
            json!({"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]})
        }
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+([.][0-9]{1,9})?s$"}),
        "Struct" => json!({"type": "object"}),
        "ListValue" => json!({"type": "array"}),
        "Value" => json!({}),
        "FieldMask" => json!({"type": "string"}),
        "Empty" => json!({"type": "object", "additionalProperties": false}),
        "BoolValue" => of_scalar(&Kind::Bool, is_input),
        "StringValue" => of_scalar(&Kind::String, is_input),
        "BytesValue" => of_scalar(&Kind::Bytes, is_input),
        "DoubleValue" | "FloatValue" => of_scalar(&Kind::Double, is_input),
        "Int32Value" => of_scalar(&Kind::Int32, is_input),
        "UInt32Value" => of_scalar(&Kind::Uint32, is_input),
        "Int64Value" => of_scalar(&Kind::Int64, is_input),
        "UInt64Value" => of_scalar(&Kind::Uint64, is_input),
        _ => return None,
    })
}
