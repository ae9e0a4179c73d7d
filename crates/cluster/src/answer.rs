//! What the API server of a cluster answered, or why it did not, in words: which server it is, what it said, and what to do. The one place where an error
//! of its client becomes text.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Most characters of what a server says.
const SAID: usize = 300;
/// What to do where a right is missing.
pub(crate) const RIGHTS: &str = "give whom it names that right; those of a gateway are in deploy/rbac, which the chart binds (docs/kubernetes.md)";
const REACH: &str =
    "see that it runs, and that this is its address: kubectl cluster-info, and `server` in the kubeconfig";
const CREDENTIALS: &str = "the credentials are over, or of another cluster: get new ones, and see that the kubeconfig or the ServiceAccount is the right one";
const CRDS: &str = "install the definitions: kubectl apply -f deploy/crds, or the chart";
const WEBHOOK: &str = "see that who answers that webhook runs and has a certificate that the API server believes; of those of Vidimus `vidimus doctor --cluster` tells";
const AUTHORITY: &str = "see that certificate-authority in the kubeconfig is this server's, and that it is called by a name that its certificate has";
const AGAIN: &str = "it is busy, or begins: try again";

/// What was not done, and what to do. Its text form is both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone {
    /// The server, and what it answered or why it did not.
    pub reason: String,
    /// What to do; empty where what was answered says it.
    pub fix: &'static str,
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// Why a request to `server`, a URL, was not done. Nothing of what was sent is in it.
pub fn not_done(server: &str, error: &kube_client::Error) -> NotDone {
    match error {
        kube_client::Error::Api(status) => refused(server, status.code, &status.message),
        kube_client::Error::Auth(error) => NotDone {
            reason: format!("the credentials for {} cannot be had: {}", called(server), causes(error)),
            fix: CREDENTIALS,
        },
        kube_client::Error::SerdeError(error) => NotDone {
            reason: format!(
                "{} answers what is no object of Kubernetes (line {}, column {})",
                called(server),
                error.line(),
                error.column()
            ),
            fix: REACH,
        },
        other => unreached(server, other.source().unwrap_or(other)),
    }
}

/// What the API server says no with.
pub fn refused(server: &str, code: u16, message: &str) -> NotDone {
    let said: String = message.trim().chars().take(SAID).collect();
    let has = |text: &str| said.contains(text);
    let fix = match code {
        401 => CREDENTIALS,
        _ if has("failed calling webhook") => WEBHOOK,
        403 if has("cannot ") => RIGHTS,
        404 if has("page not found") || has("could not find the requested resource") => CRDS,
        429 | 502..=504 => AGAIN,
        _ => "",
    };
    let reason = match code {
        401 => format!("{} does not know who asks: {said} (401)", called(server)),
        404 if fix == CRDS => format!("{} has no such kind of objects: {said} (404)", called(server)),
        _ if server.is_empty() => format!("{said} ({code})"),
        _ => format!("{} says: {said} ({code})", called(server)),
    };
    NotDone { reason, fix }
}

/// That there was no answer in a time.
pub fn silent(server: &str, within: Duration) -> NotDone {
    NotDone { reason: format!("{} did not answer within {} s", called(server), within.as_secs()), fix: REACH }
}

/// The server, by its URL where that is known.
fn called(server: &str) -> String {
    format!("the API server {}", server.trim_end_matches('/')).trim_end().to_owned()
}

fn unreached(server: &str, error: &(dyn Error + 'static)) -> NotDone {
    let text = causes(error);
    let has = |part: &str| text.contains(part);
    let (words, fix) = match kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => ("the connection was refused".to_owned(), REACH),
        Some(io::ErrorKind::TimedOut) => ("no connection in time".to_owned(), REACH),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            ("no way leads there".to_owned(), REACH)
        }
        _ if has("certificate") || has("tls") || has("TLS") => (format!("TLS: {text}"), AUTHORITY),
        _ if has("dns error") || has("lookup address") => ("its name is not known".to_owned(), REACH),
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => ("the connection was cut".to_owned(), REACH),
        _ => (text, REACH),
    };
    NotDone { reason: format!("{} is not reached: {words}", called(server)), fix }
}

/// Of what kind the innermost fault of the network is.
fn kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(one) = next {
        found = one.downcast_ref::<io::Error>().map(io::Error::kind).or(found);
        next = one.source();
    }
    found
}

/// An error with all that it comes from, each once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(one) = next {
        let said = one.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = one.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube_client::core::Status;

    use super::*;

    const AT: &str = "https://10.0.0.1:6443/";

    #[test]
    fn what_the_server_answers_is_told_with_what_to_do() {
        for (code, message, reason, fix) in [
            (
                401,
                "Unauthorized",
                "the API server https://10.0.0.1:6443 does not know who asks: Unauthorized (401)",
                CREDENTIALS,
            ),
            (
                403,
                "agents is forbidden: User \"u\" cannot list resource \"agents\"",
                "says: agents is forbidden: User \"u\" cannot list resource \"agents\" (403)",
                RIGHTS,
            ),
            (403, "admission webhook \"x\" denied the request: no", "denied the request: no (403)", ""),
            (404, "404 page not found\n", "has no such kind of objects", CRDS),
            (404, "the server could not find the requested resource", "has no such kind of objects", CRDS),
            (404, "agents \"a\" not found", "says: agents \"a\" not found (404)", ""),
            (500, "Internal error occurred: failed calling webhook \"w\": refused", "(500)", WEBHOOK),
            (503, "etcd", "(503)", AGAIN),
            (422, "spec.owner: Invalid value", "(422)", ""),
        ] {
            let error = kube_client::Error::Api(Status::failure(message, "r").with_code(code).boxed());
            let told = not_done(AT, &error);
            assert!(told.reason.contains(reason) && told.reason.contains("10.0.0.1:6443"), "{told:?}");
            assert_eq!(told.fix, fix, "{told:?}");
            // Nothing of how Rust would show it.
            assert!(!told.to_string().contains("ApiError") && !told.to_string().contains("Some("), "{told}");
        }
        assert_eq!(refused("", 409, "conflict").to_string(), "conflict (409)");
    }

    #[test]
    fn a_server_that_is_not_reached_is_named_and_why() {
        let service = |kind: io::ErrorKind| kube_client::Error::Service(Box::new(io::Error::from(kind)));
        let tls = io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        let dns = io::Error::other("failed to lookup address information: Name or service not known");
        for (error, words, fix) in [
            (service(io::ErrorKind::ConnectionRefused), "the connection was refused", REACH),
            (service(io::ErrorKind::TimedOut), "no connection in time", REACH),
            (service(io::ErrorKind::ConnectionReset), "the connection was cut", REACH),
            (
                kube_client::Error::Service(Box::new(tls)),
                "invalid peer certificate: UnknownIssuer",
                AUTHORITY,
            ),
            (kube_client::Error::Service(Box::new(dns)), "its name is not known", REACH),
            (kube_client::Error::ReadEvents(io::Error::other("odd")), "odd", REACH),
        ] {
            let told = not_done(AT, &error);
            assert!(
                told.reason.starts_with("the API server https://10.0.0.1:6443 is not reached: "),
                "{told:?}"
            );
            assert!(told.reason.ends_with(words), "{told:?}");
            assert_eq!(told.fix, fix, "{told:?}");
            assert!(!told.reason.contains("ServiceError"), "{told:?}");
        }
        assert!(silent(AT, Duration::from_secs(30)).reason.contains("did not answer within 30 s"));
    }
}
