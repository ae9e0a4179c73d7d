//! `vidimus pin`: what the tools of a server are, to be pinned in its record.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use url::Url;
use vidimus_core::act::Subject;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::api_key::{ApiKey, presented};
use vidimus_core::resource::{McpServer, Unpinned};
use vidimus_core::standing::Standing;
use vidimus_gateway::{DescribedTool, Finding, ask_tools, scan};
use vidimus_query::tools::{Drift, differences, drifts};

use super::admin_client::Asking;
use crate::output::{self, Format, printable};

/// Where a token for the server is.
const TOKEN: &str = "VIDIMUS_PIN_TOKEN";
/// What is said beside a fault where there is none.
const NO_TOKEN: &str = " (it was asked without a token: where it wants one, set VIDIMUS_PIN_TOKEN)";
/// The largest file of an earlier answer, in bytes.
const MAX_EARLIER: u64 = 64 * 1024 * 1024;

/// Asks a server what its tools are, and prints what pins them in its record.
///
/// What it prints is merged into the MCPServer: from then on a tool that is another one, or is not pinned, is neither listed nor called
/// (docs/tool-integrity.md). Look at what is found before: text that cannot be seen, or that speaks to the model instead of describing the tool.
///
/// It asks the server itself, by the address that its record has. A token for it, or its key where the record has one (credential), is taken from
/// VIDIMUS_PIN_TOKEN and presented as the record says. With --url it asks elsewhere, also through a gateway: a listing from there has only what the token's agent may use, and nothing that drifted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus pin finance/ledger --resources DIR > pins.yaml
  kubectl patch vmcp ledger -n finance --type merge --patch-file pins.yaml
  vidimus pin finance/ledger --resources DIR --diff   # what changed?
  vidimus pin finance/ledger --resources DIR --diff --first-seen
  vidimus pin finance/ledger --url https://ledger.example/mcp -o json > was.json
  vidimus pin finance/ledger --url https://ledger.example/mcp --earlier was.json

Exit codes: 0 nothing found, nothing changed; 1 something to look at;
2 the server did not say what its tools are")]
pub struct Pin {
    /// The server: its namespace and name, as in finance/ledger.
    #[arg(value_name = "NAMESPACE/NAME")]
    server: String,
    /// Directory of resources, where the server's record is.
    #[arg(long, env = "VIDIMUS_RESOURCES", value_name = "DIR")]
    resources: Option<PathBuf>,
    /// Ask at this address of an MCP endpoint instead.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The roots of the server's certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Say which tools are not what the record pins, instead of what pins them.
    #[arg(long, requires = "resources")]
    diff: bool,
    /// With --diff: where tools are pinned when they are first seen (spec.integrity.unpinned),
    /// ask the gateway at --admin what they were then, and say which are something else.
    #[arg(long, requires = "diff")]
    first_seen: bool,
    #[command(flatten)]
    asking: Asking,
    /// What this printed earlier with -o json: say what differs, in words.
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
}

/// What is said of a server's tools.
#[derive(Debug, Serialize)]
struct Pinned {
    server: String,
    url: String,
    tools: Vec<DescribedTool>,
    findings: Vec<Finding>,
    /// Against the record.
    drifts: Vec<Drift>,
    /// Against the earlier answer: tool → what differs.
    differences: BTreeMap<String, Vec<String>>,
    /// To be merged into the record.
    patch: Value,
}

