//! The list of all metrics. There is none beside it: a metric is registered by its entry here, and `docs/metrics.md` is made of it.
//!
//! No label takes a value that a caller chooses: [`LABELS`] says of each where its values come from, and by what they are bounded.

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends with `_total`.
    Counter,
    /// It is as it is now.
    Gauge,
    /// How many were at most so large; with `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// As OpenMetrics has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric, as operators read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Without `vidimus_` before it, and `_total` behind it. What begins as the conventions of OpenTelemetry do is a name of theirs.
    pub name: &'static str,
    /// What the number is.
    pub kind: Kind,
    /// In what it is counted.
    pub unit: &'static str,
    /// By what it is told apart; each of [`LABELS`].
    pub labels: &'static [&'static str],
    /// What it means. Also the help in the text that Prometheus reads, so it is one line.
    pub meaning: &'static str,
}

impl Described {
    /// As it is asked for, but for what is behind it by its kind.
    pub fn base_name(&self) -> String {
        let is_of_conventions = OF_CONVENTIONS.iter().any(|prefix| self.name.starts_with(prefix));
        let before = if is_of_conventions { "" } else { "vidimus_" };
        [before, self.name].concat()
    }

    /// As it is asked for.
    pub fn full_name(&self) -> String {
        let end = if self.kind == Kind::Counter { "_total" } else { "" };
        self.base_name() + end
    }
}

/// How names of OpenTelemetry's conventions begin, where Prometheus has them.
pub const OF_CONVENTIONS: [&str; 2] = ["gen_ai_", "mcp_"];

/// Each label, with where its values come from.
pub const LABELS: &[(&str, &str)] = &[
    ("code", "`allowed`, or a stable code: [codes.md](codes.md) has them all"),
    ("direction", "`input` or `output` of tokens, `request` or `answer` of header fields"),
    ("error_type", "empty where it went well; else a stable code, or `error`, `unknown` or `cancelled`"),
    (
        "gen_ai_operation_name",
        "`chat`, `text_completion`, `generate_content`, `embeddings` or `count_tokens`",
    ),
    (
        "gen_ai_provider_name",
        "by the type of the provider: `openai`, `anthropic`, `gcp.gemini`, `azure.ai.openai`, `aws.bedrock`",
    ),
    ("gen_ai_request_model", "names of models in the registry"),
    ("gen_ai_token_type", "`input` or `output`"),
    ("guard", "ids of guards with a webhook that policies in the registry declare"),
    ("issuer", "issuers that records name, and `--service-account-issuer`"),
    ("limit", "ids of limits that policies in the registry declare"),
    (
        "mcp_method_name",
        "methods of MCP, `session/stream`, `session/end` and `response`; `_OTHER` for what a server asks that is none",
    ),
    ("model", "names of models in the registry"),
    ("namespace", "namespaces of the cluster that are governed"),
    ("outcome", "`allow` or `deny`"),
    ("part", "`cache_read`, `cache_creation` or `reasoning`"),
    ("protocol", "`mcp`, `a2a`, `llm` or `rest`; `none` where a call was refused before that was known"),
    ("provider", "names of providers in the registry"),
    ("result", "words of the metric's meaning"),
    ("sink", "schemes, hosts and ports (of a ClickHouse its database too) that `--sink` gives"),
    ("source", "words of the metric's meaning"),
    ("team", "teams that records in the registry name"),
    ("task", "words of the metric's meaning"),
    ("witness", "names of the keys that `--witness` gives"),
];

macro_rules! metrics {
    ($($entry:ident: $name:literal, $kind:ident, $unit:literal, [$($label:literal),*], $meaning:literal;)+) => {
        $(pub(super) const $entry: Described = Described {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            meaning: $meaning,
        };)+

        /// All of them.
        pub const METRICS: &[Described] = &[$($entry),+];
    };
}

