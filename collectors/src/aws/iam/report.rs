//! `aws/iam-credential-report`: one CSV for all users of an account, counted against the account summary. A column that AWS does not give is
//! unknown, never false.

use std::{collections::HashMap, io, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::access::cut;
use crate::{
    contract::{Record, Records},
    declared::{
        reading::{Reading, State},
        system::{Cell, Expected},
    },
};

/// AWS makes a report anew when the last one is four hours old; one that is older than this was not made for this run.
const FRESH: TimeDelta = TimeDelta::hours(5);

/// Columns with times of what had happened when the report was made.
const EVENTS: [&str; 9] = [
    "user_creation_time",
    "password_last_used",
    "password_last_changed",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "cert_1_last_rotated",
    "cert_2_last_rotated",
];

/// The name of the root user's row.
const ROOT: &str = "<root_account>";

/// Makes roots, users, access keys and virtual devices.
///
/// # Errors
/// The store's.
pub fn derive(reading: &Reading<'_>, out: &mut dyn Records) -> io::Result<()> {
    let (report, summary) = (reading.request("report"), reading.request("summary"));
    let mut users = reading.population(&[report])?;
    let roots = reading.population(&[summary])?;
    let management = central_management(reading)?;
    for expected in reading.expected(report).unwrap_or_default() {
        let cell = &expected.cell;
        let counted = reading.answer(summary, cell, None)?;
        let counted = counted.as_ref().map(|(answer, exchange)| (&answer["SummaryMap"], *exchange));
        // What was not answered is in the population's reason already.
        let answer = match reading.state(report, expected)? {
            State::Whole => reading.answer(report, cell, None)?,
            _ => None,
        };
        let parsed = match answer.map(|(answer, exchange)| Report::parse(&answer, exchange)) {
            None => None,
            Some(Ok(report)) => Some(report),
            Some(Err(why)) => {
                cut(&mut users, &format!("{cell}: {why}"));
                None
            }
        };
        if let Some(found) = &parsed {
            let at = asked_at(reading, report, cell)?;
            let listed = found.rows.iter().filter(|row| row.get("user") != ROOT).count() as u64;
            match counted.and_then(|(summary, _)| summary["Users"].as_u64()) {
                Some(count) if count == listed => {}
                Some(count) => cut(
                    &mut users,
                    &format!(
                        "{cell}: the report of {} lists {listed} users, and IAM counts {count}",
                        found.generated_text
                    ),
                ),
                None => out
                    .gap(format!("{cell}: the report's {listed} users could not be counted against IAM's own number")),
            }
            for row in found.rows.iter().filter(|row| row.get("user") != ROOT) {
                user(out, cell, found, row, at)?;
            }
        }
        root(out, expected, counted, parsed.as_ref(), management)?;
    }
    out.population("user", users.clone());
    out.population("access_key", users);
    out.population("root", roots);
    devices(reading, out)?;
    reading.gaps(&[report, summary, reading.request("devices"), reading.request("generate")], out)
}

/// Whether the organisation removes root credentials centrally; `None`: not known.
fn central_management(reading: &Reading<'_>) -> io::Result<Option<bool>> {
    let request = reading.request("root_features");
    for expected in reading.expected(request).unwrap_or_default() {
        match reading.state(request, expected)? {
            State::Absent(_) => return Ok(Some(false)),
            State::Whole => {
                let answer = reading.answer(request, &expected.cell, None)?;
                let features = answer.as_ref().and_then(|(answer, _)| answer["EnabledFeatures"].as_array());
                return Ok(
                    features.map(|features| features.iter().any(|feature| feature == "RootCredentialsManagement"))
                );
            }
            State::Cut(_) | State::Unread(_) => {}
        }
    }
    Ok(None)
}

fn root(
    out: &mut dyn Records,
    expected: &Expected,
    counted: Option<(&Value, u64)>,
    report: Option<&Report>,
    management: Option<bool>,
) -> io::Result<()> {
    let Some((summary, exchange)) = counted else { return Ok(()) };
    let flag = |name: &str| summary[name].as_u64().map(|count| count > 0);
    let row = report.and_then(|report| report.rows.iter().find(|row| row.get("user") == ROOT).map(|row| (report, row)));
    let mut fields = members(&expected.cell);
    fields.insert("mfa".into(), json!(flag("AccountMFAEnabled")));
    fields.insert("access_keys".into(), summary["AccountAccessKeysPresent"].clone());
    fields.insert("signing_certificates".into(), summary["AccountSigningCertificatesPresent"].clone());
    fields.insert("password_present".into(), json!(flag("AccountPasswordPresent")));
    fields.insert("central_management".into(), json!(management));
    let used = row.map(|(_, row)| {
        [
            row.time("password_last_used"),
            row.time("access_key_1_last_used_date"),
            row.time("access_key_2_last_used_date"),
        ]
    });
    let used = used.and_then(|times| times.into_iter().flatten().max());
    fields.insert("last_used".into(), json!(used));
    fields.insert("generated_at".into(), json!(row.map(|(report, _)| &report.generated_text)));
    let account = expected.cell.get("account").unwrap_or_default();
    out.record("root", Record { id: format!("arn:aws:iam::{account}:root"), as_of: None, exchange, fields })
}

fn user(out: &mut dyn Records, cell: &Cell, report: &Report, row: &Line, at: DateTime<Utc>) -> io::Result<()> {
    let (name, arn) = (row.get("user"), row.get("arn"));
    let stale = report.made.is_none_or(|made| at - made > FRESH);
    let password = row.flag("password_enabled");
    let keys: Vec<Key<'_>> = ["1", "2"].into_iter().map(|slot| Key { row, slot }).collect();
    let active = keys.iter().map(Key::active).try_fold(0, |sum, active| Some(sum + u64::from(active?)));
    let mut used: Vec<Option<DateTime<Utc>>> = Vec::new();
    if password == Some(true) {
        // Never used: as old as the password itself.
        used.push(
            row.time("password_last_used").or(row.time("password_last_changed")).or(row.time("user_creation_time")),
        );
    }
    for key in keys.iter().filter(|key| key.active() == Some(true)) {
        used.push(key.time("last_used_date").or(key.time("last_rotated")));
    }
    // One credential of which it is not known leaves the user unknown, unless another was used.
    let last_used = used.iter().flatten().max().copied();
    let mut fields = members(cell);
    fields.insert("name".into(), json!(name));
    fields.insert("created_at".into(), json!(row.time("user_creation_time")));
    fields.insert("password_enabled".into(), json!(password));
    fields.insert("password_last_used".into(), json!(row.time("password_last_used")));
    fields.insert("password_last_changed".into(), json!(row.time("password_last_changed")));
    fields.insert("mfa_active".into(), json!(row.flag("mfa_active")));
    fields.insert("active_keys".into(), json!(active));
    fields.insert("last_used".into(), json!(last_used));
    fields.insert("idle_days".into(), json!(last_used.map(|used| (at - used).num_days())));
    fields.insert("generated_at".into(), json!(report.generated_text));
    fields.insert("stale".into(), json!(stale));
    out.record("user", Record { id: arn.into(), as_of: report.made, exchange: report.exchange, fields })?;
    for key in &keys {
        // A slot without a key was never rotated.
        if key.active() == Some(false) && key.time("last_rotated").is_none() {
            continue;
        }
        let mut fields = members(cell);
        fields.insert("user".into(), json!(name));
        fields.insert("slot".into(), json!(key.slot));
        fields.insert("active".into(), json!(key.active()));
        fields.insert("last_rotated".into(), json!(key.time("last_rotated")));
        fields.insert("age_days".into(), json!(key.time("last_rotated").map(|rotated| (at - rotated).num_days())));
        fields.insert("last_used".into(), json!(key.time("last_used_date")));
        fields.insert("last_used_service".into(), json!(key.text("last_used_service")));
        fields.insert("last_used_region".into(), json!(key.text("last_used_region")));
        fields.insert("stale".into(), json!(stale));
        let id = format!("{arn}/access-key-{}", key.slot);
        out.record("access_key", Record { id, as_of: report.made, exchange: report.exchange, fields })?;
    }
    Ok(())
}

fn devices(reading: &Reading<'_>, out: &mut dyn Records) -> io::Result<()> {
    let devices = reading.request("devices");
    let mut population = reading.population(&[devices])?;
    for expected in reading.expected(devices).unwrap_or_default() {
        let unread = reading.rows(devices, &expected.cell, &mut |row| {
            let device = jq::json(&row.value);
            let Some(serial) = device["SerialNumber"].as_str() else {
                cut(&mut population, "a virtual device has no serial number");
                return Ok(());
            };
            let enabled = device["EnableDate"].as_str().and_then(time);
            let mut fields = members(&expected.cell);
            fields.insert("user".into(), device["User"]["Arn"].clone());
            fields.insert("assigned".into(), json!(!device["User"].is_null()));
            fields.insert("enabled_at".into(), json!(enabled));
            out.record(
                "virtual_mfa_device",
                Record { id: serial.into(), as_of: enabled, exchange: row.exchange, fields },
            )
        })?;
        if let Some(why) = unread {
            cut(&mut population, &why);
        }
    }
    out.population("virtual_mfa_device", population);
    Ok(())
}

fn members(cell: &Cell) -> Map<String, Value> {
    cell.0.iter().map(|(name, at)| (name.clone(), json!(at))).collect()
}

fn asked_at(reading: &Reading<'_>, request: usize, cell: &Cell) -> io::Result<DateTime<Utc>> {
    let mut at = DateTime::UNIX_EPOCH;
    reading.rows(request, cell, &mut |row| {
        at = row.at;
        Ok(())
    })?;
    Ok(at)
}

/// One account's report.
struct Report {
    rows: Vec<Line>,
    exchange: u64,
    /// When it was made: not before AWS's own time for it, nor before the latest event that it speaks of.
    made: Option<DateTime<Utc>>,
    generated_text: String,
}

/// A row, by column.
struct Line {
    columns: Rc<HashMap<String, usize>>,
    values: csv::StringRecord,
}

struct Key<'a> {
    row: &'a Line,
    slot: &'a str,
}

