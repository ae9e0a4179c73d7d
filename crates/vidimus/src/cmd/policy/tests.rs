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
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    let loaded = vidimus_registry::load(&demo);
    let explain = parsed(words).unwrap();
    let principal = principal(&loaded.snapshot, &explain.principal).unwrap();
    let arguments = Json::parse(b"{}").unwrap();
    ask(&loaded.snapshot, &principal, &explain, &arguments).unwrap()
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
