//! Controls as people write them: the starter set's file, files of the organisation's own, and `controls` in the configuration, all in one
//! shape. What is written for a control of the starter set replaces that field of it; another id is another control.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Strength, catalogue, item},
    control::{Control, DatedBy, EntityControl, Expectation, Frequency, SwitchedOff, TreatmentSet},
    starter::starter,
};

/// The longest id.
const LONGEST_ID: usize = 40;

/// A file of controls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenControls {
    /// Controls beside those of the starter set, and what is changed of those.
    pub controls: Vec<WrittenControl>,
    /// Criteria and citations that are not the organisation's own, by id.
    pub treatments: BTreeMap<String, TreatmentSet>,
    /// Controls that are expected of those who use the organisation's services.
    pub user_entity_controls: Vec<EntityControl>,
    /// What subservice organisations and vendors expect of the organisation.
    pub vendor_expectations: Vec<Expectation>,
}

/// A control as it is written: for one of the starter set, only what is other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenControl {
    /// Its id: `AC-01`.
    pub id: String,
    /// One line for a person.
    #[serde(default)]
    pub title: Option<String>,
    /// The role that answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// What is promised.
    #[serde(default)]
    pub statement: Option<String>,
    /// How often it must operate.
    #[serde(default)]
    pub frequency: Option<Frequency>,
    /// Evidence items behind it.
    #[serde(default)]
    pub items: Option<Vec<String>>,
    /// Checks behind it beside those of its items: `<collector>/<check>`.
    #[serde(default)]
    pub checks: Option<Vec<String>>,
    /// Of what its items bring, only these collectors and checks.
    #[serde(default)]
    pub only: Option<Vec<String>>,
    /// Of what its items bring, not these collectors and checks.
    #[serde(default)]
    pub except: Option<Vec<String>>,
    /// The sources that it is about, by name.
    #[serde(default)]
    pub sources: Option<Vec<String>>,
    /// What it maps to, by SOC 2 criterion; not written: what its items map to.
    #[serde(default)]
    pub soc2: Option<BTreeMap<String, Strength>>,
    /// And by HIPAA citation.
    #[serde(default)]
    pub hipaa: Option<BTreeMap<String, Strength>>,
    /// Records whose own dates are its occurrences.
    #[serde(default)]
    pub dated_by: Option<DatedBy>,
    /// `false`: a control of the starter set that is not promised.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Why it is not; auditors read it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the organisation promises, from the starter set and everything that was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// By id.
    pub controls: Vec<Control>,
    /// By id.
    pub switched_off: Vec<SwitchedOff>,
    /// By criterion or citation.
    pub treatments: BTreeMap<String, TreatmentSet>,
    /// In the order in which they are written.
    pub user_entity_controls: Vec<EntityControl>,
    /// In the order in which they are written.
    pub vendor_expectations: Vec<Expectation>,
}

/// What is wrong with what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The place of the file in what was given.
    pub file: usize,
    /// Where in it: `controls[0].items[1]`.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// The starter set with what is written over it.
