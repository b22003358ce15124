//! The starter set: controls over every evidence item. Data, read once from the YAML file beside this crate's source.

use std::sync::LazyLock;

use crate::{
    control::Control,
    written::{WrittenControls, complete},
};

static STARTER: LazyLock<Vec<Control>> = LazyLock::new(|| {
    let file: WrittenControls = serde_saphyr::from_str(include_str!("../data/controls.yaml"))
        .expect("the starter set is part of the program, and a test reads it");
    let mut controls: Vec<Control> =
        file.controls.into_iter().map(|written| complete(written).expect("a test reads every control")).collect();
    controls.sort_by(|a, b| a.id.cmp(&b.id));
    controls
});

/// The controls that ship with the program, by id: what holds where no configuration says otherwise.
pub fn starter() -> &'static [Control] {
    &STARTER
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::catalogue::{Strength, catalogue, item};

    #[test]
    fn every_evidence_item_has_a_control_and_every_control_has_what_a_reader_needs() {
        let all = starter();
        let items: BTreeSet<&str> = all.iter().flat_map(|control| &control.items).map(String::as_str).collect();
        for item in &catalogue().evidence_items {
            assert!(items.contains(item.id.as_str()), "{} has no control", item.id);
        }
        let mut ids = BTreeSet::new();
        for control in all {
            assert!(ids.insert(&control.id), "{} comes twice", control.id);
            assert!(!control.owner.is_empty() && !control.title.is_empty(), "{}", control.id);
            assert!(control.statement.ends_with('.') && control.statement.len() > 20, "{}", control.id);
            assert!(control.checks.is_empty() && control.sources.is_empty(), "{} is about one place", control.id);
        }
    }

    #[test]
    fn links_are_those_of_the_items_and_no_stronger() {
        for control in starter() {
            let mut strongest: BTreeMap<&str, Strength> = BTreeMap::new();
            for item in control.items.iter().map(|id| item(id)) {
                let Some(item) = item else { panic!("{} names an item that does not exist", control.id) };
                for (id, strength) in item.tsc.iter().chain(&item.hipaa) {
                    let held = strongest.entry(id).or_insert(*strength);
                    *held = (*held).min(*strength);
                }
            }
            let links: BTreeMap<&str, Strength> =
                control.soc2.iter().chain(&control.hipaa).map(|(id, strength)| (id.as_str(), *strength)).collect();
            assert_eq!(links, strongest, "{}", control.id);
        }
    }

    #[test]
    fn no_statement_states_a_threshold_and_no_word_stands_there_that_reports_never_use() {
        for control in starter() {
            let text = format!("{} {}", control.title, control.statement).to_lowercase();
            assert!(!text.replace("soc 2", "").bytes().any(|b| b.is_ascii_digit()), "{}: {text}", control.id);
            for word in ["compliant", " met ", "violation", "sound"] {
                assert!(!text.contains(word), "{}: {text}", control.id);
            }
        }
    }

    #[test]
    fn what_supports_a_part_of_an_item_is_split_without_a_gap() {
        for whole in ["backup_job_success", "backup_protected", "restore_test"] {
            for (job, check) in [
                ("aws/backup-jobs@a", "backup-succeeded"),
                ("aws/backup-copy-jobs@a", "copy-succeeded"),
                ("aws/restore-jobs@a", "restore-test-validated"),
                ("aws/restore-jobs@a", "restore-succeeded"),
                ("host/backups-restic@h", "backup-recent"),
            ] {
                let check = crate::ScopedCheck { id: check.into(), item: whole.into(), kind: "any".into() };
                let by: Vec<&str> =
                    starter().iter().filter(|c| c.is_supported_by(job, &check)).map(|c| c.id.as_str()).collect();
                assert_eq!(by.len(), 1, "{whole}: {job} {check:?} supports {by:?}");
            }
        }
    }
}
