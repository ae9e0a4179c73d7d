//! What policies see of a call's arguments, and what of them they cannot see exactly (ADR 25).
//!
//! `context.args` shows everything that holds nothing else as text, by its JSON pointer (RFC 6901), and `context.numbers` shows whole
//! numbers. A value that is there and fits neither must not pass as if it were absent: some of it fits no policy ([`misfit`]), and some
//! is not what the one policy asks for that looks at it ([`Seen::Unseen`]).

use std::borrow::Cow;

use cedar_policy::pst::{BinaryOp, Expr, Literal, Var};

use super::facts::shorten;
use super::residual::View;
use super::residual::value::Value;
use super::tree;
use crate::call::{Arguments, Call, Target};
use crate::json::canonical::exact_double;
use crate::json::{Json, array_index, push_segment, same_key, segments};

/// How deep the members of arguments may stand in each other.
pub(crate) const MAX_LEVELS: usize = 64;

/// How long the pointers of all arguments together may be, in bytes: what a policy that Cedar itself evaluates takes of memory.
pub(crate) const MAX_POINTERS: usize = 16 * 1024 * 1024;

/// An argument, as one policy asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen<'a> {
    Absent,
    There(Value<'a>),
    /// It is there in a form that the policy cannot see; what that is, for people.
    Unseen(Cow<'a, str>),
}

/// The argument at a JSON pointer, as `view` shows it; of limits, what is left of the one of that id. Of a tool whose record lets arguments pass unseen, what is not seen is absent.
pub(crate) fn look<'a>(view: View, pointer: &str, call: &Call<'a>) -> Seen<'a> {
    let arguments = match call.ask.arguments {
        Arguments::Known(_) | Arguments::None if view == View::Limits => {
            return call.so_far.left(pointer).map_or(Seen::Absent, |left| Seen::There(Value::Long(left)));
        }
        Arguments::Known(arguments) => arguments,
        Arguments::Recorded(recorded) => return recorded.argument(view, pointer).unwrap_or(Seen::Absent),
        Arguments::None | Arguments::Unknown => return Seen::Absent,
    };
    match look_in(view, pointer, arguments) {
        Seen::Unseen(_) if passes_unseen(call) => Seen::Absent,
        seen => seen,
    }
}

fn look_in<'a>(view: View, pointer: &str, arguments: &'a Json<'a>) -> Seen<'a> {
    if !well_formed(pointer) {
        return Seen::Absent;
    }
    let found = arguments.pointer(pointer);
    let value = found.and_then(|found| match view {
        View::Text => shown(pointer, found).map(Value::Text),
        View::Numbers => found.as_integer().map(Value::Long),
        View::Limits => None,
    });
    match value {
        Some(value) => Seen::There(value),
        None => unseen(pointer, arguments, found).map_or(Seen::Absent, Seen::Unseen),
    }
}

/// A value that holds nothing else, as `context.args` shows it.
pub(crate) fn shown<'j>(pointer: &str, value: &'j Json<'_>) -> Option<Cow<'j, str>> {
    match value {
        // Arguments that are empty are no argument.
        Json::Array(_) | Json::Object(_) if pointer.is_empty() => None,
        Json::Array(items) if items.is_empty() => Some("[]".into()),
        Json::Object(members) if members.is_empty() => Some("{}".into()),
        other => other.as_text(),
    }
}

