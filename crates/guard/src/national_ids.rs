//! Numbers by which states know people. One counts where its check digits are right. Where these are one digit alone, of a number that has nothing else of
//! its own, it is said beside it what it is too: of ten numbers of nine digits one has the right digit.

use std::ops::Range;

use crate::patterns::{Rule, rule};

pub(crate) const TABLE: &[Rule] = &[
    rule("us-ssn", &[], r"(?:^|[^\w-])([0-9]{3}-[0-9]{2}-[0-9]{4})(?-u:\b)", is_ssn),
    rule(
        "us-ssn",
        &[],
        r"(?:^|[^\w\s.,-]\s?|[A-Za-z]\s)([0-9]{3} [0-9]{2} [0-9]{4})(?:$|[^\w\s-]|\s(?:[^0-9]|$))",
        is_ssn_in_words,
    ),
    rule(
        "us-ssn",
        &["ssn", "social security", "social_security"],
        r#"(?i-u)(?:\b|_)(?:ssn|social[ _]security)[ \t:=#"'(A-Za-z._-]{0,24}([0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4})\b"#,
        is_ssn,
    ),
    rule(
        "uk-nino",
        &[],
        r"(?-u)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]|(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]))\b",
        is_nino,
    ),
    rule("es-dni", &[], r"(?i-u)\b((?:\d|[XYZ]-?)\d{7}-?[A-Z])\b", is_dni),
    rule(
        "fr-nir",
        &[],
        r"(?i-u)\b([12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})\b",
        is_nir,
    ),
    rule("br-cpf", &[], r"(?-u)\b(\d{3}\.\d{3}\.\d{3}-\d{2})\b", is_cpf),
    rule("br-cpf", &[], r"(?:^|[^\w.+-])([0-9]{9}-?[0-9]{2})(?-u:\b)", is_cpf),
    rule(
        "de-steuer-id",
        &[],
        r"(?:^|[^\w.+-])([1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3})(?-u:\b)",
        is_steuer_id,
    ),
    rule(
        "it-codice-fiscale",
        &[],
        r"(?i-u)\b([A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPR-T][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z])\b",
        is_codice_fiscale,
    ),
    rule(
        "nl-bsn",
        &["bsn", "burgerservice", "sofi", "citizen service"],
        r#"(?i-u)(?:\b|_)(?:bsn|burgerservice|sofi|citizen service)[ \t:=#"'(A-Za-z._-]{0,24}([0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{3}|[0-9]{4}\.[0-9]{2}\.[0-9]{3})\b"#,
        is_bsn,
    ),
    rule("pl-pesel", &[], r"(?:^|[^\w.+-])([0-9]{2}[0-3][0-9][0-3][0-9]{6})(?-u:\b)", is_pesel),
    rule(
        "se-personnummer",
        &[],
        r"(?:^|[^\w.+-])((?:19[0-9]{2}|20[01][0-9]|[0-9]{2})(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]|6[1-9]|[78][0-9]|9[01])[-+][0-9]{4})(?-u:\b)",
        is_personnummer,
    ),
    rule(
        "se-personnummer",
        &["personnummer", "samordningsnummer"],
        r#"(?i-u)(?:personnummer|samordningsnummer)[ \t:=#"'(._-]{0,8}((?:[0-9]{2})?[0-9]{6}[-+]?[0-9]{4})\b"#,
        is_personnummer,
    ),
    rule(
        "in-aadhaar",
        &[],
        r"(?:^|[^\w\s.+-]\s?|[A-Za-z]\s)([2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4})(?:$|[^\w\s-]|\s(?:[^0-9]|$))",
        is_aadhaar,
    ),
    rule(
        "in-aadhaar",
        &["aadhaar", "aadhar", "uidai"],
        r#"(?i-u)(?:aadhaar|aadhar|uidai)[ \t:=#"'(A-Za-z._-]{0,24}([2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4})\b"#,
        is_aadhaar,
    ),
    rule(
        "ca-sin",
        &["sin", "social insurance", "social_insurance"],
        r#"(?i-u)(?:\b|_)(?:sin|social[ _]insurance)\b[ \t:=#"'(A-Za-z._-]{0,24}([0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3})\b"#,
        is_sin,
    ),
    rule(
        "au-tfn",
        &["tfn", "tax file", "tax_file"],
        r#"(?i-u)(?:\b|_)(?:tfn|tax[ _]file)[ \t:=#"'(A-Za-z._-]{0,24}([0-9]{3} ?[0-9]{3} ?[0-9]{3})\b"#,
        is_tfn,
    ),
    rule(
        "cn-resident-id",
        &[],
        r"(?-u)\b([1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx])\b",
        is_resident_id,
    ),
];

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|one| one.to_digit(10)).collect()
}

