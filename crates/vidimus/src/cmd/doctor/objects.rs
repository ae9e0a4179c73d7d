//! What is registered, and the secrets that it names.

use std::fs;

use vidimus_core::resource::llm_provider::CredentialSource;
use vidimus_core::resource::{Object, Rejection};
use vidimus_gateway::SecretDirectory;

use super::check;
use super::{Doctor, Report, word};

/// What to do about a variable that this command does not have.
const FIX_HERE: &str =
    "run this with the variables of the gateway; whether that has the key, its log said when it started";

/// So many are told one by one; `vidimus check` tells all.
const TOLD: usize = 10;

/// `runs`: a gateway answers, which has an environment of its own.
pub(super) fn look(doctor: &Doctor, runs: bool, report: &mut Report) {
    let secrets = secrets(doctor, report);
    let Some(resources) = doctor.resources.as_deref() else {
        report.left_out("the resources", "no directory of them is given (--resources)");
        return;
    };
    report.looked_at("the resources");
    if let Err(error) = fs::read_dir(resources) {
        let what = format!("--resources {}: {error}", resources.display());
        let fix = format!(
            "ls -ld {0}; the gateway's user must be able to list it: chmod o+rx {0}",
            word(resources)
        );
        report.find(check::RESOURCES_UNREADABLE, what, fix);
        return;
    }
    let loaded = vidimus_registry::load(resources);
    let check = format!("vidimus check {}", word(resources));
    for rejection in loaded.rejections.iter().take(TOLD) {
        report.find(check::RESOURCES_REJECTED, told(rejection), format!("{}; then {check}", rejection.fix));
    }
    if loaded.rejections.len() > TOLD {
        let what = format!("{} more are rejected", loaded.rejections.len() - TOLD);
        report.find(check::RESOURCES_REJECTED, what, &*check);
    }
    // As check has them.
    let warnings = [loaded.snapshot.warnings(), loaded.snapshot.shared_audiences().as_slice()].concat();
    for warning in warnings.iter().take(TOLD) {
        report.find(check::RESOURCES_WARNED, told(warning), warning.fix.clone());
    }
    if warnings.len() > TOLD {
        let what = format!("{} more deserve a look", warnings.len() - TOLD);
        report.find(check::RESOURCES_WARNED, what, check);
    }
    for unusable in vidimus_gateway::unusable(&loaded.snapshot, secrets.as_ref()).iter().take(TOLD) {
        let object = loaded.snapshot.objects().iter().find(|one| unusable.object.is(&one.reference()));
        let of_environment = unusable.field.ends_with(".credential") && object.is_some_and(is_of_environment);
        match of_environment && runs {
            true => report.find(check::SECRET_UNUSABLE, told_of_here(unusable), FIX_HERE),
            false => report.find(check::SECRET_UNUSABLE, told(unusable), unusable.fix.clone()),
        }
    }
}

/// Whether its key is in a variable.
fn is_of_environment(object: &Object) -> bool {
    let source = match object {
        Object::LlmProvider(provider) => Some(&provider.credential),
        Object::McpServer(server) => server.endpoint.key.as_ref().map(|key| &key.source),
        Object::Agent(_) | Object::Service(_) | Object::Policy(_) => None,
    };
    matches!(source, Some(CredentialSource::Env(_)))
}

/// The same of a key that this command has not, and the gateway that runs may have.
fn told_of_here(about: &Rejection) -> String {
    let reason = about.reason.split_once("cannot be read: ").map_or(&*about.reason, |(_, why)| why);
    format!(
        "{} {} {}: {reason} for this command; the gateway that runs has an environment of its own",
        about.origin, about.object, about.field
    )
}

fn told(about: &Rejection) -> String {
    let value = if about.value.is_empty() { String::new() } else { format!(" {}", about.value) };
    format!("{} {} {}{value}: {}", about.origin, about.object, about.field, about.reason)
}

fn secrets(doctor: &Doctor, report: &mut Report) -> Option<SecretDirectory> {
    let directory = doctor.secrets.as_deref()?;
    report.looked_at("the secrets");
    match SecretDirectory::open(directory, Some(&doctor.data)) {
        Ok(secrets) => Some(secrets),
        Err(error) => {
            let fix =
                format!("install -d -m 700 -o vidimus {0}, outside --data; chmod 600 {0}/*", word(directory));
            report.find(check::SECRETS_UNUSABLE, format!("--secrets {error}"), fix);
            None
        }
    }
}
