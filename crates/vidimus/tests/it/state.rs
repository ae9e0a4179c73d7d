//! `policy explain` says what a gateway decides, with what it holds and what is contested.

use super::gateway::Gateway;
use super::{Ran, explain, policy, resources, run, server, write};

fn outcome(ran: &Ran) -> (Option<i32>, String) {
    let code = ran.json()["code"].as_str().unwrap_or("allowed").to_owned();
    (ran.code, code)
}

#[test]
fn what_a_running_gateway_holds_is_explained_from_it_and_from_what_it_kept() {
    let gateway = Gateway::start(1);
    let (resources, data) = (gateway.path("resources"), gateway.path("data"));
    let directory = std::path::Path::new(&resources);
    let from_gateway =
        || explain(&["--resources", &resources, "--data", &data, "--admin", &gateway.admin, "-o", "json"]);
    let from_kept = || explain(&["--resources", &resources, "--data", &data, "-o", "json"]);
    let alone = || explain(&["--resources", &resources, "--data", "/nonexistent", "-o", "json"]);
    let has = |text: &str| {
        let text = text.to_owned();
        move |gateway: &Gateway| gateway.get("/registry").is_some_and(|answer| answer.contains(&text))
    };
    for ask in [&from_gateway as &dyn Fn() -> Ran, &from_kept, &alone] {
        assert_eq!(outcome(&ask()), (Some(0), "allowed".to_owned()));
    }
    assert!(from_gateway().json()["state"]["of"].as_str().unwrap().contains(&gateway.admin));

    write(directory, "d.yaml", &policy("closed", "forbid (principal, action, resource);"));
    gateway.wait("forbidden", has("Policy a/closed"));
    gateway.wait("kept", |_| {
        std::fs::read_to_string(format!("{data}/registry/refused")).unwrap().contains("forbid")
    });
    // One letter, and the gateway holds what it forbade.
    write(directory, "d.yaml", &policy("closed", "forbd (principal, action, resource);"));
    gateway.wait("held", has(r#""why":"held""#));
    for ran in [from_gateway(), from_kept()] {
        assert_eq!(outcome(&ran), (Some(1), "forbidden_by_policy".to_owned()), "{ran:?}");
        let said = ran.json();
        assert_eq!(said["state"]["only_refusing"][0]["object"], "Policy a/closed", "{said}");
        assert_eq!(said["state"]["closed"], false, "{said}");
        assert!(ran.err.contains("Policy a/closed (held)"), "{ran:?}");
    }
    let table = explain(&["--resources", &resources, "--data", &data]).out;
    assert!(table.contains("a/closed (held)") && table.contains("state"), "{table}");
    // A gateway that starts without what was kept refuses everything.
    let ran = alone();
    assert_eq!(outcome(&ran), (Some(1), "forbidden_by_policy".to_owned()), "{ran:?}");
    assert_eq!(ran.json()["state"]["closed"], true, "{ran:?}");
    assert!(ran.err.contains("not ready"), "{ran:?}");
    // Another directory than the gateway's is not what it decides by.
    let other = gateway.path("other");
    super::resources(std::path::Path::new(&other), 1);
    let ran = explain(&["--resources", &other, "--data", &data, "--admin", &gateway.admin]);
    assert!(ran.err.contains("reads another directory"), "{ran:?}");
    let ran = explain(&[
        "--resources",
        &resources,
        "--data",
        &data,
        "--admin",
        &format!("127.0.0.1:{}", super::gateway::free_port()),
    ]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

/// The directory of another gateway's ledger is not written to, and what is kept there is found however the resources are named.
#[test]
fn what_is_kept_is_of_the_gateway_that_serves() {
    let gateway = Gateway::start(1);
    let (resources, data) = (gateway.path("resources"), gateway.path("data"));
    let directory = std::path::Path::new(&resources);
    let kept = || std::fs::read(format!("{data}/registry/refused")).unwrap_or_default();
    write(directory, "d.yaml", &policy("stop", "forbid (principal, action, resource);"));
    gateway.wait("kept", |_| String::from_utf8_lossy(&kept()).contains("forbid"));
    let before = kept();
    let other = gateway.path("other");
    super::resources(std::path::Path::new(&other), 1);
    let [listen, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", super::gateway::free_port()));
    let ran = run(&["serve", "--resources", &other, "--data", &data, "--listen", &listen, "--admin", &admin]);
    assert!(ran.code == Some(2) && ran.err.contains("ledger"), "{ran:?}");
    assert_eq!(kept(), before);
    // An emptied file deletes nothing, also where the directory has another name.
    std::fs::write(directory.join("d.yaml"), "").unwrap();
    let renamed = format!("{resources}/../resources");
    for resources in [&resources, &renamed] {
        let ran = explain(&["--resources", resources, "--data", &data, "-o", "json"]);
        assert_eq!(outcome(&ran), (Some(1), "forbidden_by_policy".to_owned()), "{resources}: {ran:?}");
    }
}

/// What a gateway decides by is asked of it: where it reads a cluster there is no directory to give.
#[test]
fn a_gateway_tells_what_it_decides_by_where_there_is_no_directory() {
    let gateway = Gateway::start(1);
    let data = gateway.path("data");
    let asked = || explain(&["--admin", &gateway.admin, "--data", &data, "-o", "json"]);
    let ran = asked();
    assert_eq!(outcome(&ran), (Some(0), "allowed".to_owned()), "{ran:?}");
    let said = ran.json();
    assert!(said["policies"].to_string().contains("a/open"), "{said}");
    assert!(said["state"]["of"].as_str().unwrap().contains(&gateway.admin), "{said}");
    let resources = gateway.path("resources");
    let with =
        explain(&["--resources", &resources, "--admin", &gateway.admin, "--data", &data, "-o", "json"]);
    assert_eq!(said["state"]["snapshot"], with.json()["state"]["snapshot"], "the same configuration");
    // What it holds is among it.
    let at = std::path::Path::new(&resources);
    write(at, "d.yaml", &policy("closed", "forbid (principal, action, resource);"));
    gateway.wait("forbidden", |gateway| {
        gateway.get("/registry").is_some_and(|answer| answer.contains("Policy a/closed"))
    });
    write(at, "d.yaml", &policy("closed", "forbd (principal, action, resource);"));
    gateway.wait("held", |gateway| {
        gateway.get("/registry").is_some_and(|answer| answer.contains(r#""why":"held""#))
    });
    let ran = asked();
    assert_eq!(outcome(&ran), (Some(1), "forbidden_by_policy".to_owned()), "{ran:?}");
    assert!(ran.err.contains("1 fault"), "{ran:?}");
    let neither = explain(&[]);
    assert!(neither.code == Some(2) && neither.err.contains("--resources"), "{neither:?}");
}

#[test]
fn contested_names_and_identities_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let at = path.display().to_string();
    let ask = || explain(&["--resources", &at, "--data", "/nonexistent", "-o", "json"]);
    let of = |name: &str, text: &str| {
        resources(path, 1);
        write(path, name, text);
        let ran = ask();
        std::fs::remove_file(path.join(name)).unwrap();
        ran
    };
    let ran = of("x.yaml", &super::AGENT.replace("name: bot", "name: twin"));
    assert_eq!(outcome(&ran), (Some(1), "identity_contested".to_owned()), "{ran:?}");
    let ran = of("x.yaml", super::AGENT);
    assert!(ran.code == Some(2) && ran.err.contains("several records have the name"), "{ran:?}");
    let ran = of("x.yaml", &server(2));
    assert_eq!(outcome(&ran), (Some(1), "name_contested".to_owned()), "{ran:?}");
    assert!(ran.json()["reason"].as_str().unwrap().contains("x.yaml"), "{ran:?}");
    let ran = of("x.yaml", &policy("open", "forbid (principal, action, resource);"));
    assert_eq!(outcome(&ran), (Some(1), "forbidden_by_policy".to_owned()), "{ran:?}");
    assert!(ran.err.contains("Policy a/open (contested)"), "{ran:?}");
    let ran = run(&["check", &at]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
