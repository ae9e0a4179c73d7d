use std::path::Path;

use data_encoding::BASE64;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::prost_types::uninterpreted_option::NamePart;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MessageOptions, MethodDescriptorProto, ServiceDescriptorProto,
    SourceCodeInfo,
};
use serde_json::{Value, json};

use super::Grpc;
use crate::resource::{Endpoint, Object, Origin, Rejection, check};

/// The descriptors of `invoices.proto`, in base64.
fn descriptors() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resource/grpc");
    let mut compiler = protox::Compiler::new([directory]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_file("invoices.proto").unwrap();
    BASE64.encode(&compiler.encode_file_descriptor_set())
}

fn checked(grpc: &Value) -> Result<Endpoint, Vec<Rejection>> {
    let document = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "finance", "name": "invoices"},
        "spec": {"owner": "first.last@example.com", "team": "finance", "riskLevel": "low", "grpc": grpc},
    });
    match check(&Origin::file("a.yaml", 1), &document)? {
        Object::McpServer(server) => Ok(server.endpoint.clone()),
        other => panic!("{other:?}"),
    }
}

fn with(descriptors: &str) -> Result<Endpoint, Vec<Rejection>> {
    checked(&json!({"url": "http://invoices:50051", "descriptors": descriptors}))
}

fn grpc() -> Grpc {
    Grpc::clone(with(&descriptors()).unwrap().grpc_tools.as_ref().unwrap())
}

fn definition(grpc: &Grpc, tool: &str) -> Value {
    serde_json::from_str(&grpc.tools[tool].definition).unwrap()
}

#[test]
fn methods_that_take_one_object_are_tools_with_what_their_authors_say_of_them() {
    let endpoint = with(&descriptors()).unwrap();
    assert_eq!((endpoint.url.as_str(), endpoint.timeout_ms), ("http://invoices:50051/", 60_000));
    let grpc = endpoint.grpc_tools.as_ref().unwrap();
    let names: Vec<&str> = grpc.tools.keys().map(|name| &**name).collect();
    assert_eq!(names, ["Invoices_GetInvoice", "Invoices_ListInvoices", "Invoices_Now", "Invoices_Record"]);
    let get = definition(grpc, "Invoices_GetInvoice");
    assert_eq!(get["description"], json!("Finds an invoice by its number."));
    assert_eq!(get["annotations"], json!({"readOnlyHint": true}));
    assert_eq!(
        get["inputSchema"],
        json!({"type": "object", "additionalProperties": false, "properties": {
            "invoiceId": {"type": "string", "description": "The number that is printed on it."}}})
    );
    assert_eq!(get["_meta"]["dev.vidimus/grpc"]["method"], json!("/finance.v1.Invoices/GetInvoice"));
    let record = definition(grpc, "Invoices_Record");
    assert_eq!(record["description"], json!("Calls the gRPC method /finance.v1.Invoices/Record."));
    assert_eq!(record.get("annotations"), None, "what is not said may be the worst");
    // Of a stream there is a list, and what is no object has no structure.
    let list = definition(grpc, "Invoices_ListInvoices");
    assert_eq!(
        list["outputSchema"]["properties"]["messages"]["items"],
        json!({"$ref": "#/$defs/finance.v1.Invoice"})
    );
    assert_eq!(definition(grpc, "Invoices_Now").get("outputSchema"), None);
    assert!(!grpc.tools["Invoices_Now"].is_structured && grpc.tools["Invoices_Record"].is_structured);
}

/// Attack: a message that contains itself, so that a schema of it has no end.
#[test]
fn a_type_is_written_once_also_where_it_stands_in_itself() {
    let schema = &definition(&grpc(), "Invoices_Record")["inputSchema"];
    assert_eq!(
        schema["$defs"]["finance.v1.Line"]["properties"]["parts"],
        json!({"type": "array", "items": {"$ref": "#/$defs/finance.v1.Line"}})
    );
    let of = |name: &str| schema["properties"][name].clone();
    assert_eq!(of("tags"), json!({"type": "object", "additionalProperties": {"type": "string"}}));
    assert_eq!(of("due"), json!({"type": "string", "format": "date-time"}));
    assert_eq!(of("status"), json!({"$ref": "#/$defs/finance.v1.Status"}));
    assert_eq!(of("amountCents")["maximum"], json!(i64::MAX), "a number, by which policies compare");
    assert_eq!(schema["description"], json!("One invoice.\nAt most one of: iban, cash."));
    let open = &definition(&grpc(), "Invoices_GetInvoice")["outputSchema"];
    assert_eq!(open.get("additionalProperties"), None);
    assert_eq!(open["properties"]["amountCents"]["anyOf"][0]["maximum"], json!(9_007_199_254_740_991_i64));
    assert_eq!(open["$defs"]["finance.v1.Status"]["anyOf"][1], json!({"type": "integer"}));
}

