mod bodies;
mod left_out;
mod paths;

use std::sync::Arc;

use serde_json::{Value, json};

use super::parameter::{Form, Place, Scalar};
use super::{NoMatch, Verb};
use crate::resource::{Api, McpServer, Object, Origin, Rejection, check};

fn record(openapi: &Value) -> Value {
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "shop", "name": "pets"},
        "spec": {"owner": "first.last@example.com", "team": "shop", "riskLevel": "low", "openapi": openapi},
    })
}

fn checked(openapi: &Value) -> Result<Arc<McpServer>, Vec<Rejection>> {
    match check(&Origin::file("a.yaml", 1), &record(openapi))? {
        Object::McpServer(server) => Ok(server),
        other => panic!("{other:?}"),
    }
}

/// A document of these paths and components.
fn document(version: &str, paths: &Value, components: &Value) -> Value {
    json!({"openapi": version, "info": {"title": "t", "version": "1"}, "paths": paths, "components": components})
}

fn spec(document: &Value) -> Value {
    json!({"url": "https://pets.example/api?tenant=a", "document": document})
}

fn api(paths: &Value, components: &Value) -> Arc<Api> {
    let server =
        checked(&spec(&document("3.1.0", paths, components))).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    server.endpoint.openapi.clone().expect("an API")
}

/// The faults of a document of one operation: `GET /a/{id}` with this in it.
fn wrong(version: &str, operation: &Value, components: &Value) -> String {
    let paths = json!({"/a/{id}": {"get": operation, "parameters": [{"name": "id", "in": "path", "required": true, "schema": {}}]}});
    let rejections = checked(&spec(&document(version, &paths, components))).map(|_| ()).expect_err("refused");
    let told = rejections.iter().map(|one| format!("{}: {} {}", one.field, one.value, one.reason));
    assert!(rejections.iter().all(|one| !one.fix.is_empty()), "{rejections:?}");
    told.collect::<Vec<_>>().join(" | ")
}

fn parameter(name: &str, place: &str, schema: &Value) -> Value {
    json!({"name": name, "in": place, "required": place == "path", "schema": schema})
}

