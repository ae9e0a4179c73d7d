//! Numbers and addresses of people. A number counts where its check digits are right; one without any where it is written in the one form that
//! nothing else has.

use std::sync::LazyLock;

use vidimus_core::guard::Kinds;

use crate::national_ids::{self, luhn, mod_97};
use crate::patterns::{Fault, Place, Rule, Rules, any, rule};

static RULES: LazyLock<Result<Rules, Fault>> =
    LazyLock::new(|| Rules::new(&[TABLE, national_ids::TABLE].concat()));

/// Longest value that is looked at together with the name of its member: no number is longer.
const MAX_NAMED: usize = 32;

pub(crate) fn find(name: &str, text: &str) -> Result<Kinds, &'static Fault> {
    Ok(RULES.as_ref()?.find_named(text, named(name, text)))
}

/// Where that stands.
pub(crate) fn places(name: &str, text: &str) -> Result<Vec<Place>, &'static Fault> {
    Ok(RULES.as_ref()?.places_named(text, named(name, text)))
}

/// A value with the name of its member, which may say what number it is; `None` where it is none, or nobody named it.
fn named(name: &str, text: &str) -> Option<String> {
    let is_number = text.len() <= MAX_NAMED && text.bytes().any(|byte| byte.is_ascii_digit());
    (!name.is_empty() && is_number).then(|| format!("{name}: {}", text.trim()))
}

const TABLE: &[Rule] = &[
    rule("card", &[], r"(?:^|[^\w.])([0-9](?:[ -]?[0-9]){12,})(?-u:\b)", has_card),
    rule(
        "card",
        &[],
        r"(?:^|[^\w.])([0-9]{4}\.[0-9]{4}\.[0-9]{4}\.[0-9]{4}|3[0-9]{3}\.[0-9]{6}\.[0-9]{4,5})(?-u:\b)",
        has_card,
    ),
    rule("iban", &[], r"(?i-u)\b([A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30})", has_iban),
    rule("email", &["@"], r"(?i-u)\b[A-Z0-9._%+-]{1,64}@(?:[A-Z0-9-]{1,63}\.){1,8}[A-Z]{2,24}\b", any),
    rule("phone", &["+"], r"(?-u)\+([1-9](?:[ ().-]{0,2}\d){7,14})\b", any),
    rule(
        "phone-us",
        &[],
        r"(?:^|[^\w.+-])((?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[.-][0-9]{4})(?-u:\b)",
        is_of_north_america,
    ),
    // As it is written within a country, where it is said to be one.
    rule(
        "phone",
        &["tel", "phone", "mobil", "fax", "handy", "gsm", "whatsapp"],
        r#"(?i-u)(?:\b|_)(?:tel|telefon|telefoon|telephone|phone|mobile|mobil|fax|handy|gsm|whatsapp)(?:nummer|number| no)?\b[ \t:=#"'(._-]{0,8}(0[0-9](?:[ ./-]?[0-9]){7,11})\b"#,
        any,
    ),
];

/// By the plan of North America: no area and no exchange ends in 11.
fn is_of_north_america(text: &str) -> bool {
    let all: String = text.chars().filter(char::is_ascii_digit).collect();
    let ends = |at: usize| all.len().checked_sub(at).and_then(|from| all.get(from..from + 2)) == Some("11");
    !ends(9) && !ends(6)
}

/// Whether some card's number is among these digits: it begins and ends where a group does, since others may stand before and behind it.
fn has_card(text: &str) -> bool {
    let (mut all, mut begins, mut in_group) = (Vec::new(), Vec::new(), false);
    for one in text.chars() {
        match one.to_digit(10) {
            Some(digit) => {
                begins.push(!in_group);
                all.push(digit);
                in_group = true;
            }
            None => in_group = false,
        }
    }
    let begins_at = |at: usize| begins.get(at).copied().unwrap_or(true);
    (0..all.len()).filter(|at| begins_at(*at)).any(|at| {
        (14..=19).filter(|length| at + length <= all.len() && begins_at(at + length)).any(|length| {
            all.get(at..at + length).is_some_and(|number| is_of_a_brand(number) && luhn(number))
        })
    })
}

/// Whether it begins as the numbers of a brand do, and is as long.
fn is_of_a_brand(number: &[u32]) -> bool {
    let first = |count: usize| number.iter().take(count).fold(0, |sum, digit| sum * 10 + digit);
    match number.len() {
        14 => matches!(first(3), 300..=305 | 309) || matches!(first(2), 36 | 38 | 39),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(first(3), 644..=649)
        }
        19 => first(1) == 4 || first(2) == 62,
        _ => false,
    }
}

/// The countries of the IBAN registry, and how long theirs are.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 \
    FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 \
    MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20";

/// ISO 13616: the number of its country's length, at the beginning of this, leaves 1 (ISO 7064, mod 97-10).
fn has_iban(text: &str) -> bool {
    let all: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_uppercase()).collect();
    let Some((country, _)) = all.split_at_checked(2) else { return false };
    let length =
        IBAN_LENGTHS.split_whitespace().find_map(|one| one.strip_prefix(country)?.parse::<usize>().ok());
    let number = length.and_then(|length| all.get(..length));
    let Some((front, rest)) = number.and_then(|number| number.split_at_checked(4)) else { return false };
    mod_97(rest.chars().chain(front.chars())) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<std::borrow::Cow<'static, str>> {
        find("", text).unwrap().into_keys().collect()
    }

    #[test]
    fn what_is_of_a_person_is_found() {
        for (text, kind) in [
            ("4111111111111111", "card"),
            ("card 4111 1111 1111 1111 12/27", "card"),
            ("4111-1111-1111-1111,", "card"),
            ("order 77 5555 5555 5555 4444 123", "card"),
            ("3782 822463 10005", "card"),
            ("30569309025904", "card"),
            ("6011111111111117", "card"),
            ("2223003122003222", "card"),
            ("DE89 3704 0044 0532 0130 00", "iban"),
            ("pay GB82WEST12345698765432 now", "iban"),
            ("fr14 2004 1010 0505 0001 3m02 606", "iban"),
            ("ada.lovelace+x@mail.example.com", "email"),
            ("<ada@example.org>", "email"),
            ("call +44 20 7946 0958", "phone"),
            ("+1 (212) 555-0123", "phone"),
            ("(212) 555-0123", "phone-us"),
            ("4111.1111.1111.1111", "card"),
            ("212-555-0123", "phone-us"),
            ("call 1-212-555-0123 or", "phone-us"),
            ("212.555.0123.", "phone-us"),
            ("Tel: 020 7946 0958", "phone"),
            ("Telefon 030/901820 x", "phone"),
        ] {
            assert!(kinds(text).contains(&kind.into()), "{kind}: {text}: {:?}", kinds(text));
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for text in [
            // The last digit is another one.
            "4111111111111112",
            "DE89 3704 0044 0532 0130 01",
            // Luhn's sum is right, and no brand's numbers are so.
            "0000000000000000",
            "1234567812345670",
            "0.4111111111111111",
            // Others.
            "2026-11-28T16:30:00Z",
            "550e8400-e29b-41d4-a716-446655440000",
            "ada@localhost",
            "@someone",
            "1 + 1 = 2",
            "+123",
            "version 10.0.19045.3803",
            "4111.1111.1111.1112",
            "911-555-0123",
            "212-511-0123",
            "192.168.100.2000",
            "a 020 7946 0958",
            "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4",
        ] {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
