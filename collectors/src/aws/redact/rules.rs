//! What is a secret: names of members whose values are, and forms that are in any text.

use std::ops::Range;

use super::{Found, Place, layers::Text};

/// Members whose values are secrets, as they are written but for case and separators.
const SECRETS: [&str; 14] = [
    "authorizationtoken",
    "base32stringseed",
    "bearertoken",
    "customergatewayconfiguration",
    "keymaterial",
    "plaintext",
    "presharedkey",
    "qrcodepng",
    "refreshtoken",
    "secretbinary",
    "secretstring",
    "sessiontoken",
    "sharedsecret",
    "userdata",
];

/// What the names of more of them end with.
const SECRET_ENDS: [&str; 11] = [
    "accesstoken",
    "apikey",
    "authtoken",
    "clientsecret",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secretaccesskey",
    "secretkey",
    "secrettoken",
];

/// Members about a person that no question here needs (Identity Store).
const PERSONAL: [&str; 6] = ["birthdate", "formatted", "phonenumbers", "photos", "postalcode", "streetaddress"];

/// Why the value of a member is removed whole. `around` are the names of the members that it is in, the nearest last.
pub(super) fn secret_member(name: &str, around: &[&str]) -> Option<&'static str> {
    let plain = plain(name);
    if name.eq_ignore_ascii_case("aws:referer") {
        return Some("referer-condition");
    }
    let within =
        |names: &[&str]| around.iter().any(|around| names.iter().any(|name| around.eq_ignore_ascii_case(name)));
    let parent = around.last().copied().unwrap_or_default();
    if plain == "variables" && parent.eq_ignore_ascii_case("environment") {
        return Some("environment-variable");
    }
    if plain == "value" && within(&["environment", "environmentVariables"]) {
        return Some("environment-variable");
    }
    if PERSONAL.contains(&plain.as_str()) {
        return Some("personal-data");
    }
    is_secret(&plain).then_some("secret-member")
}

/// Whether the name that stands beside a value (`{Key: …, Value: …}`) makes the value a secret.
pub(super) fn secret_label(label: &str) -> bool {
    label.len() <= 128 && is_secret(&plain(label))
}

/// Whether a member names its neighbour, the value.
pub(super) fn is_label(name: &str) -> bool {
    ["key", "name", "parameterkey", "parametername", "optionname"].contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a member is what its neighbour names.
pub(super) fn is_labelled(name: &str) -> bool {
    ["value", "parametervalue", "optionvalue"].contains(&name.to_ascii_lowercase().as_str())
}

/// In lower case, without separators.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_secret(plain: &str) -> bool {
    SECRETS.contains(&plain) || SECRET_ENDS.iter().any(|end| plain.ends_with(end))
}

/// Removes what looks like a secret in a text.
pub(super) fn search(text: &Text<'_>, place: &Place<'_>, found: &mut Found) {
    let bytes = text.bytes();
    let names_a_key = place.name.eq_ignore_ascii_case("accessKeyId");
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (rule, span) = match bytes[at] {
            b'-' if rest.starts_with(b"-----BEGIN") => match private_key(rest) {
                Some(length) => ("private-key", at..at + length),
                None => ("", at..at + 10),
            },
            b'A' if is_key_id(bytes, at) => {
                // A secret that stands beside its id needs no name.
                if let Some(secret) = secret_key(bytes, at + KEY_ID) {
                    found.remove(text.span_of(secret), "secret-access-key", place.name);
                }
                let whole = bytes.len() == KEY_ID;
                let kept = names_a_key || (whole && !place.in_document);
                (if kept { "" } else { "access-key-id" }, at..at + KEY_ID)
            }
            b's' | b'S' if rest.len() > 40 && rest[..6].eq_ignore_ascii_case(b"secret") => {
                match secret_key(bytes, at + 6) {
                    Some(span) => ("secret-access-key", span),
                    None => ("", at..at + 6),
                }
            }
            b'p' | b'P' if rest.len() > 9 && rest[..9].eq_ignore_ascii_case(b"password=") => {
                ("password-assignment", assigned(bytes, at + 9))
            }
            b':' if rest.starts_with(b"://") => match url_password(bytes, at + 3) {
                Some(span) => ("url-password", span),
                None => ("", at..at + 3),
            },
            _ => ("", at..at + 1),
        };
        at = span.end.max(at + 1);
        if !rule.is_empty() {
            found.remove(text.span_of(span), rule, place.name);
        }
    }
}

/// The length of a private key in PEM from here: to its end, or to the text's where there is none. `None`: another kind of PEM.
fn private_key(rest: &[u8]) -> Option<usize> {
    let line = &rest[..rest.len().min(80)];
    let head = line.windows(3).position(|three| three == b"KEY")?;
    line[..head].windows(7).any(|seven| seven == b"PRIVATE").then_some(())?;
    let Some(end) = rest.windows(8).position(|eight| eight == b"-----END") else { return Some(rest.len()) };
    let tail = &rest[end + 8..];
    let dashes = tail.iter().take(80).collect::<Vec<_>>();
    let close = dashes.windows(5).position(|five| five.iter().all(|byte| **byte == b'-'));
    Some(close.map_or(rest.len(), |close| end + 8 + close + 5))
}

/// How long the id of an access key is.
const KEY_ID: usize = 20;

/// Whether the id of a long-term access key stands here.
fn is_key_id(bytes: &[u8], at: usize) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let Some(id) = bytes.get(at..at + KEY_ID) else { return false };
    let before = at.checked_sub(1).map(|before| &bytes[before]);
    id.starts_with(b"AKIA")
        && id.iter().all(is_part)
        && !before.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && !bytes.get(at + KEY_ID).is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// The secret of an access key that begins within the next 64 bytes: 40 letters, digits, `/` and `+`, also percent-encoded.
fn secret_key(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let last = bytes.len().min(from + 64);
    let mut start = from;
    while start < last {
        let (mut end, mut units) = (start, 0);
        while let Some(length) = unit(&bytes[end..]) {
            end += length;
            units += 1;
        }
        if units == 40 {
            return Some(start..end);
        }
        start = end + 1;
    }
    None
}

/// The length of what stands for one character of a secret key.
fn unit(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'%', b'2', b'F' | b'f' | b'B' | b'b', ..] => Some(3),
        [byte, ..] if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+') => Some(1),
        _ => None,
    }
}

/// What is assigned from here on.
fn assigned(bytes: &[u8], from: usize) -> Range<usize> {
    let ends =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'&' | b';' | b',' | b'"' | b'\'' | b'<' | b'>');
    from..bytes[from..].iter().position(ends).map_or(bytes.len(), |end| from + end)
}

/// The password in `scheme://user:password@host`, seen from after the slashes.
fn url_password(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let ends =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>');
    let end = bytes[from..].iter().position(ends).map_or(bytes.len(), |end| from + end);
    let host = bytes[from..end].iter().rposition(|byte| *byte == b'@').map(|at| from + at)?;
    let password = bytes[from..host].iter().position(|byte| *byte == b':').map(|at| from + at + 1)?;
    (password < host).then_some(password..host)
}
