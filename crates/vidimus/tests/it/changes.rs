//! What a registered object was and is, by the record of its change.

use std::fs;

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{AGENT, Ran, run, write};

#[test]
fn a_change_is_shown_with_what_the_object_was_and_is() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let data = gateway.path("data");
    let changed = AGENT.replace("purpose: p", "purpose: pays invoices");
    write(&gateway.directory.path().join("resources"), "a.yaml", &changed);
    let find = || {
        run(&["audit", "search", "--data", &data, "--kind", "act", "--text", "\"register\"", "-o", "json"])
    };
    gateway.wait("on record", |_| !find().out.is_empty());
    let act = find().json();
    let id = act["id"].as_str().unwrap();
    let show = |more: &[&str]| -> Ran { run(&[&["audit", "show", "--data", &data, id][..], more].concat()) };
    gateway.wait("kept", |_| show(&["--change"]).out.contains("+ spec.purpose"));
    let told = show(&["--change", "-o", "json"]).json();
    assert_eq!(told["change"]["before"]["kept"]["spec"]["purpose"], "p", "{told}");
    assert_eq!(told["change"]["after"]["kept"]["spec"]["purpose"], "pays invoices", "{told}");
    assert_eq!(show(&["-o", "json"]).json().get("change"), None, "it was not asked for");
    let table = show(&["--change"]);
    let of = |sign: &str| -> Vec<String> {
        let lines = table.out.lines().filter_map(|line| line.trim_start().strip_prefix(sign));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of("- "), [r#"spec.purpose: "p""#], "{table:?}");
    assert_eq!(of("+ "), [r#"spec.purpose: "pays invoices""#], "{table:?}");
    let (directory, _) = gateway.stop();
    fs::rename(directory.path().join("data/configurations"), directory.path().join("elsewhere")).unwrap();
    let gone = show(&["--change"]);
    assert_eq!((gone.code, gone.out.matches("is gone").count()), (Some(0), 2), "{gone:?}");
}
