//! Where a person comes to whom the client of a held call showed an address. The page is the same for every approval, whether there is one
//! or not: what is asked, and an answer, are for who proves who they are, and no browser does that here by itself.

use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};

/// It loads nothing, runs nothing, and is shown inside nothing.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; form-action 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

pub(super) async fn page(Path(approval): Path<String>) -> Response {
    if !is_id(&approval) {
        return (StatusCode::NOT_FOUND, "this is not the id of an approval\n").into_response();
    }
    let text = format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Approval {approval}</title>
<h1>A call waits for approval</h1>
<p>An agent wants to do something that a policy lets a person decide. Approval <code>{approval}</code>.
<p>This page shows nothing of it and takes no answer: both are for who proves who they are. Where you are asked, look at the call and answer:
<pre>vidimus approvals show {approval}
vidimus approvals approve {approval} --why 'PO-4711'
vidimus approvals deny {approval} --why 'unknown'</pre>
<p>Where the agent works for you, you cannot approve it yourself: give this address to somebody who can. When it is approved, the agent's
client makes the same call again, and it runs once.
"
    );
    (HEADERS, Html(text)).into_response()
}

/// Whether it is written as the id of an approval is (UUID, RFC 9562 section 4): nothing else is put into the page.
fn is_id(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match byte {
            b'-' => dashes.contains(&at),
            _ => byte.is_ascii_hexdigit() && !dashes.contains(&at),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_an_id_comes_into_the_page() {
        let id = "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10";
        assert!(is_id(id));
        for other in [
            "",
            "<script>",
            &id.replace('-', "0"),
            &id.replace('0', "-"),
            &id.replace('a', "<"),
            &format!("{id}0"),
        ] {
            assert!(!is_id(other), "{other}");
        }
    }
}