/// The sum of the first digits, each times its weight.
fn weighted(all: &[u32], weights: &[u32]) -> u32 {
    all.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// ISO/IEC 7812-1, annex B.
pub(crate) fn luhn(number: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let each = number.iter().rev().enumerate();
    let sum: u32 = each.map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    sum.is_multiple_of(10)
}

/// What is left of a number of digits and letters (A is 10), divided by 97.
pub(crate) fn mod_97(number: impl Iterator<Item = char>) -> Option<u32> {
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
    let all: String = text.chars().filter(char::is_ascii_digit).collect();
    let part = |at: Range<usize>| all.get(at).unwrap_or_default();
    let (area, group, number) = (part(0..3), part(3..5), part(5..9));
    !matches!(area, "000" | "666")
        && !area.starts_with('9')
        && group != "00"
        && !matches!(number, "" | "0000")
        && all != "078051120"
}

/// In spaces it may be three numbers of which the last is a year.
fn is_ssn_in_words(text: &str) -> bool {
    is_ssn(text) && !matches!(text.get(7..9), Some("19" | "20"))
}

fn is_nino(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].iter().any(|never| upper.starts_with(never))
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

/// Of the first ten digits one stands there twice or three times, and no other more than once; the last is by ISO 7064, mod 11, 10.
fn is_steuer_id(text: &str) -> bool {
    let all = digits(text);
    let Some((check, first)) = all.split_last().filter(|(_, first)| first.len() == 10) else { return false };
    let mut counts = [0_u32; 10];
    let mut product = 10;
    for digit in first {
        if let Some(count) = usize::try_from(*digit).ok().and_then(|digit| counts.get_mut(digit)) {
            *count += 1;
        }
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        product = sum * 2 % 11;
    }
    let repeated: Vec<u32> = counts.into_iter().filter(|count| *count > 1).collect();
    matches!(*repeated, [2 | 3]) && (11 - product) % 10 == *check
}

/// The last letter is by the places of the others; in the place of digits letters may stand.
fn is_codice_fiscale(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = |one: char| one.to_digit(10).or_else(|| one.to_digit(36).map(|letter| letter - 10));
    let mut all: Vec<u32> = text.chars().filter_map(value).collect();
    let Some(check) = all.pop().filter(|_| all.len() == 15) else { return false };
    let each = all.iter().enumerate().map(|(place, value)| match place % 2 {
        0 => usize::try_from(*value).ok().and_then(|value| ODD.get(value).copied()).unwrap_or_default(),
        _ => *value,
    });
    each.sum::<u32>() % 26 == check
}

/// The test of eleven.
fn is_bsn(text: &str) -> bool {
    let all = digits(text);
    let Some(check) = all.get(8) else { return false };
    let sum = weighted(&all, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum > 0 && sum % 11 == check % 11
}

/// It begins with a day of birth, of which the month says the century; the last digit is a check.
fn is_pesel(text: &str) -> bool {
    let all = digits(text);
    let two = |at: usize| all.get(at).zip(all.get(at + 1)).map_or(0, |(tens, ones)| tens * 10 + ones);
    let (month, day) = (two(2), two(4));
    // Who was born in another century than the last and this has none.
    let is_day = matches!(month, 1..=12 | 21..=32) && matches!(day, 1..=31);
    let sum = weighted(&all, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day && all.get(10) == Some(&((10 - sum % 10) % 10))
}

/// Luhn's sum of the last ten digits.
fn is_personnummer(text: &str) -> bool {
    let all = digits(text);
    let last = all.len().checked_sub(10).and_then(|from| all.get(from..));
    last.is_some_and(|last| luhn(last) && last.iter().any(|digit| *digit > 0))
}

/// Verhoeff's check, by the group of the symmetries of a pentagon.
fn is_aadhaar(text: &str) -> bool {
    const PERMUTED: [[u32; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    /// Of two symmetries one after the other: five turn, and five reflect.
    const fn product(one: u32, other: u32) -> u32 {
        match (one < 5, other < 5) {
            (true, true) => (one + other) % 5,
            (true, false) => (one + other - 5) % 5 + 5,
            (false, true) => (one - 5 + 5 - other) % 5 + 5,
            (false, false) => (one + 5 - other) % 5,
        }
    }
    let all = digits(text);
    let each = all.iter().rev().zip(PERMUTED.iter().cycle());
    let permuted =
        each.filter_map(|(digit, row)| usize::try_from(*digit).ok().and_then(|digit| row.get(digit)));
    all.len() == 12 && permuted.fold(0, |left, digit| product(left, *digit)) == 0
}

fn is_sin(text: &str) -> bool {
    let all = digits(text);
    all.len() == 9 && luhn(&all) && all.iter().any(|digit| *digit > 0)
}

fn is_tfn(text: &str) -> bool {
    let all = digits(text);
    let sum = weighted(&all, &[1, 4, 3, 7, 5, 8, 6, 9, 10]);
    all.len() == 9 && sum > 0 && sum.is_multiple_of(11)
}

/// ISO 7064, mod 11-2.
fn is_resident_id(text: &str) -> bool {
    const CHECKS: &str = "10X98765432";
    let sum = weighted(&digits(text), &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let check = usize::try_from(sum % 11).ok().and_then(|place| CHECKS.chars().nth(place));
    check.is_some_and(|check| text.ends_with(check) || text.ends_with(check.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use vidimus_core::guard::Kinds;

    use crate::personal_data::find;

    fn kinds(text: &str) -> Kinds {
        find("", text).unwrap()
    }

    #[test]
    fn numbers_of_states_are_found() {
        for (text, kind) in [
            ("SSN: 219-09-9999", "us-ssn"),
            ("my number is 219 09 9999.", "us-ssn"),
            ("ssn=219099999", "us-ssn"),
            ("AB 12 34 56 C", "uk-nino"),
            ("ab123456c", "uk-nino"),
            ("12345678Z", "es-dni"),
            ("X1234567L", "es-dni"),
            ("2 55 08 14 168 025 38", "fr-nir"),
            ("529.982.247-25", "br-cpf"),
            ("cpf 52998224725, please", "br-cpf"),
            ("529982247-25", "br-cpf"),
            ("Steuer-ID 86 095 742 719", "de-steuer-id"),
            ("47036892816", "de-steuer-id"),
            ("rssmra85t10a562s", "it-codice-fiscale"),
            ("MRTMTT91D08F205J", "it-codice-fiscale"),
            ("BSN: 1112.22.333", "nl-bsn"),
            ("burgerservicenummer 123456782", "nl-bsn"),
            ("44051401359", "pl-pesel"),
            ("pesel 02270803624", "pl-pesel"),
            ("640823-3234", "se-personnummer"),
            ("born 19811218-9876", "se-personnummer"),
            ("personnummer: 8112189876", "se-personnummer"),
            ("2341 2341 2346", "in-aadhaar"),
            ("aadhaar no 234123412346", "in-aadhaar"),
            ("SIN 046 454 286", "ca-sin"),
            ("social insurance number: 130692544", "ca-sin"),
            ("TFN 123 456 782", "au-tfn"),
            ("tax file number 876543210", "au-tfn"),
            ("11010519491231002X", "cn-resident-id"),
        ] {
            assert!(kinds(text).contains_key(kind), "{kind}: {text}: {:?}", kinds(text));
        }
        // The name of the member says what a number is.
        for (name, value, kind) in [
            ("bsn", "123456782", "nl-bsn"),
            ("customer_ssn", "219099999", "us-ssn"),
            ("tfn", "123456782", "au-tfn"),
            ("sin", "046454286", "ca-sin"),
        ] {
            assert!(find(name, value).unwrap().contains_key(kind), "{name}");
            assert!(kinds(value).is_empty(), "{value}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        for text in [
            // The last digit is another one.
            "12345678A",
            "X1234567M",
            "2 55 08 14 168 025 39",
            "529.982.247-26",
            "cpf 52998224726",
            "86 095 742 718",
            "RSSMRA85T10A562T",
            "BSN 123456783",
            "44051401358",
            "640823-3235",
            "2341 2341 2347",
            "SIN 046 454 287",
            "TFN 123 456 783",
            "110105194912310021",
            // What has a right digit and nothing else.
            "order 123456782",
            "EUR 046 454 286",
            "1764403200",
            "0.52998224725",
            // Others.
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "078-05-1120",
            "rooms 120 50 2024",
            "1 219 09 9999 5",
            "GB 12 34 56 C",
            "111.111.111-11",
            "20261128-1630",
            "2026-11-28T16:30:00Z",
            "550e8400-e29b-41d4-a716-446655440000",
            "since 1234",
        ] {
            assert!(kinds(text).is_empty(), "{text}: {:?}", kinds(text));
        }
    }
}
