//! How deep the expressions of a Cedar text can be, told before it is parsed.
//!
//! Cedar's parser, type checker and evaluators are recursive; a text of some kilobytes can exhaust their stack and end the
//! process. Depth comes from brackets, from chains of operators (each adds a level), and from chains of attributes. All three
//! are bounded here, generously for what people write.

/// Brackets inside brackets.
pub(crate) const MAX_BRACKETS: usize = 32;

/// Operators (`&&`, `||`, `!`, `+`, `-`, `*`, `if`) and clauses of one policy.
pub(crate) const MAX_OPERATORS: usize = 256;

/// Attributes and methods in a row: `a.b.c`.
pub(crate) const MAX_DOTS: usize = 32;

/// What there is too much of, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooDeep {
    #[error("more than {MAX_BRACKETS} brackets inside each other")]
    Brackets { at: usize },
    #[error("more than {MAX_OPERATORS} operators in one policy")]
    Operators { at: usize },
    #[error("more than {MAX_DOTS} attributes or methods in a row")]
    Dots { at: usize },
}

impl TooDeep {
    /// Byte offset in the text.
    pub(crate) fn at(self) -> usize {
        match self {
            Self::Brackets { at } | Self::Operators { at } | Self::Dots { at } => at,
        }
    }
}

#[derive(Default)]
struct Depth {
    brackets: usize,
    operators: usize,
    dots: usize,
}

/// Checks a text. Text that is not Cedar may pass or not; the parser looks at it next.
pub(crate) fn check(text: &str) -> Result<(), TooDeep> {
    let mut depth = Depth::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let length = match first {
            '"' => string(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => word(rest, &mut depth),
            _ => symbol(rest, first, &mut depth),
        };
        if depth.brackets > MAX_BRACKETS {
            return Err(TooDeep::Brackets { at });
        }
        if depth.operators > MAX_OPERATORS {
            return Err(TooDeep::Operators { at });
        }
        if depth.dots > MAX_DOTS {
            return Err(TooDeep::Dots { at });
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// The length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (place, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

fn word(text: &str, depth: &mut Depth) -> usize {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if matches!(text.get(..length), Some("if" | "when" | "unless")) {
        depth.operators += 1;
        depth.dots = 0;
    }
    length
}

/// One symbol; returns its length.
fn symbol(text: &str, first: char, depth: &mut Depth) -> usize {
    match first {
        '(' | '[' | '{' => depth.brackets += 1,
        ')' | ']' | '}' => depth.brackets = depth.brackets.saturating_sub(1),
        '.' => depth.dots += 1,
        ',' => depth.dots = 0,
        ';' => *depth = Depth::default(),
        '!' | '+' | '-' | '*' => {
            depth.operators += 1;
            depth.dots = 0;
        }
        '&' | '|' => {
            depth.operators += usize::from(text.starts_with("&&") || text.starts_with("||"));
            depth.dots = 0;
            return if text.starts_with("&&") || text.starts_with("||") { 2 } else { 1 };
        }
        '=' | '<' | '>' => depth.dots = 0,
        _ => {}
    }
    first.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_nests_and_nothing_else() {
        let fine = [
            "permit (principal, action, resource);".repeat(2_000),
            format!("@reason(\"{}\") permit (principal, action, resource);", "((((&&||!-".repeat(100)),
            format!("// {}\npermit (principal, action, resource);", "((((&&||!-".repeat(100)),
            format!("permit (principal, action, resource) when {{ [{}].contains(1) }};", "1, ".repeat(5_000)),
            format!("permit (principal, action, resource) when {{ {}true }};", "a.b.c == 1 || ".repeat(200)),
            r#"permit (principal, action, resource) when { "\"((((" == "\\" };"#.repeat(100),
        ];
        for text in fine {
            assert_eq!(check(&text), Ok(()), "{:.80}", text);
        }
        let when = "permit (principal, action, resource) when {";
        let deep = [
            (format!("{when} {}", "(".repeat(40)), 75),
            (format!("{when} {}", "([{".repeat(20)), 75),
            (format!("{when} {}", "true && ".repeat(300)), 2_089),
            (format!("{when} {}", "a|| b+c-d*!e ".repeat(100)), 0),
            (format!("{when} {}", "if ".repeat(300)), 0),
            (format!("permit (principal, action, resource) {};", "when { true } ".repeat(300)), 0),
            (format!("{when} {}", "a.".repeat(40)), 0),
            (format!("{when} {}", "a().".repeat(40)), 0),
        ];
        for (text, at) in deep {
            let found = check(&text).unwrap_err();
            assert!(at == 0 || found.at() == at, "{found:?} at {} in {:.80}", found.at(), text);
        }
    }
}
