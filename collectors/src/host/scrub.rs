//! What the host collectors remove from lines: credentials inside addresses, and the values of settings that hold secrets. It removes
//! rather too much than too little, and never a path.

use crate::redact::Redact;

const REMOVED: &str = "removed";

/// Adds the rule `url-credentials`: whatever stands between `://` and `@` of an address.
pub(super) fn url_credentials(redact: Redact, place: &str) -> Redact {
    redact.line("url-credentials", format!("{place}, between :// and @"), |line| {
        let text = String::from_utf8_lossy(line);
        let out = without_userinfo(&text);
        (out != text).then(|| out.into_bytes())
    })
}

/// Adds the rule `name`: the values of `settings` (`password`, `pwd` …) in `setting=value`, `setting="value"`, `setting: value` or
/// `setting value`. A value that begins like a path stays.
pub(super) fn values_of(redact: Redact, name: &str, place: &str, settings: &'static [&'static str]) -> Redact {
    redact.line(name, format!("{place}, values of {}", settings.join(", ")), move |line| {
        let text = String::from_utf8_lossy(line);
        let out = without_values(&text, settings);
        (out != text).then(|| out.into_bytes())
    })
}

/// Addresses without user and password. The last `@` before the path counts: a password may hold one.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>,;".contains(c)).unwrap_or(after.len());
        // A password with an unescaped slash would end the authority early, so the whole word is searched.
        match after[..end].rfind('@') {
            Some(sign) if &after[..sign] != REMOVED => {
                out.push_str(REMOVED);
                rest = &after[sign..];
            }
            _ => rest = after,
        }
    }
    out.push_str(rest);
    out
}

/// Adds the rule `name`: the values of `settings` in `setting=value` alone, for lines in which a setting's name is also a word.
pub(super) fn arguments_of(redact: Redact, name: &str, place: &str, settings: &'static [&'static str]) -> Redact {
    redact.line(name, format!("{place}, values of {}", settings.join(", ")), move |line| {
        let text = String::from_utf8_lossy(line);
        let out = without(&text, settings, &['=', '"', '\'']);
        (out != text).then(|| out.into_bytes())
    })
}

fn without_values(text: &str, settings: &[&str]) -> String {
    without(text, settings, &[' ', '\t', '=', ':', '"', '\''])
}

fn without(text: &str, settings: &[&str], separators: &[char]) -> String {
    // ASCII lower case keeps every byte's place.
    let lower = text.to_ascii_lowercase();
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for setting in settings {
        let mut from = 0;
        while let Some(found) = lower[from..].find(setting) {
            let start = from + found;
            let after = start + setting.len();
            from = after;
            let word = |c: char| c.is_ascii_alphanumeric();
            if lower[..start].chars().next_back().is_some_and(word) {
                continue;
            }
            let rest = &text[after..];
            let value = rest.trim_start_matches(separators);
            if value.len() == rest.len() || value.is_empty() || value.starts_with(['/', '~', '$']) {
                continue;
            }
            let begin = after + (rest.len() - value.len());
            let quote = rest[..rest.len() - value.len()].chars().next_back().filter(|c| "\"'".contains(*c));
            let length = match quote {
                Some(quote) => value.find(quote),
                None => value.find(|c: char| c.is_whitespace() || ",;&)".contains(c)),
            };
            cuts.push((begin, begin + length.unwrap_or(value.len())));
        }
    }
    cuts.sort_unstable();
    let (mut out, mut at) = (String::new(), 0);
    for (begin, end) in cuts {
        if begin >= at {
            out.push_str(&text[at..begin]);
            out.push_str(REMOVED);
        }
        at = at.max(end);
    }
    out.push_str(&text[at.min(text.len())..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_go_and_the_address_stays() {
        for (text, kept) in [
            (
                "Acquire::http::Proxy=http://u:p@proxy:3128 install",
                "Acquire::http::Proxy=http://removed@proxy:3128 install",
            ),
            ("s3:https://key:se/cr@et@host/bucket", "s3:https://removed@host/bucket"),
            ("http://host/path and https://x:y@h", "http://host/path and https://removed@h"),
            ("no address", "no address"),
        ] {
            assert_eq!(without_userinfo(text), kept);
            assert_eq!(without_userinfo(kept), kept);
        }
    }

    #[test]
    fn values_go_whatever_their_form_and_paths_stay() {
        let settings = &["password", "pwd", "key"];
        for (text, kept) in [
            ("action(type=\"ommysql\" pwd=\"a b c\" db=\"x\")", "action(type=\"ommysql\" pwd=\"removed\" db=\"x\")"),
            ("auth required pam_x.so key=abc id=1", "auth required pam_x.so key=removed id=1"),
            ("Password: geheim", "Password: removed"),
            ("password /etc/secret", "password /etc/secret"),
            ("monkey=banana", "monkey=banana"),
            ("password include common-password", "password removed common-password"),
        ] {
            assert_eq!(without_values(text, settings), kept);
        }
    }

    #[test]
    fn text_of_any_script_passes_whole() {
        let text = "pässwörd=ü PASSWORD=ß€ ://é@ü";
        assert_eq!(without_values(text, &["password"]), "pässwörd=ü PASSWORD=removed ://é@ü");
        assert_eq!(without_userinfo(text), "pässwörd=ü PASSWORD=ß€ ://removed@ü");
    }
}
