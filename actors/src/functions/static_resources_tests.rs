use super::*;
use crate::functions::Functions;
use crate::trust::fixture::{Root, admin, client, extension};

struct Desk {
    root: Root,
    functions: Functions,
    statics: Arc<StaticResources>,
}

fn desk(max: usize) -> Desk {
    let root = Root::new();
    for file in [
        "public/p.html",
        "client/app/a.html",
        "client/app/b.js",
        "client/other/o.html",
        "exampleClient/app/e.html",
        "data/app/d.json",
        "keys/clients.json",
        "logs/x.log",
        "config.toml",
        "web/page.html",
        "web/run.sh",
        "client/app/.env",
    ] {
        root.write(file, "{}");
    }
    let statics = StaticResources::new(max);
    let functions = Functions::new(root.open(), Arc::clone(&statics));
    Desk { root, functions, statics }
}

impl Desk {
    fn add(&self, caller: &Caller, args: &Value) -> Value {
        let ack = self.functions.run(caller, "addStaticResources", Some(&args.to_string())).to_ack(None);
        serde_json::from_str(ack.get()).unwrap()
    }

    fn urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = self.statics.map().load().keys().cloned().collect();
        urls.sort();
        urls
    }
}

#[test]
fn defect_8_44_arrays_objects_and_a_leading_framework_are_accepted_with_every_entry() {
    let map = json!({"/one": "./client/app/a.html", "/two/": "client/app/b.js"});
    for args in [json!([map]), map.clone(), json!([null, map]), json!(["app", map])] {
        let desk = desk(8);
        let ack = desk.add(&client(), &args);
        assert_eq!(ack["success"], json!(true));
        assert_eq!(
            ack["result"],
            json!({"result": "success", "success": true, "results": [
                {"urlPath": "/one", "status": "success"},
                {"urlPath": "/two/", "status": "success"},
            ]}),
            "{args}"
        );
        assert_eq!(desk.urls(), ["/one", "/two"]);
        let file = desk.statics.map().load()["/one"].file.clone();
        assert_eq!(file, desk.root.path("client/app/a.html").canonicalize().unwrap());
    }
    for args in [json!([]), json!([7]), json!("x"), json!(7), json!([{"/a": "b"}, 7])] {
        assert_eq!(desk(8).add(&client(), &args)["error"]["message"], "Invalid arguments.", "{args}");
    }
}

#[test]
fn urls_that_shadow_are_refused() {
    for (url, message) in [
        ("/", "URL path is reserved."),
        ("/socket.io", "URL path is reserved."),
        ("/socket.io/x", "URL path is reserved."),
        ("/lib/constants.js", "URL path is reserved."),
        ("/LIB/x", "URL path is reserved."),
        ("/public", "URL path is reserved."),
        ("/index.html", "URL path is reserved."),
        ("x", "Invalid URL path."),
        ("", "Invalid URL path."),
        ("//x", "Invalid URL path."),
        ("/a/../b", "Invalid URL path."),
        ("/.well-known/x", "Invalid URL path."),
        ("/a%2fb", "Invalid URL path."),
        ("/a b", "Invalid URL path."),
        ("/a?b", "Invalid URL path."),
        ("/a\\b", "Invalid URL path."),
    ] {
        let desk = desk(8);
        let ack = desk.add(&extension(), &json!({url: "client/app/a.html"}));
        assert_eq!(ack["result"]["error"], message, "{url}");
        assert_eq!(ack["result"]["results"][0]["status"], "error");
        assert!(desk.urls().is_empty());
    }
    let library = desk(8);
    let ack = library.add(&extension(), &json!({"/library": "client/app/a.html"}));
    assert_eq!(ack["result"]["result"], "success", "a longer name shadows nothing");
}

