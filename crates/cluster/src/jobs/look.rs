//! What is seen of a job: how it is, and what it says.

use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

/// How a line begins that says how far the tool is, and is no part of its result.
pub(super) const PROGRESS: &str = "::progress ";
/// Why a container does not start that will not start.
const HOPELESS: [&str; 6] = [
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// How a job is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has not begun: why, in words.
    Waits(Box<str>),
    /// Its container runs.
    Runs { pod: String, container: String, image: Option<String> },
    /// Its container has ended.
    Exited { pod: String, container: String, image: Option<String>, exit: u32 },
    /// Its controller ended it at its deadline.
    Late,
    /// Nothing comes of it any more.
    Broken(Box<Refusal>),
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

impl Seen {
    /// By what the API server says of a Job, and of its pod where there is one. `container` is the tool's: a mesh may have put others beside it,
    /// which end when they like.
    pub(super) fn of(job: &Value, pod: Option<&Value>, container: &str) -> Self {
        let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
        let failed = conditions.into_iter().flatten().find(|condition| {
            matches!(text(condition, "/type"), Some("Failed" | "FailureTarget"))
                && text(condition, "/status") == Some("True")
        });
        let reason = failed.and_then(|condition| text(condition, "/reason"));
        if reason == Some("DeadlineExceeded") {
            return Self::Late;
        }
        let statuses = pod.and_then(|pod| pod.pointer("/status/containerStatuses")).and_then(Value::as_array);
        let status = statuses.into_iter().flatten().find(|status| text(status, "/name") == Some(container));
        let (Some(pod), Some(status)) = (pod, status) else {
            let gone = pod.and_then(|pod| text(pod, "/status/phase")) == Some("Failed");
            return match (failed, pod) {
                (Some(condition), None) => Self::Broken(ended(text(condition, "/message"))),
                (_, Some(pod)) if gone => Self::Broken(ended(text(pod, "/status/reason"))),
                (_, None) => Self::Waits("the job is made".into()),
                (_, Some(_)) => Self::Waits("its pod is made".into()),
            };
        };
        let pod = text(pod, "/metadata/name").unwrap_or_default().to_owned();
        let container = container.to_owned();
        let image = text(status, "/imageID").filter(|image| !image.is_empty()).map(str::to_owned);
        if let Some(terminated) = status.pointer("/state/terminated") {
            let exit = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
            // What has no code of its own is no success.
            let exit = u32::try_from(exit).unwrap_or(255);
            return Self::Exited { pod, container, image, exit };
        }
        if status.pointer("/state/running").is_some() {
            return Self::Runs { pod, container, image };
        }
        let waits = text(status, "/state/waiting/reason").unwrap_or("Pending");
        if HOPELESS.contains(&waits) {
            let message = "the container of the job does not start, so nothing was run";
            let said = text(status, "/state/waiting/message").unwrap_or_default();
            let refusal =
                Refusal::new(Code::UpstreamUnreachable, message).with_detail(format!("{waits}: {said}"));
            return Self::Broken(Box::new(refusal.with_next(super::NEXT)));
        }
        Self::Waits(format!("its container waits: {waits}").into())
    }
}

fn ended(why: Option<&str>) -> Box<Refusal> {
    let refusal =
        Refusal::new(Code::UpstreamInterrupted, "the cluster ended the job before it had ended by itself");
    Box::new(refusal.with_detail(why.unwrap_or("no reason is given")))
}

/// What a tool wrote: its progress, and the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) progress: Vec<String>,
    pub(super) text: String,
}