metrics! {
    DECISIONS: "decisions", Counter, "calls", ["protocol", "outcome", "code"],
        "calls decided, or refused before a decision; `code` is `allowed` or the stable code of the refusal";
    UNRECORDED: "refusals_not_recorded", Counter, "refusals", ["code"],
        "refusals of one principal, or of callers that proved nobody, beyond the rate that is recorded one by one, or while there is less room than `--disk-reserve`; records `refusals_not_recorded` every 10 s have the sums";
    WOULD_REFUSE: "would_refuse", Counter, "calls", ["protocol"],
        "calls that no policy permits, and that pass or wait for people because their namespace observes until a date (`mode: rollout`); their records have `would_refuse`";
    LIMIT_REFUSALS: "limit_refusals", Counter, "calls", ["limit"],
        "calls that a limit of a policy had no room for (`limit_exceeded`); `context.limits` in the facts of records says what was left";
    LIMIT_AMOUNT: "limit_amount", Gauge, "as the limit counts", ["limit"],
        "how much a limit of a policy (`spec.limits`) is of: calls, tokens, or units of the currency of the prices; of several of one id, as two policies of one name have, the smallest";
    LIMIT_LEFT: "limit_left", Gauge, "as the limit counts", ["limit", "team"],
        "what is left of it, of all whose calls it counts apart to whom the least is left, and of several of one id of which it is; by `team` where it is counted by teams, else that is empty. Below 0 where more was used than was reserved; not there while nothing has been taken. Each gateway shows what passed through it";
    EFFECTS: "effects", Counter, "calls", ["protocol", "result"],
        "calls that were permitted and have ended: `ok`, `error`, `unknown` (what came is no answer to what was asked, or could not be read), `failed`, `cancelled`";
    DURATION: "call_duration_seconds", Histogram, "seconds", ["protocol"],
        "from the first byte of a call to the last of its answer; each bucket has the trace of its last call as an exemplar (`trace_id`), where the caller did not say that its trace is not kept";
    OWN_DURATION: "gateway_duration_seconds", Histogram, "seconds", ["protocol"],
        "what of `vidimus_call_duration_seconds` was the gateway's own time: all but the time in which the request came, and that from the request to the upstream to the last of its answer. What calls wait for here is in it, such as webhooks of guards, people, and a store that gateways share";
    MCP_SERVED: "mcp_server_operation_duration_seconds", Histogram, "seconds", ["mcp_method_name", "error_type"],
        "the same as `vidimus_call_duration_seconds` of MCP, by `mcp.server.operation.duration` of OpenTelemetry. Names of tools are no label: a caller may write any";
    TOKENS: "tokens", Counter, "tokens", ["provider", "model", "direction"],
        "model tokens as counted by the provider";
    TOKEN_PARTS: "token_parts", Counter, "tokens", ["provider", "model", "part"],
        "of `vidimus_tokens_total`, as far as providers tell it apart: of the input `cache_read` (from what they keep) and `cache_creation` (kept from then on), of the output `reasoning`";
    SPEND: "spend", Counter, "units of the currency of the prices", ["provider", "model", "team"],
        "what calls of models were charged for, by the prices of the records, and the team of who called: `charged_spend` of records. Where a provider did not say what was used, it is an estimate, as for limits";
    TOKEN_USAGE: "gen_ai_client_token_usage", Histogram, "tokens", ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type", "provider"],
        "tokens of each call of a model as counted by the provider (`gen_ai.client.token.usage` of OpenTelemetry)";
    MODEL_DURATION: "gen_ai_client_operation_duration_seconds", Histogram, "seconds", ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type", "provider"],
        "how long models took: from the request to the provider to the last of its answer (`gen_ai.client.operation.duration`); buckets have traces as exemplars";
    PROVIDER_ATTEMPTS: "provider_attempts", Counter, "requests", ["provider", "result"],
        "where several providers may answer a call (`spec.failover`), how often each was asked: `answered`, `failed` (429, 5xx or no answer, so that another one may be asked), `aside` (that set it aside for a time)";
    GUARD_REQUESTS: "guard_requests", Counter, "requests", ["guard", "result"],
        "where calls wait for a guard that asks a webhook, how often that was asked: `answered`; `failed` (no answer that can be understood: calls are refused, or pass with `onFailure: open`; their records say why, and the log once a minute). Alert on any that fails";
    TIME_TO_FIRST_TOKEN: "gen_ai_server_time_to_first_token_seconds", Histogram, "seconds", ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "provider"],
        "of model answers that were streamed and ended well: from the first byte of the call to the first event with something of the answer (`gen_ai.server.time_to_first_token` of OpenTelemetry); buckets have traces as exemplars";
    TIME_PER_OUTPUT_TOKEN: "gen_ai_server_time_per_output_token_seconds", Histogram, "seconds", ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "provider"],
        "of those, how long each token took after the first, by the provider's count of them (`gen_ai.server.time_per_output_token`), with exemplars too";
    HEADERS_DROPPED: "headers_dropped", Counter, "header fields", ["direction"],
        "header fields that did not go on, of requests (`request`) and answers (`answer`), but for those that each hop has its own; the log at `debug` names them, `spec.endpoint.headers.pass` lets them pass";
    CONNECTIONS: "connections", Gauge, "connections", [],
        "open client connections";
    CONNECTIONS_REFUSED: "connections_refused", Counter, "connections", [],
        "connections closed at once, because there was no place for them, or none for their source";
    STREAMS: "streams", Gauge, "answers", [],
        "answers being passed on now";
    OBJECTS: "registry_objects", Gauge, "objects", [],
        "registered objects that are live";
    CONFIGURATION_KEPT: "configuration_kept", Gauge, "0 or 1", [],
        "1 while all that decides, and decided, is written to `DATA/configurations`; 0 while one has waited for that for more than 1 s: its decisions cannot be made again if the process is killed now. Alert on minutes";
    CONFIGURATIONS_LOST: "configurations_lost", Counter, "configurations", [],
        "configurations that decided and are not kept, since 64 waited or they cannot be written as texts: their decisions cannot be made again, and evidence of them lacks the texts. Alert on any";
    SOURCE_AGE: "source_age_seconds", Gauge, "seconds", [],
        "for how long what the configuration is read from (the API server) has not been heard of; 0 while the configuration is what is there. Alert well below the smallest `spec.endpoint.staleAfter`";
    SOURCE_KEPT: "source_kept", Gauge, "0 or 1", [],
        "1 while some of what decides was kept on disk, since the cluster has not been heard whole since the start (`source_age_seconds` says how old it is)";
    SOURCE: "source", Gauge, "0 or 1", ["source"],
        "1 for what the configuration is read from: `directory`, `cluster`, `registry` (which watches one), or `kept` where some of it was kept on disk. Why it is not heard of is in the log, at `/readyz` and in records (`config_reason`): texts of errors are no labels";
    ISSUERS_UNFETCHED: "issuer_keys_failed", Gauge, "0 or 1", ["issuer"],
        "1 for each issuer of tokens whose keys could not be fetched when that was tried last (`issuer_unreachable`); the log says why. One whose keys are there is not shown";
    PODS_UNCLAIMED: "pods_unclaimed", Gauge, "pods", ["namespace"],
        "pods of governed namespaces that no record claims (`--pods`); a namespace without such pods is not shown";
    REJECTED: "registry_rejected", Gauge, "objects", [],
        "objects that are rejected or in force only in part, and documents that cannot be read";
    RELOADS: "registry_reloads", Counter, "snapshots", [],
        "snapshots taken into use";
    LEDGER_OPEN: "ledger_open", Gauge, "0 or 1", [],
        "1 while the ledger takes records; 0 means the gate is closed";
    UNSYNCED: "ledger_unsynced_seconds", Gauge, "seconds", [],
        "age of the oldest record that is written and not on disk: what a power loss would take now. With `commit` durability it stays near 5 ms while the disk keeps up; with `sync`, 0";
    UNSYNCED_MAX: "ledger_unsynced_max_seconds", Gauge, "seconds", [],
        "the longest from the write of a record to the return of its fsync since the start";
    UNCOSIGNED: "ledger_uncosigned_seconds", Gauge, "seconds", [],
        "how long there has been a checkpoint that fewer than `--witness-quorum` witnesses have cosigned; 0 without witnesses. Alert on minutes";
    WITNESS_REQUESTS: "witness_requests", Counter, "requests", ["witness", "result"],
        "checkpoints offered, by the name of the witness's key: `cosigned`; `failed` (not there, or nothing that is right); `refused` (it does not know the log); `inconsistent` (it has seen another past of the ledger: alert on any)";
    WEBHOOKS: "webhooks", Counter, "requests", ["result"],
        "requests to `--webhook`: `delivered`; `failed`, and tried again; `given_up`, events that it was not told";
    WEBHOOKS_WAITING: "webhooks_waiting", Gauge, "events", [],
        "events that the webhook has not taken yet";
    SINK_RECORDS: "sink_records", Counter, "records", ["sink", "result"],
        "records of the ledger that a `--sink` has acknowledged, by its scheme, host and port: `sent`; `rejected`, which it does not want (OTLP's partial success); `stub`, of which it took a stub alone, since it refused the record (413, 400): alert on any of both";
    SINK_REQUESTS: "sink_requests", Counter, "batches", ["sink", "result"],
        "batches sent to a sink: `acknowledged`; `failed`, and tried again";
    SINK_RETRIES: "sink_retries", Counter, "batches", ["sink"],
        "batches sent to a sink after a failure";
    SINK_LAG_RECORDS: "sink_lag_records", Gauge, "records", ["sink"],
        "records on disk that a sink has not acknowledged";
    SINK_LAG_SECONDS: "sink_lag_seconds", Gauge, "seconds", ["sink"],
        "age of the oldest of them, once it was read; 0 where there is none. Alert on minutes";
    SPANS: "spans", Counter, "spans", ["result"],
        "spans that agents sent (`--traces`): `stored`; `repeated`, there already; `altered`, refused, for the sender had said something else by the same ids; `malformed`; `too_large`; `no_room`, refused, for the disk has no room beside twice `--disk-reserve`; `refused`, of requests that had too much in them or could not be read; and of those that were stored `cut` (the ends of long values are not kept), `expired` (`--trace-retention`) and `evicted` (`--trace-bytes`: there were more). Requests that were refused whole are in `decisions`, by their code, also those whose body is so long that it was not read";
    SPAN_BYTES: "span_bytes", Gauge, "bytes", [],
        "what the spans of agents take on the disk";
    OWN_SPANS: "exported_spans", Counter, "spans", ["result"],
        "spans of the gateway itself (`--otlp-endpoint`): `sent`; `failed`, which the collector did not take, and is not sent again; `dropped`, which found no place among 2,048 that wait. Alert on any of both";
    PLANE_RESOURCES: "data_plane_resources", Counter, "resources", ["result"],
        "resources of data planes that get their configuration here (`--xds`): `sent`, `removed`, `refused` (not taken: it goes on with what it had; alert on any), `warned` (taken, and complained of). `/registry` names them";
    PLANE_STREAMS: "data_plane_streams", Gauge, "streams", [],
        "data planes that are connected to `--xds`";
    TASK_RESTARTS: "task_restarts", Counter, "restarts", ["task"],
        "what ended by a panic and was begun anew: `accept`, `arrivals`, `admin`, `snapshots`, `counts`, `disk`, `keys`, `certificate`, `bundles`, `webhook`, `witnesses`, `sink`, `traces`, `index`, `grants`, `approvals`, `unrecorded`, `xds`. Each is a fault of Vidimus";
    PANICS: "panics", Counter, "panics", [],
        "panics of any thread, also of one connection. Each is a fault of Vidimus; report it with its line of the log";
    LOG_LINES_LOST: "log_lines_lost", Counter, "lines", [],
        "lines of the log that could not be written, or that waited for a reader of standard error beyond 4 MiB";
}
