//! One message of a room's history (spec §4.9.1), kept as the JSON text that members are shown.

use framing::{
    ByteString,
    json::{Kind, RawJson, quoted},
};

use super::{Timestamp, placeholders::without_placeholders};
use crate::{history::MessageKind, ids::Identity};

/// The author of system messages.
pub const SYSTEM: &str = "System";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the room; rises.
    pub seq: u64,
    /// Its `messageId`.
    pub id: ByteString,
    /// Where it comes from.
    pub kind: MessageKind,
    /// Who wrote it; the room itself for [`SYSTEM`].
    pub author: ByteString,
    /// The `requestId` that it asked or answered, if any.
    pub request_id: Option<ByteString>,
    /// The `responseId` of an answer.
    pub response_id: Option<ByteString>,
    /// The object as members see it.
    pub json: RawJson,
}

impl Message {
    /// A message as it was kept.
    pub fn kept(seq: u64, id: ByteString, kind: MessageKind, json: RawJson) -> Self {
        let [identity, request_id, response_id] = json.fields(["identity", "requestId", "responseId"]);
        let text = |field: Option<RawJson>| field?.as_text();
        let author = text(identity).unwrap_or(ByteString::from_static(SYSTEM));
        let response_id = text(response_id).filter(|_| kind == MessageKind::Response);
        Self { seq, id, kind, author, request_id: text(request_id), response_id, json }
    }

    /// A member's request: its payload, and who and when (spec §4.9.1).
    pub fn request(seq: u64, author: &Identity, payload: &RawJson, at: Timestamp) -> Self {
        let id = fresh_id();
        let json = without_placeholders(payload).replacing(&[
            ("messageId", &quoted(&id)),
            ("identity", &quoted(author.as_str())),
            ("timestamp", &quoted(&at.to_string())),
            ("fromClient", "true"),
        ]);
        // Of the text that is kept, and not of the packet that it came in.
        let request_id = json.get("requestId").and_then(|id| id.as_text());
        let author = author.as_str().into();
        Self { seq, id, kind: MessageKind::Request, author, request_id, response_id: None, json }
    }

    /// An extension's answer. `text` is JSON text of a string.
    pub fn response(
        seq: u64,
        responder: &str,
        request_id: &str,
        output_id: &str,
        text: &str,
        at: Timestamp,
    ) -> Self {
        let (id, response_id) = (fresh_id(), fresh_id());
        let json = format!(
            "{{\"messageId\":{},\"responseId\":{},\"requestId\":{},\"outputId\":{},\"identity\":{},\"data\":{text},\
             \"message\":{text},\"timestamp\":{},\"isResponse\":true,\"fromLlm\":true}}",
            quoted(&id),
            quoted(&response_id),
            quoted(request_id),
            quoted(output_id),
            quoted(responder),
            quoted(&at.to_string()),
        );
        Self {
            seq,
            id,
            kind: MessageKind::Response,
            author: responder.into(),
            request_id: Some(request_id.into()),
            response_id: Some(response_id),
            json: ours(json),
        }
    }

    /// A notice of the room itself.
    pub fn system(seq: u64, text: &str, at: Timestamp) -> Self {
        let id = fresh_id();
        let json = format!(
            "{{\"messageId\":{},\"identity\":{},\"role\":\"system\",\"data\":{},\"timestamp\":{},\"isSystem\":true,\
             \"fromClient\":false}}",
            quoted(&id),
            quoted(SYSTEM),
            quoted(text),
            quoted(&at.to_string()),
        );
        let (author, kind) = (ByteString::from_static(SYSTEM), MessageKind::System);
        Self { seq, id, kind, author, request_id: None, response_id: None, json: ours(json) }
    }

    /// Its cost against the bound of a room's history, in bytes.
    pub fn bytes(&self) -> usize {
        self.json.as_str().len()
    }

    /// Whether that is an id of it: `messageId`, or `responseId` of an answer.
    pub fn is_called(&self, id: &str) -> bool {
        self.ids().any(|own| own == id)
    }

    /// What it is called.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.id).chain(self.response_id.as_deref())
    }

    /// Replaces its text (spec §4.9.4 `EDIT_MESSAGE`): only the fields of `updated` that are texts of a
    /// message. False if there is none of them.
    pub fn edit(&mut self, updated: &RawJson, at: Timestamp) -> bool {
        let [message, data] = updated.fields(["message", "data"]);
        let text = |field: Option<RawJson>| field.filter(|field| field.kind() == Kind::String);
        let (message, data) = (text(message), text(data));
        let Some(either) = message.clone().or_else(|| data.clone()) else {
            return false;
        };
        let mut fields = Vec::new();
        // An answer has both spellings; of a request, those that it came with.
        for (name, value) in [("message", &message), ("data", &data)] {
            let shown = self.kind != MessageKind::Request || self.json.get(name).is_some() || value.is_some();
            if shown {
                fields.push((name, value.as_ref().unwrap_or(&either).as_str().to_owned()));
            }
        }
        fields.push(("lastEdited", quoted(&at.to_string())));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.json = self.json.replacing(&fields);
        // These may be parts of the text that it had.
        self.author = own(&self.author);
        self.request_id = self.request_id.as_deref().map(own);
        self.response_id = self.response_id.as_deref().map(own);
        true
    }
}