/// Tells the two apart. Of what has not `ended`, the last line is not whole.
pub(super) fn said(log: &[u8], ended: bool) -> Said {
    let log = String::from_utf8_lossy(log);
    let (mut progress, mut text) = (Vec::new(), String::new());
    for line in log.split_inclusive('\n') {
        match line.strip_prefix(PROGRESS) {
            Some(told) if ended || line.ends_with('\n') => progress.push(told.trim_end().to_owned()),
            Some(_) => {}
            None => text.push_str(line),
        }
    }
    Said { progress, text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &Value) -> Value {
        json!({"metadata": {"name": "call-x"}, "status": {"phase": "Running", "containerStatuses": [
            {"name": "tool", "imageID": "registry.example/calc@sha256:00", "state": state}]}})
    }

    #[test]
    fn what_is_seen_of_a_job() {
        let (job, image) = (json!({}), Some("registry.example/calc@sha256:00".to_owned()));
        let (name, container) = ("call-x".to_owned(), "tool".to_owned());
        let of = |state: Value| Seen::of(&job, Some(&pod(&state)), "tool");
        assert_eq!(Seen::of(&job, None, "tool"), Seen::Waits("the job is made".into()));
        assert!(matches!(of(json!({"waiting": {"reason": "ContainerCreating"}})), Seen::Waits(_)));
        assert!(matches!(of(json!({})), Seen::Waits(_)));
        let running = Seen::Runs { pod: name.clone(), container: container.clone(), image: image.clone() };
        assert_eq!(of(json!({"running": {}})), running);
        for (code, exit) in [(json!(0), 0), (json!(137), 137), (json!(-1), 255), (Value::Null, 255)] {
            let (pod, container, image) = (name.clone(), container.clone(), image.clone());
            let exited = Seen::Exited { pod, container, image, exit };
            assert_eq!(of(json!({"terminated": {"exitCode": code}})), exited);
        }
        let Seen::Broken(refusal) = of(json!({"waiting": {"reason": "ImagePullBackOff", "message": "no"}}))
        else {
            panic!()
        };
        assert_eq!(refusal.code, Code::UpstreamUnreachable, "nothing ran");
    }

    #[test]
    fn a_container_that_a_mesh_puts_first_is_not_the_tool() {
        let mut pod = pod(&json!({"terminated": {"exitCode": 0}}));
        let proxy = json!({"name": "istio-proxy", "imageID": "mesh.example/proxy@sha256:11", "state": {"running": {}}});
        pod["status"]["containerStatuses"].as_array_mut().unwrap().insert(0, proxy);
        let Seen::Exited { container, image, exit, .. } = Seen::of(&json!({}), Some(&pod), "tool") else {
            panic!("the proxy runs on")
        };
        assert_eq!(
            (&*container, image.as_deref(), exit),
            ("tool", Some("registry.example/calc@sha256:00"), 0)
        );
        assert!(matches!(Seen::of(&json!({}), Some(&pod), "other"), Seen::Waits(_)));
    }

    #[test]
    fn a_job_that_its_controller_ended() {
        let failed = |reason: &str| json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "m"}]}});
        // Also where its pod is still there.
        let running = pod(&json!({"running": {}}));
        assert_eq!(Seen::of(&failed("DeadlineExceeded"), Some(&running), "tool"), Seen::Late);
        assert_eq!(Seen::of(&failed("DeadlineExceeded"), None, "tool"), Seen::Late);
        let exited = pod(&json!({"terminated": {"exitCode": 3}}));
        assert!(matches!(
            Seen::of(&failed("BackoffLimitExceeded"), Some(&exited), "tool"),
            Seen::Exited { exit: 3, .. }
        ));
        let evicted = json!({"metadata": {"name": "x"}, "status": {"phase": "Failed", "reason": "Evicted"}});
        for (job, pod) in [(failed("BackoffLimitExceeded"), None), (json!({}), Some(&evicted))] {
            let Seen::Broken(refusal) = Seen::of(&job, pod, "tool") else { panic!() };
            assert_eq!(refusal.code, Code::UpstreamInterrupted, "it may have run");
        }
    }

    #[test]
    fn progress_is_no_part_of_the_result() {
        let log = b"::progress one\nresult\n ::progress is text here\n::progress tw";
        let text = "result\n ::progress is text here\n";
        let (progress, whole) = (vec!["one".to_owned()], vec!["one".to_owned(), "tw".to_owned()]);
        assert_eq!(said(log, false), Said { progress, text: text.to_owned() });
        assert_eq!(said(log, true), Said { progress: whole, text: text.to_owned() });
        assert_eq!(said(b"\xff", true).text, "\u{fffd}");
    }
}