/// RFC 6901 section 3: `~` only as `~0` or `~1`. Anything else names nothing, rather than a key spelled another way.
fn well_formed(pointer: &str) -> bool {
    pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// What is there in the place of what was asked for and is no such value. `found`: what stands at the very pointer. `null` is nothing,
/// to all but a policy that looks at it as text.
fn unseen<'a>(pointer: &str, arguments: &'a Json<'a>, found: Option<&'a Json<'a>>) -> Option<Cow<'a, str>> {
    match found {
        // That arguments are an object is no news.
        _ if pointer.is_empty() => None,
        Some(Json::Null) => None,
        Some(found) => Some(described(found)),
        None => in_the_way(pointer, arguments),
    }
}

/// What some reader takes for a step on the way to a value that is not there: a member of another spelling, or something that is no
/// object or list.
fn in_the_way<'a>(pointer: &str, arguments: &'a Json<'a>) -> Option<Cow<'a, str>> {
    let mut value = arguments;
    for segment in segments(pointer)? {
        value = match value {
            Json::Object(members) => match members.iter().find(|(name, _)| *name == segment) {
                Some((_, next)) => next,
                None => {
                    let same = members.iter().find(|(name, _)| same_key(name, &segment));
                    return same.map(|(name, _)| format!("spelled {:?}", shorten(name)).into());
                }
            },
            Json::Array(items) if items.is_empty() => return None,
            Json::Array(items) => match array_index(&segment) {
                Some(index) => items.get(index)?,
                None => return Some(described(value)),
            },
            Json::Null => return None,
            scalar => return Some(described(scalar)),
        };
    }
    None
}

fn described<'a>(value: &'a Json<'a>) -> Cow<'a, str> {
    match value {
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "an object".into(),
        Json::String(text) => format!("the text {:?}", shorten(text)).into(),
        other => other.as_text().unwrap_or_default(),
    }
}

/// Whether the record of the tool says that arguments may pass which policies cannot see.
fn passes_unseen(call: &Call<'_>) -> bool {
    match call.ask.target {
        Target::Tool { server, name } => server.tool(name).unseen_arguments,
        _ => false,
    }
}

/// An argument that no policy can see exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Its JSON pointer.
    pub(crate) pointer: String,
    /// What is there, and why it is not seen, for people.
    pub(crate) what: String,
}

/// The first argument of a call that no policy can see exactly. Where the record of the tool lets such pass, only the room that
/// arguments take is looked at: it is bounded whatever a record says.
pub(crate) fn misfit(call: &Call<'_>) -> Option<Misfit> {
    let Arguments::Known(arguments) = call.ask.arguments else { return None };
    let found = first_misfit(arguments, Looked::Whole)?;
    if passes_unseen(call) { first_misfit(arguments, Looked::Room) } else { Some(found) }
}

/// What of arguments is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// All that policies cannot see.
    Whole,
    /// The room that they take.
    Room,
}

fn first_misfit(arguments: &Json<'_>, looked: Looked) -> Option<Misfit> {
    if looked == Looked::Whole && !matches!(arguments, Json::Object(_)) {
        let what = format!("{}, and arguments are an object", described(arguments));
        return Some(Misfit { pointer: String::new(), what });
    }
    let mut walk = Walk { room: MAX_POINTERS, looked };
    let Found { mut way, what } = *walk.value(arguments, 0, 0).err()?;
    way.reverse();
    let mut pointer = String::new();
    way.iter().for_each(|segment| push_segment(&mut pointer, segment));
    Some(Misfit { pointer: shorten(&pointer).to_owned(), what })
}

/// One pass over all arguments, which allocates nothing where all is seen.
struct Walk {
    /// Bytes of pointers that there may still be.
    room: usize,
    looked: Looked,
}

/// What was found, and the way back to the arguments.
struct Found {
    way: Vec<String>,
    what: String,
}

impl Walk {
    /// `levels` above it, and a pointer of `length` bytes to it.
    fn value(&mut self, value: &Json<'_>, levels: usize, length: usize) -> Result<(), Box<Found>> {
        /// An index has at most 6 digits ([`crate::json::MAX_VALUES`]).
        const INDEX: usize = 1 + 6;
        match value {
            Json::Object(members) if !members.is_empty() => {
                let levels = self.deeper(levels)?;
                members.iter().try_for_each(|(name, member)| {
                    let below = self.value(member, levels, length + 1 + name.len());
                    below.map_err(|found| found.below(name))
                })
            }
            Json::Array(items) if !items.is_empty() => {
                let levels = self.deeper(levels)?;
                items.iter().enumerate().try_for_each(|(place, item)| {
                    let below = self.value(item, levels, length + INDEX);
                    below.map_err(|found| found.below(&place.to_string()))
                })
            }
            leaf => {
                let room = self.room.checked_sub(length);
                self.room = room.ok_or_else(|| Found::new("beyond what policies can be shown".to_owned()))?;
                if self.looked == Looked::Whole { number(leaf) } else { Ok(()) }
            }
        }
    }

