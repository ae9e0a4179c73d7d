//! The binary, as its users have it: what it prints, and with which status it ends.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod access_log;
mod admission;
mod approvals;
mod authzen;
mod changes;
mod check;
mod doctor;
mod evidence;
mod exit_status;
mod faults;
mod flags;
mod fsck;
mod gateway;
mod kept;
mod keys;
mod logs;
mod payloads;
mod people;
mod pin;
mod policies;
mod policy_questions;
mod register;
mod registry;
mod resources;
mod retention;
mod routes;
mod runs;
mod search;
mod shell;
mod starts;
mod state;
mod unreached;
mod verify;
mod webhook;
mod wrap;
mod xds;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a command printed, and its status.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary, without what the environment of the test would tell it.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    let of_vidimus = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("VIDIMUS_"));
    for name in of_vidimus {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Ran {
    Ran::of(command(words).output().unwrap())
}

const AGENT: &str = "apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec:
  owner: ada.l@example.com
  team: t
  purpose: p
  riskLevel: low
  identities: [{oidc: {issuer: \"urn:vidimus:local\", subject: bot}}]
";

fn server(port: u16) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: tools, namespace: a}}\nspec: {{owner: ada.l@example.com, \
         team: t, riskLevel: low, endpoint: {{url: \"http://127.0.0.1:{port}/mcp\"}}}}\n"
    )
}

fn policy(name: &str, cedar: &str) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec:\n  description: d\n  cedar: '{cedar}'\n"
    )
}

/// A directory of resources in which everything is in order, and one call is permitted.
fn resources(directory: &Path, port: u16) {
    std::fs::create_dir_all(directory).unwrap();
    write(directory, "a.yaml", AGENT);
    write(directory, "b.yaml", &server(port));
    write(directory, "c.yaml", &policy("open", "permit (principal, action, resource);"));
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

/// `policy explain` of that call.
const ASKED: [&str; 6] =
    ["policy", "explain", "--principal", "Agent/a/bot", "--resource", "Tool/a/tools/get"];

fn explain(more: &[&str]) -> Ran {
    run(&[&ASKED, more].concat())
}
