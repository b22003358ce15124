//! The catalogues: SOC 2 criteria, the HIPAA Security Rule and the evidence items that map to both. Data, read once from the YAML
//! files beside this crate's source; it never says that a criterion is met.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::HipaaRole;

/// Everything that the catalogues hold.
#[derive(Debug)]
pub struct Catalogue {
    /// What the data rest on and what they are not.
    pub meta: Meta,
    /// The 61 Trust Services Criteria (2017, points of focus of 2022), in the AICPA's order.
    pub criteria: Vec<Criterion>,
    /// Identifiers that are headings in the AICPA's text, not criteria.
    pub criteria_headings: Vec<Heading>,
    /// The 66 standards and implementation specifications of 45 CFR Part 164 Subpart C, in the regulation's order.
    pub hipaa: Vec<HipaaEntry>,
    /// Proposed changes of the rule, which are not in effect: [`HipaaEntry::proposed`] is set.
    pub hipaa_proposals: Vec<HipaaEntry>,
    /// Rules beside them that reports refer to.
    pub hipaa_related: Vec<Related>,
    /// The 71 evidence items.
    pub evidence_items: Vec<EvidenceItem>,
    /// Rules of evidence (completeness, sampling, exceptions, retention), with where each comes from.
    pub evidence_rules: Value,
    by_id: HashMap<String, usize>,
}

/// Sources and caveats of the data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// The date that the data were last gone through.
    pub as_of: String,
    /// Where the criteria come from.
    pub tsc_source: String,
    /// Where the HIPAA entries come from.
    pub hipaa_source: String,
    /// Proposed changes that are not in effect.
    pub hipaa_rule_status: String,
    /// Whose judgement the mapping is.
    pub mapping_status: String,
}

/// One Trust Services Criterion.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// `CC6.1`.
    pub id: String,
    /// The category that it belongs to.
    pub category: Category,
    /// `CC6 logical and physical access`.
    pub group: String,
    /// Our own words; the text is the AICPA's and copyrighted.
    pub paraphrase: String,
}

/// The five categories of the Trust Services Criteria.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Common criteria: in every report.
    Security,
    /// A1.
    Availability,
    /// C1.
    Confidentiality,
    /// PI1.
    ProcessingIntegrity,
    /// P1 to P8.
    Privacy,
}

/// An identifier that is only a heading.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heading {
    /// `P1.0`.
    pub id: String,
    /// Why it is none of the criteria.
    pub note: String,
}

/// A standard or an implementation specification of the HIPAA Security Rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HipaaEntry {
    /// `164.312(d)`, in 45 CFR.
    pub citation: String,
    /// Standard or specification.
    pub kind: HipaaKind,
    /// Required or addressable.
    pub requirement: Requirement,
    /// The regulation's heading.
    pub title: String,
    /// Our own words.
    pub paraphrase: String,
    /// The standard that a specification belongs to.
    #[serde(default)]
    pub parent: Option<String>,
    /// What to keep in mind when citing it.
    #[serde(default)]
    pub note: Option<String>,
    /// The one role that it is about; `None`: both.
    #[serde(default)]
    pub binds: Option<HipaaRole>,
    /// The day from which its text, as it stands, is in effect (`2013-03-26`); `None` for a proposal.
    #[serde(default)]
    pub effective: Option<String>,
    /// The first day on which its text is no longer in effect; `None`: no such day is known.
    #[serde(default)]
    pub until: Option<String>,
    /// Whether it is a proposal that is not in effect.
    #[serde(skip)]
    pub proposed: bool,
}

/// The kinds of [`HipaaEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HipaaKind {
    /// A standard.
    Standard,
    /// A paragraph of a standard that stands for itself.
    StandardParagraph,
    /// An implementation specification.
    Spec,
}

/// 45 CFR 164.306(d).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requirement {
    /// Required.
    #[serde(rename = "R")]
    Required,
    /// Addressable: implement, or document why not and what instead.
    #[serde(rename = "A")]
    Addressable,
}

/// A rule beside the Security Rule's entries.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Related {
    /// The citation in 45 CFR.
    pub citation: String,
    /// Its heading.
    pub title: String,
    /// Our own words.
    pub paraphrase: String,
}

