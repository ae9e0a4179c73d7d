use std::fs;
use std::sync::Arc;

use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::Outcome;
use vidimus_core::resource::{Origin, check};
use vidimus_core::snapshot::Snapshot;

use super::*;

/// What the gateway would make of the directory.
fn snapshot(policies: usize, agents: usize) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    let address = "127.0.0.1:9".parse().unwrap();
    write(directory.path(), At { http: address, grpc: address }, policies, agents).unwrap();
    let mut objects = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let origin = Origin::File { path: path.as_path().into(), line: 1 };
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&fs::read_to_string(&path).unwrap()).unwrap();
            objects.extend(documents.iter().map(|document| check(&origin, document).unwrap()));
        }
    }
    let count = |wanted: fn(&Object) -> bool| objects.iter().filter(|object| wanted(object)).count();
    assert_eq!(count(|object| matches!(object, Object::Policy(_))), policies);
    assert_eq!(count(|object| matches!(object, Object::Agent(_))), agents);
    let (snapshot, rejections) = Snapshot::build(objects);
    assert_eq!(rejections, []);
    snapshot
}

#[test]
fn every_called_edge_is_allowed_by_several_kinds_of_policies() {
    let world = snapshot(200, 60);
    let key = |name: &str| format!("{NAMESPACE}/{name}");
    let server = world.mcp_server(&key(SERVER)).unwrap();
    let provider = world.llm_provider(&key(PROVIDER)).unwrap();
    let agents: Vec<_> =
        AGENTS.iter().chain(&GRPC_AGENTS).map(|name| world.agent(&key(name)).unwrap()).collect();
    let mut calls: Vec<(Action, Target<'_>)> =
        vec![(Action::CallModel, Target::Model { provider, name: MODEL })];
    let wide = world.mcp_server(&key(WIDE)).unwrap();
    calls.push((Action::ConnectServer, Target::Server(wide)));
    let (whole, unlisted) = (world.mcp_server(&key(WHOLE)).unwrap(), wide_tool(1));
    calls.push((Action::ConnectServer, Target::Server(whole)));
    calls.push((Action::InvokeTool, Target::Tool { server: whole, name: &unlisted }));
    calls.extend(TOOLS.map(|name| (Action::InvokeTool, Target::Tool { server, name })));
    calls.extend(agents.iter().map(|agent| (Action::CallAgent, Target::Agent(agent))));
    let now = UnixMillis(1_785_576_600_000);
    let chain = Arc::new(Chain { transaction: "t".into(), started: now, actors: Vec::new() });
    for number in 0..CALLERS {
        let principal = world.principal_by_oidc("urn:vidimus:local", &caller(number)).unwrap();
        let proven = Proven {
            principal: principal.clone(),
            identity: "oidc".into(),
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        };
        let caller = Caller { proven: Arc::new(proven), chain: chain.clone() };
        for (action, target) in &calls {
            let ask = Ask { tokens_estimated: 100, ..Ask::about("any", *action, *target) };
            let decision = world.authorize(&Call {
                caller: &caller,
                ask,
                now,
                source_ip: None,
                so_far: SoFar::nothing(),
                approvals: &[],
            });
            let policies = decision.policies();
            assert_eq!(decision.outcome(), Outcome::Allow, "{principal:?} {action:?} {target:?}");
            assert!(policies.len() >= 3, "{policies:?}");
            for kind in ["bench/group-", "bench/team-"] {
                assert!(policies.iter().any(|policy| policy.starts_with(kind)), "{policies:?}");
            }
        }
    }
}
