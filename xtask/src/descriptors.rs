//! Descriptors of messages of protobuf, compiled from their sources without a compiler that would have to be installed.

use std::path::Path;

use anyhow::{Context, Result};

const SOURCES: &str = "crates/gateway/proto";

/// Each source, and what is compiled from it.
const COMPILED: [(&str, &str); 2] = [
    ("a2a.proto", "crates/gateway/src/protocol/a2a/grpc/a2a.binpb"),
    ("a2a_0_3.proto", "crates/gateway/src/protocol/a2a/grpc/a2a_0_3.binpb"),
];

/// A source with all that it names, without comments.
fn compiled(root: &Path, source: &str) -> Result<Vec<u8>> {
    let mut compiler = protox::Compiler::new([root.join(SOURCES)])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_file(source).with_context(|| source.to_owned())?;
    Ok(compiler.encode_file_descriptor_set())
}

pub(crate) fn write(root: &Path) -> Result<()> {
    for (source, to) in COMPILED {
        std::fs::write(root.join(to), compiled(root, source)?).with_context(|| to.to_owned())?;
    }
    Ok(())
}

/// Those that are not as they would be written now.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (source, to) in COMPILED {
        if std::fs::read(root.join(to)).ok() != Some(compiled(root, source)?) {
            complaints.push(format!("{to}: not as compiled from {source}; run `cargo xtask crds`"));
        }
    }
    Ok(complaints)
}