///
/// # Errors
/// Every mistake: ids that come twice, items, criteria and citations that do not exist, what is missing of a control that is new.
pub fn declare(files: &[WrittenControls]) -> Result<Declared, Vec<Mistake>> {
    let mut reading = Reading { file: 0, mistakes: Vec::new() };
    let mut controls: BTreeMap<String, Control> = starter().iter().map(|c| (c.id.clone(), c.clone())).collect();
    let mut declared = Declared::default();
    let (mut seen, mut entity_ids) = (BTreeSet::new(), BTreeSet::new());
    for (file, written) in files.iter().enumerate() {
        reading.file = file;
        for (at, control) in written.controls.iter().enumerate() {
            let key = format!("controls[{at}]");
            if !seen.insert(&control.id) {
                reading.refuse(&format!("{key}.id"), format!("{:?} is written twice: write it once", control.id));
                continue;
            }
            reading.control(&key, control, &mut controls, &mut declared.switched_off);
        }
        for (id, treatment) in &written.treatments {
            reading.treatment(id, treatment);
            if declared.treatments.insert(id.clone(), treatment.clone()).is_some() {
                reading.refuse(&format!("treatments.{id}"), "it is written twice: write it once");
            }
        }
        for (at, control) in written.user_entity_controls.iter().enumerate() {
            let key = format!("user_entity_controls[{at}]");
            if !is_id(&control.id) {
                reading.refuse(&format!("{key}.id"), no_id(&control.id));
            } else if !entity_ids.insert(&control.id) {
                reading.refuse(&format!("{key}.id"), format!("{:?} is written twice: write it once", control.id));
            }
            reading.text(&format!("{key}.text"), &control.text);
        }
        for (at, expectation) in written.vendor_expectations.iter().enumerate() {
            let key = format!("vendor_expectations[{at}]");
            reading.text(&format!("{key}.vendor"), &expectation.vendor);
            reading.text(&format!("{key}.text"), &expectation.text);
        }
        declared.user_entity_controls.extend(written.user_entity_controls.iter().cloned());
        declared.vendor_expectations.extend(written.vendor_expectations.iter().cloned());
    }
    for (file, written) in files.iter().enumerate() {
        reading.file = file;
        for (at, expectation) in written.vendor_expectations.iter().enumerate() {
            for (place, id) in expectation.controls.iter().enumerate().filter(|(_, id)| !controls.contains_key(*id)) {
                let key = format!("vendor_expectations[{at}].controls[{place}]");
                reading.refuse(&key, unknown("control", id, controls.keys().map(String::as_str)));
            }
        }
    }
    declared.controls = controls.into_values().collect();
    match reading.mistakes {
        mistakes if mistakes.is_empty() => Ok(declared),
        mistakes => Err(mistakes),
    }
}

/// A control that stands for itself.
///
/// # Errors
/// The name of what is missing.
pub(crate) fn complete(written: WrittenControl) -> Result<Control, &'static str> {
    let mut control = Control {
        id: written.id,
        title: written.title.ok_or("title")?,
        owner: written.owner.unwrap_or_default(),
        statement: written.statement.ok_or("statement")?,
        frequency: written.frequency.ok_or("frequency")?,
        items: written.items.unwrap_or_default(),
        checks: written.checks.unwrap_or_default(),
        only: written.only.unwrap_or_default(),
        except: written.except.unwrap_or_default(),
        sources: written.sources.unwrap_or_default(),
        soc2: BTreeMap::new(),
        hipaa: BTreeMap::new(),
        dated_by: written.dated_by,
    };
    control.derive_links();
    control.soc2 = written.soc2.unwrap_or(control.soc2);
    control.hipaa = written.hipaa.unwrap_or(control.hipaa);
    Ok(control)
}