    fn deeper(&self, levels: usize) -> Result<usize, Box<Found>> {
        let below = levels + 1;
        let too_deep = || Found::new(format!("deeper than {MAX_LEVELS} levels"));
        (below <= MAX_LEVELS || self.looked == Looked::Room).then_some(below).ok_or_else(too_deep)
    }
}

/// 2^53: below it, each whole number is one double, and no other (IEEE 754).
const EXACT_DOUBLES: f64 = 9_007_199_254_740_992.0;

/// Whole numbers must be those that policies count with and every reader reads alike; fractions have a text.
fn number(leaf: &Json<'_>) -> Result<(), Box<Found>> {
    match leaf {
        Json::Int(value) if exact_double(i128::from(*value)).is_none() => Err(Found::new(format!(
            "{value}, which readers that hold numbers as doubles read as another one; send it as text"
        ))),
        Json::UInt(value) => Err(Found::new(format!("{value}, which is beyond the numbers of policies"))),
        // Of a literal with a point or an exponent, only the double is known; from here on, it may stand for several whole numbers.
        Json::Float(value) if value.abs() >= EXACT_DOUBLES => {
            let text = leaf.as_text().unwrap_or_default();
            Err(Found::new(format!(
                "{text}, which may be written exactly and read as another number; send it as text"
            )))
        }
        _ => Ok(()),
    }
}

impl Found {
    fn new(what: String) -> Box<Self> {
        Box::new(Self { way: Vec::new(), what })
    }

    fn below(mut self: Box<Self>, segment: &str) -> Box<Self> {
        self.way.push(segment.to_owned());
        self
    }
}

/// An argument that a policy may look at which Cedar itself evaluates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    view: View,
    /// `None` where it is worked out per call.
    pointer: Option<Box<str>>,
}

impl Asked {
    /// All that a condition may look at.
    pub(crate) fn all(condition: &Expr) -> Vec<Self> {
        let mut all = Vec::new();
        tree::walk(condition, &mut |expr| {
            if let Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, right } = expr
                && let Some(view) = view_of(left)
            {
                all.push(Self { view, pointer: tree::string(right).map(Box::from) });
            }
        });
        all
    }
}

/// The view that an expression is: `context.numbers`, or the entity behind it by its name.
fn view_of(expr: &Expr) -> Option<View> {
    let name = match expr {
        Expr::Literal(Literal::EntityUID(uid)) => uid.ty.to_string(),
        expr => match tree::path(expr)? {
            (Var::Context, names) => names.last()?.to_ascii_lowercase(),
            _ => return None,
        },
    };
    match name.as_str() {
        "args" | "Arguments" => Some(View::Text),
        "numbers" | "Numbers" => Some(View::Numbers),
        _ => None,
    }
}

/// Whether something of what is asked is there in a form that the policy cannot see.
pub(crate) fn hides_any(asked: &[Asked], call: &Call<'_>) -> bool {
    asked.iter().any(|one| match &one.pointer {
        Some(pointer) => matches!(look(one.view, pointer, call), Seen::Unseen(_)),
        None => hides_somewhere(one.view, call),
    })
}

/// The same wherever it may be: a number that is not whole is not seen as one. What is no scalar has no text anywhere, so of that view
/// nothing is known without the pointer.
fn hides_somewhere(view: View, call: &Call<'_>) -> bool {
    let (View::Numbers, Arguments::Known(arguments)) = (view, call.ask.arguments) else { return false };
    let mut hides = false;
    arguments.leaves(&mut |_, value| {
        hides |= matches!(value, Json::Float(_)) && value.as_integer().is_none();
    });
    hides && !passes_unseen(call)
}

#[cfg(test)]
mod tests;
