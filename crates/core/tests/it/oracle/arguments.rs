//! What policies see of arguments, as `docs/policies.md` has it: worked out anew, on the values of `serde_json`.

use std::collections::HashMap;

use serde_json::Value;

/// Arguments that fit no policy: they are no object, or have a number that is beyond those of policies or is not what a double is.
pub(crate) fn seen_by_none(arguments: &Value) -> bool {
    fn number(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.values().any(number),
            Value::Array(items) => items.iter().any(number),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => whole as f64 as i128 != i128::from(whole),
                None => number.as_f64().is_none_or(|double| double.fract() == 0.0 && !in_range(double)),
            },
            _ => false,
        }
    }
    !arguments.is_object() || number(arguments)
}

fn in_range(double: f64) -> bool {
    // What is written with more digits than fit is read as a double: -2^63 may be any of its neighbours.
    double.abs() < 9_223_372_036_854_775_808.0
}

/// Whether something is there in the place of what a policy asks for, and is not that.
pub(crate) fn hides(arguments: &Value, (pointer, as_number): (&str, bool)) -> bool {
    if pointer.is_empty() || pointer.contains("~2") {
        return false;
    }
    let steps: Vec<String> =
        pointer[1..].split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let mut value = arguments;
    for step in &steps {
        value = match value {
            Value::Object(members) => match members.get(step) {
                Some(next) => next,
                None => return members.keys().any(|name| name.eq_ignore_ascii_case(step)),
            },
            Value::Array(items) if items.is_empty() => return false,
            Value::Array(items) => match step.parse::<usize>() {
                Ok(place) if place < items.len() => &items[place],
                Ok(_) => return false,
                Err(_) => return true,
            },
            Value::Null => return false,
            _ => return true,
        }
    }
    match value {
        Value::Null => false,
        Value::Number(number) if as_number => {
            number.as_i64().is_none()
                && !number.as_f64().is_some_and(|double| double.fract() == 0.0 && in_range(double))
        }
        _ if as_number => true,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    }
}

/// ECMAScript's text of a number (RFC 8785 section 3.2.2.3), from the shortest digits that Rust gives.
pub(crate) fn number_text(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{:e}", double.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let (digits, point) = (mantissa.replace('.', ""), exponent.parse::<i32>().unwrap() + 1);
    let count = digits.len() as i32;
    let zeros = |number: i32| "0".repeat(number as usize);
    let written = match point {
        21.. if point > 21 => exponential(&digits, point - 1),
        1.. if count <= point => digits + &zeros(point - count),
        1.. => format!("{}.{}", &digits[..point as usize], &digits[point as usize..]),
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => exponential(&digits, point - 1),
    };
    if double < 0.0 { format!("-{written}") } else { written }
}

fn exponential(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
    format!("{first}{rest}e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// What holds nothing else by JSON pointer: all as text, whole numbers that fit also as such.
pub(crate) fn flatten(
    at: String,
    value: &Value,
    texts: &mut HashMap<String, String>,
    numbers: &mut HashMap<String, i64>,
) {
    let text = match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                flatten(format!("{at}/{name}"), member, texts, numbers);
            }
            return;
        }
        Value::Array(items) if !items.is_empty() => {
            for (place, item) in items.iter().enumerate() {
                flatten(format!("{at}/{place}"), item, texts, numbers);
            }
            return;
        }
        Value::Array(_) | Value::Object(_) if at.is_empty() => return,
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            // What no double is stands in full.
            Some(whole) if whole as f64 as i128 != i128::from(whole) => whole.to_string(),
            _ if number.is_u64()
                && number.as_f64().unwrap() as u128 != u128::from(number.as_u64().unwrap()) =>
            {
                number.to_string()
            }
            _ => number_text(number.as_f64().unwrap()),
        },
        other => other.to_string(),
    };
    let double = value.as_f64().filter(|double| value.is_f64() && double.fract() == 0.0);
    let whole = value.as_i64().or_else(|| format!("{:.0}", double?).parse().ok());
    numbers.extend(whole.map(|number| (at.clone(), number)));
    texts.insert(at, text);
}
