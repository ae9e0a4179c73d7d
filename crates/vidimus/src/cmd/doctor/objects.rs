//! What is registered, and the secrets that it names.

use std::fs;

use vidimus_core::resource::Rejection;
use vidimus_gateway::SecretDirectory;

use super::check;
use super::{Doctor, Report, word};

/// So many are told one by one; `vidimus check` tells all.
const TOLD: usize = 10;

pub(super) fn look(doctor: &Doctor, report: &mut Report) {
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
        report.find(check::RESOURCES_REJECTED, what, check);
    }
    for unusable in vidimus_gateway::unusable(&loaded.snapshot, secrets.as_ref()).iter().take(TOLD) {
        report.find(check::SECRET_UNUSABLE, told(unusable), unusable.fix.clone());
    }
}

fn told(about: &Rejection) -> String {
    format!("{} {} {}: {}", about.origin, about.object, about.field, about.reason)
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
