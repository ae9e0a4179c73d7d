//! The agents over gRPC: one thread, one prepared answer, on a port of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::answer::task;
use super::seen::Seen;
use crate::grpc;

/// The one message, and how the call ended.
type Answered = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// Serves for as long as the process lives.
pub(super) fn serve(listener: std::net::TcpListener, seen: &Arc<Mutex<Seen>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(accept(listener, seen))
}

async fn accept(listener: std::net::TcpListener, seen: &Arc<Mutex<Seen>>) -> anyhow::Result<()> {
    let prepared = grpc::response(task())?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (seen, prepared) = (seen.clone(), prepared.clone());
        let service = service_fn(move |request| answer(request, seen.clone(), prepared.clone()));
        let builder = http2::Builder::new(TokioExecutor::new());
        // Whoever called sees that it broke.
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
    prepared: Bytes,
) -> anyhow::Result<Response<Answered>> {
    let (parts, body) = request.into_parts();
    ensure!(parts.uri.path().ends_with(grpc::METHOD), "{} is no method of this agent", parts.uri.path());
    let message = body.collect().await?.to_bytes();
    ensure!(message.first() == Some(&0), "a request that is no message of gRPC");
    let authorization = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    seen.lock().unwrap_or_else(PoisonError::into_inner).request(authorization);
    let mut ended = HeaderMap::new();
    ended.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = Response::new(Full::new(prepared).with_trailers(ready(Some(Ok(ended)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}
