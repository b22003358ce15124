//! The sentence that a check says of a failing or unknown row: text with `{field}` and `{field.sub}` from the row. It never judges.

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field(Vec<String>),
}

impl Template {
    /// Parses `{login} has no second factor`; `{{` and `}}` stand for braces.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            let column = text[..text.len() - rest.len() + at].chars().count() + 1;
            if brace == "}" {
                return Err(format!("column {column}: `}}` without `{{`; write `}}}}` for a brace"));
            }
            let Some(end) = after.find('}') else {
                return Err(format!("column {column}: `{{` without `}}`; write `{{{{` for a brace"));
            };
            let field: Vec<String> = after[..end].split('.').map(str::to_owned).collect();
            if !field.iter().all(|name| is_name(name)) {
                return Err(format!(
                    "column {column}: `{{{}}}` names no field; write {{field}} or {{field.sub}}",
                    &after[..end]
                ));
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Field(field));
            rest = &after[end + 1..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// The sentence for a row. What the row does not have, or has as null, is `?`.
    pub(crate) fn fill(&self, row: &Value) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(path) => match path.iter().try_fold(row, |value, name| value.get(name)) {
                    None | Some(Value::Null) => out.push('?'),
                    Some(Value::String(text)) => out.push_str(text),
                    Some(other) => out.push_str(&other.to_string()),
                },
            }
        }
        crate::results::shorten(out)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_filled_and_missing_ones_are_question_marks() {
        let row = json!({"login": "ada", "shell": null, "age": {"days": 3}, "groups": ["a", "b"]});
        let fill = |text| Template::parse(text).unwrap().fill(&row);
        assert_eq!(fill("{login} waited {age.days} days"), "ada waited 3 days");
        assert_eq!(fill("{shell}, {absent}, {login.sub}"), "?, ?, ?");
        assert_eq!(fill("{groups} {{as is}}"), r#"["a","b"] {as is}"#);
        assert_eq!(fill("nothing"), "nothing");
    }

    #[test]
    fn broken_templates_are_refused_with_the_column() {
        assert!(Template::parse("é {login").unwrap_err().starts_with("column 3: `{` without `}`"));
        assert!(Template::parse("a } b").unwrap_err().starts_with("column 3: `}` without `{`"));
        assert!(Template::parse("{}").unwrap_err().contains("names no field"));
        assert!(Template::parse("{a.}").unwrap_err().contains("names no field"));
        assert!(Template::parse("{a b}").unwrap_err().contains("names no field"));
    }
}