/// How strongly an evidence item supports a criterion or a citation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// It is what an auditor asks for.
    Direct,
    /// It supports a part.
    Partial,
    /// It supports by inference.
    Indirect,
}

/// What an auditor asks for, and what it supports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceItem {
    /// `mfa_user_enrolled`.
    pub id: String,
    /// One line for a person.
    pub title: String,
    /// `access`, `logging`, `backup` …
    pub domain: String,
    /// SOC 2 criteria, by [`Criterion::id`].
    pub tsc: BTreeMap<String, Strength>,
    /// HIPAA citations, by [`HipaaEntry::citation`].
    #[serde(default)]
    pub hipaa: BTreeMap<String, Strength>,
    /// `automated_config`, `automated_periodic`, `manual_periodic` …
    pub control_type: String,
    /// How often an auditor expects the control to operate.
    pub auditor_expects: String,
    /// How often it should be read.
    pub collect_every: String,
    /// `api`, `hybrid`, `attestation` …
    pub method: String,
    /// Where it can be read.
    pub sources: Vec<String>,
    /// What shows that the control operates.
    pub pass_test: String,
    /// What has to be tested, all of it.
    pub population: String,
    /// How an exception is worded in a report.
    pub exception_wording: String,
    /// How much an auditor tests.
    pub sampling: String,
    /// Thresholds that the organisation sets: defaults, not law.
    #[serde(default)]
    pub org_parameters: BTreeMap<String, Value>,
    /// What to keep in mind.
    #[serde(default)]
    pub notes: Option<String>,
    /// `core` or `extended`.
    pub tier: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CriteriaFile {
    meta: Meta,
    criteria: Vec<Criterion>,
    criteria_headings: Vec<Heading>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HipaaFile {
    /// By section.
    effective: BTreeMap<String, String>,
    hipaa: Vec<HipaaEntry>,
    hipaa_proposals: Vec<HipaaEntry>,
    hipaa_related: Vec<Related>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemsFile {
    evidence_items: Vec<EvidenceItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    evidence_rules: Value,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let CriteriaFile { meta, criteria, criteria_headings } = read(include_str!("../data/criteria.yaml"));
    let file: HipaaFile = read(include_str!("../data/hipaa.yaml"));
    let HipaaFile { effective, mut hipaa, mut hipaa_proposals, hipaa_related } = file;
    for entry in hipaa.iter_mut().filter(|entry| entry.effective.is_none()) {
        entry.effective = entry.citation.split('(').next().and_then(|section| effective.get(section)).cloned();
    }
    hipaa_proposals.iter_mut().for_each(|entry| entry.proposed = true);
    let ItemsFile { evidence_items } = read(include_str!("../data/evidence_items.yaml"));
    let RulesFile { evidence_rules } = read(include_str!("../data/evidence_rules.yaml"));
    let by_id = evidence_items.iter().enumerate().map(|(at, item)| (item.id.clone(), at)).collect();
    Catalogue {
        meta,
        criteria,
        criteria_headings,
        hipaa,
        hipaa_proposals,
        hipaa_related,
        evidence_items,
        evidence_rules,
        by_id,
    }
});

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).expect("the catalogues are part of the program, and a test reads them")
}

impl Catalogue {
    /// A criterion by its id.
    pub fn criterion(&self, id: &str) -> Option<&Criterion> {
        self.criteria.iter().find(|criterion| criterion.id == id)
    }

    /// An entry of the Security Rule by its citation, proposals too.
    pub fn citation(&self, citation: &str) -> Option<&HipaaEntry> {
        self.hipaa.iter().chain(&self.hipaa_proposals).find(|entry| entry.citation == citation)
    }

    /// The entries whose text is in effect on a day (`2026-07-01`), and after them, where asked for, the proposals.
    pub fn hipaa_on<'a>(&'a self, day: &'a str, proposals: bool) -> impl Iterator<Item = &'a HipaaEntry> {
        let holds = move |entry: &&HipaaEntry| {
            entry.effective.as_deref().is_some_and(|from| from <= day)
                && entry.until.as_deref().is_none_or(|until| day < until)
        };
        let proposed = if proposals { &self.hipaa_proposals[..] } else { &[] };
        self.hipaa.iter().filter(holds).chain(proposed)
    }
}

/// The catalogues.
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