#[test]
fn other_descriptors_are_another_configuration_and_are_approved_anew() {
    let one = grpc();
    assert_eq!(one, grpc());
    let mut named = json!({"url": "http://invoices:50051", "descriptors": descriptors(), "services": ["finance.v1.Invoices"]});
    let other = checked(&named).unwrap();
    assert_ne!(&one, &**other.grpc_tools.as_ref().unwrap());
    assert_ne!(format!("{one:?}"), format!("{:?}", other.grpc_tools.as_ref().unwrap()));
    // In lines, as YAML has long texts.
    named["descriptors"] = json!(descriptors().replace('A', "A\n"));
    assert_eq!(checked(&named).unwrap().grpc_tools, other.grpc_tools);
}

fn refused(grpc: &Value) -> (String, String) {
    let problems = checked(grpc).expect_err("it is refused");
    (problems[0].field.clone(), problems[0].reason.clone())
}

#[test]
fn what_describes_no_tool_is_refused_with_what_is_wrong() {
    let good = descriptors();
    let no_imports = {
        let set = FileDescriptorSet::decode(&*BASE64.decode(good.as_bytes()).unwrap()).unwrap();
        let file = set.file.into_iter().filter(|file| file.name() == "invoices.proto").collect();
        BASE64.encode(&FileDescriptorSet { file }.encode_to_vec())
    };
    for (descriptors, reason) in [
        ("====", "it is not base64"),
        ("AAAA", "it is not a FileDescriptorSet"),
        (no_imports.as_str(), "imported file"),
        // A set of nothing: an unknown field, which is passed over.
        (&*BASE64.encode(&[0x78, 0x01, 0x78, 0x01]), "no method of it can be a tool"),
    ] {
        let (field, said) = refused(&json!({"url": "http://a:1", "descriptors": descriptors}));
        assert_eq!(field, "spec.grpc.descriptors");
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let (field, said) =
        refused(&json!({"url": "http://a:1", "descriptors": good, "services": ["finance.v1.Bills"]}));
    assert_eq!((&*field, &*said), ("spec.grpc.services[0]", "the descriptors have no such service"));
    let (field, _) = refused(&json!({"url": "http://a:1/?b=c", "descriptors": good}));
    assert_eq!(field, "spec.grpc.url");
}

/// A set that no compiler wrote: one service, whose method `M` takes and answers the message `m`.
fn by_hand(change: impl FnOnce(&mut FileDescriptorProto)) -> String {
    let method = MethodDescriptorProto {
        name: Some("M".into()),
        input_type: Some(".m".into()),
        output_type: Some(".m".into()),
        ..Default::default()
    };
    let service =
        ServiceDescriptorProto { name: Some("S".into()), method: vec![method], ..Default::default() };
    let mut file = FileDescriptorProto {
        name: Some("f.proto".into()),
        syntax: Some("proto3".into()),
        service: vec![service],
        message_type: vec![DescriptorProto { name: Some("m".into()), ..Default::default() }],
        ..Default::default()
    };
    change(&mut file);
    BASE64.encode(&FileDescriptorSet { file: vec![file] }.encode_to_vec())
}

fn field(name: &str, number: i32, kind: i32) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(kind),
        label: Some(1),
        ..Default::default()
    }
}

/// Attack: descriptors made by hand, of what no compiler lets pass, at which whoever reads messages by them would end.
#[test]
fn what_no_compiler_writes_is_refused() {
    const STRING: i32 = 9;
    const FLOAT: i32 = 2;
    assert!(with(&by_hand(|_| ())).is_ok(), "what is refused below is so for one reason");
    let map_of = |fields: Vec<FieldDescriptorProto>| {
        by_hand(|file| {
            let options = Some(MessageOptions { map_entry: Some(true), ..Default::default() });
            let name = Some("E".into());
            let entry = DescriptorProto { name, field: fields, options, ..Default::default() };
            let mut one = field("e", 1, 11);
            (one.type_name, one.label) = (Some(".m.E".into()), Some(3));
            file.message_type[0].nested_type.push(entry);
            file.message_type[0].field.push(one);
        })
    };
    let two_names = by_hand(|file| {
        file.message_type[0].field = vec![field("a_b", 1, STRING), field("aB", 2, STRING)];
    });
    let empty_enum = by_hand(|file| {
        file.enum_type.push(EnumDescriptorProto { name: Some("N".into()), ..Default::default() });
    });
    let option = |name| prost_reflect::prost_types::UninterpretedOption { name, ..Default::default() };
    let nameless = by_hand(|file| {
        let mut one = EnumDescriptorProto { name: Some("N".into()), ..Default::default() };
        one.value.push(EnumValueDescriptorProto {
            name: Some("A".into()),
            number: Some(0),
            ..Default::default()
        });
        one.options = Some(EnumOptions { uninterpreted_option: vec![option(vec![])], ..Default::default() });
        file.enum_type.push(one);
    });
    let uncompiled = by_hand(|file| {
        let uninterpreted_option = vec![option(vec![NamePart { name_part: "x".into(), is_extension: true }])];
        let options = Some(MessageOptions { uninterpreted_option, ..Default::default() });
        let inner = DescriptorProto { name: Some("I".into()), options, ..Default::default() };
        file.message_type[0].nested_type.push(inner);
    });
    for (descriptors, what) in [
        (map_of(vec![]), "an entry without key and value"),
        (map_of(vec![field("key", 1, STRING)]), "an entry without a value"),
        (map_of(vec![field("key", 1, FLOAT), field("value", 2, STRING)]), "a key that none can be"),
        (two_names, "two names that are one in JSON"),
        (empty_enum, "an enum of nothing"),
        (nameless, "an option without a name"),
        (uncompiled, "an option in a message within a message"),
    ] {
        let problems = with(&descriptors).expect_err(what);
        assert_eq!(problems[0].field, "spec.grpc.descriptors", "{what}");
    }
}

