//! Criteria and citations with the evidence that is mapped to them, what users and vendors are expected to do, and what of all this is
//! not shown. It never says that a criterion is met: that is an auditor's to judge.

use std::collections::BTreeMap;

use controls::{
    Category, ControlSet, Criterion, FrameworkSet, HipaaEntry, HipaaRole, Requirement, Strength, TreatmentSet,
    catalogue,
};

use crate::model::{
    ControlReport, CriterionReport, CriterionState, Frameworks, HipaaReport, Link, LinkedControl, Named, Treatment,
    VendorExpectation, View,
};

/// The words for an addressable specification on which nobody signed a decision.
pub const NO_DECISION: &str = "no decision recorded";

/// A control as far as criteria ask for it.
#[derive(Debug, Clone, Copy)]
pub struct Linked<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it maps to.
    pub links: &'a [Link],
    /// Whether anything of it was observed.
    pub evidenced: bool,
}

impl<'a> Linked<'a> {
    /// Of a period: whether any occurrence operated or deviated. Of an instant: whether it was ever observed completely.
    pub fn of(control: &'a ControlReport, view: &View) -> Self {
        let evidenced = match view {
            View::Period { .. } => control.counts.is_evidenced(),
            View::PointInTime { .. } => control.last_complete.is_some(),
        };
        Self { id: &control.id, links: &control.links, evidenced }
    }
}

/// What the mapping is made from.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What was in force at the end.
    pub set: &'a ControlSet,
    /// What is asked for: `set.frameworks`, or a part of it.
    pub frameworks: &'a FrameworkSet,
    /// Every control of the report.
    pub controls: &'a [Linked<'a>],
    /// Signed decisions on addressable specifications, in words, by citation.
    pub decisions: &'a BTreeMap<String, String>,
    /// The last day that is looked at (`2026-12-31`): HIPAA's text is the one in effect then.
    pub day: &'a str,
}

/// What evidence is mapped to.
#[derive(Debug, Clone, Default)]
pub struct Mapped {
    /// In the AICPA's order.
    pub criteria: Vec<CriterionReport>,
    /// In the rule's order, proposals last.
    pub hipaa: Vec<HipaaReport>,
    /// As the organisation wrote them.
    pub user_entity_controls: Vec<Named>,
    /// As the organisation wrote them.
    pub vendor_expectations: Vec<VendorExpectation>,
    /// For [`crate::model::Report::not_shown`].
    pub not_shown: Vec<String>,
}

/// The links of a control, as reports give them: SOC 2 first.
pub fn links(control: &controls::Control) -> Vec<Link> {
    let of = |framework: &'static str, links: &BTreeMap<String, Strength>| -> Vec<Link> {
        let link = |(criterion, strength): (&String, &Strength)| Link {
            framework,
            criterion: criterion.clone(),
            strength: *strength,
        };
        links.iter().map(link).collect()
    };
    [of(SOC2, &control.soc2), of(HIPAA, &control.hipaa)].concat()
}

/// The frameworks in a report's words. Where SOC 2 is asked for, security is among its categories.
pub fn frameworks(set: &FrameworkSet) -> Frameworks {
    let mut soc2 = set.soc2.clone();
    if !soc2.is_empty() && !soc2.contains(&Category::Security) {
        soc2.insert(0, Category::Security);
    }
    Frameworks { soc2, hipaa: set.hipaa.map(|hipaa| hipaa.role.as_str().to_owned()) }
}

const SOC2: &str = "soc2";
const HIPAA: &str = "hipaa";

/// Maps the evidence.
pub fn map(given: &Given<'_>) -> Mapped {
    let all = catalogue();
    let categories = frameworks(given.frameworks).soc2;
    let chosen = all.criteria.iter().filter(|criterion| categories.contains(&criterion.category));
    let criteria: Vec<CriterionReport> = chosen.map(|criterion| of_criterion(given, criterion)).collect();
    let hipaa: Vec<HipaaReport> = match given.frameworks.hipaa {
        Some(asked) => {
            all.hipaa_on(given.day, asked.proposals).map(|entry| of_entry(given, entry, asked.role)).collect()
        }
        None => Vec::new(),
    };
    let set = given.set;
    let user_entity_controls: Vec<Named> =
        set.user_entity_controls.iter().map(|c| Named { id: c.id.clone(), text: c.text.clone() }).collect();
    let expectation = |e: &controls::Expectation| VendorExpectation {
        vendor: e.vendor.clone(),
        text: e.text.clone(),
        controls: e.controls.clone(),
    };
    let vendor_expectations: Vec<VendorExpectation> = set.vendor_expectations.iter().map(expectation).collect();
    let mut mapped = Mapped { criteria, hipaa, user_entity_controls, vendor_expectations, not_shown: Vec::new() };
    mapped.not_shown = not_shown(&mapped, set);
    mapped
}

