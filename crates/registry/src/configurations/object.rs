//! An object by the document that was kept of it.

use std::path::Path;

use serde_json::Value;
use vidimus_core::resource::{self, Object, Origin};

/// The object of a document that was in force; or what is wrong with it.
pub(super) fn object_of(path: &Path, document: &Value) -> Result<Object, String> {
    // What kind of source it had is not kept; only one of a cluster names a Secret.
    let origin = match names_secret(document) {
        false => Origin::file(path, 0),
        true => Origin::Cluster { cluster: "kept".into(), uid: None, resource_version: None },
    };
    resource::check(&origin, document).map_err(|rejections| {
        let said = rejections.iter().map(|one| format!("{} {}: {}", one.object, one.field, one.reason));
        said.collect::<Vec<_>>().join("; ")
    })
}

/// Whether the key of a provider, or of a server or an API, is in a Secret: `credential` is a member of the spec, or of one of its members.
fn names_secret(document: &Value) -> bool {
    let names = |of: &Value| of.pointer("/credential/secretRef").is_some();
    let spec = document.get("spec");
    let members = spec.and_then(Value::as_object).into_iter().flat_map(|spec| spec.values());
    spec.into_iter().chain(members).any(names)
}
