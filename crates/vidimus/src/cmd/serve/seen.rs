//! Each change of an object of the cluster goes on record as it was seen, where the API server does not ask here (`--admission` is off). It says nobody
//! who did it but the object's managed fields, and what these say is kept as that (ADR 60).

use std::sync::Arc;
use std::time::Duration;

use vidimus_cluster::Seen;
use vidimus_core::act::{BY_ITSELF, Registration};
use vidimus_gateway::Shared;
use vidimus_query::printable;

use super::Serve;
use super::source::Watching;
use super::supervisor::Supervisor;

/// Before what could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Begins to record, where there is a cluster and it does not ask.
pub(super) fn begin(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>, watching: &Watching) {
    let Some(mut changes) = watching.seen() else { return };
    // Asked, it has each on record before it is made, with who the API server knows it is from.
    if serve.admission.admission.is_some() {
        return;
    }
    let shared = shared.clone();
    supervisor.essential("registrations", async move {
        while let Some((seen, lost)) = changes.next().await {
            record(&shared, seen, lost).await;
        }
        // Whoever follows the cluster has ended, which is told of it.
        std::future::pending::<()>().await;
    });
}

/// It happened, so it is tried until it is on record; of the `lost` ones before it at least how many they were.
async fn record(shared: &Shared, seen: Seen, lost: u64) {
    let why = why(&seen, lost);
    if lost > 0 {
        tracing::error!(
            lost,
            "changes of what is registered are on no record: they were more than could wait for one"
        );
    }
    let (manager, written) = seen.manager.map(|by| (by.name, by.time)).unzip();
    let registration = Registration {
        after: seen.after,
        before: seen.before,
        file: None,
        manager,
        object: seen.object,
        operation: seen.operation.to_owned(),
        policies: Vec::new(),
        request: String::new(),
        verdict: None,
        written,
    };
    let mut is_said = false;
    while let Err(refusal) =
        shared.record_registration(BY_ITSELF.to_owned(), registration.clone(), why.clone()).await
    {
        if !std::mem::replace(&mut is_said, true) {
            tracing::error!(
                object = registration.object,
                code = refusal.code.as_str(),
                "a change of what is registered is not on record yet; it is tried again"
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// In words: what was seen, and what is only said.
fn why(seen: &Seen, lost: u64) -> String {
    let Seen { object, operation, manager, .. } = seen;
    let said = match manager {
        Some(by) => format!(
            "{operation} {object}, seen in the cluster; last written by what calls itself {}",
            printable(&by.name)
        ),
        None => format!("{operation} {object}, seen in the cluster"),
    };
    match lost {
        0 => said,
        lost => format!("{said}; {lost} changes before it are on no record"),
    }
}

#[cfg(test)]
mod tests {
    use vidimus_cluster::FieldManager;

    use super::*;

    /// Attack: a field manager that calls itself after somebody, to have him on record.
    #[test]
    fn a_manager_is_what_it_calls_itself() {
        let name = "User/kubernetes#ada\u{1b}[2J".to_owned();
        let manager = Some(FieldManager { name, time: "2026-11-28T16:00:00Z".to_owned() });
        let seen = Seen {
            object: "Agent/finance/bot".to_owned(),
            operation: "update",
            before: None,
            after: None,
            manager,
        };
        let said = why(&seen, 0);
        assert!(said.contains("what calls itself User/kubernetes#ada") && !said.contains('\u{1b}'), "{said}");
        let gone = Seen { operation: "delete", manager: None, ..seen };
        assert_eq!(why(&gone, 0), "delete Agent/finance/bot, seen in the cluster");
        assert!(why(&gone, 7).ends_with("in the cluster; 7 changes before it are on no record"));
    }
}
