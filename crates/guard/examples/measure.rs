//! What the guard of injections finds of texts that say what they are: lines of JSON from standard input, `{"corpus", "attack", "text"}`, as
//! `e2e/guards/corpus.py` has them; a table of Markdown to standard output.

#![expect(clippy::print_stdout, reason = "what it is for")]

use std::collections::BTreeMap;
use std::io::BufRead as _;

use vidimus_core::guard::Guard;
use vidimus_core::json::Json;
use vidimus_guard::find;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Attacks first; of each corpus how many texts something is found in, and how many there are.
    let mut all: BTreeMap<(bool, String), (usize, usize)> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let said = Json::parse(line.as_bytes())?;
        let text = |name: &str| said.get(name).and_then(Json::as_str).unwrap_or_default();
        let is_attack = said.get("attack").and_then(Json::as_bool).unwrap_or_default();
        let (found, count) = all.entry((!is_attack, text("corpus").to_owned())).or_default();
        *found += usize::from(!find(&Guard::Injection, "", text("text"))?.is_empty());
        *count += 1;
    }
    println!("| corpus | is | found | of |\n|---|---|---|---|");
    for ((harmless, corpus), (found, count)) in all {
        let is = if harmless { "harmless" } else { "an attack" };
        println!("| {corpus} | {is} | {found} | {count} |");
    }
    Ok(())
}
