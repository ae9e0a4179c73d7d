use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    explain: Explain,
}

fn parsed(words: &[&str]) -> Result<Explain, clap::Error> {
    Line::try_parse_from(["explain", "--resources", "-"].iter().chain(words)).map(|line| line.explain)
}

fn answer(words: &[&str]) -> Answer {
    answer_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo"), words)
}

fn answer_in(directory: &Path, words: &[&str]) -> Answer {
    let state = State::alone(vidimus_registry::load(directory));
    let explain = parsed(words).unwrap();
    let principal = principal(&state, &explain.principal).unwrap();
    let arguments = Json::parse(b"{}").unwrap();
    ask(&state, &principal, &explain, &arguments).unwrap()
}

#[test]
fn what_the_gateway_refuses_without_a_policy_is_refused_with_its_code() {
    const BOT: &str = "Agent/finance/invoice-bot";
    const GET: &str = "Tool/finance/ledger/get_invoice";
    for (principal, resource, user, code) in [
        (BOT, GET, None, None),
        (BOT, GET, Some("urn:vidimus:local#grace@example.com"), None),
        (BOT, GET, Some("https://other.example#grace"), Some("user_not_allowed")),
        (BOT, GET, Some("urn:vidimus:local#risky-bot"), Some("credential_ambiguous")),
        ("Agent/finance/risky-bot", GET, Some("urn:vidimus:local#grace"), Some("user_not_allowed")),
        ("Agent/finance/risky-bot", GET, None, Some("no_permit")),
        (BOT, "Model/platform/simulator/simulator-small", None, None),
        (BOT, "Model/platform/simulator/nope", None, Some("resource_unknown")),
        (BOT, "Model/platform/nope/simulator-small", None, Some("resource_unknown")),
        (BOT, "Agent/finance/risky-bot", None, Some("resource_unknown")),
        (BOT, "Skill/finance/risky-bot/sum", None, Some("resource_unknown")),
        (BOT, "Tool/finance/nope/get_invoice", None, Some("resource_unknown")),
    ] {
        let mut words = vec!["--principal", principal, "--resource", resource];
        words.extend(user.iter().flat_map(|user| ["--user", user]));
        let answer = answer(&words);
        assert_eq!(answer.code, code, "{words:?} {answer:?}");
        assert_eq!(answer.allowed, code.is_none(), "{words:?} {answer:?}");
        assert_eq!(answer.next.is_empty(), code.is_none(), "{words:?} {answer:?}");
    }
}

#[test]
fn a_service_is_also_known_by_its_kind_of_object() {
    for text in ["Service/a/b", "ServiceIdentity/a/b"] {
        let explain = parsed(&["--principal", text, "--resource", "MCPServer/a/b"]).unwrap();
        assert_eq!(explain.principal, EntityId::new(EntityKind::Service, "a/b"));
    }
    for text in ["ServiceIdentity/", "Robot/a/b", "a/b"] {
        assert!(parsed(&["--principal", text, "--resource", "MCPServer/a/b"]).is_err(), "{text}");
    }
}

/// What collides is said to, with where it is and what to do about it.
#[test]
fn what_is_contested_is_not_said_to_be_unregistered() {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, kind: &str, name: &str, spec: &str| {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: {kind}\nmetadata: {{namespace: t, name: {name}}}\n\
             spec: {{owner: ada.lovelace@example.com, team: t, riskLevel: low, {spec}}}\n"
        );
        fs::write(directory.path().join(file), text).unwrap();
    };
    let agent = |subject: &str| {
        format!("purpose: x, identities: [{{oidc: {{issuer: 'urn:vidimus:local', subject: {subject}}}}}]")
    };
    let server = "endpoint: {url: 'http://127.0.0.1:1/mcp'}";
    write(
        "bot.yaml",
        "Agent",
        "bot",
        &format!("{}, actsFor: [{{issuer: 'urn:vidimus:local'}}]", agent("bot")),
    );
    write("one.yaml", "Agent", "one", &agent("same"));
    write("other.yaml", "Agent", "other", &agent("same"));
    write("a.yaml", "MCPServer", "tools", server);
    write("b.yaml", "MCPServer", "tools", server);
    write("c.yaml", "Agent", "twice", &agent("x"));
    write("d.yaml", "Agent", "twice", &agent("y"));
    let ask = |resource, user: Option<&'static str>| {
        let mut words = vec!["--principal", "Agent/t/bot", "--resource", resource];
        words.extend(user.iter().flat_map(|user| ["--user", user]));
        answer_in(directory.path(), &words)
    };
    for (answer, code, named) in [
        (ask("Tool/t/tools/x", None), "name_contested", ["a.yaml", "b.yaml"]),
        (ask("Agent/t/twice", None), "name_contested", ["c.yaml", "d.yaml"]),
        (
            ask("Tool/t/tools/x", Some("urn:vidimus:local#same")),
            "identity_contested",
            ["Agent t/one (", "Agent t/other ("],
        ),
    ] {
        assert_eq!(answer.code, Some(code), "{answer:?}");
        assert!(named.iter().all(|name| answer.reason.contains(name)), "{answer:?}");
        assert!(answer.next.contains("rename"), "{answer:?}");
    }
    let state = State::alone(vidimus_registry::load(directory.path()));
    let twice = "Agent/t/twice".parse().unwrap();
    let said = principal(&state, &twice).unwrap_err().to_string();
    assert!(["c.yaml", "d.yaml", "rename one"].iter().all(|part| said.contains(part)), "{said}");
    let none = principal(&state, &"Agent/t/none".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(none, "--principal Agent/t/none: no Agent t/none is registered");
}
