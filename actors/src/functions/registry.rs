//! The server's own table of functions (spec §6.1, §6.2).

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::json_files;
use super::static_resources::StaticResources;
use crate::trust::TrustStore;
use crate::trust::json_text::{self, RawObject};
use crate::trust::messages::Caller;

/// How a call ended.
#[derive(Debug, Clone)]
pub enum FunctionReply {
    /// The function ran and succeeded.
    Result(Box<RawValue>),
    /// The function ran and failed, which its result says inside of the ack's success (spec §6.2 wraps twice).
    Failed {
        /// The result.
        result: Box<RawValue>,
        /// What went wrong, for whoever has no use for a result.
        message: String,
    },
    /// It did not run, or access was denied; the text is the protocol's.
    Error(String),
}

#[derive(Serialize)]
struct Ack<'a> {
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a RawValue>,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<AckError<'a>>,
}

#[derive(Serialize)]
struct AckError<'a> {
    message: &'a str,
}

impl FunctionReply {
    /// What to say of a call that failed in whatever way.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Result(_) => None,
            Self::Failed { message, .. } | Self::Error(message) => Some(shown(message).to_owned()),
        }
    }

    /// The ack of spec §6.1; the request's id goes back as it came, or not at all.
    pub fn to_ack(&self, request_id: Option<&RawValue>) -> Box<RawValue> {
        match self {
            Self::Result(result) | Self::Failed { result, .. } => {
                raw(&Ack { request_id, success: true, result: Some(result), error: None })
            }
            Self::Error(message) => failed(request_id, message),
        }
    }
}

fn failed(request_id: Option<&RawValue>, message: &str) -> Box<RawValue> {
    let error = Some(AckError { message: shown(message) });
    raw(&Ack { request_id, success: false, result: None, error })
}

fn shown(message: &str) -> &str {
    if message.is_empty() { "An unknown error occurred." } else { message }
}

/// Writes a value as raw JSON. Our values have text keys and cannot fail to serialise.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The functions of spec §6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    ReadJsonFromFile,
    SaveJsonToFile,
    AddStaticResources,
}

impl Function {
    /// Own names only: there is nothing to inherit (spec §8.1 8-42).
    fn find(name: &str) -> Option<Self> {
        match name {
            "readJsonFromFile" => Some(Self::ReadJsonFromFile),
            "saveJsonToFile" => Some(Self::SaveJsonToFile),
            "addStaticResources" => Some(Self::AddStaticResources),
            _ => None,
        }
    }
}

const INVALID_ARGUMENTS: &str = "Invalid arguments.";

/// Runs server functions.
pub struct Functions {
    store: Arc<TrustStore>,
    statics: Arc<StaticResources>,
}

impl Functions {
    /// Functions over the files of a store and the mappings that the edge reads.
    pub fn new(store: Arc<TrustStore>, statics: Arc<StaticResources>) -> Self {
        Self { store, statics }
    }

    /// Runs a function with its raw `args`. Blocks.
    pub fn run(&self, caller: &Caller, name: &str, args: Option<&str>) -> FunctionReply {
        let Some(function) = Function::find(name) else {
            // The name comes back, so it is bounded like an id.
            let shown: String = name.chars().take(crate::ids::MAX_CLIENT_ID).collect();
            return FunctionReply::Error(format!("Function \"{shown}\" not found."));
        };
        let invalid = || FunctionReply::Error(INVALID_ARGUMENTS.to_owned());
        let Some(args) = self.arguments(function, args) else {
            return invalid();
        };
        let text = |at: usize| -> Option<String> { serde_json::from_str(args.get(at)?.get()).ok() };
        match function {
            Function::ReadJsonFromFile => match text(0) {
                Some(path) => json_files::read_json(&self.store, caller, &path),
                None => invalid(),
            },
            Function::SaveJsonToFile => match (text(0), args.get(1)) {
                (Some(path), Some(json)) => json_files::save_json(&self.store, caller, &path, json),
                _ => invalid(),
            },
            Function::AddStaticResources => {
                // A leading non-object is the web framework of the original signature.
                let skip = usize::from(args.first().is_some_and(|first| !is_object(first)));
                let objects: Option<Vec<RawObject>> =
                    args.iter().skip(skip).map(|arg| serde_json::from_str(arg.get()).ok()).collect();
                match objects {
                    Some(objects) if !objects.is_empty() => {
                        let entries: Vec<(String, Box<RawValue>)> = objects
                            .iter()
                            .flat_map(RawObject::iter)
                            .map(|(url, file)| (url.to_owned(), file.to_owned()))
                            .collect();
                        self.statics.add(&self.store, caller, &entries)
                    }
                    _ => invalid(),
                }
            }
        }
    }

    /// `args` as a list; missing and `null` are empty, a bare object is one argument of `addStaticResources`.
    fn arguments(&self, function: Function, args: Option<&str>) -> Option<Vec<Box<RawValue>>> {
        let Some(text) = args.filter(|text| text.trim() != "null") else {
            return Some(Vec::new());
        };
        // The list itself is one level more than what is in it.
        if json_text::depth(text) > self.store.config().max_json_depth + 1 {
            return None;
        }
        match serde_json::from_str::<Vec<Box<RawValue>>>(text) {
            Ok(list) => Some(list),
            Err(_) if function == Function::AddStaticResources => {
                let bare: Box<RawValue> = serde_json::from_str(text).ok()?;
                is_object(&bare).then(|| vec![bare])
            }
            Err(_) => None,
        }
    }
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().trim_start().starts_with('{')
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
