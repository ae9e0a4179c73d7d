//! Says in the log what a snapshot that is taken into use leaves out, and what of it deserves a look: at start as at a reload.

use vidimus_core::resource::Rejection;
use vidimus_gateway::SecretDirectory;
use vidimus_registry::Loaded;

use crate::cmd::check::Counts;

pub(super) fn log(loaded: &Loaded, when: &'static str) {
    // As `vidimus check` has them.
    let warnings = [loaded.snapshot.warnings(), loaded.snapshot.shared_audiences().as_slice()].concat();
    tracing::info!(
        snapshot = loaded.snapshot.digest(),
        objects = loaded.snapshot.objects().len(),
        not_in_order = Counts::of(loaded).not_in_order(),
        faults = loaded.rejections.len(),
        warnings = warnings.len(),
        "resources {when}"
    );
    if let Some(reason) = &loaded.not_ready {
        tracing::error!("not ready: {reason}");
    }
    loaded.rejections.iter().for_each(|rejection| warn("rejected", rejection));
    warnings.iter().for_each(|warning| warn("accepted with a warning", warning));
    if !loaded.snapshot.has_first_administrator() && !loaded.snapshot.permits_people() {
        tracing::warn!(
            "no policy permits people anything any more, so nobody may quarantine, approve or look: mend the policy that did"
        );
    }
}

/// All that is said at a start.
pub(super) fn log_first(loaded: &Loaded, secrets: Option<&SecretDirectory>) {
    log(loaded, "loaded");
    log_people(loaded);
    log_unusable(loaded, secrets);
}

/// What objects name on this machine and this process cannot use: better known now than by the first call.
fn log_unusable(loaded: &Loaded, secrets: Option<&SecretDirectory>) {
    let unusable = vidimus_gateway::unusable(&loaded.snapshot, secrets);
    unusable.iter().for_each(|warning| warn("accepted with a warning", warning));
}

/// Says who operates a gateway whose policies never said it.
fn log_people(loaded: &Loaded) {
    if loaded.snapshot.has_first_administrator() {
        tracing::info!(
            "no policy permits people anything yet: the person 'admin' of the built-in issuer (`vidimus identity operator`) may do \
             everything, until one does"
        );
    }
}

fn warn(what: &'static str, about: &Rejection) {
    tracing::warn!(
        source = %about.origin.source(),
        line = about.origin.line(),
        object = %about.object,
        field = about.field,
        value = about.value,
        fix = about.fix,
        "{what}: {}",
        about.reason
    );
}
