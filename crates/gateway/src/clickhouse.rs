//! A ClickHouse, over its HTTP interface: the table of records that is kept there, and what it is asked. ADR 54.
//!
//! It is a copy of the log, as the index is (`vidimus audit index`): it proves nothing and decides nothing, and can be made again.

mod rows;
mod schema;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use url::{Url, form_urlencoded};

use crate::beside::{Web, chain, retry_after};
use crate::forward::AddressGuard;
use crate::secrets::SecretDirectory;
use crate::sinks::SinkAddress;
pub use rows::EventRows;

/// Of what it says where it refuses, in bytes.
const MAX_SAID: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error("{0}")]
    Unreached(String),
    /// It said so.
    #[error("ClickHouse answered {status}: {said}")]
    Refused {
        status: StatusCode,
        /// ClickHouse's number of the error.
        code: Option<u32>,
        /// It may have what stands in rows or in the question.
        said: String,
        /// How long it does not want to be asked again.
        after: Option<Duration>,
    },
    #[error("it answered, and not as a ClickHouse does")]
    Other,
    #[error("the answer has more than {0} bytes; ask for less")]
    TooMuch(usize),
    #[error(
        "the database has a table {table} that is none of Vidimus; give the records a database of their own"
    )]
    NotOurs { table: String },
    #[error(
        "the table {table} has the schema {schema}, and this version of Vidimus knows {known}: a newer one was here; update this one, or give \
         it another database"
    )]
    Newer { table: String, schema: u32, known: u32 },
}

impl ClickHouseError {
    /// What is said in the log: nothing of what stands in rows.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Refused { status, code, said, .. } => {
                let code = code.map(|code| format!(", its code {code}")).unwrap_or_default();
                let name = name(said).map(|name| format!(" ({name})")).unwrap_or_default();
                format!("it answered {status}{code}{name}")
            }
            other => other.to_string(),
        }
    }

    /// Whether less at once may do.
    pub(crate) fn is_too_large(&self) -> bool {
        const MEMORY_LIMIT_EXCEEDED: u32 = 241;
        matches!(self, Self::Refused { status: StatusCode::PAYLOAD_TOO_LARGE, .. })
            || matches!(self, Self::Refused { code: Some(MEMORY_LIMIT_EXCEEDED), .. })
    }

    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::Refused { after, .. } => *after,
            _ => None,
        }
    }
}

