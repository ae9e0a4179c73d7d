use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_core::admission::pod::Rule;

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_869_399_000);

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(tree(path)).expect(path)
}

/// What is registered where the twenty pods ask to run.
fn registered() -> Snapshot {
    let loaded = vidimus_registry::load(&tree("e2e/admission/resources"));
    // Two claim one ServiceAccount, and nothing else is wrong.
    assert!(
        loaded.rejections.iter().all(|one| one.object.to_string().contains("twin")),
        "{:?}",
        loaded.rejections
    );
    Snapshot::build(loaded.snapshot.objects().to_vec()).0
}

/// The same, with more.
fn with(documents: &[&str]) -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    for (number, document) in documents.iter().enumerate() {
        std::fs::write(directory.path().join(format!("{number}.yaml")), document).expect("written");
    }
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:?}", loaded.rejections);
    let objects = registered().objects().iter().chain(loaded.snapshot.objects()).cloned().collect();
    Snapshot::build(objects).0
}

fn cases() -> Vec<Value> {
    let Ok(Value::Array(cases)) = serde_json::from_str(&text("e2e/admission/pods.json")) else {
        panic!("a list")
    };
    assert_eq!(cases.len(), 20);
    cases
}

fn review(request: &Value) -> Value {
    let mut request = request.clone();
    for (member, value) in [
        ("uid", json!("705ab4f5-6393-11e8-b7cc-42010a800002")),
        ("userInfo", json!({"username": "fina", "groups": ["finance", "system:authenticated"]})),
        ("namespace", json!("finance")),
        ("operation", json!("CREATE")),
    ] {
        let members = request.as_object_mut().expect("an object");
        members.entry(member).or_insert(value);
    }
    json!({"apiVersion": VERSION, "kind": "AdmissionReview", "request": request})
}

fn asked(request: &Value) -> Asked {
    Asked::read(review(request).to_string().as_bytes()).expect("a question")
}

fn of_pod(pod: &Value) -> Value {
    json!({"kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod})
}

fn agent(name: &str, spec: &Value) -> Value {
    let mut whole = json!({
        "owner": "ada.l@example.com", "team": "finance", "purpose": "It is new.", "riskLevel": "low",
        "identities": [{"serviceAccount": {"name": name}}],
    });
    for (member, value) in spec.as_object().expect("an object") {
        whole[member] = value.clone();
    }
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name, "namespace": "finance", "uid": "u"},
        "spec": whole,
    })
}

fn of_object(object: &Value) -> Value {
    let kind = json!({"group": "vidimus.dev", "version": "v1alpha1", "kind": object["kind"]});
    json!({"kind": kind, "name": object["metadata"]["name"], "object": object})
}

fn answer(snapshot: &Snapshot, request: &Value) -> Answer {
    record(&By { snapshot, cluster: "kubernetes", now: NOW }, &asked(request))
}

/// The message of a refusal; empty where it is let in.
fn refused(answer: &Answer) -> String {
    let response = &answer.review["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!(response["allowed"], json!(response.get("status").is_none()));
    response.pointer("/status/message").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What makes such pods.
fn maker(kind: &str, pod: &Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod["spec"]});
    let (group, spec) = match kind {
        "CronJob" => ("batch", json!({"jobTemplate": {"spec": {"template": template}}})),
        "Job" => ("batch", json!({"template": template})),
        _ => ("apps", json!({"template": template})),
    };
    json!({"kind": {"group": group, "version": "v1", "kind": kind}, "object": {"spec": spec, "metadata": {"name": "x"}}})
}

