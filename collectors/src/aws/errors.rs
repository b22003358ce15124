//! What AWS's errors say, in every protocol, and what they mean for evidence.

use serde_json::Value;

use super::{operations::Operation, xml};
use crate::contract::Answer;

/// An error that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// AWS's code, without namespaces: `AccessDeniedException`. `HTTP 500` where the answer is none of AWS's.
    pub code: String,
    /// What it says beside the code; may be empty.
    pub message: String,
}

/// Reads an error answer. `header` gives a header by its name in lower case.
pub fn refusal(_operation: &Operation, status: u16, header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> Refusal {
    // Every form is tried: gateways before a service answer in JSON where the service speaks XML, and the other way round.
    let found = of_xml(body).or_else(|| of_json(header, body)).filter(|refusal| !refusal.code.is_empty());
    found.unwrap_or_else(|| Refusal { code: format!("HTTP {status}"), message: String::new() })
}

fn of_xml(body: &[u8]) -> Option<Refusal> {
    let [code, message] = xml::find(body, "Error", ["Code", "Message"])?;
    Some(Refusal { code: code.trim().to_owned(), message: message.trim().to_owned() })
}

fn of_json(header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> Option<Refusal> {
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let text = |names: [&str; 3]| names.iter().find_map(|name| object.get(*name)?.as_str().map(str::to_owned));
    let code = header("x-amzn-errortype").or_else(|| text(["__type", "code", "Code"]))?;
    let message = text(["message", "Message", "errorMessage"]).unwrap_or_default();
    Some(Refusal { code: bare(&code).to_owned(), message })
}

/// A code without the namespace before it and the address after it.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

/// What an error means for evidence.
pub fn answer(status: u16, code: &str) -> Answer {
    if matches!(status, 408 | 504) || TIMED_OUT.contains(&code) {
        return Answer::TimedOut;
    }
    if status >= 500 {
        return Answer::Failed;
    }
    if code.contains("AccessDenied") || DENIED.contains(&code) || (status == 403 && code.starts_with("HTTP ")) {
        return Answer::Denied;
    }
    // A 404 without a code of AWS's proves nothing: anything on the way can answer it.
    if code.starts_with("NoSuch") || code.contains("NotFound") {
        return Answer::Missing;
    }
    Answer::Failed
}

const TIMED_OUT: [&str; 4] = ["RequestTimeout", "RequestTimeoutException", "TimeoutException", "GatewayTimeout"];

const DENIED: [&str; 9] = [
    "AllAccessDisabled",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotAuthorized",
    "NotAuthorizedException",
    "OptInRequired",
    "Unauthorized",
    "UnauthorizedException",
    "UnauthorizedOperation",
];

/// What an error means in plain words, and what to do, where that is more than the code says.
pub fn explain(code: &str, message: &str) -> Option<&'static str> {
    let says = |text: &str| message.to_ascii_lowercase().contains(text);
    if answer(400, code) == Answer::Denied {
        if says("service control policy") {
            return Some(
                "a service control policy of the organization denies it: no role in the account can be given the right",
            );
        }
        return None;
    }
    None
}

#[cfg(test)]
mod tests;
