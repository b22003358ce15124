//! Checks as their authors write them: a YAML list beside a collector. Reading refuses what could not be evaluated; it evaluates
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use jq::Filter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    catalogue::{self, catalogue},
    says::Template,
};

/// A question asked of every record of a kind.
///
/// Expressions are jq over one row, with `$parameters` bound: the check's `parameters` over the item's `org_parameters`, under what the
/// organisation set. Each gives exactly one value. `now`, `env`, `input`, `halt`, `debug` and `def` are not available.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Unique in its list.
    pub id: String,
    /// The evidence item that it supports, by its id in the catalogue.
    pub item: String,
    /// The kind of records that it is asked of.
    pub kind: String,
    /// Which of them; none: all. False: not in the population. Null, an error or no boolean: the row is unknown.
    pub filter: Option<String>,
    /// True: exempt, counted and listed and not tested. Null, an error or no boolean: the row is unknown.
    pub exempt: Option<String>,
    /// True: passes; false: fails; null: unknown; an error or anything else: unknown.
    pub pass: String,
    /// What is said of a failing row: text with `{field}` and `{field.sub}`.
    pub says: String,
    /// What is said of a row of which `pass` gives null: text as in `says`. It says what is not known, and why as far as the row tells.
    /// Each check whose `pass` may be null should have one: without it a sentence names the check alone.
    pub unknown: Option<String>,
    /// Other kinds whose lists must be whole; if one is not, every row is unknown.
    pub requires: Vec<String>,
    /// Rows of other kinds, found by key; `pass` sees them as `$<name>`.
    pub join: BTreeMap<String, Join>,
    /// Defaults of `$parameters` for this check.
    pub parameters: Map<String, Value>,
}

impl Check {
    /// Whether it can be answered only once all records are there.
    pub(crate) fn waits(&self) -> bool {
        !self.join.is_empty() || !self.requires.is_empty()
    }
}

/// Rows of another kind of the same run, found by key.
///
/// `pass` sees `$<name>.known` and `$<name>.row` (null where none has the key), or, with `many`, `$<name>.rows`. While the other kind's
/// list is not whole, every row of the check is unknown, whether or not `pass` asks for `.known`. Without `many`, two rows of one key
/// are unknown too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The other kind.
    #[serde(rename = "with")]
    pub kind: String,
    /// jq: the key, from the check's row.
    pub on: String,
    /// jq: the key, from the other kind's row; none: the same expression as `on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether several rows may have one key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub many: bool,
}

