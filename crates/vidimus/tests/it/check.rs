//! `check` says where what is wrong stands.

use super::{AGENT, run, write};

#[test]
fn a_fault_has_the_line_of_its_field() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    let text = format!(
        "# two\n{}---\n{}",
        AGENT.replace("riskLevel: low", "riskLevel: lw"),
        AGENT.replace("bot", "two").replace("  team: t\n", "  tem: t\n")
    );
    write(directory.path(), "a.yaml", &text);
    let line = |whole: &str| 1 + text.lines().position(|line| line == whole).unwrap();
    let said = run(&["check", &at, "-o", "json"]).json();
    let faults: Vec<_> = said["rejections"].as_array().unwrap().iter().collect();
    for (field, whole) in [("spec.riskLevel", "  riskLevel: lw"), ("spec.tem", "  tem: t")] {
        let fault = faults.iter().find(|fault| fault["field"] == field).unwrap_or_else(|| panic!("{said:#}"));
        assert_eq!(fault["line"], line(whole), "{field}: {said:#}");
    }
    // An object with several faults is one object.
    assert_eq!(said["counts"]["rejected"], 2, "{said:#}");
    let table = run(&["check", &at]).out;
    assert!(table.contains(&format!("a.yaml:{} Agent a/bot", line("  riskLevel: lw"))), "{table}");
}
