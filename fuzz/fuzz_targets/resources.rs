//! Resource files: whatever stands in one, what is beside it stays live, and loading twice gives the same.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory");
    std::fs::write(dir.path().join("good.yaml"), GOOD).expect("a file");
    dir
});

const GOOD: &str = "apiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: kept, namespace: beside}\n\
    spec: {owner: a@b.example, team: t, riskLevel: low, endpoint: {url: \"http://127.0.0.1:1/\"}}\n";

fuzz_target!(|input: &[u8]| {
    std::fs::write(DIR.path().join("input.yaml"), input).expect("a file");
    let loaded = vidimus_registry::load(DIR.path());
    let named_twice = input.windows(4).any(|window| window == b"kept");
    assert!(named_twice || loaded.snapshot.mcp_server("beside/kept").is_some(), "{:?}", loaded.rejections);
    for rejection in &loaded.rejections {
        assert!(!rejection.reason.is_empty() && !rejection.fix.is_empty(), "{rejection:?}");
        assert!(rejection.value.chars().count() <= 120, "{rejection:?}");
    }
    let again = vidimus_registry::load(DIR.path());
    assert_eq!(again.snapshot.digest(), loaded.snapshot.digest());
    assert_eq!(again.rejections, loaded.rejections);
});
