//! `vidimus codes`: what a code of a refusal means, as docs/codes.md says it.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use vidimus_core::refusal::Code;
use vidimus_core::resource::nearest;
use vidimus_gateway::said;

use crate::output::{self, Format};

/// Says what the code of a refusal means, how each protocol says it, and what to do next.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus codes no_permit
  vidimus codes                # all of them
  vidimus codes -o json | jq -r '[.code, .http] | @tsv'")]
pub struct Codes {
    /// The code: header vidimus-code of an answer, or the member of this name in a record. All of them where it is left out.
    #[arg(value_parser = code)]
    code: Option<Code>,
}

pub fn run(codes: &Codes, format: Format) -> anyhow::Result<ExitCode> {
    match (format, codes.code) {
        (Format::Json, Some(code)) => output::json(&shown(code))?,
        (Format::Json, None) => Code::ALL.iter().try_for_each(|code| output::json(&shown(*code)))?,
        (Format::Table, Some(code)) => print(code),
        (Format::Table, None) => {
            let mut table = output::table(&["CODE", "CLASS", "HTTP", "MEANING"], &[0, 1, 2], output::width());
            for code in Code::ALL {
                let (class, cell) = (code.class(), output::cell);
                let status = class.http_status().to_string();
                table.add_row([
                    cell(code.as_str()),
                    cell(class.as_str()),
                    cell(&status),
                    cell(code.meaning()),
                ]);
            }
            table.lines().for_each(|line| output::line(line.trim_end()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(code: Code) -> Value {
    let [mcp, a2a, openai, anthropic] =
        said(code).map(|said| json!({"status": said.status, "error": said.error}));
    json!({
        "code": code.as_str(), "class": code.class().as_str(), "http": code.class().http_status(),
        "mcp": mcp, "a2a": a2a, "openai": openai, "anthropic": anthropic,
        "meaning": code.meaning(), "next": code.next(),
    })
}

fn print(code: Code) {
    let row = |label: &str, text: &str| output::line(&format!("{label:<10}{text}"));
    row("code", code.as_str());
    row("class", &format!("{}, HTTP {}", code.class().as_str(), code.class().http_status()));
    for (protocol, said) in ["mcp", "a2a", "openai", "anthropic"].into_iter().zip(said(code)) {
        row(protocol, &format!("{} with HTTP {}", said.error, said.status));
    }
    row("meaning", code.meaning());
    row("next", code.next());
}

/// A code: one that is none says which is near.
pub fn code(text: &str) -> anyhow::Result<Code> {
    if let Some(code) = Code::ALL.iter().find(|code| code.as_str() == text) {
        return Ok(*code);
    }
    let names = || Code::ALL.iter().map(|code| code.as_str());
    match nearest(names(), text) {
        Some(near) => anyhow::bail!("there is no such code; did you mean {near}?"),
        None => {
            anyhow::bail!("there is no such code; the codes are {}", names().collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_it_means_and_what_to_do() {
        for one in Code::ALL {
            assert_eq!(code(one.as_str()).ok(), Some(*one));
            for text in [one.meaning(), one.next()] {
                assert!(text.ends_with('.') && !text.contains("  "), "{one:?}: {text:?}");
            }
        }
    }
}
