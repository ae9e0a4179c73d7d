//! What is known to be broken, and where it will be mended. A probe that holds again leaves this list.

/// Why, and the probes that fail for that reason.
pub const KNOWN: &[(&str, &[&str])] = &[
    (
        "issue 11 C7: a filtered listing cannot leak through an error's body or another spelling",
        &["listings/document-error-message"],
    ),
    (
        "SECURITY.md: a conforming reader of events sees no data there",
        &[
            "listings/stream-two-marks",
            "listings/stream-mark-later",
            "listings/stream-case",
            "listings/stream-space-before",
            "listings/stream-comment",
            "listings/stream-in-event",
            "listings/stream-in-unknown-field",
            "listings/type-event-case",
        ],
    ),
];

/// Why a probe may fail; `None` where it may not.
pub fn why(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(_, probes)| probes.contains(&name)).map(|(why, _)| *why)
}