#[test]
fn an_operation_is_a_tool_with_name_schema_and_annotations() {
    let pet = json!({"type": "object", "properties": {"name": {"type": "string"}, "of": {"$ref": "#/components/schemas/Pet"}}});
    let paths = json!({"/pets/{id}": {
        "parameters": [{"$ref": "#/components/parameters/Id"}, parameter("trace", "query", &json!({"type": "string"}))],
        "get": {"operationId": "getPet", "summary": "Gets a pet.", "description": "By its id.", "parameters": [
            parameter("fields", "query", &json!({"type": "array", "items": {"type": "string"}})),
            parameter("trace", "query", &json!({"type": "boolean"})),
            parameter("X-Tenant", "header", &json!({"type": "integer"})),
            parameter("session", "cookie", &json!({"type": "string"})),
            parameter("Authorization", "header", &json!({"type": "string"})),
            parameter("If-Match", "header", &json!({"type": "string"})),
        ]},
        "put": {"requestBody": {"$ref": "#/components/requestBodies/Pet"}},
        "delete": {"operationId": "pets/delete", "parameters": [parameter("id", "query", &json!({"type": "string"}))]},
        "head": {"operationId": "never"},
    }});
    let components = json!({
        "schemas": {"Pet": pet, "Unused": {"$ref": "https://elsewhere.example/"}},
        "parameters": {"Id": {"name": "id", "in": "path", "required": true, "description": "Which.", "schema": {"type": "integer", "minimum": 1}}},
        "requestBodies": {"Pet": {"required": true, "content": {"application/xml": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
    });
    let server =
        checked(&spec(&document("3.1.0", &paths, &components))).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    let names: Vec<&str> = api.tools.keys().map(|name| &**name).collect();
    assert_eq!(names, ["getPet", "pets_delete", "put_pets_id"]);
    let definition = |tool: &str| serde_json::from_str::<Value>(&api.tools[tool].definition).expect("JSON");

    let get = definition("getPet");
    assert_eq!(get["description"], "Gets a pet.\n\nBy its id.");
    assert_eq!(get["annotations"], json!({"readOnlyHint": true, "title": "Gets a pet."}));
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["id"], "properties": {
        "id": {"type": "integer", "minimum": 1, "description": "Which."}, "trace": {"type": "boolean"}, "x-tenant": {"type": "integer"},
        "fields": {"type": "array", "items": {"type": "string"}}}});
    assert_eq!(get["inputSchema"], schema);
    let parameters = &api.tools["getPet"].parameters;
    let form = |name: &str| parameters.iter().find(|one| *one.name == *name).map(|one| (one.place, one.form));
    assert_eq!(form("fields"), Some((Place::Query, Form::Many { of: Scalar::Text, explode: true })));
    assert_eq!(form("trace"), Some((Place::Query, Form::One(Scalar::Truth))), "the operation's own");
    assert_eq!(form("id"), Some((Place::Path, Form::One(Scalar::Whole))));

    let put = definition("put_pets_id");
    assert_eq!(put["description"], "PUT /pets/{id}");
    assert_eq!(
        put["annotations"],
        json!({"readOnlyHint": false, "idempotentHint": true, "destructiveHint": true})
    );
    assert_eq!(put["inputSchema"]["properties"]["body"], json!({"$ref": "#/$defs/Pet"}));
    assert_eq!(
        put["inputSchema"]["$defs"]["Pet"]["properties"]["of"],
        json!({"$ref": "#/$defs/Pet"}),
        "bounded, and as it is"
    );

    // Two of one name, and what the record knows of tools that it does not list.
    let delete = definition("pets_delete");
    assert!(
        delete["inputSchema"]["properties"].get("path_id").is_some()
            && delete["inputSchema"]["properties"].get("query_id").is_some()
    );
    assert!(
        server.tool("getPet").read_only
            && !server.tool("getPet").destructive
            && server.tool("pets_delete").destructive
    );
}

#[test]
fn what_3_0_says_in_its_own_words_is_json_schema() {
    let components = json!({"schemas": {"A": {"type": "string"}}});
    let body = json!({"type": "object", "properties": {
        "a": {"type": "string", "nullable": true}, "b": {"type": "integer", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false},
        "c": {"nullable": true, "allOf": [{"$ref": "#/components/schemas/A"}]}, "d": {"$ref": "#/components/schemas/A", "nullable": true},
        "e": {"type": "string", "x-mcp-header": "X-Evil", "example": {"$ref": "https://elsewhere.example/"}, "xml": {}}}});
    let paths = json!({"/a": {"post": {"operationId": "a", "requestBody": {"content": {"application/json": {"schema": body}}}}}});
    let server =
        checked(&spec(&document("3.0.3", &paths, &components))).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    let definition: Value = serde_json::from_str(&api.tools["a"].definition).expect("JSON");
    let expected = json!({
        "a": {"type": ["string", "null"]}, "b": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
        "c": {"anyOf": [{"allOf": [{"$ref": "#/$defs/A"}]}, {"type": "null"}]}, "d": {"$ref": "#/$defs/A"}, "e": {"type": "string"}});
    assert_eq!(definition["inputSchema"]["properties"]["body"]["properties"], expected);
    assert!(!api.tools["a"].body.as_ref().expect("a body").required);
}

#[test]
fn what_a_text_stands_for_is_known_or_refused() {
    let components = json!({"schemas": {"E": {"type": "string", "enum": ["a"]}, "Loop": {"anyOf": [{"$ref": "#/components/schemas/Loop"}]}}});
    for (schema, expected) in [
        (json!({}), Form::One(Scalar::Text)),
        (json!({"$ref": "#/components/schemas/E"}), Form::One(Scalar::Text)),
        (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), Form::One(Scalar::Whole)),
        (json!({"type": ["integer", "null"]}), Form::One(Scalar::Whole)),
        (json!({"type": ["integer", "number"]}), Form::One(Scalar::Number)),
        (json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}), Form::One(Scalar::Text)),
        (json!({"enum": [1, 2, null]}), Form::One(Scalar::Whole)),
        (json!({"const": true}), Form::One(Scalar::Truth)),
        (json!({"allOf": [{"description": "x"}, {"type": "number"}]}), Form::One(Scalar::Number)),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            Form::Many { of: Scalar::Whole, explode: true },
        ),
        (json!({"type": "array"}), Form::Many { of: Scalar::Text, explode: true }),
    ] {
        let paths =
            json!({"/a": {"get": {"operationId": "a", "parameters": [parameter("p", "query", &schema)]}}});
        assert_eq!(api(&paths, &components).tools["a"].parameters[0].form, expected, "{schema}");
    }
    for schema in [
        json!({"type": "object"}),
        json!({"properties": {}}),
        json!({"anyOf": [{"type": "string"}, {"type": "array"}]}),
        json!({"anyOf": [{"type": "boolean"}, {"type": "integer"}]}),
        json!({"type": "array", "items": {"type": "array"}}),
        json!({"type": "null"}),
        json!({"enum": []}),
        json!({"$ref": "#/components/schemas/Loop"}),
    ] {
        let told = wrong("3.1.0", &json!({"parameters": [parameter("p", "query", &schema)]}), &components);
        assert!(
            told.starts_with(r#"spec.openapi.document.paths["/a/{id}"].get"#) && told.contains("\"p\""),
            "{schema}: {told}"
        );
    }
}