fn of_criterion(given: &Given<'_>, criterion: &Criterion) -> CriterionReport {
    let controls = linked(given, SOC2, &criterion.id);
    let treatment = treatment(given.set, &criterion.id);
    CriterionReport {
        id: criterion.id.clone(),
        category: criterion.category,
        group: criterion.group.clone(),
        paraphrase: criterion.paraphrase.clone(),
        state: state(&treatment, &controls),
        treatment,
        controls,
    }
}

fn of_entry(given: &Given<'_>, entry: &HipaaEntry, role: HipaaRole) -> HipaaReport {
    let controls = linked(given, HIPAA, &entry.citation);
    let mut treatment = treatment(given.set, &entry.citation);
    if let Some(bound) = entry.binds.filter(|bound| *bound != role) {
        let reason = format!("it is about a {}, and the organisation is a {}", plain(bound), plain(role));
        treatment = Treatment::NotApplicable { reason };
    }
    let addressable = entry.requirement == Requirement::Addressable;
    let decision = given.decisions.get(&entry.citation).map_or(NO_DECISION, String::as_str);
    HipaaReport {
        citation: entry.citation.clone(),
        kind: entry.kind,
        requirement: entry.requirement,
        title: entry.title.clone(),
        paraphrase: entry.paraphrase.clone(),
        proposed: entry.proposed,
        effective: entry.effective.clone(),
        binds: entry.binds.map(HipaaRole::as_str),
        state: state(&treatment, &controls),
        treatment,
        decision: addressable.then(|| decision.to_owned()),
        controls,
    }
}

fn plain(role: HipaaRole) -> &'static str {
    match role {
        HipaaRole::CoveredEntity => "covered entity",
        HipaaRole::BusinessAssociate => "business associate",
    }
}

fn linked(given: &Given<'_>, framework: &str, criterion: &str) -> Vec<LinkedControl> {
    let to = |control: &Linked<'_>| {
        let link = control.links.iter().find(|link| link.framework == framework && link.criterion == criterion)?;
        Some(LinkedControl { control: control.id.to_owned(), strength: link.strength, evidenced: control.evidenced })
    };
    given.controls.iter().filter_map(to).collect()
}

fn treatment(set: &ControlSet, id: &str) -> Treatment {
    match set.treatments.get(id) {
        None => Treatment::Own,
        Some(TreatmentSet::CarvedOut { organisation, expected }) => {
            Treatment::CarvedOut { organisation: organisation.clone(), expected: expected.clone() }
        }
        Some(TreatmentSet::Inclusive { organisation }) => Treatment::Inclusive { organisation: organisation.clone() },
        Some(TreatmentSet::NotApplicable { reason }) => Treatment::NotApplicable { reason: reason.clone() },
    }
}

fn state(treatment: &Treatment, controls: &[LinkedControl]) -> CriterionState {
    match treatment {
        Treatment::CarvedOut { .. } => return CriterionState::CarvedOut,
        Treatment::NotApplicable { .. } => return CriterionState::NotApplicable,
        Treatment::Own | Treatment::Inclusive { .. } => {}
    }
    let mut direct = controls.iter().filter(|control| control.strength == Strength::Direct).peekable();
    if direct.peek().is_some() && direct.all(|control| control.evidenced) {
        CriterionState::EvidenceMapped
    } else if controls.iter().any(|control| control.evidenced) {
        CriterionState::PartlyMapped
    } else {
        CriterionState::NotCovered
    }
}

