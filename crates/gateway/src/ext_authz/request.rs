//! `envoy.service.auth.v3.CheckRequest` as the request that it asks about. Numbers of fields are of envoyproxy/data-plane-api:
//! `envoy/service/auth/v3/attribute_context.proto`, `envoy/config/core/v3/{address,base}.proto`.
//!
//! What the data plane routes by and what is decided here must be one request: what can be read in two ways is refused.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::form_urlencoded;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_identity::PeerSvid;

use super::fields::{Value, broken, each, entry, once};
use crate::data_plane::DataPlanes;
use crate::handle::Peer;
use crate::listener::authority;
use crate::route::Route;

/// Says whether a body was cut. Envoy and agentgateway write it, where they send a body.
const PARTIAL: &str = "x-envoy-auth-partial-body";
/// What a data plane's own configuration says of a route (`context_extensions`): which object it leads to, and which part of the path stands for that.
const ROUTE: &str = "vidimus.dev/route";
const PREFIX: &str = "vidimus.dev/prefix";
const OURS: &str = "vidimus.dev/";
/// Most characters of such a name that are told.
const NAMED: usize = 80;
/// What a header takes beside its name and its value (RFC 9113 section 6.5.2).
const HEADER: usize = 32;

/// A question, read.
#[derive(Debug, Default)]
pub(super) struct Check {
    method: Bytes,
    path: Bytes,
    host: Bytes,
    headers: Vec<(Bytes, Bytes)>,
    /// The room that is left for headers; `None` where they took more.
    room: Option<usize>,
    pub(super) body: Bytes,
    /// Where the caller's connection comes from.
    source: Option<IpAddr>,
    /// Whom its certificate names, as the data plane says.
    principal: Bytes,
    /// The certificate itself, PEM in URL encoding.
    certificate: Bytes,
    route: Option<Bytes>,
    prefix: Option<Bytes>,
    /// Something of ours in the configuration that nobody knows.
    unknown: Option<String>,
}

impl Check {
    /// Reads a `CheckRequest`, whose headers have at most `most_headers` bytes.
    ///
    /// # Errors
    /// `message_invalid`.
    pub(super) fn read(message: Bytes, most_headers: usize) -> Result<Self, Refusal> {
        let mut check = Self { room: Some(most_headers), ..Self::default() };
        let mut attributes = None;
        each(message, |field, value| if field == 1 { once(&mut attributes, value) } else { Ok(()) })?;
        let (mut source, mut request) = (None, None);
        each(attributes.unwrap_or_default(), |field, value| match field {
            1 => once(&mut source, value),
            4 => once(&mut request, value),
            10 => check.extension(value),
            _ => Ok(()),
        })?;
        check.source(source.unwrap_or_default())?;
        let mut http = None;
        each(
            request.unwrap_or_default(),
            |field, value| {
                if field == 2 { once(&mut http, value) } else { Ok(()) }
            },
        )?;
        check.http(http.unwrap_or_default())?;
        Ok(check)
    }

    /// `AttributeContext.Peer`: the caller, as the data plane sees it.
    fn source(&mut self, message: Bytes) -> Result<(), Refusal> {
        let (mut address, mut principal, mut certificate) = (None, None, None);
        each(message, |field, value| match field {
            1 => once(&mut address, value),
            4 => once(&mut principal, value),
            5 => once(&mut certificate, value),
            _ => Ok(()),
        })?;
        (self.principal, self.certificate) = (principal.unwrap_or_default(), certificate.unwrap_or_default());
        let (mut socket, mut ip) = (None, None);
        each(
            address.unwrap_or_default(),
            |field, value| {
                if field == 1 { once(&mut socket, value) } else { Ok(()) }
            },
        )?;
        each(
            socket.unwrap_or_default(),
            |field, value| {
                if field == 2 { once(&mut ip, value) } else { Ok(()) }
            },
        )?;
        self.source = ip.and_then(|ip| std::str::from_utf8(&ip).ok()?.parse().ok());
        Ok(())
    }