/// Attack: a short document whose references branch at each step, so that a walk along all of them has no end.
#[test]
fn a_schema_that_branches_is_looked_at_so_far_and_no_further() {
    let reference = |to: usize| json!({"$ref": format!("#/components/schemas/A{to}")});
    let branching = |choice: &str| {
        let each = (0..7).map(|at| (format!("A{at}"), json!({choice: vec![reference(at + 1); 30]})));
        let last = ("A7".to_owned(), json!({"type": "string"}));
        json!({"schemas": each.chain([last]).collect::<serde_json::Map<_, _>>()})
    };
    let lists = json!({"type": vec!["array"; 30], "items": {"type": vec!["array"; 600]}});
    let values: Vec<u32> = (0..513).collect();
    for (schema, components) in [
        (reference(0), branching("anyOf")),
        (reference(0), branching("oneOf")),
        (lists, json!({})),
        (json!({"anyOf": [{"enum": values}]}), json!({})),
    ] {
        let told = wrong("3.1.0", &json!({"parameters": [parameter("p", "query", &schema)]}), &components);
        assert!(told.contains("of more parts than are looked at"), "{told}");
    }
    let few: Vec<u32> = (0..500).collect();
    let paths = json!({"/a": {"get": {"operationId": "a", "parameters": [parameter("p", "query", &json!({"enum": few}))]}}});
    assert_eq!(api(&paths, &json!({})).tools["a"].parameters[0].form, Form::One(Scalar::Whole));
}

