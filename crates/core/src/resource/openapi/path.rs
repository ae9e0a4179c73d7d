//! Paths of an OpenAPI document, and which of them a request is on.

use std::sync::Arc;

use crate::resource::problem::Fault;

/// The longest path of a document, in bytes, and how many parts it may have between its slashes.
const LONGEST: usize = 1024;
const MOST_SEGMENTS: usize = 64;

/// A path of a document: words, and parameters that each stand for a part between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Arc<str>,
    segments: Vec<Segment>,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this. Empty at the end of a path that ends with a slash.
    Word(Arc<str>),
    /// A parameter, with what stands before and behind it: `{id}.json`.
    Parameter {
        /// What stands before it.
        before: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// What stands behind it.
        behind: Arc<str>,
    },
}

impl Segment {
    fn parse(text: &str) -> Result<Self, Fault> {
        const FIX: &str = "leave the operation out (spec.openapi.operations), or have it written with one {parameter} between two slashes";
        let Some((before, rest)) = text.split_once('{') else {
            if text.contains('}') {
                return Err(Fault::new("has a } without its {", FIX));
            }
            return Ok(Self::Word(word(text)?));
        };
        let Some((name, behind)) = rest.split_once('}') else {
            return Err(Fault::new("has a { without its }", FIX));
        };
        if name.is_empty() || name.contains('{') || behind.contains(['{', '}']) {
            return Err(Fault::new(
                "has more than one parameter, or one without a name, between two slashes",
                FIX,
            ));
        }
        Ok(Self::Parameter { before: word(before)?, name: name.into(), behind: word(behind)? })
    }

    /// What is given for its parameter, as it is written in a path; `None` of a word, and `Err` where the part is another.
    fn given<'p>(&self, part: &'p str) -> Result<Option<(&str, &'p str)>, ()> {
        match self {
            Self::Word(word) if **word == *part => Ok(None),
            Self::Word(_) => Err(()),
            Self::Parameter { before, name, behind } => {
                let given = part.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**behind));
                given.filter(|given| !given.is_empty()).map(|given| Some((&**name, given))).ok_or(())
            }
        }
    }

    /// Whether it says at least as much as another of a part that both match. Of `{a}.json` and `x{b}` neither does.
    fn says_as_much(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Word(_), _) => true,
            (Self::Parameter { .. }, Self::Word(_)) => false,
            (Self::Parameter { before, behind, .. }, Self::Parameter { before: a, behind: b, .. }) => {
                before.starts_with(&**a) && behind.ends_with(&**b)
            }
        }
    }

    /// The same of a part as [`Loose`] reads it.
    fn says_as_much_loosely(&self, literals: &[Box<str>]) -> bool {
        match (self, literals) {
            (Self::Word(_), _) => true,
            (Self::Parameter { before, behind, .. }, [a, b]) => {
                before.to_ascii_lowercase().starts_with(&**a) && behind.to_ascii_lowercase().ends_with(&**b)
            }
            // It is a word, or has several parameters.
            (Self::Parameter { .. }, _) => false,
        }
    }
}

/// What is written in a path as it stands there, with one spelling (RFC 3986 section 3.3).
fn word(text: &str) -> Result<Arc<str>, Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    if text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    let fix = "leave the operation out (spec.openapi.operations), or have its path written without escapes, queries and spaces";
    Err(Fault::new("has characters that no path has as they stand", fix))
}

impl Template {
    /// Reads a path of a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let Some(below) = text.strip_prefix('/').filter(|_| text.len() <= LONGEST) else {
            let reason = format!("is not a path that begins with a slash, of at most {LONGEST} bytes");
            return Err(Fault::new(reason, "write it as in /users/{id}"));
        };
        let parts: Vec<&str> = below.split('/').collect();
        let segments = parts.iter().map(|part| Segment::parse(part)).collect::<Result<Vec<_>, _>>()?;
        let all_but_last = parts.split_last().map(|(_, before)| before).unwrap_or_default();
        if parts.len() > MOST_SEGMENTS
            || all_but_last.contains(&"")
            || parts.iter().any(|part| matches!(*part, "." | ".."))
        {
            let reason = format!("has parts that are empty, . or .., or more than {MOST_SEGMENTS}");
            return Err(Fault::new(reason, "leave the operation out (spec.openapi.operations)"));
        }
        let template = Self { text: text.into(), segments };
        let mut names: Vec<&str> = template.parameters().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.get(1)) {
            return Err(Fault::new(
                "has a parameter twice",
                "leave the operation out (spec.openapi.operations)",
            ));
        }
        Ok(template)
    }

    /// As the document has it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands between its slashes.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Word(_) => None,
            Segment::Parameter { name, .. } => Some(&**name),
        })
    }

    /// What a path says for each parameter, as it is written there; `None` of another path. Nothing is decoded.
    pub fn matched<'t, 'p>(&'t self, path: &'p str) -> Option<Vec<(&'t str, &'p str)>> {
        let parts = path.strip_prefix('/')?.split('/');
        let mut given = Vec::new();
        let mut segments = self.segments.iter();
        for part in parts {
            given.extend(segments.next()?.given(part).ok()?);
        }
        segments.next().is_none().then_some(given)
    }

    /// Whether it says more of a path that both match: as much in every part, and more in one.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        let pairs = || self.segments.iter().zip(&other.segments);
        pairs().all(|(one, other)| one.says_as_much(other))
            && pairs().any(|(one, other)| !other.says_as_much(one))
    }

    /// Whether a path that both match is this one's to any server: in no part the other says what this one does not.
    pub(super) fn stands_before(&self, other: &Loose) -> bool {
        self.segments.iter().zip(&other.0).all(|(one, literals)| one.says_as_much_loosely(literals))
    }

    /// What it says beside the names of its parameters: two of one shape match the same paths.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.text.len());
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Word(word) => shape.push_str(word),
                Segment::Parameter { before, behind, .. } => {
                    // No word has braces.
                    shape.extend([&**before, "{}", &**behind]);
                }
            }
        }
        shape
    }
}

