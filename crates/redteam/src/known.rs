//! What is known to be broken, and where it will be mended. A probe that holds again leaves this list.

/// Why, and the probes that fail for that reason.
pub const KNOWN: &[(&str, &[&str])] = &[
    (
        "issue 11 C7: what HTTP itself turns away is seen by nobody",
        &[
            "http/two-lengths",
            "http/length-list",
            "http/length-plus",
            "http/length-hex",
            "http/length-negative",
            "http/length-overflow",
            "http/length-space",
            "http/te-space",
            "http/te-unknown",
            "http/te-identity",
            "http/te-http-1.0",
            "http/te-vtab",
            "http/fold",
            "http/nul-in-field",
            "http/cr-in-field",
            "http/version-2",
            "http/version-1.2",
            "http/version-0.9",
            "http/garbage",
            "http/head-field-long",
            "http/head-fields-many",
            "http/target-long",
            "http/path-long",
        ],
    ),
    ("issue 11 C3: header and body that go beyond each other", &["headers/session-twice"]),
    (
        "issue 11 A6, C6: the fields of answers are a list; an upstream cannot speak in our name",
        &[
            "headers/our-names-down",
            "headers/our-code-down",
            "headers/cors-down",
            "headers/alt-svc-down",
            "headers/cookie-down",
            "headers/connection-named-down",
            "models/key-echoed",
            "upstreams/switching",
        ],
    ),
    (
        "found by this: ids in the other spelling of protobuf's JSON are not sealed",
        &[
            "ids/answer-snake-SendMessage",
            "ids/answer-snake-SendStreamingMessage",
            "ids/answer-snake-oneof-SendMessage",
            "ids/answer-snake-oneof-SendStreamingMessage",
        ],
    ),
    (
        "issue 11 C3: names of JSON members that differ only by case, in answers as in requests",
        &[
            "ids/answer-case-SendMessage",
            "ids/answer-case-SendStreamingMessage",
            "listings/document-member-case",
            "listings/document-result-case",
        ],
    ),
    (
        "found by this: a stream that is refused at its first event gets no HTTP answer at all",
        &["ids/answer-twice-SendStreamingMessage"],
    ),
    (
        "issue 11 A5: a broken upstream speaks the caller's protocol",
        &[
            "listings/document-bare",
            "upstreams/mcp-html-502",
            "upstreams/a2a-html-502",
            "upstreams/llm-html-502",
            "upstreams/mcp-html-200",
            "upstreams/llm-html-200",
            "upstreams/mcp-empty-503",
            "upstreams/a2a-empty-503",
            "upstreams/llm-empty-503",
            "upstreams/mcp-text-500",
            "upstreams/a2a-text-500",
            "upstreams/llm-text-500",
        ],
    ),
    (
        "issue 11 C7: a filtered listing cannot leak through an error's body or another spelling",
        &["listings/document-error-message"],
    ),
    (
        "SECURITY.md: a conforming reader of events sees no data there",
        &[
            "listings/stream-two-marks",
            "listings/stream-mark-in-data",
            "listings/stream-mark-later",
            "listings/stream-case",
            "listings/stream-space-before",
            "listings/stream-comment",
            "listings/stream-nul",
            "listings/stream-text-before",
            "listings/stream-line-separator",
            "listings/stream-next-line",
            "listings/stream-form-feed",
            "listings/stream-in-event",
            "listings/stream-in-unknown-field",
            "listings/type-event-case",
        ],
    ),
    (
        "found by this: an answer that is no JSON, or a request too, is recorded as ok",
        &["upstreams/result-garbage-inside", "upstreams/result-request"],
    ),
];

/// Why a probe may fail; `None` where it may not.
pub fn why(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(_, probes)| probes.contains(&name)).map(|(why, _)| *why)
}