/// The name of an error, which ClickHouse writes behind its text: `(UNKNOWN_TABLE) (version 26.9.2.1)`.
fn name(said: &str) -> Option<&str> {
    let is_name = |name: &&str| {
        (3..64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    said.rsplit('(').filter_map(|part| part.split(')').next()).find(is_name)
}

/// A database of it.
pub struct ClickHouse {
    web: Web,
    /// Scheme, host and port.
    server: Url,
    database: String,
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouse").field("database", &self.database).finish_non_exhaustive()
    }
}

impl ClickHouse {
    pub(crate) fn new(server: Url, database: String, web: Web) -> Self {
        Self { web, server, database }
    }

    /// The database that an address is of.
    ///
    /// # Errors
    /// Where the address is of something else, or its roots or credentials cannot be read.
    pub fn open(
        address: &SinkAddress,
        secrets: Option<SecretDirectory>,
        guard: AddressGuard,
    ) -> io::Result<Self> {
        let Some((server, database, headers)) = address.clickhouse() else {
            return Err(io::Error::other("write clickhouse+https://HOST[:PORT]/DATABASE or clickhouse://…"));
        };
        let no_secrets =
            || io::Error::other("its credentials are files in the directory of --secrets, and there is none");
        let headers = headers
            .map(|named| Ok::<_, io::Error>((secrets.ok_or_else(no_secrets)?, named.to_owned())))
            .transpose()?;
        let web = Web::new(guard, address.roots.clone(), headers)?;
        Ok(Self::new(server.clone(), database.to_owned(), web))
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Asks, for reading alone. A parameter is a value of `{name:Type}` in the question, so nothing of what is looked for is part of it. At most
    /// `most` bytes are answered.
    ///
    /// # Errors
    /// See [`ClickHouseError`].
    pub async fn ask(
        &self,
        sql: &str,
        parameters: &[(&str, String)],
        settings: &[(&str, String)],
        most: usize,
    ) -> Result<Bytes, ClickHouseError> {
        let named = named(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        // A column is meant before what another expression is called, as elsewhere in SQL.
        let fixed = [("readonly", "2"), ("prefer_column_name_to_alias", "1")];
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let named = named.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let query = self.query(fixed.into_iter().chain(settings).chain(named));
        self.post(&query, Bytes::copy_from_slice(sql.as_bytes()), most).await
    }

    /// Changes tables.
    async fn change(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<(), ClickHouseError> {
        let named = named(parameters.iter().copied());
        let query = self.query(named.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.post(&query, Bytes::copy_from_slice(sql.as_bytes()), MAX_SAID).await.map(|_| ())
    }

    /// Adds rows, which are there when this returns. What was added by the same token a short while ago is not added again.
    async fn insert(&self, sql: &str, rows: Bytes, token: &str) -> Result<(), ClickHouseError> {
        let query = self.query([
            ("query", sql),
            ("insert_deduplication_token", token),
            ("async_insert", "0"),
            ("date_time_input_format", "best_effort"),
            // One batch is one block: it is there, or it is not.
            ("input_format_parallel_parsing", "0"),
        ]);
        self.post(&query, rows, MAX_SAID).await.map(|_| ())
    }

    fn query<'p>(&self, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        // What goes wrong is told by the status, and not in the midst of an answer.
        query.append_pair("database", &self.database).append_pair("wait_end_of_query", "1");
        query.extend_pairs(pairs);
        query.finish()
    }

    async fn post(&self, query: &str, body: Bytes, most: usize) -> Result<Bytes, ClickHouseError> {
        let mut url = self.server.clone();
        url.set_query(Some(query));
        let uri = url.as_str().parse::<Uri>().map_err(|error| {
            ClickHouseError::Unreached(format!("what is asked makes no address: {error}"))
        })?;
        let answer = self.web.post(uri, "text/plain; charset=utf-8", body).await;
        let (head, body) = answer.map_err(ClickHouseError::Unreached)?.into_parts();
        let code = head.headers.get("x-clickhouse-exception-code");
        if head.status == StatusCode::OK && code.is_none() {
            if !head.headers.contains_key("x-clickhouse-query-id") {
                return Err(ClickHouseError::Other);
            }
            return match Limited::new(body, most).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    Err(ClickHouseError::TooMuch(most))
                }
                Err(error) => Err(ClickHouseError::Unreached(chain(&*error))),
            };
        }
        let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
        // Where it cannot be read, its number says enough.
        let said = Limited::new(body, MAX_SAID).collect().await.map(http_body_util::Collected::to_bytes);
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned();
        Err(ClickHouseError::Refused { status: head.status, code, said, after: retry_after(&head.headers) })
    }
}

/// Parameters, as they stand in an address.
fn named<'p>(parameters: impl Iterator<Item = (&'p str, &'p str)>) -> Vec<(String, String)> {
    parameters.map(|(name, value)| (format!("param_{name}"), escaped(value))).collect()
}

/// A parameter as it is read: in the form of tab-separated values.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_ends_no_parameter() {
        assert_eq!(escaped("a\tb\nc\\N\r\0' OR 1=1 --é"), "a\\tb\\nc\\\\N\\r\\0' OR 1=1 --é");
    }

    #[test]
    fn the_log_has_the_name_of_an_error_and_nothing_of_a_row() {
        let said = "Code: 27. DB::Exception: Cannot parse input: expected '\"' before: 'hunter2 (SECRET)': (at row 1)\n. \
                    (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9.2.1 (official build))";
        let error = ClickHouseError::Refused {
            status: StatusCode::BAD_REQUEST,
            code: Some(27),
            said: said.to_owned(),
            after: None,
        };
        assert_eq!(
            error.brief(),
            "it answered 400 Bad Request, its code 27 (CANNOT_PARSE_INPUT_ASSERTION_FAILED)"
        );
        assert!(error.to_string().contains("hunter2"), "who asks by hand is told all");
        assert_eq!(name("nothing of the kind"), None);
    }
}
