//! Texts as OSCAL's datatypes take them (NIST, OSCAL Metaschema datatypes): words from systems and people become text that means what it
//! says, never markup, and never nothing.

use serde::Serialize;
use uuid::Uuid;

/// `markup-line`: Markdown on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line(String);

/// `markup-multiline`: Markdown in paragraphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Markup(String);

/// `string`: no space at its ends, no line feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Plain(String);

/// `token`: a letter or `_`, then letters, digits, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Token(String);

/// A UUID of version 5 (RFC 9562): of the same name, the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Id(String);

impl Id {
    /// Of a thing of a log: its origin, what kind of thing, and its name among those.
    pub(super) fn of(origin: &str, kind: &str, name: &str) -> Self {
        let space = Uuid::new_v5(&Uuid::NAMESPACE_URL, super::NAMESPACE.as_bytes());
        Self(Uuid::new_v5(&space, format!("{origin}\n{kind}\n{name}").as_bytes()).to_string())
    }

    /// A link to it within the document.
    pub(super) fn href(&self) -> String {
        format!("#{}", self.0)
    }
}

/// What stands where a text is empty.
const NOTHING: &str = "–";

impl Line {
    pub(super) fn new(text: &str) -> Self {
        Self(escaped(&one_line(text)))
    }
}

impl Markup {
    pub(super) fn new(text: &str) -> Self {
        Self::paragraphs([text])
    }

    pub(super) fn paragraphs<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let each: Vec<String> = texts.into_iter().map(|text| escaped(&one_line(text.as_ref()))).collect();
        Self(if each.is_empty() { NOTHING.into() } else { each.join("\n\n") })
    }
}

impl Plain {
    pub(super) fn new(text: &str) -> Self {
        Self(one_line(text))
    }
}

impl Token {
    /// The text with `-` for every run of what a token cannot hold: `164.312(a)(2)(iv)` becomes `<prefix>164.312-a-2-iv`.
    pub(super) fn new(prefix: &str, text: &str) -> Self {
        let mut token = String::from(prefix);
        let mut gap = false;
        for letter in text.chars() {
            if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-') {
                if std::mem::take(&mut gap) && !token.is_empty() {
                    token.push('-');
                }
                token.push(letter);
            } else {
                gap = true;
            }
        }
        if !token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            token.insert(0, '_');
        }
        Self(token)
    }

    pub(super) fn with(&self, end: &str) -> Self {
        Self(format!("{}{end}", self.0))
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    if words.is_empty() { NOTHING.into() } else { words.join(" ") }
}

/// Without a meaning in Markdown or in OSCAL's additions to it. An underscore inside a word has none.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let plain = match letter {
            '_' => inside(Some(before)) && inside(letters.peek().copied()),
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '^' | '~' | '{' | '}' => false,
            '#' | '+' | '-' => !out.is_empty(),
            _ => true,
        };
        if !plain {
            out.push('\\');
        }
        out.push(letter);
        before = letter;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_nothing_else_and_stay_apart() {
        let token = |prefix, text| Token::new(prefix, text).0;
        assert_eq!(token("", "CC6.1"), "CC6.1");
        assert_eq!(token("hipaa-", "164.312(a)(2)(iv)"), "hipaa-164.312-a-2-iv");
        assert_eq!(token("", "164"), "_164");
        assert_eq!(token("", "Zugriff prüfen!"), "Zugriff-pr-fen");
        assert_eq!(token("", ""), "_");
        assert_eq!(token("", "-a"), "_-a");
    }

    #[test]
    fn texts_are_one_line_trimmed_and_never_empty() {
        assert_eq!(Plain::new("  a\n\tb\u{0} ").0, "a b");
        assert_eq!(Plain::new(" \n").0, NOTHING);
        assert_eq!(Line::new("").0, NOTHING);
        assert_eq!(Markup::paragraphs(["a\nb", "c"]).0, "a b\n\nc");
        assert_eq!(Markup::paragraphs(Vec::<String>::new()).0, NOTHING);
    }

    #[test]
    fn words_of_others_are_never_markup() {
        assert_eq!(Line::new("arn:aws:s3:::*").0, r"arn:aws:s3:::\*");
        assert_eq!(Line::new("<img src=x>").0, r"\<img src=x\>");
        assert_eq!(Line::new("[a](b) {{ insert: c }}").0, r"\[a\](b) \{\{ insert: c \}\}");
        assert_eq!(Line::new("snake_case _em_ `x` # no").0, r"snake_case \_em\_ \`x\` # no");
        assert_eq!(Line::new("# heading").0, r"\# heading");
    }
}