#[test]
fn the_urls_of_a_clients_folder_are_its_own() {
    for (url, of_client) in [
        ("/client/app/x", ""),
        ("/exampleClient/app/deep/x", ""),
        ("/client/app", ""),
        ("/client/other/o.html", "URL path is reserved."),
        ("/Client/other/o.html", "URL path is reserved."),
        ("/exampleClient/other/x", "URL path is reserved."),
        ("/client/APP/x", "URL path is reserved."),
        ("/client", "URL path is reserved."),
        ("/clients/other/x", ""),
    ] {
        // The extension publishes any file, and still nothing in the place of another's.
        for (caller, message) in [
            (client(), of_client),
            (extension(), if url == "/clients/other/x" { "" } else { "URL path is reserved." }),
        ] {
            let ack = desk(8).add(&caller, &json!({url: "client/app/a.html"}));
            let shown = ack["result"]["error"].as_str().unwrap_or_default();
            assert_eq!(shown, message, "{} {url}", caller.client_id);
        }
    }
}

#[test]
fn files_by_caller() {
    let outside = "Access denied: Path is outside the server directory.";
    let restricted = "Access denied: File is restricted.";
    // path → message for a client, for an extension and an administrator
    for (path, of_client, of_others) in [
        ("client/app/a.html", "", ""),
        ("exampleClient/app/e.html", "", ""),
        ("data/app/d.json", "", ""),
        ("client/other/o.html", restricted, ""),
        ("public/p.html", restricted, ""),
        ("web/page.html", restricted, ""),
        ("web/run.sh", restricted, restricted),
        ("client/app/none.html", "File not found.", "File not found."),
        ("client/app", restricted, "File not found."),
        ("client/app/.env", restricted, restricted),
        ("config.toml", restricted, restricted),
        ("settings/app.json", restricted, restricted),
        ("Settings/app.json", restricted, restricted),
        ("keys/clients.json", restricted, restricted),
        ("logs/x.log", restricted, restricted),
        ("../x.html", outside, outside),
        ("/etc/passwd", outside, "File not found."),
    ] {
        for (caller, message) in [(client(), of_client), (extension(), of_others), (admin(), of_others)] {
            let ack = desk(8).add(&caller, &json!({"/x": path}));
            let shown = ack["result"]["error"].as_str().unwrap_or_default();
            assert_eq!(shown, message, "{} {path}", caller.client_id);
        }
    }
    let ack = desk(8).add(&client(), &json!({"/x": 7}));
    assert_eq!(ack["result"]["error"], "File path must be a string.");
}

#[cfg(unix)]
#[test]
fn symlinks_do_not_widen_rights() {
    use std::os::unix::fs::symlink;
    let desk = desk(8);
    symlink("../../keys/clients.json", desk.root.path("client/app/k.html")).unwrap();
    symlink("/etc/passwd", desk.root.path("client/app/p.html")).unwrap();
    for file in ["client/app/k.html", "client/app/p.html"] {
        let ack = desk.add(&extension(), &json!({"/x": file}));
        assert!(ack["result"]["error"].as_str().unwrap().starts_with("Access denied"), "{ack}");
    }
}

#[test]
fn mappings_are_bounded_kept_and_idempotent() {
    let desk = desk(2);
    let add = |url: &str, file: &str| desk.add(&client(), &json!({url: file}))["result"].clone();
    assert_eq!(add("/1", "client/app/a.html")["result"], "success");
    assert_eq!(add("/1/", "client/app/a.html")["result"], "success", "the same again");
    assert_eq!(add("/1", "client/app/b.js")["error"], "URL path is already in use.");
    assert_eq!(add("/2", "client/app/b.js")["result"], "success");
    assert_eq!(add("/3", "client/app/b.js")["error"], "Too many static resources.");
    assert_eq!(desk.urls(), ["/1", "/2"]);
    let many: serde_json::Map<String, Value> =
        (0..1000).map(|i| (format!("/m{i}"), json!("client/app/a.html"))).collect();
    let ack = desk.add(&client(), &Value::Object(many));
    assert_eq!(ack["result"]["results"].as_array().unwrap().len(), 3, "answers are bounded too");
}
