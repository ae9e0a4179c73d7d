//! What the API server publishes of the issuer of its ServiceAccount tokens. As a cluster comes, only ServiceAccounts may read it.

use http_body_util::{BodyExt as _, Limited};
use kube_client::client::Body;
use serde_json::Value;

use crate::access::Client;
use crate::answer;

/// What is asked for: the key set has a media type of its own (RFC 7517, section 8.5), and is refused (406) to who does not accept it.
const ACCEPTED: &str = "application/json, application/jwk-set+json";

/// Reads it with the credential by which the cluster is followed. That is shown to the API server that the kubeconfig, or the pod, names, and to nobody
/// else: a path is asked for there, by its CA, and a redirect is an answer like any other that is not 200.
#[derive(Clone)]
pub struct IssuerDocuments(Client);

impl IssuerDocuments {
    pub(crate) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// What is at `path`, `max` bytes at most.
    ///
    /// # Errors
    /// Why it cannot be had, with what to do.
    pub async fn read(&self, path: &str, max: usize) -> Result<Vec<u8>, String> {
        let request = http::Request::get(path).header(http::header::ACCEPT, ACCEPTED).body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.0.send(request).await;
        let response = response.map_err(|error| self.0.not_done(&error).to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), max).collect().await;
        let body = body.map_err(|error| format!("{path}: {error}"))?.to_bytes();
        if status == 200 {
            return Ok(body.to_vec());
        }
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        let said = said.as_ref().and_then(|said| said.get("message")?.as_str()).unwrap_or("no document");
        Err(answer::refused(self.0.server(), status, &format!("{path}: {said}")).to_string())
    }
}

impl std::fmt::Debug for IssuerDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("IssuerDocuments").field(&self.0.server()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use crate::access::{Access, connect};

    /// Answers one request so, and says what it was.
    fn answering(answer: String) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut part = [0; 1024];
                let read = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, heard)
    }

    async fn read(server: &str) -> Result<Vec<u8>, String> {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("kubeconfig");
        let kubeconfig = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{{"name": "c", "cluster": {{"server": "{server}"}}}}],
            "users": [{{"name": "u", "user": {{"token": "of-the-gateway"}}}}], "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}]}}"#
        );
        std::fs::write(&file, kubeconfig).unwrap();
        let cluster = connect(&Access { kubeconfig: Some(file), ..Access::default() }).await.unwrap();
        cluster.issuer().read("/openid/v1/jwks", 64).await
    }

    fn http(status: &str, fields: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn it_is_read_with_the_credential_of_the_gateway() {
        let (server, heard) = answering(http("200 OK", "", r#"{"keys":[]}"#));
        assert_eq!(read(&server).await.unwrap(), br#"{"keys":[]}"#);
        let request = heard.join().unwrap().to_lowercase();
        assert!(request.starts_with("get /openid/v1/jwks http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer of-the-gateway\r\n"), "{request}");
        assert!(request.contains("application/jwk-set+json"), "{request}");
    }

    /// Attack: the API server's answer sends the gateway, with its credential, to somebody else.
    #[tokio::test]
    async fn a_redirect_is_followed_nowhere() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        let there = format!("location: http://{}/openid/v1/jwks\r\n", other.local_addr().unwrap());
        for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let (server, heard) = answering(http(status, &there, "{}"));
            let refused = read(&server).await.unwrap_err();
            assert!(refused.contains(status.split_once(' ').unwrap().0), "{refused}");
            heard.join().unwrap();
            assert!(other.accept().is_err(), "somebody came after {status}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_or_too_much_is_told() {
        let forbidden = r#"{"kind":"Status","message":"User \"u\" cannot get path"}"#;
        for (answer, says) in [
            (http("403 Forbidden", "", forbidden), "cannot get path (403)"),
            (http("200 OK", "", &"x".repeat(65)), "length limit exceeded"),
            (http("404 Not Found", "", "404"), "no document"),
        ] {
            let (server, heard) = answering(answer);
            let refused = read(&server).await.unwrap_err();
            assert!(refused.contains(says) && refused.contains("/openid/v1/jwks"), "{refused}");
            heard.join().unwrap();
        }
    }
}
