//! Files that are sent to a cluster: each object as it was written, and checked as one of a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use vidimus_core::resource::{self, API_VERSION, Object, ObjectRef, Origin, Rejection};
use vidimus_core::snapshot::Snapshot;

use crate::contents::text_of;
use crate::document::{self, Document, Malformed, Piece};
use crate::files::is_json;
use crate::list;
use crate::load::about;

/// One object as it is sent.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Which one it is.
    pub object: ObjectRef,
    /// Where it was read.
    pub origin: Origin,
    /// What its file says of it: `apiVersion`, `kind`, of `metadata` what people write, and `spec`.
    pub document: Value,
}

/// What files say.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// In the order in which they are sent: policies before what they are about, so that a forbid is there before whom it holds back.
    pub objects: Vec<Manifest>,
    /// What is wrong, as far as the files alone tell.
    pub rejections: Vec<Rejection>,
    /// What deserves a look.
    pub warnings: Vec<Rejection>,
    /// What a cluster would have in force that had these and nothing else.
    pub snapshot: Arc<Snapshot>,
}

/// Reads files, and checks what they say as a gateway does that reads a cluster. What says no namespace is of `namespace`. What else is registered
/// there is not known.
pub fn manifests(files: &[PathBuf], namespace: &str) -> Manifests {
    let mut read = Read { namespace, ..Read::default() };
    for path in files {
        read.file(&path.as_path().into());
    }
    let Read { checked, mut rejections, .. } = read;
    let (objects, mut manifests): (Vec<Object>, Vec<Manifest>) = checked.into_iter().unzip();
    let (snapshot, found) = Snapshot::build(objects);
    rejections.extend(found);
    rejections.sort_by(|a, b| a.origin.cmp(&b.origin));
    let order = |manifest: &Manifest| std::cmp::Reverse(manifest.object.kind as usize);
    manifests.sort_by_key(order);
    let warnings = snapshot.warnings().to_vec();
    Manifests { objects: manifests, rejections, warnings, snapshot: Arc::new(snapshot) }
}

/// What deserves a look of `read` in a cluster that has these documents beside it: what they refer to may be among them.
pub fn warnings_beside(read: &Manifests, there: &[Value]) -> Vec<Rejection> {
    let own = read.snapshot.objects();
    let origin = Origin::Cluster { cluster: "the cluster".into(), uid: None, resource_version: None };
    let is_own = |one: &Object| own.iter().any(|own| own.reference().is_same_object(&one.reference()));
    let beside = there.iter().filter_map(|document| resource::check(&origin, document).ok());
    let objects = own.iter().cloned().chain(beside.filter(|one| !is_own(one))).collect();
    let (snapshot, _) = Snapshot::build(objects);
    snapshot.warnings().iter().filter(|one| one.origin.path().is_some()).cloned().collect()
}

#[derive(Default)]
struct Read<'a> {
    /// Of what says none.
    namespace: &'a str,
    checked: Vec<(Object, Manifest)>,
    rejections: Vec<Rejection>,
}

impl Read<'_> {
    fn file(&mut self, path: &Arc<Path>) {
        let documents: Vec<Document> = match text_of(path) {
            Ok(text) if is_json(path) => list::documents(&text, 1, document::json(&text)),
            Ok(text) => {
                let read = |piece: &Piece<'_>| Some(list::documents(piece.text, piece.line, piece.read()?));
                document::pieces(&text).iter().filter_map(read).flatten().collect()
            }
            Err((reason, fix)) => {
                return self.rejections.push(Rejection { reason, fix: fix.to_owned(), ..about(path) });
            }
        };
        for Document { line, content } in documents {
            match content {
                Ok(document) => self.document(Origin::File { path: path.clone(), line }, document),
                Err(Malformed { line, reason, fix }) => {
                    let (origin, fix) = (Origin::File { path: path.clone(), line }, fix.to_owned());
                    self.rejections.push(Rejection { origin, reason, fix, ..about(path) });
                }
            }
        }
    }

    fn document(&mut self, origin: Origin, mut document: Value) {
        if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry("namespace").or_insert_with(|| json!(self.namespace));
        }
        match resource::check_as(&origin, true, &document) {
            Ok(object) => {
                let reference = object.reference();
                let document = sent(&reference, &document);
                self.checked.push((object, Manifest { object: reference, origin, document }));
            }
            Err(found) => self.rejections.extend(found),
        }
    }
}

