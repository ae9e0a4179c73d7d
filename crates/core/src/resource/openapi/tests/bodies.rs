//! What a tool sends as the body of its request, and which members of it there have to be.

use super::*;
use crate::resource::openapi::BodyKind;

fn of(operation: &Value, components: &Value) -> (Arc<Api>, Value) {
    let mut operation = operation.clone();
    operation["operationId"] = json!("a");
    let api = api(&json!({"/a": {"post": operation}}), components);
    let definition: Value = serde_json::from_str(&api.tools["a"].definition).expect("JSON");
    let schema = definition["inputSchema"].clone();
    (api, schema)
}

/// What only answers have is not asked of who sends (OpenAPI: "required will take effect on the response only").
#[test]
fn what_is_read_only_is_not_required() {
    let components = json!({"schemas": {
        "Id": {"type": "string", "readOnly": true},
        "Pet": {"type": "object", "required": ["id", "by", "made", "name"], "properties": {
            "id": {"type": "integer", "readOnly": true}, "by": {"$ref": "#/components/schemas/Id"},
            "made": {"readOnly": true, "allOf": [{"type": "string"}]}, "name": {"type": "string"}, "pass": {"type": "string", "writeOnly": true}}},
        "Base": {"properties": {"id": {"readOnly": true}}},
    }});
    let body = |schema: &Value| json!({"requestBody": {"content": {"application/json": {"schema": schema}}}});
    let (_, schema) = of(&body(&json!({"$ref": "#/components/schemas/Pet"})), &components);
    let pet = &schema["$defs"]["Pet"];
    assert_eq!(pet["required"], json!(["name"]));
    assert_eq!(
        pet["properties"]["id"],
        json!({"type": "integer", "readOnly": true}),
        "it may be sent all the same"
    );
    // Of one object all parts speak.
    let parts = json!({"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id", "name"], "properties": {"name": {}}}], "required": ["id"]});
    let (_, schema) = of(&body(&parts), &components);
    let body = &schema["properties"]["body"];
    assert_eq!((&body["required"], &body["allOf"][1]["required"]), (&json!([]), &json!(["name"])));
    // Another object, and a member that is called so, are others.
    let others = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "object", "required": ["readOnly"], "properties": {"readOnly": {"const": true}}}}});
    let (_, schema) =
        of(&json!({"requestBody": {"content": {"application/json": {"schema": others}}}}), &components);
    let body = &schema["properties"]["body"];
    assert_eq!(
        (&body["required"], &body["properties"]["id"]["required"]),
        (&json!(["id"]), &json!(["readOnly"]))
    );
}

#[test]
fn a_body_is_json_a_form_text_or_bytes() {
    let schema = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}, "ids": {"type": "array", "items": {"type": "integer"}}}});
    let form = json!({"schema": schema, "encoding": {"ids": {"style": "form", "explode": false}}});
    let body = |content: Value| json!({"requestBody": {"content": content}});
    let (api, shape) =
        of(&body(json!({"multipart/form-data": {}, "application/x-www-form-urlencoded": form})), &json!({}));
    assert_eq!(shape["properties"]["body"], schema);
    let taken = api.tools["a"].body.as_ref().expect("a body");
    let BodyKind::Form(members) = &taken.kind else { panic!("{taken:?}") };
    let form_of = |name: &str| members.iter().find(|one| *one.name == *name).map(|one| (one.place, one.form));
    assert_eq!(form_of("count"), Some((Place::Form, Form::One(Scalar::Whole))));
    assert_eq!(form_of("tags"), Some((Place::Form, Form::Many { of: Scalar::Text, explode: true })));
    assert_eq!(form_of("ids"), Some((Place::Form, Form::Many { of: Scalar::Whole, explode: false })));
    for (media, sent, kind) in [
        ("Text/Plain; charset=latin1", "text/plain; charset=utf-8", BodyKind::Text),
        ("application/xml", "application/xml", BodyKind::Text),
        ("application/octet-stream", "application/octet-stream", BodyKind::Bytes),
        ("image/png", "image/png", BodyKind::Bytes),
        ("application/merge-patch+json", "application/merge-patch+json", BodyKind::Json),
        ("*/*", "application/json", BodyKind::Json),
    ] {
        let (api, _) = of(&body(json!({media: {}})), &json!({}));
        let taken = api.tools["a"].body.as_ref().expect("a body");
        assert_eq!((&*taken.media, &taken.kind), (sent, &kind), "{media}");
    }
    let (_, shape) = of(
        &body(json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}})),
        &json!({}),
    );
    assert_eq!(shape["properties"]["body"]["contentEncoding"], "base64");
    let (api, _) = of(&body(json!({})), &json!({}));
    assert!(api.tools["a"].body.is_none(), "there is none");
}

/// What the document says of a text holds, as of every other argument. What it says of the object that XML stands for does not: no text would do.
#[test]
fn a_text_is_held_to_what_is_said_of_it() {
    let short = json!({"type": "string", "maxLength": 9, "enum": ["on", "off"]});
    let components =
        json!({"schemas": {"Short": short, "Pet": {"type": "object", "properties": {"name": {}}}}});
    let body = |media: &str, schema: &Value| {
        let operation = json!({"requestBody": {"required": true, "content": {media: {"schema": schema}}}});
        of(&operation, &components).1
    };
    assert_eq!(body("text/plain", &short)["properties"]["body"], short);
    let shape = body("text/plain", &json!({"$ref": "#/components/schemas/Short"}));
    assert_eq!(shape["properties"]["body"]["$ref"], "#/$defs/Short");
    assert_eq!(shape["$defs"]["Short"], short);
    let any = json!({"type": "string"});
    let pet = json!({"$ref": "#/components/schemas/Pet"});
    assert_eq!(body("application/xml", &pet)["properties"]["body"], any);
    assert_eq!(body("text/plain", &json!({}))["properties"]["body"], any);
}

/// What a tool cannot send is not dropped, also where it may be left out.
#[test]
fn a_body_that_no_tool_sends_is_told() {
    let form = |media: Value| json!({"application/x-www-form-urlencoded": media});
    let object = |members: Value| json!({"schema": {"type": "object", "properties": members}});
    let with = |encoding: Value| json!({"schema": {"type": "object", "properties": {"p": {"type": "string"}}}, "encoding": {"p": encoding}});
    for (content, says) in [
        (json!({"multipart/form-data": {"schema": {"type": "object"}}}), "which no tool sends"),
        (json!({"image/*": {}}), "which no tool sends"),
        (json!({"text/plain\r\nX-Evil: 1": {}}), "which no tool sends"),
        (form(json!({})), "whose schema is missing"),
        (form(json!({"schema": {"type": "object"}})), "does not list its members"),
        (form(json!({"schema": {"allOf": [], "properties": {}}})), "has parts (allOf)"),
        (form(json!({"schema": {"$ref": "#/components/schemas/None"}})), "leads to nothing"),
        (form(object(json!({"metadata": {"type": "object"}}))), "\"metadata\" is an object"),
        (form(with(json!({"style": "deepObject", "explode": true}))), "a style other than form"),
        (form(with(json!({"contentType": "application/json"}))), "is written otherwise"),
        (form(with(json!({"allowReserved": true}))), "is written otherwise"),
    ] {
        let told = wrong("3.1.0", &json!({"requestBody": {"content": content}}), &json!({}));
        assert!(told.contains(says), "{content}: {told}");
    }
    let told = wrong("3.1.0", &json!({"requestBody": {"required": true, "content": {}}}), &json!({}));
    assert!(told.contains("nothing says of which type"), "{told}");
}
