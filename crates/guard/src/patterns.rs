//! Rules of one kind each, of which few texts concern any: a prefilter finds the words without which a rule cannot match.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use regex::Regex;
use vidimus_core::guard::Kinds;

/// Why a guard cannot look.
#[derive(Debug)]
pub struct Fault(Cow<'static, str>);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a guard cannot look: {}", self.0)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub(crate) fn of(error: &dyn std::fmt::Display) -> Self {
        Self(Cow::Owned(error.to_string()))
    }

    pub(crate) const fn known(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

/// Where in a text something stands, in bytes, and what kind of thing that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: Range<usize>,
    pub kind: Cow<'static, str>,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The name in records.
    pub(crate) kind: &'static str,
    /// One of these is in every text that it matches, whatever their case; with none it is always tried.
    pub(crate) words: &'static [&'static str],
    /// A regular expression; where it has a group, what that has is what was found.
    pub(crate) pattern: &'static str,
    /// Whether something that matches is meant.
    pub(crate) fits: fn(&str) -> bool,
}

/// A rule of a table.
pub(crate) const fn rule(
    kind: &'static str,
    words: &'static [&'static str],
    pattern: &'static str,
    fits: fn(&str) -> bool,
) -> Rule {
    Rule { kind, words, pattern, fits }
}

/// What fits whatever it is.
pub(crate) fn any(_: &str) -> bool {
    true
}

/// Rules, compiled.
#[derive(Debug)]
pub(crate) struct Rules {
    words: AhoCorasick,
    /// The rule of each word.
    of_words: Vec<usize>,
    all: Vec<(Rule, Regex)>,
}

impl Rules {
    pub(crate) fn new(rules: &[Rule]) -> Result<Self, Fault> {
        let (mut words, mut of_words, mut all) = (Vec::<&str>::new(), Vec::new(), Vec::new());
        for (place, rule) in rules.iter().enumerate() {
            words.extend(rule.words);
            of_words.extend(rule.words.iter().map(|_| place));
            all.push((*rule, Regex::new(rule.pattern).map_err(|error| Fault::of(&error))?));
        }
        let words = AhoCorasick::builder().ascii_case_insensitive(true).build(words);
        Ok(Self { words: words.map_err(|error| Fault::of(&error))?, of_words, all })
    }

    /// What a text has of each kind.
    pub(crate) fn find(&self, text: &str) -> Kinds {
        let mut found = Kinds::new();
        self.each(text, &mut |kind, _| {
            let known = found.entry(Cow::Borrowed(kind)).or_default();
            *known = known.saturating_add(1);
        });
        found
    }

    /// Where that stands.
    pub(crate) fn places(&self, text: &str) -> Vec<Place> {
        let mut found = Vec::new();
        self.each(text, &mut |kind, at| found.push(Place { at, kind: Cow::Borrowed(kind) }));
        found
    }

    /// What a text has of each kind, or where that is nothing, what it has as it is `named`: with the name of its member.
    pub(crate) fn find_named(&self, text: &str, named: Option<String>) -> Kinds {
        let found = self.find(text);
        match named.filter(|_| found.is_empty()) {
            Some(named) => self.find(&named),
            None => found,
        }
    }

    /// Where that stands: what is found by the name is all of the text.
    pub(crate) fn places_named(&self, text: &str, named: Option<String>) -> Vec<Place> {
        let mut found = self.places(text);
        if let Some(named) = named.filter(|_| found.is_empty()) {
            let kind = self.places(&named).into_iter().next().map(|place| place.kind);
            found.extend(kind.map(|kind| Place { at: 0..text.len(), kind }));
        }
        found
    }

    /// Gives each thing that is found, by its kind.
    fn each(&self, text: &str, on: &mut impl FnMut(&'static str, Range<usize>)) {
        let mut concerned: Vec<bool> = self.all.iter().map(|(rule, _)| rule.words.is_empty()).collect();
        for word in self.words.find_overlapping_iter(text) {
            let rule = self.of_words.get(word.pattern().as_usize());
            if let Some(concerned) = rule.and_then(|place| concerned.get_mut(*place)) {
                *concerned = true;
            }
        }
        for ((rule, pattern), _) in self.all.iter().zip(concerned).filter(|(_, concerned)| *concerned) {
            for captures in pattern.captures_iter(text) {
                let what = captures.get(1).or_else(|| captures.get(0));
                if let Some(what) = what.filter(|what| (rule.fits)(what.as_str())) {
                    on(rule.kind, what.range());
                }
            }
        }
    }
}

/// Shannon's entropy of a text, in bits for each character.
pub(crate) fn entropy(text: &str) -> f64 {
    let mut counts = std::collections::BTreeMap::<char, f64>::new();
    let mut length = 0.0;
    for one in text.chars() {
        *counts.entry(one).or_default() += 1.0;
        length += 1.0;
    }
    counts.values().map(|count| -(count / length) * (count / length).log2()).sum()
}
