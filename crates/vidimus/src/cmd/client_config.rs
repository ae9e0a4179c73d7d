//! `vidimus client-config`: what clients of MCP need to go through the gateway, in the form that each reads.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use url::Url;

use super::serve::flags;
use crate::output::{self, Format};

/// Prints what an MCP client needs to reach a server through the gateway.
///
/// The token is never part of it: each form says where the client takes it from when it starts. `vidimus identity token` makes one of the
/// built-in issuer; otherwise your own issuer does (docs/clients.md).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus client-config claude-code --server books/ledger > .mcp.json
  vidimus client-config cursor --server books/ledger \\
    --url https://gateway.example:8443 > .cursor/mcp.json
  vidimus client-config --server books/ledger              # of all clients
  vidimus client-config vscode --server books/ledger -o json | jq .config

Where a file has other servers already, add this one to them")]
pub struct ClientConfig {
    /// The client; all of them where it is left out.
    #[arg(value_enum)]
    client: Option<Client>,
    /// The MCPServer, as NAMESPACE/NAME.
    #[arg(long, env = "VIDIMUS_SERVER", value_name = "NAMESPACE/NAME", value_parser = server)]
    server: Server,
    /// The gateway's address as the client sees it.
    #[arg(long, env = "VIDIMUS_PUBLIC_URL", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = flags::public_url)]
    url: String,
    /// The variable of the client's environment that has the token.
    #[arg(long, env = "VIDIMUS_TOKEN_ENV", value_name = "NAME", default_value = "VIDIMUS_TOKEN", value_parser = variable)]
    token_env: String,
}

/// A client, as its configuration is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Code: .mcp.json.
    ClaudeCode,
    /// Cursor: .cursor/mcp.json.
    Cursor,
    /// Visual Studio Code: .vscode/mcp.json.
    Vscode,
    /// The OpenAI Agents SDK for Python.
    OpenaiAgents,
    /// LangChain's langchain-mcp-adapters.
    Langchain,
    /// fastmcp's client.
    Fastmcp,
}

/// An `MCPServer` by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    namespace: String,
    name: String,
}

