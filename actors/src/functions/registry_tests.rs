use super::*;
use crate::trust::fixture::{Root, client, extension};
use serde_json::{Value, json};

fn functions(root: &Root) -> Functions {
    Functions::new(root.open(), StaticResources::new(4))
}

fn ack(functions: &Functions, name: &str, args: Option<&str>) -> Value {
    let id = RawValue::from_string("\"r1\"".to_owned()).unwrap();
    let ack = functions.run(&client(), name, args).to_ack(Some(&id));
    serde_json::from_str(ack.get()).unwrap()
}

fn error(message: &str) -> Value {
    json!({"requestId": "r1", "success": false, "error": {"message": message}})
}

#[test]
fn defect_8_42_only_own_names_are_functions() {
    let root = Root::new();
    let functions = functions(&root);
    for name in ["constructor", "toString", "__proto__", "hasOwnProperty", "add", "", "ReadJsonFromFile"] {
        let expected = error(&format!("Function \"{name}\" not found."));
        assert_eq!(ack(&functions, name, Some("[]")), expected, "{name}");
    }
    let long = ack(&functions, &"x".repeat(100_000), None).to_string();
    assert!(long.len() < 300);
}

#[test]
fn arguments_are_checked() {
    let root = Root::new();
    let functions = functions(&root);
    let deep = format!("[{}{}]", "[".repeat(200), "]".repeat(200));
    for (name, args) in [
        ("readJsonFromFile", None),
        ("readJsonFromFile", Some("null")),
        ("readJsonFromFile", Some("[]")),
        ("readJsonFromFile", Some("{}")),
        ("readJsonFromFile", Some("\"data/app/x.json\"")),
        ("readJsonFromFile", Some("[7]")),
        ("readJsonFromFile", Some("[null]")),
        ("readJsonFromFile", Some("[")),
        ("readJsonFromFile", Some(&*deep)),
        ("saveJsonToFile", Some("[\"data/app/x.json\"]")),
        ("saveJsonToFile", Some("[7,{}]")),
        ("saveJsonToFile", Some("{\"0\":\"data/app/x.json\"}")),
        ("addStaticResources", None),
        ("addStaticResources", Some("[\"x\"]")),
        ("addStaticResources", Some("\"x\"")),
    ] {
        assert_eq!(ack(&functions, name, args), error("Invalid arguments."), "{name} {args:?}");
    }
}

#[test]
fn results_are_wrapped_twice_and_the_request_id_goes_back() {
    let root = Root::new();
    let functions = functions(&root);
    assert_eq!(
        ack(&functions, "saveJsonToFile", Some(r#"["data/app/x.json",{"a":1}]"#)),
        json!({"requestId": "r1", "success": true, "result": {"success": true}})
    );
    assert_eq!(
        ack(&functions, "readJsonFromFile", Some(r#"["data/app/x.json"]"#)),
        json!({"requestId": "r1", "success": true, "result": {"success": true, "result": {"a": 1}}})
    );
}

#[test]
fn the_trace_of_the_published_extension() {
    let root = Root::new();
    let functions = functions(&root);
    let id = RawValue::from_string("\"checkRememberMe\"".to_owned()).unwrap();
    let args = r#"["./settings/SillyTavern-8000-settings.json"]"#;
    let ack = functions.run(&extension(), "readJsonFromFile", Some(args)).to_ack(Some(&id));
    assert_eq!(
        ack.get(),
        r#"{"requestId":"checkRememberMe","success":true,"result":{"success":true,"result":{"clientId":"SillyTavern-8000","Remember_me":true,"isTrust":true}}}"#
    );
}

#[test]
fn an_error_without_text_has_the_default_text() {
    let ack = FunctionReply::Error(String::new()).to_ack(None);
    assert_eq!(ack.get(), r#"{"success":false,"error":{"message":"An unknown error occurred."}}"#);
}
