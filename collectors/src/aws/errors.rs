//! What AWS's errors say, in every protocol, and what they mean for evidence.

use serde_json::Value;

use super::{
    operations::{Operation, Protocol},
    xml,
};
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
pub fn refusal(operation: &Operation, status: u16, header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> Refusal {
    // Both forms are tried: a gateway before a service may answer in JSON where the service speaks XML, and the other way round.
    let found = match operation.service.protocol {
        Protocol::Json | Protocol::RestJson => of_json(header, body).or_else(|| of_xml(body)),
        Protocol::RestXml | Protocol::Query | Protocol::Ec2 => of_xml(body).or_else(|| of_json(header, body)),
    };
    found.unwrap_or_else(|| Refusal { code: format!("HTTP {status}"), message: String::new() })
}

fn of_xml(body: &[u8]) -> Option<Refusal> {
    let [code, message] = xml::find(body, "Error", ["Code", "Message"])?;
    let (code, message) = (code.trim().to_owned(), message.trim().to_owned());
    (!code.is_empty()).then_some(Refusal { code, message })
}

fn of_json(header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> Option<Refusal> {
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let text = |names: [&str; 3]| names.iter().find_map(|name| object.get(*name)?.as_str().map(str::to_owned));
    let code = header("x-amzn-errortype").or_else(|| text(["__type", "code", "Code"]))?;
    let message = text(["message", "Message", "errorMessage"]).unwrap_or_default();
    let code = bare(&code).to_owned();
    (!code.is_empty()).then_some(Refusal { code, message })
}

/// A code without the namespace before it and the address after it.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

/// What an error means for evidence.
pub fn answer(status: u16, code: &str) -> Answer {
    if matches!(status, 408 | 504) || TIMED_OUT.contains(&code) {
        Answer::TimedOut
    } else if status >= 500 {
        Answer::Failed
    } else if code.contains("AccessDenied") || DENIED.contains(&code) || (status == 403 && code == "HTTP 403") {
        Answer::Denied
    // A 404 without a code of AWS's proves nothing: anything on the way can answer it.
    } else if code.starts_with("NoSuch") || MISSING.iter().any(|words| code.contains(words)) {
        Answer::Missing
    } else {
        Answer::Failed
    }
}

const TIMED_OUT: &[&str] = &["GatewayTimeout", "RequestTimeout", "RequestTimeoutException", "TimeoutException"];

const DENIED: &[&str] = &[
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationError",
    "AuthorizationErrorException",
    "Blocked",
    "NotAuthorized",
    "NotAuthorizedException",
    "NotSignedUp",
    "OptInRequired",
    "RegionDisabledException",
    "SubscriptionRequiredException",
    "Unauthorized",
    "UnauthorizedException",
    "UnauthorizedOperation",
];

const MISSING: &[&str] = &["NotFound", "DoesNotExist", "NonExistent", "AWSOrganizationsNotInUse"];

/// What an error means in plain words and what to do, where its code alone does not say it. It is for people: nothing is decided by it.
pub fn explain(code: &str, message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    let says = |words: &str| message.contains(words);
    let is = |codes: &[&str]| codes.contains(&code);
    let text = match code {
        _ if is(&["Blocked", "AccountProblem", "AllAccessDisabled"]) || says("account is suspended") => {
            "the account is suspended or blocked: AWS Support, or the organization's management account, can say why"
        }
        _ if is(&["OptInRequired", "RegionDisabledException", "SubscriptionRequiredException", "NotSignedUp"]) => {
            "the account has not enabled this region or signed up for this service: enable it, or leave the region out of `regions`"
        }
        // A clock that is wrong looks like a credential that is.
        _ if is(&["RequestTimeTooSkewed"]) || says("signature expired") || says("signature not yet current") => {
            "this host's clock differs from AWS's: synchronise it"
        }
        _ if is(&["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"])
            || says("security token included in the request is expired") =>
        {
            "the credentials have expired: renew them, or give the agent a role whose credentials renew themselves"
        }
        _ if is(BAD_CREDENTIALS) => {
            "AWS does not accept these credentials here: they were deleted, deactivated or mistyped, or the account has not enabled this region"
        }
        _ if is(&["SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"]) => {
            "the signature does not match: the secret key is wrong, or something on the way changes requests"
        }
        _ if is(THROTTLED) => {
            "AWS limits how often the account may ask: lower what else asks there, or move the job to a quieter hour"
        }
        _ if answer(400, code) == Answer::Denied => denied(&says),
        "AWSOrganizationsNotInUseException" => "the account belongs to no organization",
        _ if is(&["InvalidAction", "UnknownOperationException", "NotImplemented"]) => {
            "what answers at this endpoint does not know the operation: the region may not have it yet, or it is no AWS"
        }
        "HTTP 403" | "HTTP 407" => {
            "something on the way refused the request, not AWS: look at the proxy or the endpoint's policy"
        }
        _ if code.starts_with("HTTP ") => {
            "the answer has not the form of AWS's errors: look at what stands between (proxy, gateway, simulator)"
        }
        _ => return None,
    };
    Some(text)
}

/// Which policy denied it: <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>.
fn denied(says: &dyn Fn(&str) -> bool) -> &'static str {
    if says("service control policy") {
        "a service control policy of the organization denies it: no policy in the account can allow it, the organization's administrators can"
    } else if says("resource control policy") {
        "a resource control policy of the organization denies it: the organization's administrators can change it"
    } else if says("permissions boundary") {
        "the permissions boundary of the role does not allow it: whoever set the boundary can change it"
    } else if says("session policy") {
        "the policy of the session does not allow it: the agent's own, or that of whoever gave it its credentials"
    } else if says("vpc endpoint policy") {
        "the policy of the VPC endpoint that the request went through denies it"
    } else if says("resource-based policy") {
        "the resource's own policy (a bucket's, a key's) denies it or does not allow it: its owner can change it"
    } else if says("sts:assumerole") {
        "the role's trust policy does not let these credentials assume it (principal, external id), or their own policy does not: look at both"
    } else if says("explicit deny") {
        "a policy of the role denies it by name: an allowing one does not outweigh that"
    } else {
        "the role may not do this: give it what `evidenced iam-policy` prints; of organizations, only the management account and delegated administrators may ask"
    }
}

const BAD_CREDENTIALS: &[&str] = &[
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
];

/// The codes that the SDK, too, takes for throttling.
const THROTTLED: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

#[cfg(test)]
mod tests;