/// The text of a request: the first of `message`, `data`, `data.text`, `data.prompt`, `prompt` (spec
/// §4.9.4), as JSON text of a string.
pub(crate) fn text_of(payload: &RawJson) -> Option<RawJson> {
    let [message, data, prompt] = payload.fields(["message", "data", "prompt"]);
    let text = |field: Option<RawJson>| field.filter(|field| field.kind() == Kind::String);
    let inner = |name: &str| text(data.as_ref().and_then(|data| data.get(name)));
    text(message)
        .or_else(|| text(data.clone()))
        .or_else(|| inner("text"))
        .or_else(|| inner("prompt"))
        .or_else(|| text(prompt))
}

/// Ids rise with time, so that those of messages written together stand together where they are stored: a
/// transaction writes one page of the index then, and not one for each of them.
fn fresh_id() -> ByteString {
    uuid::Uuid::now_v7().to_string().into()
}

/// A copy that keeps nothing else.
fn own(text: &str) -> ByteString {
    text.into()
}

/// JSON that this module wrote.
fn ours(json: String) -> RawJson {
    RawJson::parse(json.into(), 64).unwrap_or(RawJson::from_static("{}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> RawJson {
        RawJson::from_static(text)
    }

    fn value(message: &Message) -> serde_json::Value {
        serde_json::from_str(message.json.as_str()).unwrap()
    }

    #[test]
    fn a_request_keeps_nothing_of_the_packet_that_it_came_in() {
        let packet = ByteString::from(r#"{"requestId":"r","message":"hi"}"#.to_owned());
        let payload = RawJson::parse(packet.clone(), 8).unwrap();
        let request = Message::request(1, &Identity::new("app-a").unwrap(), &payload, Timestamp(0));
        drop(payload);
        assert_eq!(request.request_id.as_deref(), Some("r"));
        assert!(packet.into_bytes().is_unique());
    }

    #[test]
    fn an_edited_message_keeps_nothing_of_the_text_that_it_had() {
        let text = r#"{"messageId":"m","responseId":"a","requestId":"r","identity":"app-a","data":"long"}"#;
        let text = ByteString::from(text.to_owned());
        let json = RawJson::parse(text.clone(), 8).unwrap();
        let mut kept = Message::kept(1, "m".into(), MessageKind::Response, json);
        assert!(
            kept.is_called("a") && kept.edit(&RawJson::from_static("{\"data\":\"short\"}"), Timestamp(1))
        );
        assert!(text.into_bytes().is_unique());
    }

    #[test]
    fn the_shapes_of_the_specification() {
        let at = Timestamp(0);
        let author = Identity::new("app-a").unwrap();
        let payload =
            json(r#"{"requestId":"r","message":"hi","messageId":"forged","identity":"forged","n":1.0}"#);
        let request = Message::request(1, &author, &payload, at);
        assert_eq!(
            value(&request),
            serde_json::json!({
                "requestId": "r", "message": "hi", "messageId": &*request.id, "identity": "app-a", "n": 1.0,
                "timestamp": "1970-01-01T00:00:00.000Z", "fromClient": true,
            })
        );
        assert!(request.json.as_str().contains("\"n\":1.0"), "carried, not written anew");
        let response = Message::response(2, "SillyTavern-1", "r", "o", "\"a\\\"b\"", at);
        let seen = value(&response);
        assert_eq!((&seen["data"], &seen["message"]), (&"a\"b".into(), &"a\"b".into()));
        assert_eq!((&seen["isResponse"], &seen["fromLlm"]), (&true.into(), &true.into()));
        assert!(response.is_called(seen["responseId"].as_str().unwrap()) && response.is_called(&response.id));
        let system = value(&Message::system(3, "app-a joined.", at));
        assert_eq!((&system["identity"], &system["role"]), (&"System".into(), &"system".into()));
        assert_eq!((&system["isSystem"], &system["fromClient"]), (&true.into(), &false.into()));
    }

    #[test]
    fn only_the_text_is_edited() {
        let author = Identity::new("app-a").unwrap();
        let mut request =
            Message::request(1, &author, &json(r#"{"requestId":"r","message":"old"}"#), Timestamp(0));
        let id = request.id.clone();
        assert!(!request.edit(&json(r#"{"messageId":"x","identity":"x","message":7}"#), Timestamp(1)));
        assert!(request.edit(&json(r#"{"messageId":"x","identity":"x","message":"new"}"#), Timestamp(1)));
        let seen = value(&request);
        assert_eq!((&seen["message"], &seen["identity"]), (&"new".into(), &"app-a".into()));
        assert_eq!(seen["messageId"], *id);
        assert_eq!(seen["lastEdited"], "1970-01-01T00:00:00.001Z");
        assert!(seen.get("data").is_none());
        let mut response = Message::response(2, "SillyTavern-1", "r", "o", "\"old\"", Timestamp(0));
        assert!(response.edit(&json(r#"{"data":"new"}"#), Timestamp(1)));
        let seen = value(&response);
        assert_eq!((&seen["data"], &seen["message"]), (&"new".into(), &"new".into()), "both spellings");
    }

    #[test]
    fn the_text_of_a_request() {
        for (payload, text) in [
            (r#"{"message":"a","data":"b"}"#, Some("\"a\"")),
            (r#"{"data":"b","prompt":"c"}"#, Some("\"b\"")),
            (r#"{"data":{"text":"t","prompt":"p"}}"#, Some("\"t\"")),
            (r#"{"data":{"prompt":"p"}}"#, Some("\"p\"")),
            (r#"{"message":1,"prompt":"c"}"#, Some("\"c\"")),
            (r#"{"message":1}"#, None),
            ("{}", None),
        ] {
            let got = text_of(&json(payload));
            assert_eq!(got.as_ref().map(RawJson::as_str), text, "{payload}");
        }
    }
}