/// Whoever writes a template is told, as of its pods; a controller that makes them tells nobody.
#[test]
fn the_twenty_pods_as_templates() {
    let workloads = Workloads::of(&registered());
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"] {
        for case in cases() {
            let (about, code) = (&case["about"], case["refused"].as_str().expect("a code"));
            let mut made = maker(kind, &case["pod"]);
            let said = |made: &Value| pod(&workloads, Enforcement::Warn, &asked(made), "kubernetes").review;
            let told = |review: &Value| {
                assert_eq!(review["response"]["allowed"], json!(true), "{kind}: {about}");
                let first =
                    review.pointer("/response/warnings/0").and_then(Value::as_str).unwrap_or_default();
                first.split(':').next().unwrap_or_default().to_owned()
            };
            assert_eq!(told(&said(&made)), code, "{kind}: {about}");
            // Where its template is as it was, its pods are.
            made["operation"] = json!("UPDATE");
            made["oldObject"] = made["object"].clone();
            made["object"]["spec"]["replicas"] = json!(3);
            assert_eq!(told(&said(&made)), "", "{kind}: {about}");
            let template =
                if kind == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" };
            let spec = made["oldObject"].pointer_mut(&format!("{template}/spec")).expect("a spec");
            spec["hostname"] = json!("other");
            assert_eq!(told(&said(&made)), code, "{kind}: {about}");
            made["operation"] = json!("DELETE");
            assert_eq!(told(&said(&made)), "", "{kind}: {about}");
        }
    }
    // Nobody is to be asked where it is enforced.
    let made = asked(&maker("Deployment", &cases()[0]["pod"]));
    assert!(
        refused(&pod(&workloads, Enforcement::Enforce, &made, "kubernetes")).starts_with("pod_unreadable")
    );
    let mut none = maker("Deployment", &json!({}));
    none["object"] = json!({"spec": {}});
    let said = pod(&workloads, Enforcement::Warn, &asked(&none), "kubernetes").review;
    let first = said.pointer("/response/warnings/0").and_then(Value::as_str).unwrap_or_default();
    assert!(first.starts_with("pod_unreadable"), "{said}");
}

#[test]
fn the_twenty_pods() {
    let workloads = Workloads::of(&registered());
    for case in cases() {
        let (about, code) = (&case["about"], case["refused"].as_str().expect("a code"));
        let asked = asked(&of_pod(&case["pod"]));
        let said = pod(&workloads, Enforcement::Enforce, &asked, "kubernetes");
        let message = refused(&said);
        assert_eq!(message.split(':').next(), Some(code), "{about}: {message}");
        assert!(said.kept.is_none(), "{about}");
        let warned = pod(&workloads, Enforcement::Warn, &asked, "kubernetes").review;
        assert_eq!(warned["response"]["allowed"], json!(true));
        assert_eq!(warned["response"].get("warnings").is_some(), !code.is_empty(), "{about}");
        let audited = pod(&workloads, Enforcement::Audit, &asked, "kubernetes").review;
        let noted = audited.pointer("/response/auditAnnotations/violations").and_then(Value::as_str);
        assert_eq!(noted.unwrap_or_default().split(':').next(), Some(code), "{about}");
    }
}

/// The scan says of each what the webhook says.
/// Attack: a report of somebody else that has our label, deleted by a scan.
#[test]
fn a_report_is_ours_by_its_name_too() {
    for (name, is) in [
        ("vidimus-pods", true),
        ("vidimus-pods-1", true),
        ("vidimus-pods-", false),
        ("vidimus-pods-x", false),
        ("vidimus-podsecurity", false),
        ("polr-vidimus-pods", false),
    ] {
        assert_eq!(is_report_name(name), is, "{name}");
    }
}