/// Attack: descriptors that fit into a record, and whose listing is sent to each client.
#[test]
fn a_listing_is_bounded() {
    let many = by_hand(|file| {
        let method = file.service[0].method[0].clone();
        let of = |number: usize| MethodDescriptorProto { name: Some(format!("M{number}")), ..method.clone() };
        file.service[0].method = (0..300).map(of).collect();
    });
    let reason = &with(&many).expect_err("too many tools")[0].reason;
    assert!(reason.contains("more than 256 tools"), "{reason}");
    let deep = by_hand(|file| {
        let of = |number: usize| {
            let mut next = field("next", 1, 11);
            next.type_name = Some(format!(".m{}", number + 1));
            DescriptorProto { name: Some(format!("m{number}")), field: vec![next], ..Default::default() }
        };
        file.message_type.extend((0..300).map(of));
        file.message_type.push(DescriptorProto { name: Some("m300".into()), ..Default::default() });
        let mut first = field("first", 1, 11);
        first.type_name = Some(".m0".into());
        file.message_type[0].field.push(first);
    });
    let reason = &with(&deep).expect_err("too many types")[0].reason;
    assert!(reason.contains("more than 256 types"), "{reason}");
}

/// Attack: 1 MiB of descriptors of which a hundred are made, for as long as the record is there: in every gateway and in the registry.
#[test]
fn what_is_kept_of_descriptors_is_bounded() {
    let info = SourceCodeInfo { location: vec![Location::default(); 300_000] };
    let nowhere = with(&by_hand(|file| file.source_code_info = Some(info))).expect("they say nothing");
    let kept = &nowhere.grpc_tools.as_ref().unwrap().tools["S_M"].method;
    let file = kept.parent_file().file_descriptor_proto().clone();
    assert_eq!(file.source_code_info.expect("it was there").location.len(), 0);
    let comment = Location { leading_comments: Some("x".into()), ..Default::default() };
    let info = SourceCodeInfo { location: vec![comment; 20_000] };
    let nested = |number: usize| DescriptorProto { name: Some(format!("n{number}")), ..Default::default() };
    for (many, what) in [
        (by_hand(|file| file.source_code_info = Some(info)), "comments"),
        (by_hand(|file| file.message_type.extend((0..20_000).map(nested))), "messages"),
        (
            by_hand(|file| file.message_type[0].nested_type.extend((0..20_000).map(nested))),
            "messages within one",
        ),
        (by_hand(|file| file.message_type[0].reserved_name = vec![String::new(); 20_000]), "reserved names"),
    ] {
        let reason = &with(&many).expect_err(what)[0].reason;
        assert!(reason.contains("more than 16384"), "{what}: {reason}");
    }
}

#[test]
fn two_methods_are_not_one_tool() {
    let twice = by_hand(|file| {
        // S.M_N and S_M.N.
        let mut other = file.service[0].clone();
        file.service[0].method[0].name = Some("M_N".into());
        other.name = Some("S_M".into());
        other.method[0].name = Some("N".into());
        file.service.push(other);
    });
    let reason = &with(&twice).expect_err("which would be called")[0].reason;
    assert!(reason.contains("two methods would be the tool S_M_N"), "{reason}");
}

#[test]
fn a_server_may_have_a_key_of_its_own() {
    let given = |more: Value| {
        let mut given = json!({"url": "http://invoices:50051", "descriptors": descriptors()});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        checked(&given)
    };
    for (more, header, scheme) in [
        (json!({"credential": {"env": "K"}}), "authorization", Some("Bearer")),
        (json!({"credential": {"env": "K"}, "credentialHeader": "X-API-Key"}), "x-api-key", None),
    ] {
        let key = given(more).unwrap().key.unwrap();
        assert_eq!((&*key.header, key.scheme.as_deref()), (header, scheme));
    }
    assert!(given(json!({})).unwrap().key.is_none());
    for more in [
        json!({"credentialHeader": "X-API-Key"}),
        // It would not be sent, and nobody told.
        json!({"credential": {"env": "K"}, "credentialHeader": "Grpc-Key"}),
        json!({"credential": {"env": "K"}, "credentialHeader": "x-key-bin"}),
    ] {
        let told = given(more).unwrap_err();
        assert_eq!(&*told[0].field, "spec.grpc.credentialHeader");
    }
}
