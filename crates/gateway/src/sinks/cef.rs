//! A record as a line of the Common Event Format (CEF, version 0).
//!
//! Nobody who is named in a record can end a field, begin another one, or end the line: `|` and `\` are escaped in the header, `=` and `\`
//! in values, and what ends lines is escaped or a blank.

use std::net::IpAddr;

use super::leaf::{Leaf, Severity};
use super::line::plain;

/// The longest value, in characters: most keys have this limit, and receivers cut where they like.
const LONGEST: usize = 1_023;

/// The line, without an end of line.
pub(super) fn line(leaf: &Leaf<'_>) -> String {
    let severity = match leaf.severity() {
        Severity::Info => "2",
        Severity::Notice => "4",
        Severity::Warning => "6",
    };
    let (class, title) = (leaf.class(), leaf.title());
    let mut line = "CEF:0".to_owned();
    for part in ["Vidimus", "Vidimus", env!("CARGO_PKG_VERSION"), &class, &title, severity] {
        line.push('|');
        header(&mut line, part);
    }
    line.push('|');
    for (number, (key, text)) in extension(leaf).into_iter().enumerate() {
        if number > 0 {
            line.push(' ');
        }
        line.push_str(key);
        line.push('=');
        value(&mut line, &text);
    }
    line
}

/// Keys of ArcSight's dictionary, and what has none in its custom ones, each with its label. What a receiver needs to drop a duplicate is first.
fn extension(leaf: &Leaf<'_>) -> Vec<(&'static str, String)> {
    let fields = leaf.fields();
    let mut all = Vec::with_capacity(48);
    let mut add = |key: &'static str, text: Option<String>| all.extend(text.map(|text| (key, text)));
    let owned = |text: Option<&str>| text.map(str::to_owned);
    add("externalId", Some(leaf.index.to_string()));
    add("deviceExternalId", Some(leaf.origin.to_owned()));
    add("rt", leaf.time().map(|time| time.as_millisecond().to_string()));
    add("cat", Some(leaf.kind().to_owned()));
    add("act", owned(fields.outcome.or(fields.action)));
    add("outcome", owned(fields.result));
    add("reason", owned(fields.code));
    add("app", owned(fields.protocol));
    add("requestMethod", owned(fields.method));
    add("request", owned(fields.path));
    add("suser", owned(fields.principal));
    add("suid", owned(fields.identity));
    match fields.source.map(|source| (source, source.parse::<IpAddr>())) {
        Some((source, Ok(IpAddr::V4(_)))) => add("src", owned(Some(source))),
        Some((source, Ok(IpAddr::V6(_)))) => {
            add("c6a2", owned(Some(source)));
            add("c6a2Label", Some("Source IPv6 Address".to_owned()));
        }
        _ => {}
    }
    add("in", fields.bytes_in.map(|bytes| bytes.to_string()));
    add("out", fields.bytes_out.map(|bytes| bytes.to_string()));
    add("msg", owned(fields.message.or(fields.detail)));
    let mut labelled = |[key, label]: [&'static str; 2], name: &str, text: Option<String>| {
        if let Some(text) = text {
            add(key, Some(text));
            add(label, Some(name.to_owned()));
        }
    };
    let policies = (!fields.policies.is_empty()).then(|| fields.policies.join(","));
    labelled(["cs1", "cs1Label"], "onBehalfOf", owned(fields.user));
    labelled(["cs2", "cs2Label"], "resource", owned(fields.resource.as_deref()));
    labelled(["cs3", "cs3Label"], "policies", policies);
    labelled(["cs4", "cs4Label"], "transaction", owned(fields.transaction));
    labelled(["cs5", "cs5Label"], "trace", owned(fields.trace));
    labelled(["cs6", "cs6Label"], "configuration", owned(fields.configuration));
    labelled(["cn1", "cn1Label"], "httpStatus", fields.status.map(|status| status.to_string()));
    labelled(["cn2", "cn2Label"], "durationMicroseconds", fields.duration_us.map(|us| us.to_string()));
    labelled(["cn3", "cn3Label"], "decisionIndex", fields.decision.map(|index| index.to_string()));
    labelled(["flexString1", "flexString1Label"], "call", owned(fields.id));
    labelled(["flexString2", "flexString2Label"], "approval", owned(fields.approval));
    all
}

fn header(line: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' | '|' => line.extend(['\\', letter]),
            _ => line.push(plain(letter)),
        }
    }
}

