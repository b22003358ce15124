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

/// Names that stand beside a value and name it, and those of the value.
const LABELS: [&str; 5] = ["key", "name", "optionname", "parameterkey", "parametername"];
const LABELLED: [&str; 3] = ["optionvalue", "parametervalue", "value"];

/// What a member's name says of its value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Name {
    /// Why the value is removed whole, if it is.
    pub secret: Option<&'static str>,
    /// `{Key: …, Value: …}`: whether it names its neighbour.
    pub is_label: bool,
    /// Whether it is what its neighbour names.
    pub is_labelled: bool,
    /// Whether a policy begins in it.
    pub is_statement: bool,
    is_environment: bool,
    in_environment: bool,
}

impl Name {
    /// Reads a name; `around` is that of the member that it is in.
    pub(super) fn read(name: &[u8], around: &Name) -> Self {
        let plain = Plain::of(name);
        let in_environment = around.is_environment || around.in_environment;
        let is_labelled = plain.is_one_of(&LABELLED);
        let secret = if plain.is_one_of(&["awsreferer"]) {
            Some("referer-condition")
        } else if (around.is_environment && plain.is_one_of(&["variables"]))
            || (in_environment && plain.is_one_of(&["value"]))
        {
            Some("environment-variable")
        } else if plain.is_one_of(&PERSONAL) {
            Some("personal-data")
        } else {
            plain.is_secret().then_some("secret-member")
        };
        Self {
            secret,
            is_label: plain.is_one_of(&LABELS),
            is_labelled,
            is_statement: plain.is_one_of(&["statement"]),
            is_environment: plain.is_one_of(&["environment", "environmentvariables"]),
            in_environment,
        }
    }
}

/// Whether the name that stands beside a value (`{Key: …, Value: …}`) makes the value a secret.
pub(super) fn secret_label(label: &[u8]) -> bool {
    label.len() <= 128 && Plain::of(label).is_secret()
}

/// A name in lower case, without separators; of a long one its end.
struct Plain {
    bytes: [u8; 40],
    start: usize,
    is_whole: bool,
}

impl Plain {
    fn of(name: &[u8]) -> Self {
        let mut plain = Self { bytes: [0; 40], start: 40, is_whole: true };
        for byte in name.iter().rev().filter(|byte| byte.is_ascii_alphanumeric()) {
            if plain.start == 0 {
                plain.is_whole = false;
                break;
            }
            plain.start -= 1;
            plain.bytes[plain.start] = byte.to_ascii_lowercase();
        }
        plain
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        self.is_whole && names.iter().any(|name| name.as_bytes() == &self.bytes[self.start..])
    }

    fn is_secret(&self) -> bool {
        let end = &self.bytes[self.start..];
        self.is_one_of(&SECRETS) || SECRET_ENDS.iter().any(|secret| end.ends_with(secret.as_bytes()))
    }
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
