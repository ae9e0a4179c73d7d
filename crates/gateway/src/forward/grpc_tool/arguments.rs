//! From the arguments of a tool to the message of a method. Protobuf's JSON can be written in many ways (`invoice_id` for `invoiceId`, an enum by its
//! number, a number as text), and policies have seen one of them: what is written in another way than its schema has it is not sent.

use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::{Map, Number, Value};

use super::json::json;

/// The longest arguments, in bytes of JSON: what is made of a byte may take some dozens.
const LONGEST: usize = 1 << 20;
/// The longest that they may be once all that they leave out is written too, in bytes.
const LONGEST_WRITTEN: usize = 4 << 20;
/// The largest whole number that is one in every client: 2^53 - 1.
const MOST_EXACT: u64 = 9_007_199_254_740_991;
/// How much of a value is shown to whoever wrote another one.
const SHOWN: usize = 120;

/// The message, encoded.
///
/// # Errors
/// What is wrong with the arguments, in words for whoever wrote them.
pub(super) fn encoded(kind: &MessageDescriptor, arguments: &str) -> Result<Vec<u8>, String> {
    if arguments.len() > LONGEST {
        return Err(format!("the arguments are longer than {LONGEST} bytes"));
    }
    let given: Value = serde_json::from_str(arguments).map_err(|error| shortened(&error.to_string()))?;
    let message = DynamicMessage::deserialize(kind.clone(), &given);
    let message = message.map_err(|error| misfit(kind, &given, &error.to_string()))?;
    let written = json(&message, true, LONGEST_WRITTEN).map_err(|error| shortened(&error.to_string()))?;
    is_spelled(&given, &written, "arguments")?;
    Ok(message.encode_to_vec())
}

/// Why arguments are no such message, with the first that is none of its by itself: the reason does not say which value it is about.
fn misfit(kind: &MessageDescriptor, given: &Value, why: &str) -> String {
    let alone = |name: &String, value: &Value| {
        let one = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        DynamicMessage::deserialize(kind.clone(), &one).err()
    };
    let mut all = given.as_object().into_iter().flatten();
    match all.find_map(|(name, value)| Some((name, alone(name, value)?.to_string()))) {
        Some((name, why)) => format!("arguments.{}: {}", shortened(name), shortened(&why)),
        None => shortened(why),
    }
}

/// Whether it is a whole number that not every client has exactly.
pub(super) fn is_long(number: &Number) -> bool {
    let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    size.is_some_and(|size| size > MOST_EXACT)
}

/// That what is given is written as it would be written here, as far as it is given.
fn is_spelled(given: &Value, written: &Value, at: &str) -> Result<(), String> {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            for (name, value) in given {
                let at = format!("{at}.{}", shortened(name));
                let written = written.get(name).ok_or_else(|| match value {
                    Value::Null => format!("{at} is null: leave it out"),
                    _ => format!(
                        "{at} is not named as in the tool's schema, or stands beside what excludes it"
                    ),
                })?;
                is_spelled(value, written, &at)?;
            }
            Ok(())
        }
        (Value::Array(given), Value::Array(written)) if given.len() == written.len() => {
            let mut both = given.iter().zip(written).enumerate();
            both.try_for_each(|(index, (given, written))| {
                is_spelled(given, written, &format!("{at}[{index}]"))
            })
        }
        (Value::Number(given), Value::Number(written)) if is_same(given, written) => Ok(()),
        _ if given == written => Ok(()),
        _ => Err(format!("{at} has to be written as {}", shortened(&written.to_string()))),
    }
}

/// Whether two numbers are one: a whole one may stand for a fraction, in the precision of its field.
fn is_same(given: &Number, written: &Number) -> bool {
    if !written.is_f64() {
        return given == written;
    }
    let (Some(one), Some(other)) = (given.as_f64(), written.as_f64()) else { return false };
    #[expect(clippy::cast_possible_truncation, reason = "a field of 32 bits has no more of it")]
    let is_single = (one as f32).to_bits() == (other as f32).to_bits();
    !is_long(given) && (one.to_bits() == other.to_bits() || is_single)
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
