//! Descriptors that can be worked with. What no compiler of protobuf lets pass may stand in a set that somebody made by hand, and whoever reads
//! messages by it takes for granted that it is not there.

use std::collections::BTreeSet;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto, UninterpretedOption,
};
use prost_reflect::{DescriptorPool, Kind};

use super::FIX;
use crate::resource::problem::{Fault, shortened};

/// Most that a set may describe: files, messages, fields, enums, their values, services, methods and ranges; and most comments. What is made of one
/// takes up to some kB, for as long as the record is there.
const MOST: usize = 16_384;

/// What is described by a set of files.
pub(super) fn pool(bytes: &[u8]) -> Result<DescriptorPool, Fault> {
    let unread = |error: &dyn std::fmt::Display| {
        let reason = format!("it is not a FileDescriptorSet with all that it imports: {error}");
        Fault::new(shortened(&reason), FIX)
    };
    let mut set = FileDescriptorSet::decode(bytes).map_err(|error| unread(&error))?;
    // Before anything is made of it that stays.
    set.file.iter_mut().for_each(only_comments);
    if set.file.iter().map(described).sum::<usize>() > MOST
        || set.file.iter().map(comments).sum::<usize>() > MOST
    {
        let reason = format!(
            "it describes more than {MOST} messages, fields, values and methods, or has more comments"
        );
        return Err(Fault::new(reason, "leave out the files that no service of spec.grpc.services needs"));
    }
    // They are what a parser leaves for a compiler to do.
    if let Some(file) = set.file.iter().find(|file| is_open(file)) {
        let reason = format!("{}: its options are not compiled", shortened(file.name()));
        return Err(Fault::new(reason, FIX));
    }
    let pool = DescriptorPool::from_file_descriptor_set(set).map_err(|error| unread(&error))?;
    check(&pool).map(|()| pool)
}

fn check(pool: &DescriptorPool) -> Result<(), Fault> {
    let fault = |name: &str, reason: &str| Err(Fault::new(format!("{}: {reason}", shortened(name)), FIX));
    for message in pool.all_messages() {
        let mut names = BTreeSet::new();
        if !message.fields().all(|field| names.insert(field.json_name().to_owned())) {
            return fault(message.full_name(), "two of its fields have one name in JSON");
        }
        let key = message.get_field(1).map(|field| field.kind());
        let is_key = key.is_some_and(|kind| {
            !matches!(kind, Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_))
        });
        if message.is_map_entry() && !(is_key && message.get_field(2).is_some()) {
            return fault(message.full_name(), "it is an entry of a map without a key or a value");
        }
    }
    match pool.all_enums().find(|one| one.values().next().is_none()) {
        Some(empty) => fault(empty.full_name(), "it is an enum without a value"),
        None => Ok(()),
    }
}

/// Keeps of where things stand in the sources what is read of it: the comments above them.
fn only_comments(file: &mut FileDescriptorProto) {
    let Some(info) = &mut file.source_code_info else { return };
    info.location.retain(|one| one.leading_comments.as_deref().is_some_and(|text| !text.trim().is_empty()));
    for one in &mut info.location {
        one.span = Vec::new();
        one.trailing_comments = None;
        one.leading_detached_comments = Vec::new();
    }
    info.location.shrink_to_fit();
}

fn comments(file: &FileDescriptorProto) -> usize {
    file.source_code_info.as_ref().map_or(0, |info| info.location.len())
}

/// How much a file describes, itself among it.
fn described(file: &FileDescriptorProto) -> usize {
    let services = file.service.iter().map(|service| 1 + service.method.len()).sum::<usize>();
    let messages = file.message_type.iter().map(in_message).sum::<usize>();
    let enums = file.enum_type.iter().map(in_enum).sum::<usize>();
    let imports = file.dependency.len() + file.public_dependency.len() + file.weak_dependency.len();
    1 + services + messages + enums + file.extension.len() + imports
}

/// It is as deep as it could be decoded.
fn in_message(message: &DescriptorProto) -> usize {
    let ranges = message.extension_range.len() + message.reserved_range.len() + message.reserved_name.len();
    let own = 1 + message.field.len() + message.extension.len() + message.oneof_decl.len() + ranges;
    let nested = message.nested_type.iter().map(in_message).sum::<usize>();
    own + nested + message.enum_type.iter().map(in_enum).sum::<usize>()
}

fn in_enum(one: &EnumDescriptorProto) -> usize {
    1 + one.value.len() + one.reserved_range.len() + one.reserved_name.len()
}

/// Whether some option waits for a compiler.
fn is_open(file: &FileDescriptorProto) -> bool {
    waits(file.options.as_ref().map(|options| &options.uninterpreted_option))
        || file.message_type.iter().any(of_message)
        || file.enum_type.iter().any(of_enum)
        || file.extension.iter().any(of_field)
        || file.service.iter().any(of_service)
}

fn waits(options: Option<&Vec<UninterpretedOption>>) -> bool {
    options.is_some_and(|all| !all.is_empty())
}

/// It is as deep as it could be decoded.
fn of_message(message: &DescriptorProto) -> bool {
    let of_ranges = || message.extension_range.iter().filter_map(|range| range.options.as_ref());
    let of_oneofs = || message.oneof_decl.iter().filter_map(|oneof| oneof.options.as_ref());
    waits(message.options.as_ref().map(|options| &options.uninterpreted_option))
        || message.field.iter().chain(&message.extension).any(of_field)
        || message.nested_type.iter().any(of_message)
        || message.enum_type.iter().any(of_enum)
        || of_ranges().any(|options| waits(Some(&options.uninterpreted_option)))
        || of_oneofs().any(|options| waits(Some(&options.uninterpreted_option)))
}

fn of_field(field: &FieldDescriptorProto) -> bool {
    waits(field.options.as_ref().map(|options| &options.uninterpreted_option))
}

fn of_enum(one: &EnumDescriptorProto) -> bool {
    let of_values = || one.value.iter().filter_map(|value| value.options.as_ref());
    waits(one.options.as_ref().map(|options| &options.uninterpreted_option))
        || of_values().any(|options| waits(Some(&options.uninterpreted_option)))
}

fn of_service(service: &ServiceDescriptorProto) -> bool {
    let of_methods = || service.method.iter().filter_map(|method| method.options.as_ref());
    waits(service.options.as_ref().map(|options| &options.uninterpreted_option))
        || of_methods().any(|options| waits(Some(&options.uninterpreted_option)))
}
