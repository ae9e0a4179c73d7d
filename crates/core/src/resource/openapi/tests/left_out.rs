//! Operations that are not supported, and references that lead deeper than to a component.

use super::*;

/// A public document has something of everything: what is supported of it is served.
#[test]
fn what_is_not_supported_is_left_out_unless_it_is_named() {
    let paths = json!({
        "/good": {"get": {"operationId": "good"}},
        "/deep": {"get": {"operationId": "deep", "parameters": [{"name": "p", "in": "query", "style": "deepObject", "schema": {"type": "object"}}]}},
        "/gone": {"$ref": "https://elsewhere.example/"},
        "/up": {"post": {"operationId": "up", "requestBody": {"content": {"multipart/form-data": {}}}}},
        "/own": {"get": {"operationId": "own", "servers": [{"url": "https://elsewhere.example"}]}},
        "/same": {"get": {"operationId": "same"}, "put": {"operationId": "Same"}},
        "/one/{a}": {"get": {"operationId": "one", "parameters": [parameter("a", "path", &json!({}))]}},
        "/one/{b}": {"get": {"operationId": "two", "parameters": [parameter("b", "path", &json!({}))]}},
    });
    let mut given = spec(&document("3.1.0", &paths, &json!({})));
    let server = checked(&given).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    assert_eq!(api.tools.keys().map(|name| &**name).collect::<Vec<_>>(), ["good"]);
    let mut left_out: Vec<&str> = api.left_out.iter().filter_map(|one| one.operation.as_deref()).collect();
    left_out.sort_unstable();
    // Of two that nobody tells from one another neither is one.
    assert_eq!(left_out, ["Same", "deep", "one", "own", "same", "two", "up"]);
    let gone = api.left_out.iter().find(|one| one.operation.is_none()).expect("a path");
    assert_eq!((&*gone.field, api.more_left_out), (r#"spec.openapi.document.paths["/gone"]"#, 0));
    // A request to one of them is to nothing.
    for (method, path) in [("GET", "/deep"), ("POST", "/up"), ("GET", "/gone"), ("GET", "/same")] {
        assert_eq!(api.find(method, path).map(|_| ()), Err(NoMatch::Path), "{path}");
    }
    for (name, field) in [("deep", r#"paths["/deep"].get"#), ("up", r#"paths["/up"].post"#)] {
        given["operations"] = json!(["good", name]);
        let told = checked(&given).map(|_| ()).expect_err("refused");
        assert_eq!((told.len(), &*told[0].field), (1, &*format!("spec.openapi.document.{field}")));
    }
    given["operations"] = json!(["good", "same"]);
    let server = checked(&given).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    assert!(api.tools.contains_key("same") && api.left_out.is_empty());
}

/// Attack: a path that is left out is still its own, and none of a tool's that matches it too.
#[test]
fn the_path_of_what_is_left_out_is_no_tools() {
    let paths = json!({
        "/pets/{id}": {"delete": {"operationId": "delete", "parameters": [parameter("id", "path", &json!({}))]}},
        "/pets/all": {"delete": {"operationId": "drop", "servers": []}},
        "/pets/some": {"$ref": "https://elsewhere.example/"},
    });
    let api = api(&paths, &json!({}));
    assert_eq!(api.tools.keys().map(|name| &**name).collect::<Vec<_>>(), ["delete"]);
    for (path, expected) in
        [("/pets/7", Ok(())), ("/pets/all", Err(NoMatch::Path)), ("/pets/some", Err(NoMatch::Path))]
    {
        assert_eq!(api.find("DELETE", path).map(|_| ()), expected, "{path}");
    }
}

/// Attack: thousands of operations that are each left out after all that one may have was read.
#[test]
fn what_is_left_out_is_read_so_far_and_no_further() {
    let wide: Vec<Value> = (0..9_000).map(|_| json!({})).collect();
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Wide"}}}});
    let mut paths: serde_json::Map<String, Value> =
        (0..2_000).map(|number| (format!("/b{number}"), json!({"post": {"requestBody": body}}))).collect();
    paths.insert("/a".to_owned(), json!({"get": {"operationId": "a"}}));
    let components = json!({"schemas": {"Wide": {"anyOf": wide, "oneOf": [{"type": "everything"}]}}});
    let api = api(&Value::Object(paths), &components);
    assert_eq!((api.tools.len(), api.left_out.len(), api.more_left_out), (1, 16, 2_000 - 16));
}

#[test]
fn a_reference_may_lead_deeper_and_into_paths() {
    let pet = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}, "of": {"$ref": "#/components/schemas/Pet"}}});
    let content = |schema: Value| json!({"content": {"application/json": {"schema": schema}}});
    let paths = json!({
        "/a": {"post": {"operationId": "a", "parameters": [parameter("p", "query", &json!({"type": "integer"}))], "requestBody": content(json!({"type": "object"}))}},
        "/b": {"post": {"operationId": "b",
            "parameters": [{"$ref": "#/paths/~1a/post/parameters/0"}],
            "requestBody": content(json!({"properties": {
                "name": {"$ref": "#/components/schemas/Pet/properties/name"},
                "again": {"$ref": "#/components/schemas/Pet/properties/%6eame"},
                "pet": {"$ref": "#/components/schemas/Pet"},
                "spaced": {"$ref": "#/components/schemas/a b"},
                "body": {"$ref": "#/paths/~1a/post/requestBody/content/application~1json/schema"},
            }}))}},
        "/c": {"$ref": "#/paths/~1a"},
    });
    // The same operation by two paths has one name, unless it is named by one.
    let mut given =
        spec(&document("3.1.0", &paths, &json!({"schemas": {"Pet": pet, "a b": {"type": "null"}}})));
    given["operations"] = json!(["b"]);
    let server = checked(&given).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let operation = &server.endpoint.openapi.as_ref().expect("an API").tools["b"];
    assert_eq!(
        (&*operation.parameters[0].name, operation.parameters[0].form),
        ("p", Form::One(Scalar::Whole))
    );
    let definition: Value = serde_json::from_str(&operation.definition).expect("JSON");
    let schema = &definition["inputSchema"];
    let meant = |member: &str| {
        let reference =
            schema["properties"]["body"]["properties"][member]["$ref"].as_str().expect("a reference");
        &schema["$defs"][reference.strip_prefix("#/$defs/").expect("one of ours")]
    };
    assert_eq!(meant("name"), &json!({"type": "string", "maxLength": 9}));
    assert_eq!(meant("again"), meant("name"));
    assert_eq!(meant("pet")["properties"]["of"], json!({"$ref": "#/$defs/Pet"}));
    assert_eq!((meant("spaced"), meant("body")), (&json!({"type": "null"}), &json!({"type": "object"})));
    assert_eq!(schema["$defs"].as_object().map(serde_json::Map::len), Some(4));
}
