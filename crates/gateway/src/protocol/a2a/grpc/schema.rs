//! The messages of A2A as protobuf has them, and as JSON has them (`a2a.binpb` and `a2a_0_3.binpb` are written by `cargo xtask crds` from
//! `proto/a2a.proto` and `proto/a2a_0_3.proto`).
//!
//! Nearly every message is written in the other form as it is read ([`to_json`], [`to_wire`]). What these do not read, by way of a tree of values
//! ([`reflected`]), which says what becomes of it; so the one is what the other would have said, or nothing (ADR 101).

#[cfg(any(test, fuzzing))]
mod checked;
mod reflected;
mod table;
mod to_json;
mod to_wire;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use vidimus_core::json::{Json, JsonError, MAX_VALUES};
use vidimus_core::refusal::{Code, Refusal};

use self::table::Table;
use super::old::Method;
use super::{OLD_SERVICE, SERVICE};

/// How deep messages nest in each other: an object of JSON is three of them. What reads protobuf goes to 100.
const DEEPEST: u8 = 96;

/// The field that names one of several agents behind an address.
pub const TENANT: &str = "tenant";

static SCHEMA: LazyLock<Option<HashMap<String, Rpc>>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(&include_bytes!("a2a.binpb")[..]).ok()?;
    let table = Arc::new(Table::of(&pool));
    let new = pool.get_service_by_name(SERVICE)?;
    let new = new.methods().map(|method| (method.name().to_owned(), Rpc::of(&method, &table, None)));
    let pool = DescriptorPool::decode(&include_bytes!("a2a_0_3.binpb")[..]).ok()?;
    let old_table = Arc::new(Table::of(&pool));
    let old = pool.get_service_by_name(OLD_SERVICE)?;
    let old = old.methods().map(|method| {
        let said = Method::named(method.name());
        (format!("{OLD_SERVICE}/{}", method.name()), Rpc::of(&method, &old_table, said))
    });
    Some(new.chain(old).collect())
});

/// One method of the service.
#[derive(Clone, Debug)]
pub struct Rpc {
    input: Type,
    output: Type,
    /// Its answer is any number of messages.
    pub streams: bool,
    /// What it says in JSON-RPC, where it is of 0.3, whose schema does not have the JSON of that.
    old: Option<&'static Method>,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is none of protobuf, or not of this type.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The schema has no such field.
    #[error("field {0} is none of the schema of A2A")]
    Unknown(u32),
    #[error("there are more than {MAX_VALUES} values in it, or they are in each other too deep")]
    TooMuch,
}

impl Rpc {
    fn of(method: &MethodDescriptor, table: &Arc<Table>, old: Option<&'static Method>) -> Self {
        let (input, output) = (Type::new(method.input(), table), Type::new(method.output(), table));
        Self { input, output, streams: method.is_server_streaming(), old }
    }

    /// The method of 0.3 of this name in JSON-RPC.
    pub fn of_old(method: &str) -> Option<&'static Self> {
        SCHEMA.as_ref()?.values().find(|rpc| rpc.rpc_method() == Some(method))
    }

    /// Its name in JSON-RPC, where that is not its own.
    pub fn rpc_method(&self) -> Option<&'static str> {
        self.old.map(|old| old.rpc)
    }

    /// The method of this name, which for 0.3 has its service before it.
    ///
    /// # Errors
    /// `method_unknown`.
    pub fn named(name: &str) -> Result<&'static Self, Refusal> {
        SCHEMA.as_ref().and_then(|all| all.get(name)).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let message =
                format!("neither {SERVICE} of A2A 1.0 nor {OLD_SERVICE} of 0.3 has a method {shown:?}");
            Refusal::new(Code::MethodUnknown, message)
        })
    }

    /// A request as JSON, without the tenant where it is `own`. What the schema does not have is refused: nobody decided on it.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn asked(&self, message: &[u8], own: Option<&str>) -> Result<String, Fault> {
        let said = self.input.json_of(message, Unknown::Refused, own)?;
        match self.old {
            None => Ok(said),
            Some(old) => old.asked(&said),
        }
    }

    /// The tenant that a request names, which is read no further for that.
    pub fn tenant<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let number = self.input.of.get_field_by_name(TENANT)?.number();
        let (mut rest, mut found) = (message, None);
        while !rest.is_empty() {
            let field = wire::Field::next(&mut rest).ok()?;
            // Of several the last one counts.
            if field.number == number {
                found = field.inside();
            }
        }
        found.and_then(|name| std::str::from_utf8(name).ok())
    }

    /// The request that JSON says; what protobuf has no field for is left out, as A2A wants what is unknown passed over.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn request(&self, json: &str) -> Result<Vec<u8>, Fault> {
        self.input.of_json(json, Unknown::LeftOut)
    }

    /// The same, where what the schema does not have is refused: in JSON that is of the schema it would be lost.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn exact_request(&self, json: &str) -> Result<Vec<u8>, Fault> {
        self.input.of_json(json, Unknown::Refused)
    }

    /// An answer, or one of several, as JSON. What the schema does not have is left out: it is of a later minor version.
    ///
    /// # Errors
    /// For what is no such answer.
    pub fn answered(&self, message: &[u8]) -> Result<String, Fault> {
        self.output.json_of(message, Unknown::LeftOut, None)
    }

    /// The answer that JSON says; what protobuf has no field for is left out.
    ///
    /// # Errors
    /// For what is no such answer.
    pub fn answer(&self, json: &str) -> Result<Vec<u8>, Fault> {
        match self.old {
            None => self.output.of_json(json, Unknown::LeftOut),
            Some(old) => {
                check_count(json)?;
                self.output.of_json(&old.answer(json)?, Unknown::LeftOut)
            }
        }
    }
}

/// What becomes of what the schema does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    Refused,
    LeftOut,
}

/// One type of message.
#[derive(Clone, Debug)]
struct Type {
    of: MessageDescriptor,
    table: Arc<Table>,
    /// Where it is in the table.
    place: Option<usize>,
}

impl Type {
    fn new(of: MessageDescriptor, table: &Arc<Table>) -> Self {
        Self { place: table.place(&of), table: Arc::clone(table), of }
    }

    fn json_of(&self, message: &[u8], unknown: Unknown, own: Option<&str>) -> Result<String, Fault> {
        let at_once = self.place.and_then(|place| to_json::of((&self.table, place), message, unknown, own));
        at_once.map_or_else(|| reflected::json_of(&self.of, message, unknown, own), Ok)
    }

    fn of_json(&self, json: &str, unknown: Unknown) -> Result<Vec<u8>, Fault> {
        check_count(json)?;
        let at_once = self.place.and_then(|place| to_wire::of((&self.table, place), json, unknown));
        at_once.map_or_else(|| reflected::of_json(&self.of, json, unknown), Ok)
    }
}

/// Counts what is in a text, before anything is made of it.
fn check_count(json: &str) -> Result<(), Fault> {
    if json.len() <= MAX_VALUES {
        return Ok(());
    }
    // Each value has one of these behind it or before it. Those in texts are counted too, so more than enough is looked at.
    let most = memchr::memchr3_iter(b',', b'{', b'[', json.as_bytes()).count();
    if most > MAX_VALUES && matches!(Json::parse(json.as_bytes()), Err(JsonError::TooMany)) {
        return Err(Fault::TooMuch);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
