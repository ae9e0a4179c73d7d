//! Pods as a cluster has them: whatever one says, each rule that it breaks is told once, and with what to do.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vidimus_core::admission::pod::{Pod, violations};
use vidimus_core::admission::workloads::Workloads;

static WORKLOADS: LazyLock<Workloads> =
    LazyLock::new(|| Workloads::of(&vidimus_fuzz::world("http://127.0.0.1:1")));

fuzz_target!(|input: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    let Ok(pod) = Pod::read(&value, "fin") else { return };
    let workload = WORKLOADS.get(&pod.namespace, &pod.service_account);
    let broken = violations(&pod, workload, None);
    assert!(broken.windows(2).all(|two| two[0].rule < two[1].rule));
    assert!(broken.iter().all(|one| one.message().contains(one.rule.fix())));
    assert!(violations(&pod, workload, Some(&pod)).is_empty(), "what is there already is let be");
});