impl Report {
    fn parse(answer: &Value, exchange: u64) -> Result<Self, String> {
        let content = answer["Content"].as_str().ok_or("the answer has no report in it")?;
        let content: String = content.split_ascii_whitespace().collect();
        let text = STANDARD.decode(content).map_err(|e| format!("the report is no base64: {e}"))?;
        let generated_text = answer["GeneratedTime"].as_str().unwrap_or_default().to_owned();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let head = reader.headers().map_err(|e| format!("the report is no CSV: {e}"))?.clone();
        for column in ["user", "arn", "password_enabled", "mfa_active", "access_key_1_active", "access_key_2_active"] {
            if !head.iter().any(|name| name == column) {
                return Err(format!("the report has no column {column}"));
            }
        }
        let columns = Rc::new(head.iter().enumerate().map(|(at, name)| (name.to_owned(), at)).collect());
        let mut rows = Vec::new();
        for values in reader.records() {
            let values = values.map_err(|e| format!("the report is cut or malformed: {e}"))?;
            rows.push(Line { columns: Rc::clone(&columns), values });
        }
        let events = rows.iter().flat_map(|row: &Line| EVENTS.iter().filter_map(|column| row.time(column)));
        let made = time(&generated_text).map(|generated| events.fold(generated, DateTime::max));
        Ok(Self { rows, exchange, made, generated_text })
    }
}

impl Line {
    fn get(&self, column: &str) -> &str {
        self.columns.get(column).and_then(|at| self.values.get(*at)).unwrap_or_default()
    }

    fn flag(&self, column: &str) -> Option<bool> {
        match self.get(column).to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn time(&self, column: &str) -> Option<DateTime<Utc>> {
        time(self.get(column))
    }
}

impl Key<'_> {
    fn column(&self, name: &str) -> String {
        format!("access_key_{}_{name}", self.slot)
    }

    fn active(&self) -> Option<bool> {
        self.row.flag(&self.column("active"))
    }

    fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        self.row.time(&self.column(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        let text = self.row.get(&self.column(name));
        (!matches!(text, "" | "N/A" | "not_supported" | "no_information")).then_some(text)
    }
}

/// Whether each user of a report has a second factor, by ARN.
///
/// # Errors
/// A report that cannot be read.
pub(super) fn second_factors(answer: &Value, exchange: u64) -> Result<HashMap<String, Option<bool>>, String> {
    let report = Report::parse(answer, exchange)?;
    Ok(report.rows.iter().map(|row| (row.get("arn").to_owned(), row.flag("mfa_active"))).collect())
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}
