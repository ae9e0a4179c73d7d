//! Values that a policy looks at, in forms in which it might not see them. `pay` is forbidden above 100, `fetch` with the id 7.

use super::tool;
use crate::expect::Expect;
use crate::probe::{Probe, Protocol};

/// Tool, arguments: each says what the policy forbids, or cannot tell whether it does.
const UNSEEN: &[(&str, &str, &str, &str)] = &[
    ("max", "pay", "the largest number of 64 bits", r#"{"amount":9223372036854775807}"#),
    ("over-i64", "pay", "a number beyond 64 bits", r#"{"amount":9223372036854775808}"#),
    ("over-u64", "pay", "a number beyond unsigned 64 bits", r#"{"amount":18446744073709551616}"#),
    ("huge", "pay", "a number of 40 digits", r#"{"amount":9999999999999999999999999999999999999999}"#),
    ("exponent", "pay", "a number with an exponent", r#"{"amount":1e3}"#),
    ("exponent-capital", "pay", "a number with a capital exponent", r#"{"amount":1E3}"#),
    (
        "beyond-doubles-fraction",
        "pay",
        "a number that no double is, as a fraction",
        r#"{"amount":-9007199254740993.0}"#,
    ),
    (
        "beyond-doubles-exponent",
        "pay",
        "a number that no double is, by an exponent",
        r#"{"amount":-9007199254740993e0}"#,
    ),
    ("exponent-huge", "pay", "a number beyond doubles", r#"{"amount":1e400}"#),
    ("exponent-sign", "pay", "an exponent with a sign", r#"{"amount":1.01e+2}"#),
    ("fraction-zero", "pay", "a whole number with a fraction", r#"{"amount":101.0}"#),
    ("fraction", "pay", "a number that is not whole", r#"{"amount":100.5}"#),
    ("fraction-exponent", "pay", "a whole number by fraction and exponent", r#"{"amount":0.101e4}"#),
    ("shape-list", "pay", "arguments that are a list", r#"[{"amount":101}]"#),
    ("shape-text", "pay", "arguments that are text", r#""{\"amount\":101}""#),
    ("shape-number", "pay", "arguments that are a number", "101"),
    ("id-fraction", "fetch", "an id with a fraction", r#"{"id":7.0}"#),
    ("id-exponent", "fetch", "an id with an exponent", r#"{"id":7e0}"#),
    ("id-shifted", "fetch", "an id by a negative exponent", r#"{"id":70e-1}"#),
    ("id-number", "fetch", "an id as a number", r#"{"id":7}"#),
    ("id-text", "fetch", "an id as text", r#"{"id":"7"}"#),
    ("id-escaped", "fetch", "an id in escapes", r#"{"id":"\u0037"}"#),
    ("id-name-escaped", "fetch", "a member's name in escapes", r#"{"\u0069d":"7"}"#),
    ("id-shape-list", "fetch", "arguments that are a list", r#"[{"id":"7"}]"#),
    ("id-shape-text", "fetch", "arguments that are text", r#""7""#),
    ("id-case", "fetch", "a member in two cases", r#"{"id":"8","ID":"7"}"#),
    ("amount-case", "pay", "a member in two cases", r#"{"amount":1,"Amount":101}"#),
    ("amount-negative-huge", "pay", "a number below 64 bits", r#"{"amount":-1e19}"#),
];

/// The controls.
const SEEN: &[(&str, &str, &str)] = &[
    ("small", "pay", r#"{"amount":100}"#),
    ("zero", "pay", r#"{"amount":0}"#),
    ("other-id", "fetch", r#"{"id":"8"}"#),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let mut probes: Vec<Probe> = UNSEEN
        .iter()
        .map(|(name, called, tries, arguments)| {
            Probe::new(format!("values/{name}"), *tries, Protocol::Mcp, tool(called, arguments))
        })
        .collect();
    probes.extend(SEEN.iter().map(|(name, called, arguments)| {
        Probe::new(
            format!("values/{name}"),
            "the control: what is permitted passes",
            Protocol::Mcp,
            tool(called, arguments),
        )
        .expect(Expect::passed())
    }));
    let padded = format!(r#"{{"x":"{}","amount":101}}"#, "y".repeat(70_000));
    probes.push(Probe::new(
        "values/behind-much",
        "a value behind 70 kB of another",
        Protocol::Mcp,
        tool("pay", &padded),
    ));
    let nested = format!("{}{{\"amount\":101}}{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    probes.push(
        Probe::new(
            "values/deep",
            "a value that is deeper than the policy sees",
            Protocol::Mcp,
            tool("pay", &nested),
        )
        .expect(Expect::either()),
    );
    let many: Vec<String> = (0..2_000).map(|number| format!(r#""m{number}":{number}"#)).collect();
    let crowded = format!(r#"{{{},"amount":101}}"#, many.join(","));
    probes.push(Probe::new(
        "values/behind-many",
        "a value behind 2,000 others",
        Protocol::Mcp,
        tool("pay", &crowded),
    ));
    probes
}