/// Without what a cluster fills in, which nobody applies.
fn sent(object: &ObjectRef, document: &Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(&*object.name));
    metadata.insert("namespace".to_owned(), json!(&*object.namespace));
    for name in ["labels", "annotations"] {
        if let Some(said) = document.get("metadata").and_then(|metadata| metadata.get(name)) {
            metadata.insert(name.to_owned(), said.clone());
        }
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": object.kind.as_str(),
        "metadata": metadata,
        "spec": document.get("spec"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a, annotations: {why: because}, resourceVersion: '7', managedFields: []}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{serviceAccount: {name: bot}}]}
";
    const PROVIDER: &str = "apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {name: models, namespace: a}
spec: {owner: ada.l@example.com, type: openAI, credential: {secretRef: {name: s, key: k}}, models: [{name: m}]}
";

    fn policy(cedar: &str) -> String {
        format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p, namespace: a}}\nspec: {{description: d, cedar: '{cedar}'}}\n"
        )
    }

    fn of(texts: &[&str]) -> Manifests {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("all.yaml");
        std::fs::write(&path, texts.join("---\n")).expect("written");
        manifests(&[path], "default")
    }

    #[test]
    fn what_is_sent_is_what_was_written_and_policies_go_first() {
        let good = policy("permit (principal, action, resource);");
        let found = of(&[AGENT, PROVIDER, &good]);
        assert!(found.rejections.is_empty(), "{:#?}", found.rejections);
        let sent: Vec<String> = found.objects.iter().map(|one| one.object.to_string()).collect();
        assert_eq!(sent, ["Policy a/p", "LLMProvider a/models", "Agent a/bot"]);
        let agent = &found.objects.last().expect("an agent").document;
        let metadata = json!({"name": "bot", "namespace": "a", "annotations": {"why": "because"}});
        assert_eq!(agent["metadata"], metadata, "without what a cluster fills in");
        assert_eq!(agent["spec"]["purpose"], "p");
        assert!(agent.get("status").is_none());
    }

    #[test]
    fn what_says_no_namespace_is_of_the_one_that_is_given() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("all.yaml");
        let without = AGENT.replace("namespace: a, ", "");
        std::fs::write(&path, format!("{without}---\n{PROVIDER}")).expect("written");
        let found = manifests(&[path], "books");
        let sent: Vec<String> = found.objects.iter().map(|one| one.object.to_string()).collect();
        assert_eq!(sent, ["LLMProvider a/models", "Agent books/bot"], "{:#?}", found.rejections);
        let agent = found.objects.last().expect("an agent");
        assert_eq!(agent.document["metadata"]["namespace"], "books");
    }

    /// A policy alone, about what the cluster has already.
    #[test]
    fn what_the_cluster_has_is_known() {
        let found = of(&[&policy("permit (principal == Agent::\"a/bot\", action, resource);")]);
        assert_eq!(found.warnings.len(), 2, "{:#?}", found.warnings);
        let agent = json!({
            "apiVersion": API_VERSION, "kind": "Agent", "metadata": {"name": "bot", "namespace": "a", "uid": "1"},
            "spec": {"owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low", "identities": [{"serviceAccount": {"name": "bot"}}]},
        });
        assert_eq!(warnings_beside(&found, &[]), found.warnings);
        assert_eq!(warnings_beside(&found, &[json!(7), agent]), []);
    }

    #[test]
    fn what_is_wrong_is_told_at_its_line() {
        let broken = policy("permit (principal);");
        for (texts, line) in [
            (vec![AGENT, "a: [\n"], None),
            (vec![AGENT, "kind: Agnet\n"], Some(6)),
            (vec![AGENT, &*broken], Some(6)),
            (vec![AGENT, AGENT], Some(1)),
        ] {
            let found = of(&texts);
            let first = found.rejections.first().expect("a rejection");
            let at = first.origin.line();
            assert!(line.is_none_or(|line| line == at) && at > 0, "{texts:?}: {:#?}", found.rejections);
            assert!(first.origin.path().is_some(), "{:#?}", found.rejections);
        }
        let missing = manifests(&["nowhere.yaml".into()], "default");
        assert_eq!(missing.rejections.len(), 1);
    }
}