struct Reading {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl Reading {
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file, key: key.to_owned(), message: message.into() });
    }

    fn text(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.refuse(key, "it is empty: auditors read it");
        }
    }

    fn control(
        &mut self,
        key: &str,
        written: &WrittenControl,
        controls: &mut BTreeMap<String, Control>,
        off: &mut Vec<SwitchedOff>,
    ) {
        if !is_id(&written.id) {
            return self.refuse(&format!("{key}.id"), no_id(&written.id));
        }
        if written.enabled == Some(false) {
            return self.switch_off(key, written, controls, off);
        }
        if written.reason.is_some() {
            self.refuse(&format!("{key}.reason"), "it is taken with `enabled: false` only");
        }
        self.names(key, written);
        let Some(held) = controls.get_mut(&written.id) else {
            for (name, missing) in [
                ("title", written.title.is_none()),
                ("statement", written.statement.is_none()),
                ("frequency", written.frequency.is_none()),
            ] {
                if missing {
                    let message = format!("the key `{name}` is missing: {:?} is not in the starter set", written.id);
                    self.refuse(key, message);
                }
            }
            if written.items.as_ref().is_none_or(Vec::is_empty) && written.checks.as_ref().is_none_or(Vec::is_empty) {
                self.refuse(key, "nothing is behind it: name its `items` or its `checks`");
            }
            if let Ok(control) = complete(written.clone()) {
                controls.insert(control.id.clone(), control);
            }
            return;
        };
        put(&mut held.title, &written.title);
        put(&mut held.owner, &written.owner);
        put(&mut held.statement, &written.statement);
        put(&mut held.frequency, &written.frequency);
        put(&mut held.checks, &written.checks);
        put(&mut held.only, &written.only);
        put(&mut held.except, &written.except);
        put(&mut held.sources, &written.sources);
        if let Some(items) = &written.items {
            held.items.clone_from(items);
            (held.soc2, held.hipaa) = (BTreeMap::new(), BTreeMap::new());
            held.derive_links();
        }
        put(&mut held.soc2, &written.soc2);
        put(&mut held.hipaa, &written.hipaa);
        if let Some(dated_by) = &written.dated_by {
            held.dated_by = Some(dated_by.clone());
        }
    }

    fn switch_off(
        &mut self,
        key: &str,
        written: &WrittenControl,
        controls: &mut BTreeMap<String, Control>,
        off: &mut Vec<SwitchedOff>,
    ) {
        let reason = written.reason.as_deref().map(str::trim).unwrap_or_default();
        if reason.is_empty() {
            self.refuse(&format!("{key}.enabled"), "a control that is switched off needs a `reason`: auditors read it");
        }
        let bare = WrittenControl {
            id: written.id.clone(),
            enabled: Some(false),
            reason: written.reason.clone(),
            ..Default::default()
        };
        if bare != *written {
            self.refuse(key, "it is switched off: beside `id`, `enabled` and `reason` nothing is taken");
        }
        match controls.remove(&written.id) {
            Some(Control { id, title, .. }) => off.push(SwitchedOff { id, title, reason: reason.to_owned() }),
            None => {
                let message = unknown("control", &written.id, controls.keys().map(String::as_str));
                self.refuse(&format!("{key}.id"), message);
            }
        }
    }

    /// The items, criteria and citations that it names.
    fn names(&mut self, key: &str, written: &WrittenControl) {
        for (name, text) in [("title", &written.title), ("owner", &written.owner), ("statement", &written.statement)] {
            if let Some(text) = text {
                self.text(&format!("{key}.{name}"), text);
            }
        }
        let all = catalogue();
        for (at, id) in written.items.iter().flatten().enumerate().filter(|(_, id)| item(id).is_none()) {
            let known = all.evidence_items.iter().map(|item| item.id.as_str());
            self.refuse(&format!("{key}.items[{at}]"), unknown("evidence item", id, known));
        }
        for id in written.soc2.iter().flat_map(BTreeMap::keys).filter(|id| all.criterion(id).is_none()) {
            let known = all.criteria.iter().map(|criterion| criterion.id.as_str());
            self.refuse(&format!("{key}.soc2.{id}"), unknown("criterion", id, known));
        }
        for id in written.hipaa.iter().flat_map(BTreeMap::keys).filter(|id| all.citation(id).is_none()) {
            let known = all.hipaa.iter().chain(&all.hipaa_proposals).map(|entry| entry.citation.as_str());
            self.refuse(&format!("{key}.hipaa.{id}"), unknown("citation", id, known));
        }
        if let Some(dated) = &written.dated_by {
            self.text(&format!("{key}.dated_by.kind"), &dated.kind);
            self.text(&format!("{key}.dated_by.at"), &dated.at);
        }
    }

    fn treatment(&mut self, id: &str, treatment: &TreatmentSet) {
        let key = format!("treatments.{id}");
        let all = catalogue();
        if all.criterion(id).is_none() && all.citation(id).is_none() {
            let criteria = all.criteria.iter().map(|criterion| criterion.id.as_str());
            let known = criteria.chain(all.hipaa.iter().map(|entry| entry.citation.as_str()));
            self.refuse(&key, unknown("criterion or citation", id, known));
        }
        match treatment {
            TreatmentSet::CarvedOut { organisation, expected } => {
                self.text(&format!("{key}.organisation"), organisation);
                if expected.is_empty() {
                    self.refuse(&format!("{key}.expected"), "name the controls that are expected of it");
                }
                for (at, text) in expected.iter().enumerate() {
                    self.text(&format!("{key}.expected[{at}]"), text);
                }
            }
            TreatmentSet::Inclusive { organisation } => self.text(&format!("{key}.organisation"), organisation),
            TreatmentSet::NotApplicable { reason } => self.text(&format!("{key}.reason"), reason),
        }
    }
}