/// Attack: references that lead out of the document, in a circle, or to a place where they say something else.
#[test]
fn a_reference_leads_within_the_document_and_ends() {
    let components = json!({
        "parameters": {"Loop": {"$ref": "#/components/parameters/Loop"}, "A": {"$ref": "#/components/parameters/B"}, "B": {"$ref": "#/components/parameters/A"}},
        "requestBodies": {"File": {"$ref": "file:///etc/passwd"}},
        "schemas": {"Far": {"$ref": "https://elsewhere.example/s.json"}, "Near": {"allOf": [{"$ref": "#/components/schemas/Far"}]}, "a b": {}, "Based": {"$id": "https://elsewhere.example/", "items": {"$ref": "#/components/schemas/Near"}}},
    });
    let body = |schema: Value| json!({"requestBody": {"content": {"application/json": {"schema": schema}}}});
    for (operation, says) in [
        (json!({"parameters": [{"$ref": "#/components/parameters/Loop"}]}), "do not end"),
        (json!({"parameters": [{"$ref": "#/components/parameters/A"}]}), "do not end"),
        (json!({"parameters": [{"$ref": "#/components/parameters/None"}]}), "leads to nothing"),
        (json!({"parameters": [{"$ref": "other.yaml#/a"}]}), "another document"),
        (json!({"parameters": [{"$ref": "#/paths/~1a/get/parameters/0"}]}), "leads to nothing"),
        (json!({"parameters": [{"$ref": 7}]}), "another document"),
        (json!({"requestBody": {"$ref": "#/components/requestBodies/File"}}), "another document"),
        (
            body(json!({"$ref": "https://elsewhere.example/s.json"})),
            "https://elsewhere.example/s.json its schema has a reference that is to another document",
        ),
        (body(json!({"$ref": "#/components/schemas/Near"})), "(at #/components/schemas/Far)"),
        (
            body(json!({"properties": {"a": {"items": {"$ref": "#/components/schemas/None"}}}})),
            "has a reference that leads to nothing (at body/properties/a/items)",
        ),
        (body(json!({"$ref": "#/components/schemas/Near/allOf/0"})), "another document"),
        (body(json!({"$ref": "#/components/schemas/%4eear"})), "(at #/components/schemas/Far)"),
        (body(json!({"$ref": "#/components/schemas/%4"})), "is no path from the document's root"),
        (body(json!({"$ref": "#Near"})), "is no path from the document's root"),
        (body(json!({"$ref": "#/components/schemas/Far/type"})), "leads to nothing"),
        (body(json!({"$ref": "#/components/schemas/Based/items"})), "an address of its own ($id)"),
        (
            body(json!({"$id": "https://elsewhere.example/", "$ref": "#/components/schemas/Near"})),
            "$id its schema has a keyword",
        ),
        (body(json!({"$dynamicRef": "#a"})), "$dynamicRef"),
        (body(json!({"$ref": 7})), "a reference that is no text"),
    ] {
        let told = wrong("3.1.0", &operation, &components);
        assert!(told.contains(says) && told.contains(r#"paths["/a/{id}"].get"#), "{operation}: {told}");
    }
}

#[test]
fn what_is_not_supported_is_told_by_its_place() {
    let with = |more: &Value| {
        let mut given = parameter("p", "query", &json!({"type": "string"}));
        given.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"parameters": [given]})
    };
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"items": deep});
    }
    for (operation, says) in [
        (with(&json!({"style": "deepObject"})), "a style other than form"),
        (with(&json!({"in": "header", "style": "form"})), "a style other than simple"),
        (with(&json!({"in": "path", "required": true, "style": "matrix"})), "a style other than simple"),
        (with(&json!({"in": "path", "required": true})), "which does not have it"),
        (with(&json!({"in": "path"})), "not required: true"),
        (with(&json!({"in": "body"})), "in no place that OpenAPI has"),
        (with(&json!({"in": "cookie", "required": true})), "is a cookie"),
        (
            with(&json!({"in": "header", "name": "Host", "required": true})),
            "is a header field that no tool sets",
        ),
        (
            with(&json!({"in": "header", "name": "Transfer-Encoding", "required": true})),
            "is a header field that no tool sets",
        ),
        (with(&json!({"in": "header", "name": "a\r\nb"})), "is not the name of a header field"),
        (with(&json!({"content": {"application/json": {}}})), "written by a media type"),
        (with(&json!({"allowReserved": true})), "allowReserved"),
        (with(&json!({"name": ""})), "has no name"),
        (with(&json!({"name": "tenant"})), "in the query of spec.openapi.url already"),
        (with(&json!({"name": "Tenant"})), "in the query of spec.openapi.url already"),
        (json!({"parameters": [{"name": "p", "in": "query"}]}), "has no schema"),
        (
            json!({"parameters": [parameter("p", "query", &json!({})), parameter("p", "query", &json!({}))]}),
            "is there twice",
        ),
        (
            json!({"parameters": [parameter("p", "query", &json!({})), parameter("P", "header", &json!({})), parameter("query_p", "query", &json!({}))]}),
            "differ by nothing",
        ),
        (json!({"parameters": {}}), "are no list"),
        (
            json!({"requestBody": {"required": true, "content": {"multipart/form-data": {}}}}),
            r#"its body is of type "multipart/form-data", which no tool sends"#,
        ),
        (json!({"servers": [{"url": "https://elsewhere.example"}]}), "has servers of its own"),
        (json!({"operationId": "x".repeat(129)}), "not the name of a tool"),
        (
            json!({"requestBody": {"content": {"application/json": {"schema": {"type": "everything"}}}}}),
            "a type that JSON Schema does not have",
        ),
        (json!({"requestBody": {"content": {"application/json": {"schema": [1]}}}}), "its schema is none"),
        (json!({"requestBody": {"content": {"application/json": {"schema": deep}}}}), "is deeper than"),
        (
            json!({"requestBody": {"content": {"application/json": {"schema": {"enum": ["x".repeat(70_000)]}}}}}),
            "is larger than",
        ),
    ] {
        let told = wrong("3.1.0", &operation, &json!({}));
        assert!(told.contains(says), "{:.200}: {told}", operation.to_string());
    }
    for (path, says) in [
        ("/a/../b", "are empty, . or .."),
        ("/a?b=c", "no path has"),
        ("/{a}{b}", "more than one parameter"),
        ("/{id}", "nothing says what {id}"),
    ] {
        let paths = json!({path: {"get": {"operationId": "x"}}});
        let told = checked(&spec(&document("3.1.0", &paths, &json!({})))).map(|_| ()).expect_err("refused");
        assert!(told[0].reason.contains(says), "{path}: {told:?}");
    }
}