pub fn run(pin: &Pin, format: Format) -> anyhow::Result<ExitCode> {
    let earlier = pin.earlier.as_deref().map(earlier).transpose()?;
    if pin.server.split('/').count() != 2 {
        bail!("{} is no server: write NAMESPACE/NAME, as in finance/ledger", printable(&pin.server));
    }
    let At { url, roots, key, mut pins, at_first_sight } = server(pin)?;
    if let Some(pins) = pins.as_mut().filter(|_| pin.first_seen) {
        first_seen(pin, pins)?;
    }
    let roots = roots.map(|file| fs::read(&file).with_context(|| file.display().to_string())).transpose()?;
    let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (header, scheme) = match &key {
        Some(key) => (&*key.header, key.scheme.as_deref()),
        None => ("authorization", Some("Bearer")),
    };
    let value = token.as_deref().map(|token| presented(scheme, token)).transpose();
    let value = value.map_err(|why| anyhow!("{TOKEN}: {why}"))?;
    let credential = value.as_deref().map(|value| (header, value));
    let asking = ask_tools(url.as_str(), roots.as_deref(), credential);
    let mut tools = runtime.block_on(asking).map_err(|why| anyhow!("{why}")).with_context(|| {
        let hint = if token.is_some() { "" } else { NO_TOKEN };
        format!("what the tools of {} are could not be found out{hint}", printable(&pin.server))
    })?;
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    let listed: BTreeMap<String, String> =
        tools.iter().map(|tool| (tool.name.clone(), tool.digest.clone())).collect();
    let pinned = Pinned {
        server: pin.server.clone(),
        url: url.to_string(),
        findings: tools.iter().flat_map(|tool| scan(&tool.name, &tool.definition)).collect(),
        drifts: pins.map(|pins| drifts(&pins, &listed)).unwrap_or_default(),
        differences: earlier.map(|earlier| differing(&earlier, &tools)).unwrap_or_default(),
        patch: json!({"spec": {"integrity": {"pins": listed}}}),
        tools,
    };
    match format {
        Format::Json => output::json(&pinned)?,
        Format::Table => print(pin, &pinned, at_first_sight),
    }
    let unheld = pinned.tools.iter().any(|tool| tool.unheld.is_some() || tool.unheld_results.is_some());
    let compared = pin.diff || pin.earlier.is_some();
    let differs = compared && !(pinned.drifts.is_empty() && pinned.differences.is_empty());
    let is_well = pinned.findings.is_empty() && !unheld && !differs;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The pins of a record: tool → digest.
type Pins = BTreeMap<String, String>;

/// Where the server is asked, by which roots, and what its record pins, where there is one.
struct At {
    url: Url,
    roots: Option<PathBuf>,
    /// How it takes a key, where that is the gateway's; of its own record alone, since elsewhere somebody else answers.
    key: Option<ApiKey>,
    pins: Option<Pins>,
    /// Tools that are not among them are held to what they were when they were first seen.
    at_first_sight: bool,
}

fn server(pin: &Pin) -> anyhow::Result<At> {
    let record = pin.resources.as_deref().map(|directory| record(directory, &pin.server)).transpose()?;
    let record = record.as_deref();
    let pins = record.map(|server| {
        let pins = server.integrity.iter().flat_map(|integrity| &integrity.pins);
        pins.map(|(tool, digest)| (tool.to_string(), digest.to_string())).collect()
    });
    let integrity = record.and_then(|server| server.integrity.as_ref());
    let at_first_sight = integrity.is_some_and(|integrity| integrity.unpinned == Unpinned::FirstSight);
    let roots = pin.ca_file.clone();
    if let Some(url) = &pin.url {
        return Ok(At { url: url.clone(), roots, key: None, pins, at_first_sight });
    }
    let Some(server) = record else {
        bail!("say where the server is: by its record (--resources DIR), or by its address (--url URL)")
    };
    let endpoint = &server.endpoint;
    if endpoint.job.is_some()
        || endpoint.grpc_tools.is_some()
        || endpoint.openapi.is_some()
        || endpoint.agent.is_some()
    {
        bail!(
            "what the tools of this server are stands in its record (spec.job, spec.openapi, spec.grpc, spec.agent) and changes with that alone"
        );
    }
    if server.members.is_some() {
        bail!(
            "the server stands for others (spec.members): pin the tools of each member in that one's own record"
        );
    }
    let named = || server.endpoint.ca_file.as_deref().map(PathBuf::from);
    let (url, key) = (server.endpoint.url.clone(), server.endpoint.key.clone());
    Ok(At { url, roots: roots.or_else(named), key, pins, at_first_sight })
}

/// What a gateway holds tools to since it first saw them, of those that the record does not pin itself.
fn first_seen(pin: &Pin, pins: &mut Pins) -> anyhow::Result<()> {
    let standing: Standing = pin.asking.get("/registry/standing")?;
    let server = Subject::Object(EntityId::new(EntityKind::McpServer, pin.server.as_str()));
    for (tool, first) in standing.pins_of(&server) {
        pins.entry(tool.to_owned()).or_insert_with(|| first.digest.to_string());
    }
    Ok(())
}

fn record(directory: &Path, server: &str) -> anyhow::Result<std::sync::Arc<McpServer>> {
    super::check::readable(directory)?;
    let loaded = vidimus_registry::load(directory);
    let record = loaded.snapshot.mcp_server(server).cloned();
    record.with_context(|| {
        let server = printable(server);
        format!("no MCPServer {server} is in order in {}; see `vidimus check`", directory.display())
    })
}

/// The tools of an earlier answer.
fn earlier(file: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let place = || format!("--earlier {}", file.display());
    let length = fs::metadata(file).with_context(place)?.len();
    if length > MAX_EARLIER {
        bail!("{}: it is larger than {MAX_EARLIER} bytes", place());
    }
    let answer: Value = serde_json::from_slice(&fs::read(file).with_context(place)?).with_context(place)?;
    let tools = answer.get("tools").and_then(Value::as_array);
    let tools =
        tools.with_context(|| format!("{}: it is not what `vidimus pin -o json` printed", place()))?;
    let named =
        |tool: &Value| Some((tool.get("name")?.as_str()?.to_owned(), tool.get("definition")?.clone()));
    Ok(tools.iter().filter_map(named).collect())
}

/// What differs from earlier, of each tool of which something does.
fn differing(earlier: &BTreeMap<String, Value>, tools: &[DescribedTool]) -> BTreeMap<String, Vec<String>> {
    let now: BTreeMap<&str, &Value> = tools.iter().map(|tool| (&*tool.name, &tool.definition)).collect();
    let names = earlier.keys().map(String::as_str).chain(now.keys().copied());
    let of = |name: &str| {
        let (before, now) = (earlier.get(name).unwrap_or(&Value::Null), now.get(name).copied());
        differences(before, now.unwrap_or(&Value::Null))
    };
    names.map(|name| (name.to_owned(), of(name))).filter(|(_, lines)| !lines.is_empty()).collect()
}

fn print(pin: &Pin, pinned: &Pinned, at_first_sight: bool) {
    for finding in &pinned.findings {
        let Finding { tool, at, rule, found } = finding;
        output::warning(&format!("{tool} {at}: {rule}: {found}"));
    }
    for tool in &pinned.tools {
        if let Some(why) = &tool.unheld {
            output::warning(&format!("{}: arguments cannot be held to its input schema: {why}", tool.name));
        }
        if let Some(why) = &tool.unheld_results {
            output::warning(&format!("{}: results cannot be held to its output schema: {why}", tool.name));
        }
    }
    if pin.diff || pin.earlier.is_some() {
        let unpinned = match (at_first_sight, pin.first_seen) {
            (true, true) => "is not seen yet; it is held to what it is from its first listing or call",
            (true, false) => {
                "is not pinned in the record, but when it is first seen; --first-seen asks as what"
            }
            (false, _) => "is not pinned",
        };
        print_differences(pinned, unpinned);
        return;
    }
    output::line(&format!(
        "# The tools of MCPServer {}, as {} lists them.",
        printable(&pinned.server),
        printable(&pinned.url)
    ));
    output::line("spec:\n  integrity:\n    pins:");
    for tool in &pinned.tools {
        // A text of JSON is one of YAML.
        output::line(&format!("      {}: {}", Value::from(tool.name.as_str()), tool.digest));
    }
    if pinned.tools.is_empty() {
        output::line("      {}");
    }
}

/// `unpinned` says what becomes of a tool that is not pinned.
fn print_differences(pinned: &Pinned, unpinned: &str) {
    for Drift { tool, pinned, is } in &pinned.drifts {
        let what = match (pinned, is) {
            (Some(pinned), Some(is)) => format!("was {pinned}, is {is}"),
            (Some(_), None) => "is not listed any more".to_owned(),
            (None, _) => unpinned.to_owned(),
        };
        output::line(&format!("{}  {}", printable(tool), what));
    }
    for (tool, lines) in &pinned.differences {
        output::line(&printable(tool));
        lines.iter().for_each(|line| output::line(&format!("  {}", printable(line))));
    }
}
