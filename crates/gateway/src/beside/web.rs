//! Requests to one web server beside the calls, with the header fields that a secret file has.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use vidimus_identity::read_regular;

use super::chain;
use crate::forward::{AddressGuard, Client, MAX_ROOTS, client_beside};
use crate::secrets::SecretDirectory;

/// A web server that is asked.
#[derive(Debug)]
pub(crate) struct Web {
    client: Connections,
    headers: Option<(SecretDirectory, String)>,
}

/// How its certificate is known.
#[derive(Debug)]
enum Connections {
    /// By the system's roots, on connections that are kept.
    System(Box<Client>),
    /// By roots of its own, read for each request: a file that changes counts at once.
    Own { guard: AddressGuard, roots: PathBuf },
}

impl Web {
    /// # Errors
    /// Where roots or header fields cannot be read.
    pub(crate) fn new(
        guard: AddressGuard,
        roots: Option<PathBuf>,
        headers: Option<(SecretDirectory, String)>,
    ) -> io::Result<Self> {
        let client = match roots {
            None => Connections::System(Box::new(client_beside(guard, None)?)),
            Some(roots) => Connections::Own { guard, roots },
        };
        let web = Self { client, headers };
        web.client()?;
        web.header_fields().map_err(io::Error::other)?;
        Ok(web)
    }

    /// Sends a body once.
    ///
    /// # Errors
    /// Why there is no answer, without a word of what is secret.
    pub(crate) async fn post(
        &self,
        uri: Uri,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let fields = self.header_fields()?;
        let mut request = Request::post(uri)
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, concat!("vidimus/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(fields);
        let client = self.client().map_err(|error| error.to_string())?;
        client.request(request).await.map_err(|error| chain(&error))
    }

    fn client(&self) -> io::Result<Client> {
        match &self.client {
            Connections::System(client) => Ok(Client::clone(client)),
            Connections::Own { guard, roots } => {
                let pem = read_regular(roots, MAX_ROOTS);
                let pem = pem.map_err(|error| io::Error::other(format!("{}: {error}", roots.display())))?;
                client_beside(guard.clone(), Some(&pem))
            }
        }
    }

    /// The header fields that the file has now, a line each: `Authorization: Bearer …`.
    fn header_fields(&self) -> Result<HeaderMap, String> {
        let Some((secrets, named)) = &self.headers else { return Ok(HeaderMap::new()) };
        let text = secrets.read(named)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let fields: Option<HeaderMap> = lines.map(header_field).collect();
        // It says nothing of what is in the file.
        fields.filter(|fields| !fields.is_empty()).ok_or_else(|| {
            format!("{named}: write header fields, a line each, as in Authorization: Bearer TOKEN")
        })
    }
}

fn header_field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}
