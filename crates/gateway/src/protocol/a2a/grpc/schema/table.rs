//! What the schema says of each message, as the codec reads it: a field by its number or its name, without a descriptor looked at.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

use super::TENANT;

/// All messages of a schema.
#[derive(Debug)]
pub struct Table {
    messages: Vec<Message>,
    places: HashMap<String, usize>,
}

/// One of them.
#[derive(Debug)]
pub struct Message {
    /// By their numbers.
    pub fields: Box<[Field]>,
    /// Where a field is in these, by what it is called in JSON and by what it is called in the schema.
    names: HashMap<Box<str>, usize, RandomState>,
    /// `google.protobuf.Empty`, in which nothing is passed over.
    pub is_nothing: bool,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// What it is called in JSON, with quotes and a colon.
    pub name: Box<str>,
    pub kind: Kind,
    pub label: Label,
    /// One bit, which is that of all fields of its oneof: a message has at most one of them, once.
    pub bit: u64,
    pub is_tenant: bool,
}

/// How often it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Once; what is its zero is not there.
    Implicit,
    /// Once.
    Explicit,
    List,
    /// By texts; what is said of a kind is that of the values.
    Map,
}

/// What is in it.
#[derive(Debug)]
pub enum Kind {
    Text,
    Bytes,
    Bool,
    Int32,
    /// By numbers and names.
    Enum(Box<[(i32, Box<str>)]>),
    /// By its place in the table.
    Message(usize),
    Struct,
    Value,
    Timestamp,
    /// What A2A does not have; reflection reads it.
    Other,
}

impl Table {
    pub fn of(pool: &DescriptorPool) -> Self {
        let places = pool.all_messages().enumerate();
        let places = places.map(|(place, message)| (message.full_name().to_owned(), place)).collect();
        Self { messages: pool.all_messages().map(|message| Message::of(&message, &places)).collect(), places }
    }

    /// Where a message is; `None` for one that JSON says otherwise than its fields.
    pub fn place(&self, of: &MessageDescriptor) -> Option<usize> {
        match Kind::of_message(of, &self.places) {
            Kind::Message(place) => Some(place),
            _ => None,
        }
    }

    pub fn message(&self, place: usize) -> Option<&Message> {
        self.messages.get(place)
    }
}

impl Message {
    fn of(message: &MessageDescriptor, places: &HashMap<String, usize>) -> Self {
        let all: Vec<_> = message.fields().collect();
        let fields = all.iter().enumerate().map(|(at, field)| {
            let first = field.containing_oneof().and_then(|oneof| {
                all.iter().position(|other| other.containing_oneof().as_ref() == Some(&oneof))
            });
            Field::of(field, first.unwrap_or(at), places)
        });
        let fields = fields.collect();
        // What it is called in JSON goes before what it is called in the schema.
        let names = all.iter().enumerate().map(|(at, field)| (field.name().into(), at));
        let names = names.chain(all.iter().enumerate().map(|(at, field)| (field.json_name().into(), at)));
        Self { fields, names: names.collect(), is_nothing: message.full_name() == "google.protobuf.Empty" }
    }

    /// The field of this name.
    pub fn named(&self, name: &str) -> Option<&Field> {
        self.names.get(name).and_then(|at| self.fields.get(*at))
    }
}

impl Field {
    /// `bit`: which one of the message's is its own.
    fn of(field: &FieldDescriptor, bit: usize, places: &HashMap<String, usize>) -> Self {
        let bit = u32::try_from(bit).ok().and_then(|bit| 1_u64.checked_shl(bit));
        let entry = field.kind().as_message().filter(|_| field.is_map()).cloned();
        let (kind, label) = match &entry {
            Some(entry) if matches!(entry.map_entry_key_field().kind(), prost_reflect::Kind::String) => {
                (Kind::of(&entry.map_entry_value_field(), places), Label::Map)
            }
            Some(_) => (Kind::Other, Label::Map),
            None if field.is_list() => (Kind::of(field, places), Label::List),
            None if field.supports_presence() => (Kind::of(field, places), Label::Explicit),
            None => (Kind::of(field, places), Label::Implicit),
        };
        // Numbers of a list are packed, and of a map they say no length.
        let is_known =
            bit.is_some() && (matches!(label, Label::Implicit | Label::Explicit) || kind.has_length());
        Self {
            number: field.number(),
            name: format!("{}:", serde_json::Value::from(field.json_name())).into(),
            kind: if is_known { kind } else { Kind::Other },
            label,
            bit: bit.unwrap_or_default(),
            is_tenant: field.name() == TENANT,
        }
    }
}

impl Kind {
    fn of(field: &FieldDescriptor, places: &HashMap<String, usize>) -> Self {
        match field.kind() {
            prost_reflect::Kind::String => Self::Text,
            prost_reflect::Kind::Bytes => Self::Bytes,
            prost_reflect::Kind::Bool => Self::Bool,
            prost_reflect::Kind::Int32 => Self::Int32,
            prost_reflect::Kind::Enum(of) if of.full_name() != "google.protobuf.NullValue" => {
                Self::Enum(of.values().map(|value| (value.number(), value.name().into())).collect())
            }
            prost_reflect::Kind::Message(of) if !field.is_group() => Self::of_message(&of, places),
            _ => Self::Other,
        }
    }

    fn of_message(of: &MessageDescriptor, places: &HashMap<String, usize>) -> Self {
        match of.full_name() {
            "google.protobuf.Struct" => Self::Struct,
            "google.protobuf.Value" => Self::Value,
            "google.protobuf.Timestamp" => Self::Timestamp,
            "google.protobuf.Empty" => {
                places.get(of.full_name()).map_or(Self::Other, |place| Self::Message(*place))
            }
            name if name.starts_with("google.protobuf.") => Self::Other,
            name => places.get(name).map_or(Self::Other, |place| Self::Message(*place)),
        }
    }

    fn has_length(&self) -> bool {
        !matches!(self, Self::Bool | Self::Int32 | Self::Enum(_) | Self::Other)
    }
}
