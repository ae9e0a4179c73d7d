//! Whether anything here can run the calls of servers that are jobs, in the words of their status.

use std::mem;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vidimus_core::resource::Object;

use crate::live::Heard;

/// Whether jobs can be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody has looked yet.
    #[default]
    Unread,
    /// They can.
    Can,
    /// Nothing here runs any.
    Off,
    /// The API server does not let this process make what a job needs, and what it says.
    Forbidden(String),
}

impl Known {
    /// Of what cannot be run: in one word, and with what to do.
    pub(crate) fn why_not(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Unread | Self::Can => None,
            Self::Off => {
                let message = "spec.job: nothing here runs jobs, so every call is refused; start the gateway with --jobs (jobs.enabled of the \
                               chart; docs/kubernetes.md, Jobs), or register spec.endpoint";
                Some(("JobsOff", message.to_owned()))
            }
            Self::Forbidden(said) => {
                let message = format!(
                    "spec.job: no job can be made, so every call is refused; kubectl apply -f deploy/rbac/jobs.yaml, with the gateway's \
                     ServiceAccount as its subject (docs/kubernetes.md, Jobs); the API server says: {said}"
                );
                Some(("JobsForbidden", message))
            }
        }
    }
}

/// What is known of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunsJobs(Arc<Mutex<Known>>);

impl RunsJobs {
    /// As it is at a start.
    pub(crate) fn new(known: Known) -> Self {
        Self(Arc::new(Mutex::new(known)))
    }

    pub(crate) fn known(&self) -> Known {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether jobs can be run, to those who write the statuses of servers that are jobs.
#[derive(Clone, Debug)]
pub struct JobsReport {
    runs: RunsJobs,
    tell: Sender<Heard>,
}

impl JobsReport {
    pub(crate) const fn new(runs: RunsJobs, tell: Sender<Heard>) -> Self {
        Self { runs, tell }
    }

    pub(crate) fn runs(&self) -> RunsJobs {
        self.runs.clone()
    }

    /// They can, or the API server does not let this process, and what it says.
    pub fn note(&self, forbidden: Option<String>) {
        let known = forbidden.map_or(Known::Can, Known::Forbidden);
        let before = mem::replace(&mut *self.runs.state(), known.clone());
        if before != known {
            // Nobody hears it once the source has ended.
            drop(self.tell.send(Heard::Secrets));
        }
    }
}

/// Whether each call of this runs as a job.
pub(crate) fn is_job(object: &Object) -> bool {
    matches!(object, Object::McpServer(server) if server.endpoint.job.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_changes_is_told_once_and_says_what_to_do() {
        let (tell, heard) = mpsc::channel();
        let runs = RunsJobs::default();
        let report = JobsReport::new(runs.clone(), tell);
        assert_eq!(
            (runs.known(), Known::Unread.why_not(), Known::Can.why_not()),
            (Known::Unread, None, None)
        );
        for _ in 0..2 {
            report.note(Some("no (403)".to_owned()));
        }
        assert_eq!(heard.try_iter().count(), 1, "a change is one");
        let (reason, message) = runs.known().why_not().unwrap();
        assert!(
            reason == "JobsForbidden"
                && message.contains("deploy/rbac/jobs.yaml")
                && message.ends_with("no (403)")
        );
        report.note(None);
        assert_eq!((heard.try_iter().count(), runs.known()), (1, Known::Can));
        let (reason, message) = Known::Off.why_not().unwrap();
        assert!(reason == "JobsOff" && message.contains("--jobs"));
    }
}
