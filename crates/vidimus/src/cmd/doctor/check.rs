//! Everything that the doctor can find, each with its code, how bad it is, and what it leads to. docs/doctor.md has the same table.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// It works, and may not for long, or not as it was meant.
    Warning,
    /// Something does not work, or will not after the next start.
    Fault,
}

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// Stable, for programs.
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    /// What it leads to.
    pub(super) why: &'static str,
}

/// Each with its name here, its code, how bad it is, and what it leads to.
macro_rules! checks {
    ($($name:ident = $code:literal, $severity:ident, $why:literal;)*) => {
        $(pub(super) const $name: Check = Check { code: $code, severity: Severity::$severity, why: $why };)*

        #[cfg(test)]
        pub(super) const ALL: &[Check] = &[$($name),*];
    };
}

checks! {
    DATA_MISSING = "data_missing", Warning, "a first start makes it, with keys and a ledger of its own";
    DATA_UNUSABLE = "data_unusable", Fault, "the gateway does not start: it keeps keys and records there";
    DATA_NESTED = "data_nested", Fault, "the gateway does not start: who may write policies would have the keys";
    KEY_EXPOSED = "key_exposed", Fault, "the gateway does not start: others on this machine may have read the key";
    KEY_LOST = "key_lost", Fault, "the gateway does not start: what the key has issued or signed would be refused without a word";
    LEDGER_IN_USE = "ledger_in_use", Fault, "a gateway with this data directory does not start: another process writes the ledger";
    LEDGER_ELSEWHERE = "ledger_elsewhere", Fault, "the gateway that answers keeps its records in another directory, so these are not looked at by what is done here";
    DISK_LOW = "disk_low", Fault, "refusals are only counted, and when nothing is left no call passes";
    CLOCK_BEHIND = "clock_behind", Fault, "tokens and certificates are taken as not good yet, and records have times that go back";
    RESOURCES_UNREADABLE = "resources_unreadable", Fault, "the gateway does not start, or goes on with what it read before";
    RESOURCES_REJECTED = "resources_rejected", Fault, "what it permits is not in force, and a start with a new data directory refuses everything";
    RESOURCES_WARNED = "resources_warned", Warning, "it is in force, and does not do what it seems to";
    SECRETS_UNUSABLE = "secrets_unusable", Fault, "the gateway does not start";
    SECRET_UNUSABLE = "secret_unusable", Warning, "calls that need it are refused";
    CERTIFICATE_UNUSABLE = "certificate_unusable", Fault, "the gateway does not start, or goes on with the certificate it had";
    CERTIFICATE_EXPIRED = "certificate_expired", Fault, "callers over TLS refuse the gateway";
    CERTIFICATE_EXPIRING = "certificate_expiring", Warning, "callers over TLS will refuse the gateway";
    CERTIFICATE_NAME = "certificate_name", Fault, "callers that go by the public URL refuse the certificate";
    PUBLIC_URL_UNRESOLVED = "public_url_unresolved", Fault, "callers, and who verifies tokens of hops, do not find the gateway";
    PUBLIC_URL_UNREACHABLE = "public_url_unreachable", Fault, "callers, and who verifies tokens of hops, do not reach the gateway";
    PUBLIC_URL_ELSEWHERE = "public_url_elsewhere", Fault, "agent cards and tokens name another address than callers use";
    PUBLIC_URL_PLAIN = "public_url_plain", Warning, "whoever reads a token on the way can use it";
    SHARED_KEYS_UNUSABLE = "shared_keys_unusable", Fault, "the gateway does not start, or goes on with the keys that it had";
    SHARED_KEYS_OLD = "shared_keys_old", Warning, "whoever stole the key at some time is still believed";
    SHARED_KEYS_DIFFER = "shared_keys_differ", Fault, "sessions, tasks and tokens that one gateway gave out are refused by another";
    GATEWAY_DOWN = "gateway_down", Fault, "no call is governed, and none passes";
    ADDRESS_TAKEN = "address_taken", Fault, "the gateway does not start: another process listens there";
    ADDRESS_UNUSABLE = "address_unusable", Fault, "the gateway does not start: it cannot listen there";
    NOT_READY = "not_ready", Fault, "calls are refused, also those that policies permit";
    LISTENER_DEAF = "listener_deaf", Fault, "callers do not reach the gateway at the address that is given";
    VERSION_DIFFERS = "version_differs", Warning, "what is said here is of another version than the one that runs";
    LEDGER_CLOSED = "ledger_closed", Fault, "no record, no call: nothing passes until it is written again";
    SINK_DOWN = "sink_down", Fault, "it has no record since the start; they wait, and retention goes on";
    SINK_BEHIND = "sink_behind", Fault, "what it shows is not what happens";
    SINK_REFUSES = "sink_refuses", Warning, "it lacks records, or has stubs of them";
    WITNESS_DOWN = "witness_down", Fault, "too few may vouch that the ledger was not put back";
    WITNESS_REFUSES = "witness_refuses", Fault, "it does not know the ledger's key, and vouches for nothing";
    ANOTHER_PAST = "another_past", Fault, "the ledger was put back from a copy, or somebody else has its key";
    WEBHOOK_DOWN = "webhook_down", Fault, "nobody is told of calls that wait for people";
    GUARD_DOWN = "guard_down", Fault, "calls that wait for the guard are refused, or pass without it (onFailure: open)";
    ISSUER_UNREACHABLE = "issuer_unreachable", Fault, "its tokens are refused (503), or are when the keys that are there are an hour old";
    SOURCE_AWAY = "source_away", Fault, "what is changed in the cluster is not in force, and routes with staleAfter close";
    WOULD_REFUSE = "would_refuse", Warning, "no policy permits them: they pass while their namespace observes, and are refused when that ends";
    OBJECTS_REJECTED = "objects_rejected", Fault, "what they permit is not in force";
    PANICKED = "panicked", Warning, "a fault of Vidimus; what ended began anew";
    LOG_LOST = "log_lost", Warning, "lines of the log are missing; records are not";
    CLUSTER_UNREACHABLE = "cluster_unreachable", Fault, "nothing of the cluster was looked at";
    CLUSTER_CRD_MISSING = "cluster_crd_missing", Fault, "nothing of this kind can be registered";
    CLUSTER_CRD_OLD = "cluster_crd_old", Fault, "fields that it does not know are dropped from what is applied, without a word";
    CLUSTER_RECORD_REFUSED = "cluster_record_refused", Fault, "what it permits is not in force";
    CLUSTER_RECORD_UNSEEN = "cluster_record_unseen", Fault, "it may not be in force: no gateway follows the cluster, or none may say so";
    CLUSTER_RECORD_PARTLY = "cluster_record_partly", Fault, "it is good, and all or part of it is not in force: who is claimed by two is nobody";
    CLUSTER_POLICY_OVER = "cluster_policy_over", Warning, "it permits nothing any more";
    CLUSTER_ROLLOUT = "cluster_rollout", Warning, "what no policy permits passes in its namespace, and is refused when that ends";
    CLUSTER_KEY_MISSING = "cluster_key_missing", Fault, "calls that need it are refused";
    CLUSTER_JOB_UNRUN = "cluster_job_unrun", Fault, "every call of it is refused: nothing runs the job";
    CLUSTER_WORKLOAD_DOWN = "cluster_workload_down", Fault, "fewer gateways serve than are wanted; without one no call passes";
    CLUSTER_REGISTRY_DOWN = "cluster_registry_down", Fault, "what is changed in the cluster is not in force, routes with staleAfter close, and a gateway that starts has no keys of Secrets";
    CLUSTER_PODS_UNHEARD = "cluster_pods_unheard", Fault, "nobody knows what runs as whom, and the tokens of pods that are gone are taken";
    CLUSTER_LABEL_UNKNOWN = "cluster_label_unknown", Fault, "the pods of the namespace are not looked at";
    CLUSTER_KEYS_UNSHARED = "cluster_keys_unshared", Fault, "sessions, tasks and tokens that one replica gave out are refused by the others";
    CLUSTER_STORE_UNSHARED = "cluster_store_unshared", Fault, "each replica counts limits for itself, and knows of no approval, grant or quarantine that another was told of";
    CLUSTER_LEASE_UNHELD = "cluster_lease_unheld", Fault, "nobody writes statuses";
    CLUSTER_WEBHOOK_DEAF = "cluster_webhook_deaf", Fault, "nothing that is registered can be changed: the API server asks, and nobody answers";
    CLUSTER_WEBHOOK_CA = "cluster_webhook_ca", Fault, "the API server does not believe who answers it, so nothing that is registered can be changed";
    CLUSTER_REGISTRARS_OPEN = "cluster_registrars_open", Warning, "whoever may write one object of a namespace writes a policy with scope: Cluster, and claims ServiceAccounts and names of others";
    CLUSTER_REGISTRATIONS_MISSING = "cluster_registrations_missing", Fault, "each pod is refused in namespaces that enforce, and nothing is said in the others";
    CLUSTER_REGISTRATIONS_OLD = "cluster_registrations_old", Fault, "pods of new records are refused, and those of quarantined ones are let in";
    CLUSTER_REGISTRATIONS_UNDATED = "cluster_registrations_undated", Warning, "nobody sees when it is not kept current any more";
    CLUSTER_RIGHTS_MISSING = "cluster_rights_missing", Fault, "the gateway cannot follow the cluster, say what became of records, or prove tokens of ServiceAccounts";
    CLUSTER_RIGHTS_WIDE = "cluster_rights_wide", Warning, "who takes over the gateway's pod may do more than the gateway needs";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_has_every_check_and_no_other() {
        let page = include_str!("../../../../../docs/doctor.md");
        let of_page: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(code, _)| code)
            .collect();
        let all: BTreeSet<&str> = ALL.iter().map(|check| check.code).collect();
        assert_eq!(all.len(), ALL.len(), "each has a code of its own");
        assert_eq!(of_page, all);
        for Check { code, severity, why } in ALL {
            let said = format!(
                "| `{code}` | {} | {why} |",
                if *severity == Severity::Fault { "fault" } else { "warning" }
            );
            assert!(page.contains(&said), "docs/doctor.md lacks: {said}");
        }
    }
}