/// What a schema says of arguments is kept; what it says to people goes where it would be too long.
#[test]
fn a_schema_that_is_too_long_is_without_words() {
    let schema = |words: usize| json!({"type": "object", "properties": {"a": {"type": "string", "title": "A", "description": "x".repeat(words)}}});
    for (words, has_words) in [(1_000, true), (70_000, false)] {
        let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}});
        let paths = json!({"/a": {"post": {"operationId": "a", "requestBody": body}}});
        let api = api(&paths, &json!({"schemas": {"A": schema(words)}}));
        let definition: Value = serde_json::from_str(&api.tools["a"].definition).expect("JSON");
        let of_a = &definition["inputSchema"]["$defs"]["A"]["properties"]["a"];
        assert_eq!((&of_a["type"], of_a.get("description").is_some()), (&json!("string"), has_words));
    }
}

#[test]
fn a_document_as_a_whole_is_one_that_is_read() {
    let good = json!({"/a": {"get": {"operationId": "a"}}});
    for (document, field, says) in [
        (json!({"swagger": "2.0", "paths": good}), "spec.openapi.document.openapi", "Swagger 2"),
        (json!({"openapi": "3.2.0", "paths": good}), "spec.openapi.document.openapi", "3.0 or 3.1"),
        (json!({"openapi": 3.1, "paths": good}), "spec.openapi.document.openapi", "3.0 or 3.1"),
        (json!({"openapi": "3.1.0"}), "spec.openapi.document.paths", "no paths"),
        (json!({"openapi": "3.1.0", "paths": {}}), "spec.openapi.document.paths", "no operation"),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"$ref": "https://elsewhere.example/"}}}),
            r#"spec.openapi.document.paths["/a"]"#,
            "another document",
        ),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "a"}, "put": {"operationId": "A"}}}}),
            r#"spec.openapi.document.paths["/a"].put"#,
            "called as another is: a",
        ),
        (
            json!({"openapi": "3.1.0", "paths": {"/a/{b}": {"get": {"parameters": [parameter("b", "path", &json!({}))]}}, "/a/{c}": {"get": {"parameters": [parameter("c", "path", &json!({}))]}}}}),
            r#"spec.openapi.document.paths["/a/{c}"].get"#,
            "cannot be told from",
        ),
    ] {
        let told = checked(&spec(&document)).map(|_| ()).expect_err("refused");
        assert!(
            told.iter().any(|one| one.field == field && one.reason.contains(says)),
            "{document}: {told:?}"
        );
    }
    let mut many = serde_json::Map::new();
    for number in 0..40 {
        many.insert(format!("/{number}"), json!({"get": {"servers": []}}));
    }
    let told = checked(&spec(&document("3.1.0", &Value::Object(many), &json!({}))))
        .map(|_| ())
        .expect_err("refused");
    assert_eq!(told.len(), 16, "as many as somebody reads");
    for (count, says) in
        [(513, "more than 512 operations would be tools"), (8193, "more than 8192 operations")]
    {
        let paths: serde_json::Map<String, Value> =
            (0..count).map(|number| (format!("/{number}"), json!({"get": {}}))).collect();
        let told = checked(&spec(&document("3.1.0", &Value::Object(paths), &json!({}))))
            .map(|_| ())
            .expect_err("refused");
        assert!(told.len() == 1 && told[0].reason.contains(says), "{told:?}");
    }
}

#[test]
fn only_the_operations_that_are_named_are_tools_and_the_others_keep_their_paths() {
    let id = parameter("id", "path", &json!({"type": "string"}));
    let paths = json!({
        "/a/{id}": {"get": {"operationId": "one", "parameters": [id]}},
        "/a/all": {"get": {"operationId": "all"}, "delete": {"operationId": "drop"}},
        "/b": {"get": {"operationId": "bad", "parameters": [parameter("p", "query", &json!({"type": "object"}))]}},
    });
    let mut given = spec(&document("3.1.0", &paths, &json!({})));
    given["operations"] = json!(["one"]);
    let server = checked(&given).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let api = server.endpoint.openapi.as_ref().expect("an API");
    assert_eq!(api.tools.keys().map(|name| &**name).collect::<Vec<_>>(), ["one"]);
    assert_eq!(
        api.find("GET", "/a/7").map(|found| (found.tool.to_string(), found.given)),
        Ok(("one".to_owned(), vec![("id", "7")]))
    );
    assert_eq!(
        api.find("GET", "/a/all").map(|_| ()),
        Err(NoMatch::Path),
        "what is no tool is none by another's name"
    );
    assert_eq!(api.find("DELETE", "/a/7").map(|_| ()), Err(NoMatch::Method(vec![Verb::Get])));
    given["operations"] = json!(["on"]);
    let told = checked(&given).map(|_| ()).expect_err("refused");
    assert_eq!((&*told[0].field, &*told[0].fix), ("spec.openapi.operations[0]", "did you mean one?"));
}

