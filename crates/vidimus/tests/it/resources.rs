//! The kinds, as editors are told of them. `e2e/gateway/test_schemas.py` holds the schemas to the tables of what is accepted and refused.

use serde_json::Value;

use super::run;

#[test]
fn a_schema_of_each_kind_is_printed_and_written() {
    let printed = run(&["resources", "schema", "agent"]);
    assert_eq!((printed.code, &*printed.err), (Some(0), ""), "{printed:?}");
    let agent = printed.json();
    assert_eq!(agent["properties"]["kind"]["const"], "Agent");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("schemas").display().to_string();
    let ran = run(&["resources", "schema", "--out", &out]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 6), "{ran:?}");
    let read = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(format!("{out}/{name}.schema.json")).unwrap()).unwrap()
    };
    assert_eq!(read("agent"), agent);
    assert_eq!(read("vidimus"), run(&["resources", "schema"]).json());
    assert_eq!(read("mcpserver")["title"], "MCPServer");
    let wrong = run(&["resources", "schema", "Robot"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("write one of Agent, MCPServer"), "{wrong:?}");
}