fn put<T: Clone>(held: &mut T, written: &Option<T>) {
    if let Some(written) = written {
        held.clone_from(written);
    }
}

fn is_id(id: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(inside) && !id.starts_with(['-', '.'])
}

fn no_id(id: &str) -> String {
    format!("{id:?} is no id: letters, digits, `-`, `_` and `.`, at most {LONGEST_ID}")
}

/// There is no such thing; which one may be meant.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no {what} {name:?}; did you mean {near:?}?"),
        None => format!("there is no {what} {name:?}"),
    }
}

/// The name that is meant, if one is near enough (Levenshtein's distance).
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|key| (distance(name, key), key)).min()?;
    (best.0 <= name.len().div_ceil(4)).then_some(best.1)
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(yaml: &str) -> WrittenControls {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn mistakes(yaml: &str) -> Vec<String> {
        let mistakes = declare(&[read(yaml)]).unwrap_err();
        mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.key, mistake.message)).collect()
    }

    fn of<'a>(declared: &'a Declared, id: &str) -> &'a Control {
        declared.controls.iter().find(|control| control.id == id).unwrap()
    }

    #[test]
    fn without_anything_written_the_starter_set_holds() {
        assert_eq!(declare(&[]).unwrap().controls, starter());
    }

    #[test]
    fn what_is_written_replaces_that_field_and_nothing_else() {
        let declared = declare(&[read("controls: [{id: AC-01, owner: Ada's team, frequency: daily}]")]).unwrap();
        let (before, after) = (starter().iter().find(|c| c.id == "AC-01").unwrap(), of(&declared, "AC-01"));
        let expected = Control { owner: "Ada's team".into(), frequency: Frequency::Daily, ..before.clone() };
        assert_eq!(*after, expected);
    }

    #[test]
    fn links_follow_new_items_unless_they_are_written() {
        let declared = declare(&[read(
            "controls:\n- {id: AC-01, items: [key_rotation]}\n- {id: AC-02, soc2: {CC6.1: indirect}}\n",
        )])
        .unwrap();
        let rotation = item("key_rotation").unwrap();
        assert_eq!((&of(&declared, "AC-01").soc2, &of(&declared, "AC-01").hipaa), (&rotation.tsc, &rotation.hipaa));
        let second = of(&declared, "AC-02");
        assert_eq!(second.soc2, [("CC6.1".to_owned(), Strength::Indirect)].into());
        assert_eq!(second.hipaa, item("mfa_enforced_policy").unwrap().hipaa);
    }

    #[test]
    fn a_control_of_the_organisations_own_needs_no_program() {
        let yaml = "controls:\n- id: ACME-1\n  title: Badges are returned\n  statement: Each leaver returns the badge.\n  \
                    frequency: per_event\n  checks: [acme/badges/returned]\n  soc2: {CC6.4: direct}\n";
        let declared = declare(&[read(yaml)]).unwrap();
        let control = of(&declared, "ACME-1");
        let check = |id: &str| crate::ScopedCheck { id: id.into(), item: "other".into(), kind: "badge".into() };
        assert!(control.is_supported_by("acme/badges@office", &check("returned")));
        assert!(!control.is_supported_by("acme/badges@office", &check("lost")));
        assert_eq!((control.owner.as_str(), declared.controls.len()), ("", starter().len() + 1));
    }

    #[test]
    fn a_control_is_switched_off_with_a_reason_and_is_not_forgotten() {
        let declared =
            declare(&[read("controls: [{id: PI-01, enabled: false, reason: nothing is processed}]")]).unwrap();
        assert!(declared.controls.iter().all(|control| control.id != "PI-01"));
        let off = &declared.switched_off[0];
        assert_eq!((off.id.as_str(), off.reason.as_str()), ("PI-01", "nothing is processed"));
        assert_eq!(
            mistakes("controls: [{id: PI-01, enabled: false}, {id: no-such, enabled: false, reason: x, owner: y}]"),
            [
                "controls[0].enabled: a control that is switched off needs a `reason`: auditors read it",
                "controls[1]: it is switched off: beside `id`, `enabled` and `reason` nothing is taken",
                "controls[1].id: there is no control \"no-such\""
            ]
        );
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_may_be_meant() {
        let yaml = "controls: [{id: AC-01, items: [mfa_user_enroled], soc2: {CC6.10: direct}, hipaa: {164.312(x): direct}}]\n\
                    treatments: {CC99: {treatment: not_applicable, reason: ''}}\n\
                    vendor_expectations: [{vendor: v, text: t, controls: [AC-77]}]\n";
        assert_eq!(
            mistakes(yaml),
            [
                "controls[0].items[0]: there is no evidence item \"mfa_user_enroled\"; did you mean \"mfa_user_enrolled\"?",
                "controls[0].soc2.CC6.10: there is no criterion \"CC6.10\"; did you mean \"CC6.1\"?",
                "controls[0].hipaa.164.312(x): there is no citation \"164.312(x)\"; did you mean \"164.312(b)\"?",
                "treatments.CC99: there is no criterion or citation \"CC99\"",
                "treatments.CC99.reason: it is empty: auditors read it",
                "vendor_expectations[0].controls[0]: there is no control \"AC-77\"; did you mean \"AC-07\"?",
            ]
        );
    }

    #[test]
    fn an_id_that_comes_twice_is_refused_within_a_file_and_over_files() {
        let one =
            read("controls: [{id: AC-01, owner: a}]\nuser_entity_controls: [{id: U-1, text: keep your password}]");
        let found = declare(&[one.clone(), one]).unwrap_err();
        let found: Vec<(usize, &str)> = found.iter().map(|m| (m.file, m.key.as_str())).collect();
        assert_eq!(found, [(1, "controls[0].id"), (1, "user_entity_controls[0].id")]);
    }

    #[test]
    fn what_a_new_control_lacks_is_named() {
        assert_eq!(
            mistakes("controls: [{id: X-1, title: t}, {id: 'a b', title: t}]"),
            [
                "controls[0]: the key `statement` is missing: \"X-1\" is not in the starter set",
                "controls[0]: the key `frequency` is missing: \"X-1\" is not in the starter set",
                "controls[0]: nothing is behind it: name its `items` or its `checks`",
                "controls[1].id: \"a b\" is no id: letters, digits, `-`, `_` and `.`, at most 40",
            ]
        );
    }

    #[test]
    fn carving_out_names_what_is_expected_of_whom() {
        assert_eq!(
            mistakes("treatments: {CC6.4: {treatment: carved_out, organisation: '', expected: []}}"),
            [
                "treatments.CC6.4.organisation: it is empty: auditors read it",
                "treatments.CC6.4.expected: name the controls that are expected of it",
            ]
        );
    }
}