#[test]
fn the_twenty_pods_scanned() {
    let workloads = Workloads::of(&registered());
    let pods: Vec<Value> = cases().iter().map(|case| case["pod"].clone()).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    let at = Timestamp::from_second(1_795_869_399).expect("a time");
    let scanned = scan(&workloads, &[list], at).expect("pods");
    assert_eq!((scanned.pods, scanned.failed, scanned.reports.len()), (20, 13, 2));
    for report in &scanned.reports {
        assert_eq!(report["summary"], json!({"pass": 7, "fail": 13, "warn": 0, "error": 0, "skip": 0}));
        for case in cases() {
            let name = &case["pod"]["metadata"]["name"];
            let results = report["results"].as_array().expect("a list");
            let own: Vec<&Value> =
                results.iter().filter(|one| one["resources"][0]["name"] == *name).collect();
            assert_eq!(own.len(), 1, "{}", case["about"]);
            let rule = own[0].get("rule").and_then(Value::as_str).unwrap_or_default();
            assert_eq!(json!(rule), case["refused"], "{}", case["about"]);
        }
    }
    let wrong = json!({"kind": "Deployment", "spec": {}});
    assert!(scan(&workloads, &[wrong], at).expect_err("no pod").to_string().contains("Deployment"));
}

/// What the manifests say, in the same words and the same order; and the table that they look it up in.
#[test]
fn the_manifests_have_each_rule() {
    for form in [Form::ValidatingAdmissionPolicy, Form::Kyverno] {
        let manifest = form.manifest("vidimus-system");
        let messages: Vec<&str> =
            manifest.lines().filter_map(|line| line.trim().strip_prefix("message: ")).collect();
        let of_one = Rule::ALL.map(|rule| json!(rule.message()).to_string());
        let copies = if form == Form::Kyverno { 3 } else { 1 };
        let expected: Vec<String> = (0..copies).flat_map(|_| of_one.clone()).collect();
        assert_eq!(messages, expected, "{form:?}");
        let other = form.manifest("governance");
        assert!(other.contains("governance") && !other.contains("vidimus-system"));
        assert!(!manifest.contains("MODE") && !manifest.contains("ACTION") && !manifest.contains("FAILURE"));
        // Only where it is enforced is a pod refused because nobody can say what is registered.
        let count = |words: &str| manifest.matches(words).count();
        let (closed, open) = match form {
            Form::ValidatingAdmissionPolicy => ("NotFoundAction: Deny", "NotFoundAction: Allow"),
            Form::Kyverno => ("failurePolicy: Fail\n", "failurePolicy: Ignore\n"),
        };
        assert_eq!((count(closed), count(open)), (1, 2), "{form:?}");
    }
    let said = registrations(&Workloads::of(&registered()), "vidimus-system");
    assert_eq!(said, text("e2e/admission/registrations.yaml"));
    let url = webhook(&At::Url("https://127.0.0.1:9443/".to_owned()), "k", "PEM", "vidimus-system");
    assert!(url.contains(r#""url":"https://127.0.0.1:9443/admission/k/pods/enforce""#), "{url}");
    assert!(!url.contains("CLIENT "), "{url}");
    let service = At::Service { namespace: "v".to_owned(), name: "s".to_owned(), port: 9443 };
    assert!(webhook(&service, "k", "PEM", "v").contains(r#""path":"/admission/k/records""#));
}

/// Attack: a SPIFFE ID by which a record of one namespace stands for a ServiceAccount of another, and whatever is said of that one is not read; names
/// that are so long that nothing of what is registered can be applied, a quarantine neither.
#[test]
fn what_is_registered_is_told_once_and_in_a_form_that_is_taken() {
    let of = |namespace: &str, name: &str, identity: &Value| {
        let mut agent = agent(name, &json!({"identities": [identity]}));
        agent["metadata"] = json!({"name": name, "namespace": namespace});
        agent.to_string()
    };
    let long = "b".repeat(253);
    let documents = [
        of("victim", "good", &json!({"serviceAccount": {"name": "my.acct"}})),
        of("evil", "other", &json!({"spiffe": "spiffe://td/ns/victim.my/sa/acct"})),
        of("evil", "long", &json!({"spiffe": format!("spiffe://td/ns/evil/sa/{}", "a".repeat(400))})),
        of("evil", "longer", &json!({"serviceAccount": {"name": long}})),
    ];
    let snapshot = with(&documents.each_ref().map(String::as_str));
    let said = registrations(&Workloads::of(&snapshot), "v");
    assert_eq!(said.matches(r#""victim.my.acct":"#).count(), 1, "{said}");
    let keys = said.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next());
    assert!(keys.clone().count() > 1 && keys.clone().all(|key| key.len() <= 253), "{said}");
}

/// What runs already can be changed and ended; only a new image is asked about.
#[test]
fn a_pod_that_is_there_is_asked_about_its_new_images() {
    let workloads = Workloads::of(&registered());
    let cases = cases();
    let (unregistered, pinned) = (&cases[4]["pod"], &cases[15]["pod"]);
    let update = |old: &Value, new: &Value| {
        let mut request = of_pod(new);
        request["operation"] = json!("UPDATE");
        request["oldObject"] = old.clone();
        refused(&pod(&workloads, Enforcement::Enforce, &asked(&request), "kubernetes"))
    };
    assert_eq!(update(unregistered, unregistered), "");
    assert_eq!(update(pinned, pinned), "");
    let mut other = pinned.clone();
    other["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "registry.example/debug:1"}]);
    assert!(update(pinned, &other).starts_with("pod_image:"), "{}", update(pinned, &other));
    let mut request = of_pod(&json!(null));
    request["operation"] = json!("DELETE");
    assert_eq!(refused(&pod(&workloads, Enforcement::Enforce, &asked(&request), "kubernetes")), "");
}

#[test]
fn what_is_no_question_is_told_and_what_is_no_pod_is_refused() {
    let good = review(&of_pod(&json!({"spec": {}})));
    let without = |member: &str| {
        let mut without = good.clone();
        without["request"].as_object_mut().expect("an object").remove(member);
        without.to_string()
    };
    let of = |path: &str, value: Value| {
        let mut other = good.clone();
        *other.pointer_mut(path).expect(path) = value;
        other.to_string()
    };
    for (bad, says) in [
        (String::new(), "EOF"),
        (format!("{{\"request\": {{\"object\": {}", "[".repeat(100_000)), "recursion"),
        ("null".to_owned(), "invalid type"),
        ("{}".to_owned(), "it is ' '"),
        (of("/apiVersion", json!("admission.k8s.io/v1beta1")), "v1beta1"),
        (of("/kind", json!("Pod\u{1b}[2J")), "u{1b}"),
        (of("/request", json!(null)), "no request"),
        (of("/request/uid", json!("")), "request.uid"),
        (of("/request/uid", json!(7)), "invalid type"),
        (of("/request/uid", json!("x".repeat(2_000))), "request.uid"),
        (of("/request/userInfo", json!({"username": ""})), "userInfo.username"),
        (of("/request/userInfo", json!({"username": "a\nb"})), "userInfo.username"),
        (without("userInfo"), "userInfo"),
        (without("operation"), "operation"),
    ] {
        let said =
            Asked::read(bad.as_bytes()).expect_err(&bad.chars().take(60).collect::<String>()).to_string();
        assert!(said.contains(says), "{says}: {said}");
    }
    let workloads = Workloads::default();
    for pod_of in [
        json!(null),
        json!({}),
        json!({"spec": []}),
        json!({"spec": {"containers": {}}}),
        json!({"spec": {"serviceAccountName": 3}}),
    ] {
        let asked = asked(&of_pod(&pod_of));
        let said = refused(&pod(&workloads, Enforcement::Enforce, &asked, "kubernetes"));
        assert!(said.starts_with("pod_unreadable:"), "{pod_of}: {said}");
    }
    let job = json!({"kind": {"group": "batch", "kind": "Job"}, "object": {}});
    let said = refused(&pod(&workloads, Enforcement::Enforce, &asked(&job), "kubernetes"));
    assert!(said.contains("only pods"), "{said}");
    let snapshot = registered();
    let said = refused(&answer(&snapshot, &job));
    assert!(said.contains("not registered here"), "{said}");
}

#[test]
fn an_object_is_checked_as_a_file_is_and_what_is_let_in_is_on_record() {
    let snapshot = registered();
    let new = answer(&snapshot, &of_object(&agent("new", &json!({}))));
    assert_eq!(refused(&new), "");
    let Some(Kept::Registered(kept)) = &new.kept else { panic!("{:?}", new.kept) };
    assert_eq!((&*kept.object, &*kept.operation, &kept.before), ("Agent/finance/new", "create", &None));
    assert!(kept.after.as_deref().is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(new.actor.id(), "kubernetes#fina");
    let mut dry = of_object(&agent("new", &json!({})));
    dry["dryRun"] = json!(true);
    assert!(answer(&snapshot, &dry).kept.is_none());
    for (object, says) in [
        (agent("new", &json!({"owner": "everybody"})), "spec.owner"),
        (agent("new", &json!({"riskLevel": "none"})), "spec.riskLevel"),
        (
            agent("new", &json!({"identities": [{"serviceAccount": {"name": "invoice-bot"}}]})),
            "claims this identity too",
        ),
        (json!({"kind": "Agent", "metadata": {"name": "new", "namespace": "other"}}), "apiVersion"),
    ] {
        let said = answer(&snapshot, &of_object(&object));
        assert!(
            refused(&said).starts_with("object_invalid:") && refused(&said).contains(says),
            "{}",
            refused(&said)
        );
        assert!(
            matches!(&said.kept, Some(Kept::Refused(_, path)) if path.contains("/finance/Agent/new")),
            "{:?}",
            said.kept
        );
    }
    let mut elsewhere = of_object(&agent("new", &json!({})));
    elsewhere["namespace"] = json!("other");
    assert!(refused(&answer(&snapshot, &elsewhere)).starts_with("message_invalid:"));
}

#[test]
fn what_changes_nothing_is_let_through_and_what_was_wrong_keeps_nobody_from_a_quarantine() {
    let snapshot = registered();
    let update = |old: &Value, new: &Value| {
        let mut request = of_object(new);
        request["operation"] = json!("UPDATE");
        request["oldObject"] = old.clone();
        answer(&snapshot, &request)
    };
    let old = agent("invoice-bot", &json!({}));
    let mut status = old.clone();
    status["status"] = json!({"observedGeneration": 2});
    status["metadata"]["finalizers"] = json!(["x/y"]);
    let said = update(&old, &status);
    assert_eq!((refused(&said).as_str(), said.kept.is_none()), ("", true));
    let twin = agent("twin-a", &json!({"identities": [{"serviceAccount": {"name": "twin"}}]}));
    let stopped =
        agent("twin-a", &json!({"identities": [{"serviceAccount": {"name": "twin"}}], "quarantined": true}));
    let said = update(&twin, &stopped);
    assert_eq!(refused(&said), "");
    assert!(said.review["response"]["warnings"].to_string().contains("claims this identity too"));
    let Some(Kept::Registered(kept)) = said.kept else { panic!("nothing is kept") };
    assert!(kept.before.is_some() && kept.after.is_some() && kept.before != kept.after);
    let mut gone = of_object(&json!({"kind": "Agent", "metadata": {"name": "invoice-bot"}}));
    gone["operation"] = json!("DELETE");
    gone["object"] = json!(null);
    gone["oldObject"] = old;
    let Some(Kept::Registered(kept)) = answer(&snapshot, &gone).kept else { panic!("nothing is kept") };
    assert_eq!((&*kept.operation, kept.after.is_none(), kept.before.is_some()), ("delete", true, true));
}

const REGISTRARS: &str = r#"
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: registrars, namespace: platform}
spec:
  description: Who registers what.
  scope: Cluster
  cedar: |
    @id("platform")
    permit (principal in UserGroup::"platform", action == Action::"registerObject", resource);
    @id("finance")
    permit (principal in UserGroup::"kubernetes#finance", action == Action::"registerObject", resource in Namespace::"finance")
      when { context.operation != "delete" };
    @id("treasury")
    @reason("only the treasury puts agents there")
    forbid (principal, action == Action::"registerObject", resource) when { resource.groups.contains("treasury") }
      unless { principal in UserGroup::"treasury" };
"#;

#[test]
fn policies_say_who_registers_what() {
    let snapshot = with(&[REGISTRARS]);
    let said = answer(&snapshot, &of_object(&agent("new", &json!({}))));
    let Some(Kept::Registered(kept)) = &said.kept else { panic!("{}", refused(&said)) };
    assert_eq!(kept.policies.iter().map(|id| &**id).collect::<Vec<_>>(), ["platform/registrars#finance"]);
    let said = refused(&answer(&snapshot, &of_object(&agent("new", &json!({"groups": ["treasury"]})))));
    assert!(said.starts_with("forbidden_by_policy:") && said.contains("only the treasury"), "{said}");
    let mut by_another = of_object(&agent("new", &json!({})));
    by_another["userInfo"] = json!({"username": "mallory", "groups": null});
    let said = refused(&answer(&snapshot, &by_another));
    assert!(said.starts_with("no_permit:") && said.contains("kubernetes#mallory"), "{said}");
    // A change is asked of both: out of the group, as into it.
    let mut out = of_object(&agent("new", &json!({})));
    out["operation"] = json!("UPDATE");
    out["oldObject"] = agent("new", &json!({"groups": ["treasury"]}));
    assert!(refused(&answer(&snapshot, &out)).starts_with("forbidden_by_policy:"));
    // Whoever writes a policy is not permitted by it.
    let own = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "mine", "namespace": "finance"},
        "spec": {"description": "d", "scope": "Cluster", "cedar": "permit (principal, action == Action::\"registerObject\", resource);"},
    });
    let mut mine = of_object(&own);
    mine["userInfo"] = json!({"username": "mallory"});
    assert!(refused(&answer(&snapshot, &mine)).starts_with("no_permit:"));
}

#[test]
fn a_policy_is_type_checked_and_what_can_never_matter_is_told() {
    let snapshot = registered();
    let policy = |cedar: &str, scope: &str| {
        of_object(&json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p", "namespace": "finance"},
            "spec": {"description": "d", "scope": scope, "cedar": cedar},
        }))
    };
    let said = refused(&answer(
        &snapshot,
        &policy("permit (principal, action, resource) when { principal.colour == 1 };", "Namespace"),
    ));
    assert!(said.starts_with("object_invalid:") && said.contains("colour"), "{said}");
    let dead = r#"permit (principal in Group::"nobody", action == Action::"callAgent", resource);"#;
    let said = answer(&snapshot, &policy(dead, "Namespace"));
    assert_eq!(refused(&said), "");
    assert!(said.review["response"]["warnings"].to_string().contains("nobody"), "{}", said.review);
    let everywhere = r#"permit (principal in Group::"nobody", action == Action::"callAgent", resource);"#;
    let said = answer(&snapshot, &policy(everywhere, "Cluster"));
    assert!(
        said.review["response"]["warnings"].to_string().contains("it governs every namespace"),
        "{}",
        said.review
    );
    // Whichever way it claims that.
    for identity in [
        json!({"serviceAccount": {"name": "bot", "namespace": "hr"}}),
        json!({"spiffe": "spiffe://corp.example/ns/hr/sa/bot"}),
    ] {
        let said = answer(&snapshot, &of_object(&agent("new", &json!({"identities": [identity]}))));
        let warned = said.review["response"]["warnings"].to_string();
        assert!(warned.contains("a ServiceAccount of another namespace"), "{}", said.review);
    }
}
