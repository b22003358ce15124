//! What is wrong with a configuration: where, at which key, and what to write instead. A value that may be a secret is never repeated.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `evidenced.yaml:12`, or the environment variable; empty for the whole.
    pub place: String,
    /// `jobs[0].schedule`; empty for the whole.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{}: ", on_one_line(part))?;
            }
        }
        f.write_str(&self.message)
    }
}

/// A key as it was written may have line feeds in it, and a mistake is told on one line.
fn on_one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

/// A configuration that is refused: every mistake that was found.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Sorts by line; variables come last.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        let line = |problem: &Problem| {
            problem.place.rsplit_once(':').and_then(|(_, line)| line.parse::<u64>().ok()).unwrap_or(u64::MAX)
        };
        problems.sort_by_key(line);
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Whether a key sounds as if its value were a secret itself, and not where one is.
pub(super) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = ["password", "passphrase", "secret", "token", "private_key", "api_key", "credential"];
    let places = ["_file", "_path", "_id", "_env", "_label"];
    words.iter().any(|word| key.contains(word)) && !places.iter().any(|end| key.ends_with(end))
}

/// Whether the value of a key is not shown: it sounds secret, or is an environment variable that does.
pub(super) fn hides(key: &str) -> bool {
    let variable = key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let places = ["_FILE", "_PATH", "_ID", "_COMMAND"];
    sounds_secret(key) || (variable && key.contains("KEY") && !places.iter().any(|end| key.ends_with(end)))
}

/// The message for a key that is not known.
pub(super) fn refused_key(name: &str, known: &[&str]) -> String {
    if sounds_secret(name) {
        return format!(
            "secrets are not written into the configuration; put it into a file of mode 0600 and name the file{}",
            nearest(&format!("{name}_file"), known).map(|key| format!(" (`{key}`)")).unwrap_or_default()
        );
    }
    let inside = known.iter().find_map(|key| Some((key, name.strip_prefix(key)?.strip_prefix('_')?)));
    if let Some((key, rest)) = inside.filter(|(_, rest)| !rest.is_empty()) {
        return format!(
            "unknown key; for `{key}: {{{rest}: …}}` a variable has two underscores: EVIDENCED_{}__{}",
            key.to_ascii_uppercase(),
            rest.to_ascii_uppercase()
        );
    }
    match nearest(name, known) {
        Some(key) => format!("unknown key; did you mean `{key}`?"),
        None if known.is_empty() => "unknown key; none is taken here".into(),
        None => format!("unknown key; known are {}", known.join(", ")),
    }
}

/// The known key that is meant, if one is near enough.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|key| (distance(name, key), *key)).min()?;
    (best.0 <= name.len().div_ceil(3)).then_some(best.1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
