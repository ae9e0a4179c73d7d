//! Canonical JSON is that of RFC 8785: its own samples, and what they leave open.

use vidimus_core::json::Json;

fn canonical(text: &str) -> String {
    Json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).canonical()
}

/// Appendix B: the bits of a double and its text. Its two errors, NaN and Infinity, cannot be written in JSON.
const NUMBERS: [(u64, &str); 24] = [
    (0x0000_0000_0000_0000, "0"),
    (0x8000_0000_0000_0000, "0"),
    (0x0000_0000_0000_0001, "5e-324"),
    (0x8000_0000_0000_0001, "-5e-324"),
    (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
    (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
    (0x4340_0000_0000_0000, "9007199254740992"),
    (0xc340_0000_0000_0000, "-9007199254740992"),
    (0x4430_0000_0000_0000, "295147905179352830000"),
    (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
    (0x44b5_2d02_c7e1_4af6, "1e+23"),
    (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
    (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
    (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
    (0x444b_1ae4_d6e2_ef50, "1e+21"),
    (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
    (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
    (0x41b3_de43_5555_5553, "333333333.3333332"),
    (0x41b3_de43_5555_5554, "333333333.33333325"),
    (0x41b3_de43_5555_5555, "333333333.3333333"),
    (0x41b3_de43_5555_5556, "333333333.3333334"),
    (0x41b3_de43_5555_5557, "333333333.33333343"),
    (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
    (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
];

#[test]
fn numbers_are_those_of_appendix_b() {
    for (bits, wanted) in NUMBERS {
        let value = f64::from_bits(bits);
        assert_eq!(Json::Float(value).canonical(), wanted, "{bits:016x}");
        // The text is read as the same number again, and is its own canonical form.
        assert_eq!(canonical(wanted), wanted);
        assert_eq!(canonical(&format!("{value:e}")), wanted);
    }
}

#[test]
fn documents_are_those_of_the_sections() {
    for (text, wanted) in [
        // 3.2.2
        (
            r#"{
                "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]
            }"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        // 3.2.3
        (
            r#"{
                "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
                "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
            }"#,
            concat!(
                "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",",
                "\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",",
                "\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
            ),
        ),
        // 3.2.2.2: what is escaped, and what is not.
        (
            r#""\u0000\u0001\b\t\n\u000b\f\r\u001f\u007f\u2028\/<\u00e9""#,
            "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\u{2028}/<é\"",
        ),
        (r#" [ [ ] , { } , [ 1 , { "b" : { } , "a" : [ ] } ] , "" ] "#, r#"[[],{},[1,{"a":[],"b":{}}],""]"#),
        // By code unit, not by alphabet and not by length.
        (r#"{"aa": 1, "b": 2, "a": 3, "A1": 4, "": 5}"#, r#"{"":5,"A1":4,"a":3,"aa":1,"b":2}"#),
    ] {
        assert_eq!(canonical(text), wanted);
        assert_eq!(canonical(wanted), wanted);
    }
}

#[test]
fn one_number_has_one_text_however_it_is_written() {
    for (same, wanted) in [
        (&["1", "1.0", "1e0", "10e-1", "0.1E1", "1.000000000000000000001"][..], "1"),
        (&["0", "-0", "-0.0", "0e5", "1e-400"], "0"),
        (&["100", "1e2", "100.0"], "100"),
        (&["9007199254740992", "9007199254740992.0", "9007199254740993.0"], "9007199254740992"),
        (
            &["18446744073709551616", "18446744073709551616.0", "1.8446744073709552e19"],
            "18446744073709552000",
        ),
        (&["1152921504606846976", "1152921504606846976.0"], "1152921504606847000"),
    ] {
        for text in same {
            assert_eq!(canonical(text), wanted, "{text}");
        }
    }
}

#[test]
fn whole_numbers_that_no_double_holds_stay_apart() {
    for (text, wanted) in [
        ("9007199254740993", "9007199254740993.0"),
        ("-9007199254740993", "-9007199254740993.0"),
        // What the double beside it is written as.
        ("1152921504606847000", "1152921504606847000.0"),
        ("9223372036854775807", "9223372036854775807.0"),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615.0"),
    ] {
        let double = text.parse::<f64>().unwrap();
        assert_eq!(canonical(text) == Json::Float(double).canonical(), !wanted.ends_with(".0"), "{text}");
        if wanted.ends_with(".0") {
            assert_eq!(canonical(text), wanted);
        }
    }
}
