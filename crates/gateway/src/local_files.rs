//! What registered objects name on this machine, before anybody calls them: the keys of providers, and the roots of endpoints. What
//! cannot be read is no fault of the object's text, so it stays in force; every call to it is refused until it can.

use std::path::Path;

use vidimus_core::resource::{Object, Rejection, Subject};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{check_roots, read_regular};

use crate::forward::MAX_ROOTS;
use crate::provider_credentials::ProviderCredentials;
use crate::secrets::SecretDirectory;

/// What of it this process cannot read or use, in the form of a warning.
pub fn unusable(snapshot: &Snapshot, secrets: Option<&SecretDirectory>) -> Vec<Rejection> {
    let credentials = ProviderCredentials::new(secrets.cloned());
    snapshot.objects().iter().flat_map(|object| of_one(object, &credentials)).collect()
}

fn of_one(object: &Object, credentials: &ProviderCredentials) -> Vec<Rejection> {
    let warning = |field: &str, value: &str, reason: String, fix: &str| Rejection {
        origin: object.meta().origin.clone(),
        object: Subject::Object(object.reference()),
        field: field.to_owned(),
        value: value.to_owned(),
        reason,
        fix: fix.to_owned(),
    };
    let mut found = Vec::new();
    let (endpoint, of_api) = match object {
        Object::Agent(agent) => (agent.endpoint.as_deref(), false),
        Object::McpServer(server) => (Some(&server.endpoint), server.endpoint.openapi.is_some()),
        Object::LlmProvider(provider) => (Some(&provider.endpoint), false),
        Object::Service(_) | Object::Policy(_) => (None, false),
    };
    let (roots, key) = match of_api {
        true => ("spec.openapi.caFile", "spec.openapi.credential"),
        false => ("spec.endpoint.caFile", "spec.credential"),
    };
    if let Some(file) = endpoint.and_then(|endpoint| endpoint.ca_file.as_deref()) {
        let read = read_regular(Path::new(file), MAX_ROOTS).map_err(|error| error.to_string());
        if let Err(reason) = read.and_then(|pem| check_roots(&pem).map_err(|error| error.to_string())) {
            let fix = "name a file that the gateway may read, with at least one certificate in PEM";
            let reason = format!("calls will be refused, since its roots cannot be used: {reason}");
            found.push(warning(roots, file, reason, fix));
        }
    }
    if let Some(reason) = credentials.why_unavailable(object) {
        let fix = match &*reason {
            reason if reason.starts_with("environment variable") => "set the variable for the gateway",
            reason if reason.starts_with("no directory of secrets") => {
                "give --secrets DIR, with the file in it, both for the gateway's user alone (modes 0700 and 0600)"
            }
            _ => {
                "put a key that can be read where the record says, in the directory of --secrets, for the gateway's user alone (modes 0700 and 0600)"
            }
        };
        let reason = format!("calls will be refused, since its key cannot be read: {reason}");
        found.push(warning(key, "", reason, fix));
    }
    found
}
