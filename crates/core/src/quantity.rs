//! Durations and sizes as people write them: one grammar for resources, flags and environment variables.

use std::time::Duration;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is a number alone: in which unit is not known.
    NoUnit,
    /// It is something else.
    Malformed,
}

/// Longer units first, so that `ms` is not read as `m`.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// One or more of a whole number and a unit, `ms`, `s`, `m`, `h` or `d`: `90s`, `1h30m`, `500ms`. What is too long is the longest
/// there is.
///
/// # Errors
/// See [`Wrong`].
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    sum(text, &TIMES).map(Duration::from_millis)
}

/// Bytes: a number alone, or whole numbers with a unit: `B`, `kB`, `MB`, `GB` (of 1000) or `KiB`, `MiB`, `GiB` (of 1024).
///
/// # Errors
/// [`Wrong::Malformed`].
pub fn size(text: &str) -> Result<u64, Wrong> {
    match sum(text, &SIZES) {
        Err(Wrong::NoUnit) => text.parse().map_err(|_| Wrong::Malformed),
        size => size,
    }
}

fn sum(text: &str, units: &[(&str, u64)]) -> Result<u64, Wrong> {
    if text.is_empty() {
        return Err(Wrong::Malformed);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::NoUnit);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(Wrong::Malformed)?;
        let (number, after) = rest.split_at_checked(digits).ok_or(Wrong::Malformed)?;
        let number: u64 = number.parse().map_err(|_| Wrong::Malformed)?;
        let (unit, of) = units.iter().find(|(unit, _)| after.starts_with(unit)).ok_or(Wrong::Malformed)?;
        total = total.saturating_add(number.saturating_mul(*of));
        rest = after.get(unit.len()..).ok_or(Wrong::Malformed)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("0s", 0),
            ("90s", 90_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("1m30s5ms", 90_005),
            ("7d", 604_800_000),
            ("99999999999999999d", u64::MAX),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, wrong) in [
            ("30", Wrong::NoUnit),
            ("", Wrong::Malformed),
            ("s", Wrong::Malformed),
            ("1.5h", Wrong::Malformed),
            ("-1s", Wrong::Malformed),
            ("1 h", Wrong::Malformed),
            ("1h30", Wrong::Malformed),
            ("5w", Wrong::Malformed),
            ("\u{664}s", Wrong::Malformed),
            ("99999999999999999999s", Wrong::Malformed),
        ] {
            assert_eq!(duration(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_a_unit_says_otherwise() {
        for (text, bytes) in [
            ("1024", 1024),
            ("7B", 7),
            ("4MB", 4_000_000),
            ("4MiB", 4 << 20),
            ("1GiB", 1 << 30),
            ("64kB", 64_000),
            ("1KiB", 1024),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "4mb", "4 MB", "4M", "1.5MB", "-1", "99999999999999999999"] {
            assert_eq!(size(text), Err(Wrong::Malformed), "{text}");
        }
    }
}