    /// `AttributeContext.HttpRequest`.
    fn http(&mut self, message: Bytes) -> Result<(), Refusal> {
        let [mut method, mut path, mut host, mut body, mut raw_body, mut map] = [const { None::<Bytes> }; 6];
        each(message, |field, value| match field {
            2 => once(&mut method, value),
            3 => self.header(value),
            4 => once(&mut path, value),
            5 => once(&mut host, value),
            11 => once(&mut body, value),
            12 => once(&mut raw_body, value),
            13 => once(&mut map, value),
            _ => Ok(()),
        })?;
        let map = map.unwrap_or_default();
        // One or the other: what stands in both may differ.
        if !map.is_empty() && !self.headers.is_empty() {
            return Err(broken());
        }
        each(map, |field, value| if field == 1 { self.header(value) } else { Ok(()) })?;
        self.method = method.unwrap_or_default();
        self.path = path.unwrap_or_default();
        self.host = host.unwrap_or_default();
        self.body = match (body.unwrap_or_default(), raw_body.unwrap_or_default()) {
            (body, raw) if raw.is_empty() => body,
            (body, raw) if body.is_empty() => raw,
            _ => return Err(broken()),
        };
        Ok(())
    }

    fn header(&mut self, value: Value) -> Result<(), Refusal> {
        let Value::Bytes(message) = value else { return Err(broken()) };
        let (name, value) = entry(message)?;
        self.room = self.room.and_then(|room| room.checked_sub(name.len() + value.len() + HEADER));
        if self.room.is_some() {
            self.headers.push((name, value));
        }
        Ok(())
    }