fn value(line: &mut String, text: &str) {
    let is_longer = text.chars().nth(LONGEST).is_some();
    let whole = text.chars().take(if is_longer { LONGEST - 1 } else { LONGEST });
    for letter in whole.chain(is_longer.then_some('…')) {
        match letter {
            '\\' | '=' => line.extend(['\\', letter]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            _ => line.push(plain(letter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::examples::*;
    use super::*;

    fn written(write: impl Fn(&mut String, &str), text: &str) -> String {
        let mut line = String::new();
        write(&mut line, text);
        line
    }

    #[test]
    fn nothing_ends_a_field_that_is_in_it() {
        for (text, in_header, in_value) in [
            ("plain", "plain", "plain"),
            ("a|b", r"a\|b", "a|b"),
            ("a=b", "a=b", r"a\=b"),
            (r"a\b", r"a\\b", r"a\\b"),
            (r"a\|b", r"a\\\|b", r"a\\|b"),
            (r"a\=b", r"a\\=b", r"a\\\=b"),
            ("a\nb", "a b", r"a\nb"),
            ("a\r\nb", "a  b", r"a\r\nb"),
            (r"a\nb", r"a\\nb", r"a\\nb"),
            ("a\0\u{1b}[31m\u{85}\u{2028}b", "a  [31m  b", "a  [31m  b"),
            ("é=ü|", r"é=ü\|", r"é\=ü|"),
            ("", "", ""),
        ] {
            assert_eq!(written(header, text), in_header, "{text:?}");
            assert_eq!(written(value, text), in_value, "{text:?}");
        }
        // It is cut before it is escaped, so that no escape is cut in two.
        let long = written(value, &"=".repeat(5_000));
        assert!(long.ends_with(r"\=…") && long.chars().count() == 2 * (LONGEST - 1) + 1);
        assert_eq!(written(value, &"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }

    #[test]
    fn each_kind_has_its_keys() {
        let version = env!("CARGO_PKG_VERSION");
        let begins = |class: &str, title: &str, severity: u8, kind: &str, rt: &str| {
            format!(
                "CEF:0|Vidimus|Vidimus|{version}|{class}|{title}|{severity}|externalId=7 deviceExternalId=example.com/log {rt}cat={kind}"
            )
        };
        let decided = "act=deny reason=no_permit app=mcp requestMethod=tools/call suser=Agent/finance/bot suid=oidc:urn:x#bot src=10.1.2.3 \
            cs1=urn:x#grace cs1Label=onBehalfOf cs2=Tool/finance/ledger/get cs2Label=resource cs3=finance/read,finance/write \
            cs3Label=policies cs4=t-1 cs4Label=transaction cs5=4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7 cs5Label=trace \
            cs6=sha256:0a cs6Label=configuration flexString1=call-1 flexString1Label=call";
        let ended = "outcome=ok in=2 out=40 cn1=200 cn1Label=httpStatus cn2=1234 cn2Label=durationMicroseconds cn3=7 \
            cn3Label=decisionIndex flexString1=call-1 flexString1Label=call";
        let refused = "act=deny reason=token_expired request=/x c6a2=2001:db8::1 c6a2Label=Source IPv6 Address msg=/x flexString1=call-2 \
            flexString1Label=call";
        let acted = "act=quarantine suser=User/urn:x#ada msg=INC-7 cs2=Agent/finance/bot cs2Label=resource flexString1=act-1 \
            flexString1Label=call";
        for (record, begin, rest) in [
            (
                decision(),
                begins("decision.deny", "call decided: deny", 6, "decision", "rt=1795780800250 "),
                decided,
            ),
            (effect(), begins("effect.ok", "call ended: ok", 2, "effect", "rt=1795780800001 "), ended),
            (
                refusal("/x"),
                begins(
                    "refusal.token_expired",
                    "call refused: token_expired",
                    6,
                    "refusal",
                    "rt=1795780801000 ",
                ),
                refused,
            ),
            (act(), begins("act.quarantine", "act: quarantine", 4, "act", "rt=1795780802000 "), acted),
            (newer(), begins("unknown", "record of a newer version", 6, "unknown", ""), ""),
        ] {
            let hit = hit(7, &record);
            assert_eq!(line(&Leaf::of(ORIGIN, &hit)), format!("{begin} {rest}").trim_end());
        }
    }

    #[test]
    fn a_caller_cannot_write_a_field_or_a_line_of_its_own() {
        let path =
            "/x act=allow externalId=1|CEF:0|\n<13>1 - - - - - - CEF:0|Vidimus|Vidimus|1|x|y|0|act=allow\\";
        let hit = hit(7, &refusal(path));
        let line = line(&Leaf::of(ORIGIN, &hit));
        assert!(!line.contains(['\n', '\r']), "{line}");
        // As readers do it: a key is what stands between a blank and an `=` that is not escaped.
        let keys = |key: &str| line.matches(&format!(" {key}=")).count();
        assert_eq!((keys("act"), keys("externalId"), keys("request")), (1, 0, 1), "{line}");
        assert!(
            line.contains(" act=deny ")
                && line.contains("|externalId=7 ")
                && line.contains(r"request=/x act\=allow")
        );
    }
}