#[test]
fn a_key_is_of_the_record_and_presented_by_a_header_that_is_for_it() {
    let paths = json!({"/a": {"get": {"operationId": "a", "parameters": [parameter("X-Key", "header", &json!({}))]}}});
    let with = |credential: Value, header: Option<&str>| {
        let mut given = spec(&document("3.1.0", &paths, &json!({})));
        given["credential"] = credential;
        if let Some(header) = header {
            given["credentialHeader"] = json!(header);
        }
        checked(&given).map(|server| server.endpoint.key.clone().expect("a key"))
    };
    assert_eq!(&*with(json!({"env": "K"}), None).expect("good").header, "authorization");
    for header in ["X-API-Key", "api-key", "X-Auth-Token", "Ocp-Apim-Subscription-Key"] {
        assert_eq!(
            *with(json!({"env": "K"}), Some(header)).expect("good").header,
            *header.to_ascii_lowercase()
        );
    }
    // What the gateway writes is no argument, as Authorization is none.
    let mut own = spec(&document("3.1.0", &paths, &json!({})));
    own.as_object_mut().expect("an object").extend([
        ("credential".to_owned(), json!({"env": "K"})),
        ("credentialHeader".to_owned(), json!("X-Key")),
    ]);
    let server = checked(&own).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    assert!(server.endpoint.openapi.as_ref().expect("an API").tools["a"].parameters.is_empty());
    // Nor is it one in the query, where the record has it there, and nowhere else.
    let (own, elsewhere) = (parameter("appid", "query", &json!({})), parameter("q", "query", &json!({})));
    // Attack: the same to a server that takes upper and lower case for one.
    let alike = parameter("AppId", "query", &json!({}));
    let paths = json!({"/a": {"get": {"operationId": "a", "parameters": [own, elsewhere]}},
        "/b": {"get": {"operationId": "b", "parameters": [alike]}}});
    let mut own = spec(&document("3.1.0", &paths, &json!({})));
    own["credential"] = json!({"env": "K"});
    own["credentialQuery"] = json!("appid");
    let server = checked(&own).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let (key, api) = (server.endpoint.key.as_ref().expect("a key"), server.endpoint.openapi.as_ref());
    assert_eq!((key.query.as_deref(), key.scheme.as_deref()), (Some("appid"), None));
    let left = api.expect("an API").tools["a"].parameters.iter().map(|one| one.name.to_string());
    assert_eq!(left.collect::<Vec<_>>(), ["q"]);
    assert!(api.expect("an API").tools["b"].parameters.is_empty());
    for (name, value) in [
        ("credentialQuery", json!("a=b&c")),
        ("credentialHeader", json!("X-Key")),
        ("credentialScheme", json!("Token")),
        ("credential", Value::Null),
        ("url", json!("https://pets.example/api?appid=hunter2")),
        ("url", json!("https://pets.example/api?AppID=hunter2")),
    ] {
        let mut given = own.clone();
        given[name] = value;
        if given["credential"].is_null() {
            given.as_object_mut().expect("an object").remove("credential");
        }
        let told = checked(&given).map(|_| ()).expect_err("refused");
        assert!(told.iter().any(|one| one.field == "spec.openapi.credentialQuery"), "{name}: {told:?}");
    }
    for header in
        ["Host", "Cookie", "Content-Length", "Proxy-Authorization", "Connection", "X-Forwarded-For", "X-"]
    {
        let told = with(json!({"env": "K"}), Some(header)).expect_err("refused");
        assert!(told.iter().any(|one| one.field == "spec.openapi.credentialHeader"), "{header}: {told:?}");
    }
    for credential in [
        json!("hunter2"),
        json!({"file": 7, "env": "hunter2 "}),
        json!({"secretRef": {"name": "hunter2", "key": "k"}}),
    ] {
        let told = with(credential, None).expect_err("refused");
        assert!(!format!("{told:?}").contains("hunter2"), "a secret is shown: {told:?}");
    }
    let mut both = record(&spec(&document("3.1.0", &paths, &json!({}))));
    both["spec"]["endpoint"] = json!({"url": "https://pets.example/mcp"});
    let told = check(&Origin::file("a.yaml", 1), &both).map(|_| ()).expect_err("refused");
    assert_eq!((&*told[0].field, told[0].reason.contains("an endpoint too")), ("spec.openapi", true));
}