    fn extension(&mut self, value: Value) -> Result<(), Refusal> {
        let Value::Bytes(message) = value else { return Err(broken()) };
        let (name, value) = entry(message)?;
        match std::str::from_utf8(&name) {
            Ok(ROUTE) => once(&mut self.route, Value::Bytes(value)),
            Ok(PREFIX) => once(&mut self.prefix, Value::Bytes(value)),
            Ok(name) if name.starts_with(OURS) => {
                self.unknown = Some(name.chars().take(NAMED).collect());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The request that is asked about, who makes it, and why it cannot be decided, where it cannot. The data plane is not the caller: where it
    /// does not say from where the caller comes, that is nowhere, and not where the data plane is.
    pub(super) fn request(&self, planes: &DataPlanes) -> (Parts, Peer, Option<Refusal>) {
        let mut parts = Request::new(()).into_parts().0;
        parts.uri = Uri::from_static("*");
        let source = self.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut caller = Peer { address: (source, 0).into(), svid: None };
        let fault =
            self.fill(&mut parts).and_then(|()| self.svid(planes)).map(|svid| caller.svid = svid).err();
        (parts, caller, fault)
    }

    fn fill(&self, parts: &mut Parts) -> Result<(), Refusal> {
        let malformed = |what: &'static str| Refusal::new(Code::RequestMalformed, what);
        parts.uri = self.uri()?;
        parts.method = Method::from_bytes(&self.method).map_err(|_| malformed("the method is none"))?;
        if self.room.is_none() {
            return Err(Refusal::new(Code::HeadersTooLarge, "the headers of the request are too long"));
        }
        for (name, value) in &self.headers {
            if let Some(pseudo) = name.strip_prefix(b":") {
                let said = match pseudo {
                    b"method" => &self.method,
                    b"path" => &self.path,
                    b"authority" => &self.host,
                    _ => continue,
                };
                if said != value {
                    return Err(malformed("the request says two things of its own line"));
                }
                continue;
            }
            let name = HeaderName::from_bytes(name).map_err(|_| malformed("a header has no name"))?;
            let value =
                HeaderValue::from_bytes(value).map_err(|_| malformed("a header has no valid value"))?;
            parts.headers.append(name, value);
        }
        let host = HeaderValue::from_bytes(&self.host).map_err(|_| malformed("header Host is not a host"))?;
        if !parts.headers.contains_key(HOST) || self.host.is_empty() {
            parts.headers.append(HOST, host);
        } else if parts.headers.get(HOST) != Some(&host) {
            return Err(malformed("header Host and the address of the request differ"));
        }
        authority::named(parts)?;
        self.check_whole(parts)
    }

    /// The address that is asked for: the client's own, or what the data plane's configuration has it stand for.
    fn uri(&self) -> Result<Uri, Refusal> {
        let unknown = |what: &'static str| Refusal::new(Code::RouteUnknown, what);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).map_err(|_| unknown("the path is none"));
        if let Some(named) = &self.unknown {
            let named = named.escape_debug();
            let what = format!(
                "the data plane says {named}, which is not known here: there are {ROUTE} and {PREFIX}"
            );
            return Err(Refusal::new(Code::RouteUnknown, what));
        }
        let path = text(&self.path)?;
        let path = match (&self.route, &self.prefix) {
            (None, None) => path,
            (None, Some(_)) => return Err(unknown("the data plane names a prefix, and no route")),
            (Some(route), prefix) => {
                let route = text(route)?;
                if !Route::parse(&route).is_some_and(|route| route.rest.is_empty()) {
                    return Err(unknown("the data plane names a route that is none"));
                }
                let prefix = prefix.as_ref().map(text).transpose()?.unwrap_or_default();
                let rest = path.strip_prefix(prefix.trim_end_matches('/'));
                let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
                let rest = rest.ok_or_else(|| unknown("the path is not below the data plane's prefix"))?;
                format!("{route}{rest}")
            }
        };
        // What is left out when it is parsed, such as a fragment, the data plane may route by.
        let parsed = PathAndQuery::try_from(path.as_str()).ok().filter(|parsed| parsed.as_str() == path);
        parsed.filter(|_| path.starts_with('/')).map(Uri::from).ok_or_else(|| unknown("the path is none"))
    }

    /// That the body is all of it.
    fn check_whole(&self, parts: &Parts) -> Result<(), Refusal> {
        let mut said = parts.headers.get_all(PARTIAL).iter();
        let is_whole = match (said.next(), said.next()) {
            (None, _) => true,
            (Some(said), None) => said == "false",
            (Some(_), Some(_)) => false,
        };
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length.map(|length| length.to_str().ok().and_then(|length| length.parse().ok()));
        if is_whole && length.is_none_or(|length| length == Some(self.body.len())) {
            return Ok(());
        }
        let refusal = Refusal::new(
            Code::BodyTooLarge,
            "the data plane sent a part of the body, and the rest would go on unread",
        );
        Err(refusal.with_next(
            "Have the data plane send all of it: in Envoy, with_request_body with allow_partial_message: false, pack_as_bytes: true and \
             max_request_bytes as large as messages may be (docs/envoy.md).",
        ))
    }

    /// What the caller showed to the data plane, where that is believed: no more than it would prove here.
    fn svid(&self, planes: &DataPlanes) -> Result<Option<Arc<PeerSvid>>, Refusal> {
        if !planes.takes_certificates || self.principal.is_empty() && self.certificate.is_empty() {
            return Ok(None);
        }
        let refused = |what: &'static str| Refusal::new(Code::SvidInvalid, what);
        if self.certificate.is_empty() {
            let refusal = refused("the data plane names who calls, and does not bring the certificate");
            return Err(
                refusal.with_next("In Envoy, set include_peer_certificate: true in the filter ext_authz.")
            );
        }
        // One text without "=" and "&", which stand encoded in it.
        let pem = form_urlencoded::parse(&self.certificate).next().map(|(text, _)| text.into_owned());
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(pem.unwrap_or_default().as_bytes()).collect();
        let certificates = certificates.map_err(|_| refused("the caller's certificate is not PEM"))?;
        let svid = PeerSvid::from_certificates(Some(&certificates))
            .map_err(|error| refused("the caller's certificate is not an X.509-SVID").with_detail(error))?;
        match svid {
            Some(svid) if self.principal.is_empty() || self.principal == svid.spiffe_id.as_str() => {
                Ok(Some(Arc::new(svid)))
            }
            _ => Err(refused("the data plane names somebody else than the caller's certificate")),
        }
    }
}

#[cfg(test)]
mod tests;
