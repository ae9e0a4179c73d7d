//! Numbers that another reader could take for another number than this one does: those that a double only comes near to.

use super::canonical::double_text;

/// From here on not every whole number is a double.
const TWO_TO_53: f64 = 9_007_199_254_740_992.0;
/// Up to here whole numbers are held as they are.
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The first number of a JSON text that is written more exactly than a double holds it: `12345678901234567890123`, `1e-400`. Whole numbers
/// of 64 bits are held as they are. The text must have been parsed.
pub fn inexact_number(text: &[u8]) -> Option<&str> {
    numbers(text).find(|number| !is_exact(number))
}

/// The numbers of a JSON text, as they are written there. The text must have been parsed.
pub fn numbers(text: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some((first, after)) = rest.split_first() {
            match first {
                b'"' => rest = after_string(after),
                b'-' | b'0'..=b'9' => {
                    let ends = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                    let length = rest.iter().position(ends).unwrap_or(rest.len());
                    let (number, after) = rest.split_at_checked(length)?;
                    rest = after;
                    return std::str::from_utf8(number).ok();
                }
                _ => rest = after,
            }
        }
        None
    })
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => return after,
            b'\\' => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    rest
}

fn is_exact(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(double) = number.parse::<f64>() else { return false };
    // Beside whole numbers of 64 bits a double is the one that it is: its shortest text may be that of another one.
    let meant = match (TWO_TO_53..TWO_TO_64).contains(&double.abs()) {
        true => format!("{double:.0}"),
        false => double_text(double),
    };
    double.is_finite() && decimal(number) == decimal(&meant)
}

/// Its digits without zeros around them, and the power of ten of the last one; `None` where that has no end that could be told.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let shifted = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        // Also −0, which readers that have it compare as 0.
        return Some((false, String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - short.len()).ok()?;
    Some((is_negative, short.to_owned(), shifted.checked_add(zeros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_another_reader_takes_for_another_is_found() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "1",
            "-1",
            "100",
            "1e2",
            "1.50",
            "0.1",
            "0.7",
            "1E+2",
            "1e22",
            "9223372036854775807",
            "18446744073709551615",
            "12345678901234568000000",
            "1152921504606846976",
            "1152921504606846976.0",
            "1152921504606847000",
            "9007199254740992.0",
            "5e-324",
            r#"{"a":[1,2.5,"12345678901234567890123 \" 1e-400"],"1e-400":0}"#,
        ] {
            assert_eq!(inexact_number(exact.as_bytes()), None, "{exact}");
        }
        for (text, expected) in [
            ("12345678901234567890123", "12345678901234567890123"),
            (r#"{"a":[1,1e-400]}"#, "1e-400"),
            ("100.00000000000000000001", "100.00000000000000000001"),
            ("18446744073709551616", "18446744073709551616"),
            ("18446744073709551617", "18446744073709551617"),
            // The shortest text of 1152921504606846976, which is another whole number.
            ("1152921504606847000.0", "1152921504606847000.0"),
            ("1.152921504606847e18", "1.152921504606847e18"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
            (r#"["\\",1e999999999999999999999]"#, "1e999999999999999999999"),
            (r#"["\"", 9007199254740993.0]"#, "9007199254740993.0"),
        ] {
            assert_eq!(inexact_number(text.as_bytes()), Some(expected), "{text}");
        }
    }
}
