//! How it is installed, by what its workload is started with: that says what of the cluster it needs, and what not.

use serde_json::Value;

/// The words and variables that the containers of a workload are started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started<'w>(&'w Value);

impl<'w> Started<'w> {
    /// Of a StatefulSet or Deployment.
    pub(super) const fn of(workload: &'w Value) -> Self {
        Self(workload)
    }

    fn containers(self) -> impl Iterator<Item = &'w Value> {
        let containers = self.0.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        containers.into_iter().flatten()
    }

    /// Whether a container is started with a flag, or has its variable.
    pub(super) fn has(self, flag: &str, variable: &str) -> bool {
        self.containers().any(|container| {
            let is_flag = |word: &&str| word.split('=').next() == Some(flag);
            words(container).any(|word| is_flag(&word))
                || variables(container).any(|(name, _)| name == variable)
        })
    }

    /// What is given by a flag that has a value, or by its variable; a value that stands elsewhere (`valueFrom`) is not known.
    pub(super) fn values(self, flag: &str, variable: &str) -> Vec<&'w str> {
        let mut found = Vec::new();
        for container in self.containers() {
            let mut words = words(container);
            while let Some(word) = words.next() {
                match word.split_once('=') {
                    Some((name, value)) if name == flag => found.push(value),
                    None if word == flag => found.extend(words.next()),
                    _ => {}
                }
            }
            found.extend(variables(container).filter(|(name, _)| *name == variable).filter_map(|(_, v)| v));
        }
        found
    }
}

fn words(container: &Value) -> impl Iterator<Item = &str> {
    let all = |member: &str| container.get(member).and_then(Value::as_array).into_iter().flatten();
    all("command").chain(all("args")).filter_map(Value::as_str)
}

fn variables(container: &Value) -> impl Iterator<Item = (&str, Option<&str>)> {
    let all = container.get("env").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|one| Some((one.get("name")?.as_str()?, one.get("value").and_then(Value::as_str))))
}

/// Where its records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It follows the API server itself, as far as is known.
    Cluster,
    /// By the registry at this address; who has the rights is that one.
    Registry(String),
    /// A directory: it needs nothing of the API server.
    Directory,
}

/// How it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) source: Source,
    /// The namespaces whose records count; all where it is empty.
    pub(super) namespaces: Vec<String>,
    /// Whether statuses are written.
    pub(super) writes: bool,
    /// The issuer of ServiceAccount tokens, where they are taken.
    pub(super) issuer: Option<String>,
}

/// As it is where nothing says otherwise.
impl Default for Installed {
    fn default() -> Self {
        Self { source: Source::Cluster, namespaces: Vec::new(), writes: true, issuer: None }
    }
}

impl Installed {
    /// By the StatefulSet of the gateway.
    pub(super) fn read(workload: &Value) -> Self {
        let started = Started::of(workload);
        let first = |flag, variable| started.values(flag, variable).first().map(|&value| value.to_owned());
        let source = match first("--registry", "VIDIMUS_REGISTRY") {
            Some(registry) => Source::Registry(registry),
            None if started.has("--resources", "VIDIMUS_RESOURCES") => Source::Directory,
            None => Source::Cluster,
        };
        let namespaces = started.values("--namespace", "VIDIMUS_NAMESPACE");
        Self {
            source,
            namespaces: namespaces.iter().flat_map(|many| many.split(',')).map(str::to_owned).collect(),
            writes: !started.has("--no-status", "VIDIMUS_NO_STATUS"),
            issuer: first("--service-account-issuer", "VIDIMUS_SERVICE_ACCOUNT_ISSUER"),
        }
    }

    /// Whether records of a namespace are looked at.
    pub(super) fn follows(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace)
    }

    /// Where its rights have to be: each namespace that it follows, or all at once, which has no name.
    pub(super) fn followed(&self) -> Vec<&str> {
        match &*self.namespaces {
            [] => vec![""],
            some => some.iter().map(String::as_str).collect(),
        }
    }
}

/// Namespace and name of the Service that an address names, which the Deployment behind it has too where the chart made both.
pub(super) fn service<'a>(address: &'a str, own: &'a str) -> (&'a str, &'a str) {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let mut labels = host.split('.');
    let name = labels.next().unwrap_or_default();
    (labels.next().unwrap_or(own), name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(args: &Value, env: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [{"args": args, "env": env}]}}}})
    }

    #[test]
    fn how_it_is_installed_is_what_it_is_started_with() {
        let of = |args: Value, env: Value| Installed::read(&workload(&args, &env));
        assert_eq!(of(json!(["serve", "--cluster"]), json!([])), Installed::default());
        let some = of(
            json!(["serve", "--cluster", "--namespace=finance", "--namespace", "hr", "--no-status"]),
            json!([{"name": "VIDIMUS_NAMESPACE", "value": "a,b"}, {"name": "POD_NAME", "valueFrom": {}}]),
        );
        assert_eq!(some.namespaces, ["finance", "hr", "a", "b"]);
        assert!(!some.writes && some.follows("b") && !some.follows("vidimus-system"));
        assert_eq!(some.followed().len(), 4);
        let separate = of(json!(["serve", "--registry=vidimus-registry.vidimus-system.svc:9444"]), json!([]));
        assert_eq!(separate.source, Source::Registry("vidimus-registry.vidimus-system.svc:9444".to_owned()));
        assert_eq!(separate.followed(), [""]);
        // A flag that begins so is another one.
        assert_eq!(of(json!(["--registry-id=x", "--resources=/o"]), json!([])).source, Source::Directory);
    }

    #[test]
    fn a_registry_is_found_by_the_name_of_its_service() {
        assert_eq!(service("vidimus-registry.gates.svc:9444", "own"), ("gates", "vidimus-registry"));
        assert_eq!(service("registry:9444", "own"), ("own", "registry"));
        assert_eq!(service("registry", "own"), ("own", "registry"));
    }
}