fn server(text: &str) -> anyhow::Result<Server> {
    let is_namespace = |text: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&text.len()) && text.bytes().all(is_plain)
    };
    let is_name = |text: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_end = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
        text.len() <= 63
            && text.bytes().all(is_plain)
            && is_end(text.chars().next())
            && is_end(text.chars().next_back())
    };
    let parts = text.split_once('/').filter(|(namespace, name)| is_namespace(namespace) && is_name(name));
    let (namespace, name) =
        parts.ok_or_else(|| anyhow::anyhow!("write NAMESPACE/NAME of the MCPServer, as in books/ledger"))?;
    Ok(Server { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn variable(text: &str) -> anyhow::Result<String> {
    let is_name = !text.is_empty()
        && !text.starts_with(|letter: char| letter.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ensure!(is_name, "write the name of a variable, not a token: it would be in the configuration");
    Ok(text.to_owned())
}

/// What a client needs.
#[derive(Debug)]
struct Form {
    /// Where it goes.
    place: &'static str,
    /// Where the token comes from.
    token: String,
    written: Written,
    /// The command that does the same, where the client has one.
    command: Option<String>,
}

#[derive(Debug)]
enum Written {
    Json(Value),
    Python(String),
}

impl ClientConfig {
    /// The name of the server in the client: every client takes letters, digits and `-`.
    fn name(&self) -> String {
        format!("{}-{}", self.server.namespace, self.server.name).replace('.', "-")
    }

    fn form(&self, client: Client) -> anyhow::Result<Form> {
        let (name, variable) = (self.name(), &self.token_env);
        let base = self.url.trim_end_matches('/');
        let url = format!("{base}/mcp/{}/{}", self.server.namespace, self.server.name);
        let url = Url::parse(&url)?.to_string();
        // It is printed into programs and a command line.
        ensure!(
            !url.contains(['\'', '"', '\\', '$', '`']),
            "--url: quotes and $ have no place in an address here"
        );
        let headers = |token: &str| json!({"Authorization": format!("Bearer {token}")});
        let (expanded, of_cursor) = (format!("${{{variable}}}"), format!("${{env:{variable}}}"));
        let of_http = |token: &str| json!({"type": "http", "url": url, "headers": headers(token)});
        let (place, written) = match client {
            Client::ClaudeCode => {
                (".mcp.json of the project", json_of("mcpServers", &name, of_http(&expanded)))
            }
            Client::Cursor => {
                let config = json!({"url": url, "headers": headers(&of_cursor)});
                (
                    ".cursor/mcp.json of the project, or ~/.cursor/mcp.json",
                    json_of("mcpServers", &name, config),
                )
            }
            Client::Vscode => {
                let mut config = json_of("servers", &name, of_http("${input:vidimus-token}"));
                let about = "Token for the Vidimus gateway";
                let input = json!({"type": "promptString", "id": "vidimus-token", "description": about, "password": true});
                config.insert("inputs".to_owned(), json!([input]));
                (".vscode/mcp.json of the workspace, or the user's mcp.json", config)
            }
            Client::OpenaiAgents | Client::Langchain | Client::Fastmcp => {
                return Ok(Form {
                    place: "a program in Python",
                    token: format!("the variable {variable} of its environment"),
                    written: Written::Python(program(client, &name, &url, variable)),
                    command: None,
                });
            }
        };
        let command = format!(
            "claude mcp add --scope project --transport http {name} {url} --header 'Authorization: Bearer {expanded}'"
        );
        let token = match client {
            Client::Vscode => {
                "the editor asks once, and keeps it in the system's store of secrets".to_owned()
            }
            _ => format!("the variable {variable} of its environment"),
        };
        let command = (client == Client::ClaudeCode).then_some(command);
        Ok(Form { place, token, written: Written::Json(Value::Object(written)), command })
    }
}

/// What a program in Python has in it.
fn program(client: Client, name: &str, url: &str, variable: &str) -> String {
    let token = format!("os.environ[\"{variable}\"]");
    let headers = format!("headers = {{\"Authorization\": \"Bearer \" + {token}}}");
    let (import, made) = match client {
        Client::OpenaiAgents => (
            "from agents.mcp import MCPServerStreamableHttp",
            format!(
                "{headers}\nserver = MCPServerStreamableHttp(name=\"{name}\", params={{\"url\": \"{url}\", \"headers\": headers}})"
            ),
        ),
        Client::Langchain => (
            "from langchain_mcp_adapters.client import MultiServerMCPClient",
            format!(
                "{headers}\nserver = {{\"transport\": \"http\", \"url\": \"{url}\", \"headers\": headers}}\n\
                 client = MultiServerMCPClient({{\"{name}\": server}})"
            ),
        ),
        _ => (
            "from fastmcp import Client\nfrom fastmcp.client.transports import StreamableHttpTransport",
            format!("client = Client(StreamableHttpTransport(\"{url}\", auth={token}))"),
        ),
    };
    format!("import os\n\n{import}\n\n{made}\n")
}

/// `{ "<servers>": { "<name>": … } }`.
fn json_of(servers: &str, name: &str, config: Value) -> Map<String, Value> {
    let named: Map<String, Value> = [(name.to_owned(), config)].into_iter().collect();
    [(servers.to_owned(), Value::Object(named))].into_iter().collect()
}

pub fn run(asked: &ClientConfig, format: Format) -> anyhow::Result<ExitCode> {
    let clients = match &asked.client {
        Some(client) => std::slice::from_ref(client),
        None => Client::value_variants(),
    };
    for client in clients {
        let form = asked.form(*client)?;
        let called = client.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        match (format, &form.written) {
            (Format::Json, written) => {
                let (language, config) = match written {
                    Written::Json(config) => ("json", config.clone()),
                    Written::Python(text) => ("python", json!(text)),
                };
                output::json(&json!({
                    "client": called, "place": form.place, "language": language, "config": config,
                    "command": form.command, "token": form.token,
                }))?;
            }
            // One alone is what a file has in it, to the byte; of several each says whose it is.
            (Format::Table, written) => {
                if asked.client.is_none() {
                    output::line(&format!("# {called}: {} (token: {})", form.place, form.token));
                }
                match written {
                    Written::Json(config) => output::line(&serde_json::to_string_pretty(config)?),
                    Written::Python(text) => output::line(text.trim_end()),
                }
                if asked.client.is_none() {
                    if let Some(command) = &form.command {
                        output::line(&format!("# or: {command}"));
                    }
                    output::line("");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: Client) -> Value {
        let server = server("books/ledger.v2").expect("a server");
        let (url, token_env) = ("https://gw.example:8443/".to_owned(), "LEDGER_TOKEN".to_owned());
        let form = ClientConfig { client: None, server, url, token_env }.form(client).expect("a form");
        match form.written {
            Written::Json(config) => config,
            Written::Python(text) => json!(text),
        }
    }

    #[test]
    fn every_client_gets_the_form_that_it_reads_and_no_token() {
        const URL: &str = "https://gw.example:8443/mcp/books/ledger.v2";
        assert_eq!(
            asked(Client::ClaudeCode),
            json!({"mcpServers": {"books-ledger-v2": {"type": "http", "url": URL, "headers": {"Authorization": "Bearer ${LEDGER_TOKEN}"}}}})
        );
        assert_eq!(
            asked(Client::Cursor),
            json!({"mcpServers": {"books-ledger-v2": {"url": URL, "headers": {"Authorization": "Bearer ${env:LEDGER_TOKEN}"}}}})
        );
        assert_eq!(
            asked(Client::Vscode),
            json!({
                "servers": {"books-ledger-v2": {"type": "http", "url": URL, "headers": {"Authorization": "Bearer ${input:vidimus-token}"}}},
                "inputs": [{"type": "promptString", "id": "vidimus-token", "description": "Token for the Vidimus gateway", "password": true}],
            })
        );
        for client in [Client::OpenaiAgents, Client::Langchain, Client::Fastmcp] {
            let text = asked(client).as_str().expect("a program").to_owned();
            assert!(text.contains(URL) && text.contains("os.environ[\"LEDGER_TOKEN\"]"), "{text}");
        }
    }

    #[test]
    fn nothing_that_is_no_name_gets_into_a_configuration() {
        for bad in ["", "ledger", "a/b/c", "/b", "a/", "a/b\"", "a/b c", "A/b", "a/..", "a/../b", "a/b$(id)"]
        {
            assert!(server(bad).is_err(), "{bad}");
        }
        for bad in ["", "1A", "a-b", "$X", "eyJhbGciOi.eyJ", "A\"B"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
        let server = server("a/b").expect("a server");
        let form = |url: &str| {
            let asked = ClientConfig {
                client: None,
                server: server.clone(),
                url: url.to_owned(),
                token_env: "T".to_owned(),
            };
            asked.form(Client::ClaudeCode).is_ok()
        };
        assert!(
            form("http://127.0.0.1:8080")
                && !form("http://gw.example/$(id)")
                && !form("http://gw.example/'x")
        );
    }
}
