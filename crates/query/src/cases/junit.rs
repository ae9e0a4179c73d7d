//! What became of the cases, in the form that continuous integration reads (JUnit XML).

use std::collections::BTreeMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;

use super::{CaseVerdict, TestReport, TestedCase};

/// One suite for each file, one test case for each case.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn junit(report: &TestReport) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let mut files: BTreeMap<&str, Vec<&TestedCase>> = BTreeMap::new();
    for case in &report.cases {
        files.entry(&case.file).or_default().push(case);
    }
    let count = |cases: &[&TestedCase], verdict| {
        cases.iter().filter(|case| case.verdict == verdict).count().to_string()
    };
    let totals = [
        ("tests", report.cases.len().to_string()),
        ("failures", report.failed.to_string()),
        ("errors", report.errors.to_string()),
    ];
    let suites = writer.create_element("testsuites").with_attribute(("name", "vidimus policy test"));
    let totals = totals.iter().map(|(name, value)| (*name, value.as_str()));
    suites.with_attributes(totals).write_inner_content(|writer| {
        for (file, cases) in &files {
            let totals = [
                ("tests", cases.len().to_string()),
                ("failures", count(cases, CaseVerdict::Failed)),
                ("errors", count(cases, CaseVerdict::Error)),
            ];
            let totals = totals.iter().map(|(name, value)| (*name, value.as_str()));
            let file = visible(file);
            let suite = writer.create_element("testsuite").with_attribute(("name", file.as_str()));
            suite
                .with_attributes(totals)
                .write_inner_content(|writer| cases.iter().try_for_each(|case| write_case(writer, case)))?;
        }
        Ok(())
    })?;
    document(writer.into_inner())
}

/// The report where nothing could be tested: one error, of all of `of`.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn junit_of_fault(of: &str, fault: &str) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let (of, fault) = (visible(of), visible(fault));
    let totals = [("tests", "1"), ("failures", "0"), ("errors", "1")];
    let suites = writer.create_element("testsuites").with_attribute(("name", "vidimus policy test"));
    suites.with_attributes(totals).write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attribute(("name", of.as_str()));
        let suite = suite.with_attributes(totals);
        suite
            .write_inner_content(|writer| {
                let case = writer.create_element("testcase");
                let case = case.with_attributes([("name", "all cases"), ("classname", of.as_str())]);
                case.write_inner_content(|writer| {
                    let said = writer.create_element("error").with_attribute(("message", fault.as_str()));
                    said.write_empty().map(drop)
                })
                .map(drop)
            })
            .map(drop)
    })?;
    document(writer.into_inner())
}

fn document(xml: Vec<u8>) -> io::Result<String> {
    let body = String::from_utf8(xml).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}\n"))
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &TestedCase) -> io::Result<()> {
    let (name, file, line) = (visible(&case.name), visible(&case.file), case.line.to_string());
    let element = writer.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", file.as_str()),
        ("file", file.as_str()),
        ("line", line.as_str()),
    ]);
    let kind = match case.verdict {
        CaseVerdict::Passed => return element.write_empty().map(drop),
        CaseVerdict::Failed => "failure",
        CaseVerdict::Error => "error",
    };
    let message = visible(&case.differences.join("; "));
    let text = visible(&case.nearest.join("\n"));
    let write = |writer: &mut Writer<Vec<u8>>| {
        let said = writer.create_element(kind).with_attribute(("message", message.as_str()));
        said.write_text_content(BytesText::new(&text)).map(drop)
    };
    element.write_inner_content(write).map(drop)
}

/// What XML 1.0 has no way to write (section 2.2) is written out.
fn visible(text: &str) -> String {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().fold(String::with_capacity(text.len()), |mut visible, c| {
        match c {
            '\u{fffe}' | '\u{ffff}' => visible.extend(c.escape_unicode()),
            c if allowed(c) => visible.push(c),
            c => visible.extend(c.escape_unicode()),
        }
        visible
    })
}
