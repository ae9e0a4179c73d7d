//! Files, functions and names of a size and kind that a reader can hold.

use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::visit::{self, Visit};

use crate::files;

/// Lines of a file without its tests.
const LONGEST_FILE: usize = 500;
/// Lines of a function, from its signature to its closing brace.
const LONGEST_FUNCTION: usize = 80;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"];

pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for part in ["crates", "xtask", "bench"] {
        if !root.join(part).exists() {
            continue;
        }
        for path in files(&root.join(part), "rs")? {
            let name = path.strip_prefix(root).unwrap_or(&path);
            complaints.extend(check_name(name));
            let text = std::fs::read_to_string(&path)?;
            complaints.extend(check_text(name, &text).with_context(|| name.display().to_string())?);
        }
    }
    Ok(complaints)
}

pub(crate) fn check_name(path: &Path) -> Vec<String> {
    let says_nothing =
        |part: &str| part.split(['_', '-']).any(|word| EMPTY_NAMES.contains(&word.trim_end_matches(".rs")));
    let parts = path.iter().map(|part| part.to_string_lossy());
    parts
        .filter(|part| says_nothing(part))
        .map(|part| {
            format!("{}: `{part}` says nothing about what is inside; use a noun of the field", path.display())
        })
        .collect()
}

pub(crate) fn check_text(path: &Path, text: &str) -> Result<Vec<String>> {
    let file = syn::parse_file(text)?;
    let mut reader = Reader { path, is_test: is_test_file(path), test_lines: 0, complaints: Vec::new() };
    reader.visit_file(&file);
    let lines = text.lines().count().saturating_sub(reader.test_lines);
    let mut complaints = reader.complaints;
    if lines > LONGEST_FILE && !is_test_file(path) {
        complaints.push(format!("{}: {lines} lines without tests, at most {LONGEST_FILE}", path.display()));
    }
    Ok(complaints)
}

fn is_test_file(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

struct Reader<'a> {
    path: &'a Path,
    is_test: bool,
    test_lines: usize,
    complaints: Vec<String>,
}

impl Reader<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        // From the signature on: what a function is explained with does not make it longer.
        let begins = signature.fn_token.span;
        let lines = lines(begins, block.brace_token.span.close());
        if lines > LONGEST_FUNCTION && !self.is_test {
            let (path, line, name) = (self.path.display(), begins.start().line, &signature.ident);
            self.complaints
                .push(format!("{path}:{line}: fn {name} has {lines} lines, at most {LONGEST_FUNCTION}"));
        }
    }
}

fn lines(begins: Span, ends: Span) -> usize {
    (ends.end().line + 1).saturating_sub(begins.start().line)
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test_only(&module.attrs) {
            let content = module.content.as_ref();
            self.test_lines +=
                content.map_or(0, |(brace, _)| lines(module.mod_token.span, brace.span.close()));
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}