fn not_shown(mapped: &Mapped, set: &ControlSet) -> Vec<String> {
    let mut says = Vec::new();
    let entries = || {
        let criteria = mapped.criteria.iter().map(|c| (c.id.as_str(), c.state, &c.treatment));
        let in_effect = mapped.hipaa.iter().filter(|entry| !entry.proposed);
        criteria.chain(in_effect.map(|h| (h.citation.as_str(), h.state, &h.treatment)))
    };
    let in_state = |state| -> Vec<&str> { entries().filter(|(_, s, _)| *s == state).map(|(id, ..)| id).collect() };
    let of = |ids: &[&str]| ids.join(", ");
    let uncovered = in_state(CriterionState::NotCovered);
    if !uncovered.is_empty() {
        says.push(format!("No evidence is mapped to {}.", of(&uncovered)));
    }
    let partly = in_state(CriterionState::PartlyMapped);
    if !partly.is_empty() {
        says.push(format!("Evidence is mapped only in part to {}.", of(&partly)));
    }
    let mut carved: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut inclusive: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, _, treatment) in entries() {
        match treatment {
            Treatment::CarvedOut { organisation, .. } => carved.entry(organisation).or_default().push(id),
            Treatment::Inclusive { organisation } => inclusive.entry(organisation).or_default().push(id),
            Treatment::Own | Treatment::NotApplicable { .. } => {}
        }
    }
    for (organisation, ids) in carved {
        says.push(format!("What {organisation} does for {} is not shown: carved out.", of(&ids)));
    }
    for (organisation, ids) in inclusive {
        says.push(format!("{} includes what {organisation} does; only what was read here shows it.", of(&ids)));
    }
    let absent = in_state(CriterionState::NotApplicable);
    if !absent.is_empty() {
        says.push(format!("{} is not applicable, by the organisation's own word or by its role.", of(&absent)));
    }
    let undecided: Vec<&str> = mapped
        .hipaa
        .iter()
        .filter(|entry| entry.decision.as_deref() == Some(NO_DECISION) && entry.state != CriterionState::NotApplicable)
        .map(|entry| entry.citation.as_str())
        .collect();
    if !undecided.is_empty() {
        says.push(format!("No decision is recorded on the addressable {}.", of(&undecided)));
    }
    if mapped.hipaa.iter().any(|entry| entry.proposed) {
        says.push("Proposed rules are listed beside HIPAA's text; they are not in effect.".to_owned());
    }
    if !mapped.user_entity_controls.is_empty() {
        let ids: Vec<&str> = mapped.user_entity_controls.iter().map(|control| control.id.as_str()).collect();
        says.push(format!("Whether users of the services keep up their own controls ({}) is not shown.", of(&ids)));
    }
    for expected in mapped.vendor_expectations.iter().filter(|expected| expected.controls.is_empty()) {
        says.push(format!("No control answers what {} expects: {}", expected.vendor, expected.text));
    }
    for off in &set.switched_off {
        says.push(format!("{} ({}) is not promised: {}", off.id, off.title, off.reason));
    }
    says
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use controls::{EntityControl, Expectation, Hipaa, SwitchedOff, starter};

    use super::*;

    fn set() -> ControlSet {
        ControlSet {
            format: controls::CONTROLS_FORMAT.into(),
            origin: "localhost/test".into(),
            agent: "0".into(),
            previous: None,
            reason: String::new(),
            period: None,
            frameworks: FrameworkSet::default(),
            parameters: serde_json::Map::new(),
            controls: starter().to_vec(),
            switched_off: Vec::new(),
            treatments: BTreeMap::new(),
            user_entity_controls: Vec::new(),
            vendor_expectations: Vec::new(),
            scope: Vec::new(),
        }
    }

    fn link(framework: &'static str, criterion: &str, strength: Strength) -> Link {
        Link { framework, criterion: criterion.into(), strength }
    }

    fn hipaa(role: HipaaRole, proposals: bool) -> FrameworkSet {
        FrameworkSet { soc2: Vec::new(), hipaa: Some(Hipaa { role, proposals }) }
    }

    fn mapped(set: &ControlSet, frameworks: &FrameworkSet, controls: &[Linked<'_>]) -> Mapped {
        map(&Given { set, frameworks, controls, decisions: &BTreeMap::new(), day: "2026-12-31" })
    }

    fn of<'a>(mapped: &'a Mapped, id: &str) -> &'a CriterionReport {
        mapped.criteria.iter().find(|criterion| criterion.id == id).unwrap()
    }

    fn entry<'a>(mapped: &'a Mapped, citation: &str) -> &'a HipaaReport {
        mapped.hipaa.iter().find(|entry| entry.citation == citation).unwrap()
    }

    #[test]
    fn without_evidence_nothing_is_covered_and_that_is_said() {
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: None };
        let links = [link("soc2", "CC6.1", Strength::Direct)];
        let mapped = mapped(&set(), &frameworks, &[Linked { id: "A", links: &links, evidenced: false }]);
        assert!(mapped.criteria.iter().all(|criterion| criterion.state == CriterionState::NotCovered));
        assert_eq!(of(&mapped, "CC6.1").controls.len(), 1);
        assert!(mapped.not_shown[0].starts_with("No evidence is mapped to CC1.1, CC1.2, "), "{:?}", mapped.not_shown);
        assert!(mapped.hipaa.is_empty());
    }

    #[test]
    fn evidence_of_every_direct_control_is_needed_and_weaker_links_alone_cover_a_part() {
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: None };
        let first = [link("soc2", "CC6.1", Strength::Direct), link("soc2", "CC6.2", Strength::Partial)];
        let second = [link("soc2", "CC6.1", Strength::Direct), link("soc2", "CC6.3", Strength::Direct)];
        let with = |second_evidenced| {
            let controls = [
                Linked { id: "A", links: &first, evidenced: true },
                Linked { id: "B", links: &second, evidenced: second_evidenced },
            ];
            let mapped = mapped(&set(), &frameworks, &controls);
            ["CC6.1", "CC6.2", "CC6.3"].map(|id| of(&mapped, id).state)
        };
        use CriterionState::{EvidenceMapped, NotCovered, PartlyMapped};
        assert_eq!(with(false), [PartlyMapped, PartlyMapped, NotCovered]);
        assert_eq!(with(true), [EvidenceMapped, PartlyMapped, EvidenceMapped]);
    }

    #[test]
    fn a_link_of_another_framework_is_none() {
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: None };
        let links = [link("hipaa", "CC6.1", Strength::Direct)];
        let mapped = mapped(&set(), &frameworks, &[Linked { id: "A", links: &links, evidenced: true }]);
        assert_eq!(of(&mapped, "CC6.1").state, CriterionState::NotCovered);
    }

    #[test]
    fn security_is_in_every_soc2_report_and_other_categories_only_when_asked_for() {
        let asked = FrameworkSet { soc2: vec![Category::Availability], hipaa: None };
        assert_eq!(frameworks(&asked).soc2, [Category::Security, Category::Availability]);
        let mapped = mapped(&set(), &asked, &[]);
        let ids: Vec<&str> = mapped.criteria.iter().map(|criterion| criterion.id.as_str()).collect();
        assert!(ids.contains(&"CC1.1") && ids.contains(&"A1.3") && !ids.contains(&"C1.1"), "{ids:?}");
        assert_eq!(frameworks(&FrameworkSet::default()), Frameworks::default());
    }

    #[test]
    fn what_is_carved_out_or_not_applicable_stays_so_whatever_the_evidence() {
        let mut set = set();
        let carved =
            TreatmentSet::CarvedOut { organisation: "Hosting".into(), expected: vec!["It locks its doors.".into()] };
        set.treatments.insert("CC6.4".into(), carved);
        set.treatments.insert("CC6.5".into(), TreatmentSet::NotApplicable { reason: "no media".into() });
        set.treatments.insert("CC6.6".into(), TreatmentSet::Inclusive { organisation: "Network".into() });
        let links = ["CC6.4", "CC6.5", "CC6.6"].map(|id| link("soc2", id, Strength::Direct));
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: None };
        let mapped = mapped(&set, &frameworks, &[Linked { id: "A", links: &links, evidenced: true }]);
        assert_eq!(of(&mapped, "CC6.4").state, CriterionState::CarvedOut);
        assert_eq!(of(&mapped, "CC6.5").state, CriterionState::NotApplicable);
        assert_eq!(of(&mapped, "CC6.6").state, CriterionState::EvidenceMapped);
        let says = mapped.not_shown.join("\n");
        assert!(says.contains("What Hosting does for CC6.4 is not shown: carved out."), "{says}");
        assert!(says.contains("CC6.5 is not applicable, by the organisation's own word"), "{says}");
    }

    #[test]
    fn each_addressable_specification_shows_its_decision_or_that_there_is_none() {
        let decisions = [("164.312(a)(2)(iv)".to_owned(), "implemented, by Ada".to_owned())].into();
        let (set, frameworks) = (set(), hipaa(HipaaRole::BusinessAssociate, false));
        let mapped =
            map(&Given { set: &set, frameworks: &frameworks, controls: &[], decisions: &decisions, day: "2026-12-31" });
        assert_eq!(mapped.hipaa.len(), 66);
        assert_eq!(entry(&mapped, "164.312(a)(2)(iv)").decision.as_deref(), Some("implemented, by Ada"));
        assert_eq!(entry(&mapped, "164.312(a)(2)(iii)").decision.as_deref(), Some(NO_DECISION));
        assert_eq!(entry(&mapped, "164.312(d)").decision, None);
        let says = mapped.not_shown.iter().find(|says| says.starts_with("No decision is recorded")).unwrap();
        assert!(says.contains("164.312(a)(2)(iii)") && !says.contains("164.312(a)(2)(iv)"), "{says}");
    }

    #[test]
    fn entries_about_the_other_role_are_marked_and_do_not_apply() {
        for (role, other, own) in [
            (HipaaRole::BusinessAssociate, "164.308(b)(1)", "164.308(b)(2)"),
            (HipaaRole::CoveredEntity, "164.308(b)(2)", "164.308(b)(1)"),
        ] {
            let mapped = mapped(&set(), &hipaa(role, false), &[]);
            assert_eq!(entry(&mapped, other).state, CriterionState::NotApplicable);
            assert!(entry(&mapped, other).binds.is_some_and(|bound| bound != role.as_str()));
            assert_eq!(entry(&mapped, own).state, CriterionState::NotCovered);
            assert_eq!(entry(&mapped, own).binds, Some(role.as_str()));
        }
    }

    #[test]
    fn proposals_come_only_when_asked_for_and_are_marked() {
        let without = mapped(&set(), &hipaa(HipaaRole::CoveredEntity, false), &[]);
        assert!(without.hipaa.iter().all(|entry| !entry.proposed));
        let with = mapped(&set(), &hipaa(HipaaRole::CoveredEntity, true), &[]);
        let proposed: Vec<_> = with.hipaa.iter().filter(|entry| entry.proposed).collect();
        assert!(!proposed.is_empty() && proposed.iter().all(|entry| entry.effective.is_none()));
        assert!(with.not_shown.iter().any(|says| says.contains("not in effect")));
        assert!(with.not_shown.iter().all(|says| !says.contains("90 FR 898")), "a proposal asks for nothing");
    }

    #[test]
    fn what_users_and_vendors_must_do_is_listed_and_what_nobody_answers_is_said() {
        let mut set = set();
        set.user_entity_controls =
            vec![EntityControl { id: "U-1".into(), text: "Users keep passwords secret.".into() }];
        set.vendor_expectations = vec![
            Expectation { vendor: "Cloud".into(), text: "Configure access.".into(), controls: vec!["AC-06".into()] },
            Expectation { vendor: "Cloud".into(), text: "Report incidents.".into(), controls: Vec::new() },
        ];
        set.switched_off =
            vec![SwitchedOff { id: "PI-01".into(), title: "What goes in".into(), reason: "no processing".into() }];
        let mapped = mapped(&set, &FrameworkSet::default(), &[]);
        assert_eq!((mapped.user_entity_controls.len(), mapped.vendor_expectations.len()), (1, 2));
        assert_eq!(
            mapped.not_shown,
            [
                "Whether users of the services keep up their own controls (U-1) is not shown.",
                "No control answers what Cloud expects: Report incidents.",
                "PI-01 (What goes in) is not promised: no processing",
            ]
        );
    }

    #[test]
    fn the_starter_set_reaches_every_security_criterion_but_those_that_it_cannot() {
        let links: Vec<(String, Vec<Link>)> = starter().iter().map(|c| (c.id.clone(), links(c))).collect();
        let controls: Vec<Linked<'_>> = links.iter().map(|(id, links)| Linked { id, links, evidenced: true }).collect();
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: None };
        let mapped = mapped(&set(), &frameworks, &controls);
        let bare: Vec<&str> = mapped.criteria.iter().filter(|c| c.controls.is_empty()).map(|c| c.id.as_str()).collect();
        assert_eq!(bare, ["CC2.3"]);
    }
}
