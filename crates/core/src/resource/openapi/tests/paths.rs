//! Which operation a request is to.

use super::*;

#[test]
fn a_request_is_to_one_operation() {
    let paths: Value = ["/", "/a", "/a/", "/a/{x}", "/a/b", "/a/{x}.json", "/{y}/c", "/a/{x}:cancel"].iter().map(|path| {
        let parameters: Vec<Value> = ["x", "y"].iter().filter(|name| path.contains(&format!("{{{name}}}"))).map(|name| parameter(name, "path", &json!({}))).collect();
        ((*path).to_owned(), json!({"get": {"operationId": path.replace(['{', '}', '/', ':'], "-"), "parameters": parameters}}))
    }).collect::<serde_json::Map<_, _>>().into();
    let api = api(&paths, &json!({}));
    for (path, expected) in [
        ("/", Ok("/")),
        ("/a", Ok("/a")),
        ("/a/", Ok("/a/")),
        ("/a/b", Ok("/a/b")),
        ("/a/d", Ok("/a/{x}")),
        ("/a/d.json", Ok("/a/{x}.json")),
        ("/a/d:cancel", Ok("/a/{x}:cancel")),
        ("/b/c", Ok("/{y}/c")),
        // Both say as much, each of another part.
        ("/a/c", Err(NoMatch::Ambiguous)),
        ("/a/%62", Ok("/a/{x}")),
        ("/b", Err(NoMatch::Path)),
        ("/A", Err(NoMatch::Path)),
        ("/a/b/", Err(NoMatch::Path)),
        ("", Err(NoMatch::Path)),
    ] {
        let found = api.find("GET", path).map(|found| found.operation.path.text());
        assert_eq!(found, expected, "{path}");
    }
}

/// Attack: a path that is a tool's here, and to the server that of an operation that is none.
#[test]
fn a_path_that_may_be_anothers_is_none() {
    let of = |path: &str| {
        let names =
            ["id", "from", "to", "a", "b"].iter().filter(|name| path.contains(&format!("{{{name}}}")));
        let parameters: Vec<Value> = names.map(|name| parameter(name, "path", &json!({}))).collect();
        json!({"delete": {"operationId": path, "parameters": parameters}})
    };
    let all =
        ["/pets/{id}", "/pets/all", "/pets/{from}-{to}", "/f/{a}.json", "/f/x{b}", "/g/{id}", "/g/{id}.json"];
    let paths: serde_json::Map<String, Value> =
        all.iter().map(|path| ((*path).to_owned(), of(path))).collect();
    let mut given = spec(&document("3.1.0", &Value::Object(paths), &json!({})));
    // As an operation without an operationId is called.
    given["operations"] = json!(["_pets__id_", "_f__a_.json", "_f_x_b_", "_g__id_"]);
    let server = checked(&given).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    for (path, expected) in [
        ("/pets/7", Ok("/pets/{id}")),
        ("/pets/all", Err(NoMatch::Path)),
        ("/pets/ALL", Err(NoMatch::Ambiguous)),
        ("/pets/1-5", Err(NoMatch::Ambiguous)),
        ("/f/y.json", Ok("/f/{a}.json")),
        ("/f/xy", Ok("/f/x{b}")),
        ("/f/xy.json", Err(NoMatch::Ambiguous)),
        ("/f/Xy.json", Err(NoMatch::Ambiguous)),
        ("/g/7", Ok("/g/{id}")),
        ("/g/7.json", Err(NoMatch::Path)),
        ("/g/7.JSON", Err(NoMatch::Ambiguous)),
    ] {
        let found = api.find("DELETE", path).map(|found| found.operation.path.text());
        assert_eq!(found, expected, "{path}");
    }
}
