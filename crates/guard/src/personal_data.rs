//! Numbers and addresses of people. A number counts where its check digits are right; one without any where it is written in the one form that
//! nothing else has.

use std::sync::LazyLock;

use vidimus_core::guard::Kinds;

use crate::patterns::{Fault, Rule, Rules};

static RULES: LazyLock<Result<Rules, Fault>> = LazyLock::new(|| Rules::new(TABLE));

pub(crate) fn find(text: &str) -> Result<Kinds, &'static Fault> {
    Ok(RULES.as_ref()?.find(text))
}

const fn rule(kind: &'static str, pattern: &'static str, fits: fn(&str) -> bool) -> Rule {
    Rule { kind, words: &[], pattern, fits }
}

const TABLE: &[Rule] = &[
    rule("card", r"(?:^|[^\w.])([0-9](?:[ -]?[0-9]){12,})(?-u:\b)", has_card),
    rule("iban", r"(?i-u)\b([A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30})", has_iban),
    Rule {
        kind: "email",
        words: &["@"],
        pattern: r"(?i-u)\b[A-Z0-9._%+-]{1,64}@(?:[A-Z0-9-]{1,63}\.){1,8}[A-Z]{2,24}\b",
        fits: any,
    },
    Rule { kind: "phone", words: &["+"], pattern: r"(?-u)\+([1-9](?:[ ().-]{0,2}\d){7,14})\b", fits: any },
    rule("phone-us", r"(?-u)\([2-9]\d{2}\) ?[2-9]\d{2}-\d{4}\b", any),
    rule("us-ssn", r"(?:^|[^\w-])([0-9]{3}-[0-9]{2}-[0-9]{4})(?-u:\b)", is_ssn),
    rule("uk-nino", r"(?-u)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b", is_nino),
    rule("es-dni", r"(?i-u)\b((?:\d|[XYZ]-?)\d{7}-?[A-Z])\b", is_dni),
    rule(
        "fr-nir",
        r"(?i-u)\b([12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})\b",
        is_nir,
    ),
    rule("br-cpf", r"(?-u)\b(\d{3}\.\d{3}\.\d{3}-\d{2})\b", is_cpf),
];

fn any(_: &str) -> bool {
    true
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|one| one.to_digit(10)).collect()
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

/// ISO/IEC 7812-1, annex B.
fn luhn(number: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let each = number.iter().rev().enumerate();
    let sum: u32 = each.map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    sum.is_multiple_of(10)
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

/// What is left of a number of digits and letters (A is 10), divided by 97.
fn mod_97(number: impl Iterator<Item = char>) -> Option<u32> {
    let mut left = 0;
    for one in number {
        let value = one.to_digit(36)?;
        let shift = if value > 9 { 100 } else { 10 };
        left = (left * shift + value) % 97;
    }
    Some(left)
}

/// No area 000, 666 or 9xx, no group 00, no number 0000; and not the one of the wallets of 1938.
fn is_ssn(text: &str) -> bool {
    let mut parts = text.split('-');
    let (area, group, number) = (parts.next(), parts.next(), parts.next());
    !matches!(area, None | Some("000" | "666"))
        && !area.is_some_and(|area| area.starts_with('9'))
        && group != Some("00")
        && number != Some("0000")
        && text != "078-05-1120"
}

fn is_nino(text: &str) -> bool {
    !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].iter().any(|never| text.starts_with(never))
}

/// DNI and NIE: the letter is that of what the number leaves, divided by 23.
fn is_dni(text: &str) -> bool {
    const LETTERS: &str = "TRWAGMYFPDXBNJZSQVHLCKE";
    let mut plain: Vec<char> =
        text.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_uppercase()).collect();
    let Some(letter) = plain.pop() else { return false };
    let mut number = plain.into_iter().map(|one| match one {
        'X' => Some(0),
        'Y' => Some(1),
        'Z' => Some(2),
        one => one.to_digit(10),
    });
    let number = number.try_fold(0_usize, |sum, digit| Some(sum * 10 + usize::try_from(digit?).ok()?));
    number.is_some_and(|number| LETTERS.chars().nth(number % 23) == Some(letter))
}

/// The key is 97 less what the number leaves; Corsica's departments count as 19 and 18.
fn is_nir(text: &str) -> bool {
    let plain: String = text.chars().filter(|one| *one != ' ').collect();
    let plain = plain.to_ascii_uppercase().replace("2A", "19").replace("2B", "18");
    let Some((number, key)) = plain.split_at_checked(13) else { return false };
    let left = mod_97(number.chars().filter(char::is_ascii_digit));
    left.zip(key.parse::<u32>().ok()).is_some_and(|(left, key)| 97 - left == key)
}

fn is_cpf(text: &str) -> bool {
    let all = digits(text);
    let check = |count: usize| {
        // The weights end with 2.
        let weights = (2_u32..).take(count).collect::<Vec<_>>().into_iter().rev();
        let sum: u32 = all.iter().take(count).zip(weights).map(|(digit, weight)| digit * weight).sum();
        match sum * 10 % 11 {
            10 => 0,
            left => left,
        }
    };
    let is_one_digit = all.iter().all(|digit| Some(digit) == all.first());
    all.len() == 11 && !is_one_digit && all.get(9) == Some(&check(9)) && all.get(10) == Some(&check(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<std::borrow::Cow<'static, str>> {
        find(text).unwrap().into_keys().collect()
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
            ("SSN: 219-09-9999", "us-ssn"),
            ("AB 12 34 56 C", "uk-nino"),
            ("12345678Z", "es-dni"),
            ("X1234567L", "es-dni"),
            ("2 55 08 14 168 025 38", "fr-nir"),
            ("529.982.247-25", "br-cpf"),
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
            "12345678A",
            "X1234567M",
            "2 55 08 14 168 025 39",
            "529.982.247-26",
            // Luhn's sum is right, and no brand's numbers are so.
            "0000000000000000",
            "1234567812345670",
            "0.4111111111111111",
            // Others.
            "2026-11-28T16:30:00Z",
            "550e8400-e29b-41d4-a716-446655440000",
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "078-05-1120",
            "GB 12 34 56 C",
            "ada@localhost",
            "@someone",
            "1 + 1 = 2",
            "+123",
            "111.111.111-11",
            "version 10.0.19045.3803",
        ] {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