/// An evidence item by its id.
pub fn item(id: &str) -> Option<&'static EvidenceItem> {
    let catalogue = catalogue();
    catalogue.by_id.get(id).map(|at| &catalogue.evidence_items[*at])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn catalogues_hold_every_criterion_citation_and_item_once() {
        let all = catalogue();
        assert_eq!((all.criteria.len(), all.hipaa.len(), all.evidence_items.len()), (61, 66, 71));
        assert_eq!(all.criteria.iter().map(|c| &c.id).collect::<BTreeSet<_>>().len(), 61);
        assert_eq!(all.hipaa.iter().map(|h| &h.citation).collect::<BTreeSet<_>>().len(), 66);
        assert_eq!(all.by_id.len(), 71);
        let headings: Vec<_> = all.criteria_headings.iter().map(|h| h.id.as_str()).collect();
        assert_eq!(headings, ["P1.0", "P2.0", "P3.0", "P4.0", "P5.0", "P6.0", "P7.0", "P8.0"]);
        assert!(all.meta.mapping_status.contains("not reviewed by a CPA or counsel"));
        assert!(all.evidence_rules["sampling"]["table"].as_array().is_some_and(|rows| rows.len() == 7));
    }

    #[test]
    fn every_link_of_an_item_names_what_exists() {
        let all = catalogue();
        let criteria: BTreeSet<_> = all.criteria.iter().map(|c| c.id.as_str()).collect();
        let citations: BTreeSet<_> = all.hipaa.iter().map(|h| h.citation.as_str()).collect();
        for item in &all.evidence_items {
            assert!(!item.tsc.is_empty(), "{} maps to no criterion", item.id);
            assert!(item.tsc.values().any(|s| *s == Strength::Direct), "{} supports no criterion directly", item.id);
            for id in item.tsc.keys() {
                assert!(criteria.contains(id.as_str()), "{}: {id}", item.id);
            }
            for citation in item.hipaa.keys() {
                assert!(citations.contains(citation.as_str()), "{}: {citation}", item.id);
            }
        }
    }

    #[test]
    fn every_specification_belongs_to_a_standard() {
        let all = catalogue();
        for entry in &all.hipaa {
            match (entry.kind, &entry.parent) {
                (HipaaKind::Standard, parent) => assert_eq!(*parent, None, "{}", entry.citation),
                (_, Some(parent)) => assert!(
                    all.hipaa.iter().any(|h| h.citation == *parent && h.kind == HipaaKind::Standard),
                    "{}: {parent}",
                    entry.citation
                ),
                (_, None) => panic!("{} has no standard", entry.citation),
            }
        }
    }

    #[test]
    fn every_text_has_the_day_from_which_it_is_in_effect_and_proposals_have_none() {
        let all = catalogue();
        assert!(all.hipaa.iter().all(|entry| entry.effective.as_deref() == Some("2013-03-26") && !entry.proposed));
        assert!(all.hipaa_proposals.iter().all(|entry| entry.effective.is_none() && entry.proposed));
        assert!(all.hipaa_proposals.iter().all(|entry| entry.citation.starts_with("90 FR 898 ")));
        assert!(all.meta.hipaa_rule_status.contains("90 FR 898"));
        let on = |day, proposals| all.hipaa_on(day, proposals).count();
        assert_eq!((on("2013-03-25", false), on("2013-03-26", false)), (0, 66));
        assert_eq!(on("2026-11-22", true), 66 + all.hipaa_proposals.len());
    }

    #[test]
    fn entries_about_one_role_say_which() {
        let of = |role| -> Vec<&str> {
            let bound = catalogue().hipaa.iter().filter(|entry| entry.binds == Some(role));
            bound.map(|entry| entry.citation.as_str()).collect()
        };
        assert_eq!(of(HipaaRole::BusinessAssociate), ["164.308(b)(2)", "164.314(a)(2)(iii)"]);
        assert_eq!(of(HipaaRole::CoveredEntity).len(), 5);
    }

    #[test]
    fn required_and_addressable_are_kept_apart() {
        let of = |citation: &str| catalogue().hipaa.iter().find(|h| h.citation == citation).map(|h| h.requirement);
        assert_eq!(of("164.312(d)"), Some(Requirement::Required));
        assert_eq!(of("164.312(a)(2)(iv)"), Some(Requirement::Addressable));
    }
}