/// A path of a document as some server reads it: without case, and also where several parameters are between two slashes, as no tool has it. For each part
/// what stands between its parameters; of a word, that alone.
#[derive(Clone, Debug)]
pub(super) struct Loose(Vec<Vec<Box<str>>>);

impl Loose {
    pub(super) fn of(text: &str) -> Self {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        Self(path.strip_prefix('/').unwrap_or(path).split('/').map(literals).collect())
    }

    /// Whether a path in lower case may be this one.
    pub(super) fn may_be(&self, path: &str) -> bool {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        self.0.iter().all(|literals| parts.next().is_some_and(|part| fits(literals, part)))
            && parts.next().is_none()
    }
}

/// What stands between the parameters of a part, in lower case. A part with characters that no path has as they stand may be anything.
fn literals(part: &str) -> Vec<Box<str>> {
    let (mut literals, mut rest) = (Vec::new(), Some(part));
    while let Some(text) = rest {
        let (literal, behind) =
            text.split_once('{').map_or((text, None), |(text, behind)| (text, Some(behind)));
        if word(literal).is_err() {
            return vec![Box::default(), Box::default()];
        }
        literals.push(literal.to_ascii_lowercase().into());
        rest = behind.map(|behind| behind.split_once('}').map_or("", |(_, rest)| rest));
    }
    literals
}

/// Whether a part is these, with something between each two.
fn fits(literals: &[Box<str>], part: &str) -> bool {
    let [first, between @ .., last] = literals else {
        return literals.first().is_some_and(|word| **word == *part);
    };
    let inside = part.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last));
    // Each as soon as it comes: so there is most room for those behind it.
    let rest = between.iter().try_fold(inside.unwrap_or_default(), |rest, literal| {
        let mut letters = rest.chars();
        letters.next()?;
        Some(letters.as_str().split_once(&**literal)?.1)
    });
    rest.is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_words_and_parameters() {
        for (text, parameters) in [
            ("/", vec![]),
            ("/pets", vec![]),
            ("/pets/", vec![]),
            ("/pets/{id}", vec!["id"]),
            ("/pets/{id}/toys/{toy}.json", vec!["id", "toy"]),
            ("/v1/{name}:cancel", vec!["name"]),
            ("/@me/a+b", vec![]),
        ] {
            let template = Template::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(template.parameters().collect::<Vec<_>>(), parameters, "{text}");
        }
        for text in [
            "", "pets", "//", "/a//b", "/a/../b", "/./a", "/{a}{b}", "/{a", "/a}", "/{}", "/{a}/{a}",
            "/a?b=c", "/a#b", "/a b", "/%61", "/\u{e9}", "/a\\b", "/{a{b}}",
        ] {
            assert!(Template::parse(text).is_err(), "{text:?}");
        }
        assert!(Template::parse(&format!("/{}", "a".repeat(LONGEST))).is_err());
    }

    #[test]
    fn a_path_matches_byte_for_byte() {
        let template = Template::parse("/pets/{id}/toys/{toy}.json").expect("a path");
        assert_eq!(template.matched("/pets/7/toys/a%20b.json"), Some(vec![("id", "7"), ("toy", "a%20b")]));
        for other in [
            "/pets/7/toys/.json",
            "/pets//toys/a.json",
            "/pets/7/toys/a.json/",
            "/Pets/7/toys/a.json",
            "/pets/7/toys",
        ] {
            assert_eq!(template.matched(other), None, "{other}");
        }
        let root = Template::parse("/").expect("a path");
        assert_eq!((root.matched("/"), root.matched("/a"), root.matched("")), (Some(vec![]), None, None));
    }

    /// Attack: a path that is one operation's here and another's to a server that passes over case, or reads several parameters in one part.
    #[test]
    fn a_path_may_be_another_to_some_server() {
        for (text, path, may_be) in [
            ("/Pets/All", "/pets/all", true),
            ("/pets/{from}-{to}", "/pets/1-5", true),
            ("/pets/{from}-{to}", "/pets/1-", false),
            ("/pets/{from}-{to}", "/pets/15", false),
            ("/{a}{b}", "/xy", true),
            ("/{a}{b}", "/x", false),
            ("/{a}-{b}-{c}.json", "/----x.json", true),
            ("/{a}-{b}-{c}.json", "/--x.json", false),
            ("/pets({id})/x", "/pets(7)/x", true),
            ("/a b", "/anything", true),
            ("/a?b=c", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a", false),
            ("/{a", "/x", true),
        ] {
            assert_eq!(Loose::of(text).may_be(path), may_be, "{text} {path}");
        }
    }
}