/// A list of checks that is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not a YAML list of checks.
    #[error("the list of checks cannot be read")]
    Yaml(#[from] serde_saphyr::Error),
    /// Something is wrong in a field.
    #[error("check `{check}`, `{field}`: {problem}")]
    Field {
        /// The check's id.
        check: String,
        /// The field, `join.<name>.on` for one inside another.
        field: String,
        /// What is wrong, where, and what to write.
        problem: String,
    },
    /// `$parameters` is no mapping.
    #[error("the parameters of the checks must be a mapping of names to values, not {0}")]
    Parameters(Value),
    /// The thread for evaluation could not be started.
    #[error("no thread could be started to evaluate checks in")]
    Thread(#[source] std::io::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    item: String,
    population: String,
    #[serde(default)]
    exempt: Option<String>,
    pass: String,
    says: String,
    #[serde(default)]
    unknown: Option<String>,
    #[serde(default)]
    requires: OneOrMore,
    #[serde(default)]
    join: BTreeMap<String, Join>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// `requires: kind` or `requires: [kind, kind]`.
#[derive(Default)]
struct OneOrMore(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a kind of records or a list of them")
            }
            fn visit_str<E>(self, kind: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![kind.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut kinds = Vec::new();
                while let Some(kind) = list.next_element()? {
                    kinds.push(kind);
                }
                Ok(OneOrMore(kinds))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Check {
    /// The names that the expressions take from `$parameters`, as far as they are spelt `$parameters.name`.
    pub fn parameter_names(&self) -> BTreeSet<String> {
        let joined = self.join.values().flat_map(|join| [Some(&join.on), join.key.as_ref()]);
        let own = [Some(&self.pass), self.exempt.as_ref(), self.filter.as_ref()];
        let texts = own.into_iter().chain(joined).flatten();
        let names = texts.flat_map(|code| code.split("$parameters.").skip(1)).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// Reads a YAML list of checks, each with `id`, `item`, `population` (`kind` or `kind | jq condition`), `pass`, `says` and, where
/// needed, `unknown`, `exempt`, `requires`, `join` and `parameters`.
///
/// # Errors
/// [`CheckError`] for the first mistake, with the check and the field.
pub fn parse_checks(yaml: &str) -> Result<Vec<Check>, CheckError> {
    if yaml.trim().is_empty() {
        return Ok(Vec::new());
    }
    let written: Vec<Written> = serde_saphyr::from_str(yaml)?;
    let mut ids = BTreeSet::new();
    let mut checks = Vec::with_capacity(written.len());
    for written in written {
        let (kind, filter) = match written.population.split_once('|') {
            None => (written.population.trim(), None),
            Some((kind, filter)) => (kind.trim(), Some(filter.trim().to_owned())),
        };
        let check = Check {
            kind: kind.to_owned(),
            filter,
            id: written.id,
            item: written.item,
            exempt: written.exempt,
            pass: written.pass,
            says: written.says,
            unknown: written.unknown,
            requires: written.requires.0,
            join: written.join,
            parameters: written.parameters,
        };
        let refuse = |field: &str, problem: &str| CheckError::Field {
            check: check.id.clone(),
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        if !is_id(&check.id) {
            return Err(refuse("id", "an id is lower-case letters, digits and hyphens, such as `mfa-enrolled`"));
        }
        if !ids.insert(check.id.clone()) {
            return Err(refuse("id", "another check before it has this id"));
        }
        Compiled::new(&check)?;
        checks.push(check);
    }
    Ok(checks)
}

/// A check with its expressions compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) filter: Option<Filter>,
    pub(crate) exempt: Option<Filter>,
    pub(crate) pass: Filter,
    pub(crate) says: Template,
    pub(crate) unknown: Option<Template>,
    /// In the order of `Check::join`: `on` and `key`.
    pub(crate) joins: Vec<(Filter, Filter)>,
}

impl Compiled {
    pub(crate) fn new(check: &Check) -> Result<Self, CheckError> {
        let refuse = |field: &str, problem: String| CheckError::Field {
            check: check.id.clone(),
            field: field.to_owned(),
            problem,
        };
        if catalogue::item(&check.item).is_none() {
            return Err(refuse(
                "item",
                format!("the catalogue has no evidence item `{}`{}", check.item, nearest_item(&check.item)),
            ));
        }
        let kind = |field: &str, kind: &str| {
            if is_kind(kind) {
                Ok(())
            } else {
                Err(refuse(
                    field,
                    format!("`{kind}` is no kind of records: write `kind`, or `kind | condition` in `population`"),
                ))
            }
        };
        kind("population", &check.kind)?;
        for required in &check.requires {
            kind("requires", required)?;
        }
        let jq = |field: &str, code: &str, variables: &[&str]| {
            Filter::compile(code, variables).map_err(|problem| refuse(field, format!("`{code}`: {problem}")))
        };
        let mut variables = vec!["$parameters".to_owned()];
        let mut joins = Vec::new();
        for (name, join) in &check.join {
            let field = |of: &str| format!("join.{name}{of}");
            if !is_kind(name) || name == "parameters" {
                let problem = "a join is named by lower-case letters, digits and underscores, and not `parameters`";
                return Err(refuse(&field(""), problem.into()));
            }
            kind(&field(".with"), &join.kind)?;
            let on = jq(&field(".on"), &join.on, &["$parameters"])?;
            let key = match &join.key {
                Some(key) => jq(&field(".key"), key, &["$parameters"])?,
                None => on.clone(),
            };
            joins.push((on, key));
            variables.push(format!("${name}"));
        }
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let optional = |field: &str, code: &Option<String>| {
            code.as_deref().map(|code| jq(field, code, &["$parameters"])).transpose()
        };
        let template = |field: &str, text: &str| {
            Template::parse(text).map_err(|problem| refuse(field, format!("`{text}`: {problem}")))
        };
        Ok(Self {
            filter: optional("population", &check.filter)?,
            exempt: optional("exempt", &check.exempt)?,
            pass: jq("pass", &check.pass, &variables)?,
            says: template("says", &check.says)?,
            unknown: check.unknown.as_deref().map(|text| template("unknown", text)).transpose()?,
            joins,
        })
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 80 && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_kind(kind: &str) -> bool {
    kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `; did you mean …?` where an item shares most of its words.
fn nearest_item(id: &str) -> String {
    let words = |text: &str| text.split('_').map(str::to_owned).collect::<BTreeSet<_>>();
    let asked = words(id);
    let best = catalogue().evidence_items.iter().max_by_key(|item| words(&item.id).intersection(&asked).count());
    match best {
        Some(item) if words(&item.id).intersection(&asked).count() > 0 => format!("; did you mean `{}`?", item.id),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
- id: mfa-enrolled
  item: mfa_user_enrolled
  population: 'user | .status == "ACTIVE"'
  exempt: .login | IN($parameters.break_glass_accounts[])
  pass: if $lacking.known then $lacking.row == null else null end
  says: "{login} has no second factor"
  unknown: "whether {login} has a second factor is not known"
  requires: organization
  join:
    lacking: {with: without_2fa, on: .login}
  parameters: {break_glass_accounts: []}
"#;

    fn refused(yaml: &str) -> String {
        parse_checks(yaml).unwrap_err().to_string()
    }

    #[test]
    fn a_check_is_read_with_all_its_fields() {
        let checks = parse_checks(GOOD).unwrap();
        assert_eq!(checks[0].kind, "user");
        assert_eq!(checks[0].filter.as_deref(), Some(r#".status == "ACTIVE""#));
        assert_eq!(checks[0].requires, ["organization"]);
        assert_eq!(checks[0].join["lacking"].key, None);
        assert_eq!(checks[0].unknown.as_deref(), Some("whether {login} has a second factor is not known"));
        assert_eq!(checks[0].parameter_names(), BTreeSet::from(["break_glass_accounts".to_owned()]));
        assert!(parse_checks("").unwrap().is_empty());
        assert!(parse_checks("[]").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_check_field_and_place() {
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            refused(&GOOD.replace(from, to))
        };
        assert_eq!(
            with("item: mfa_user_enrolled", "item: user_mfa_enrolled_x"),
            "check `mfa-enrolled`, `item`: the catalogue has no evidence item `user_mfa_enrolled_x`; did you mean `mfa_user_enrolled`?"
        );
        assert_eq!(
            with(r#".status == "ACTIVE""#, ".status == now"),
            "check `mfa-enrolled`, `population`: `.status == now`: column 12: there is no function `now` with 0 arguments here: \
             an expression answers the same whenever and wherever it is asked"
        );
        assert_eq!(
            with("on: .login", "on: '.login |'"),
            "check `mfa-enrolled`, `join.lacking.on`: `.login |`: column 9: expected term, found the end"
        );
        assert_eq!(
            with("exempt: .login | IN($parameters.break_glass_accounts[])", "exempt: $lacking.row == null"),
            "check `mfa-enrolled`, `exempt`: `$lacking.row == null`: column 1: there is no variable `$lacking`"
        );
        assert!(
            with("{login} has", "{login has")
                .starts_with("check `mfa-enrolled`, `says`: `{login has no second factor`: column 1:")
        );
        assert!(with("whether {login}", "whether login}").starts_with(
            "check `mfa-enrolled`, `unknown`: `whether login} has a second factor is not known`: column 14:"
        ));
        assert!(with("user | ", "User | ").contains("`population`: `User` is no kind of records"));
        assert!(with("mfa-enrolled", "MFA").contains("`id`: an id is lower-case letters"));
        assert!(refused(&format!("{GOOD}{GOOD}")).contains("another check before it has this id"));
    }

    #[test]
    fn unknown_missing_and_doubled_fields_are_refused_with_their_line() {
        for (yaml, named, line) in [
            (format!("{GOOD}  passes: true\n"), "passes", "line 13"),
            (GOOD.replace("  says: \"{login} has no second factor\"\n", ""), "says", "line 11"),
            (format!("{GOOD}  item: x\n"), "item", "line 13"),
        ] {
            let error = parse_checks(&yaml).unwrap_err();
            let CheckError::Yaml(source) = &error else { panic!("{error}") };
            let text = source.to_string();
            assert!(text.contains(named) && text.contains(line), "{text}");
        }
    }
}
