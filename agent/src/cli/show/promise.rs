//! A document of controls for a person.

use controls::{ControlSet, TreatmentSet};
use serde_json::Value;

use super::{
    super::plain::{Align, safe, table},
    Lines, Shown,
};

pub(super) fn controls_text(set: &ControlSet) -> Shown {
    let mut lines = Lines(String::new());
    lines.add("controls of", &set.origin);
    lines.add("follows", set.previous.clone().unwrap_or_else(|| "none".to_owned()));
    lines.add("reason", &set.reason);
    let period = set.period.as_ref().map(|(from, to)| format!("{from} to {to}"));
    lines.add("period", period.unwrap_or_else(|| "none is set".to_owned()));
    lines.add("frameworks", frameworks(set));
    let rows: Vec<Vec<String>> = set
        .controls
        .iter()
        .map(|control| {
            let jobs = control.jobs(&set.scope).filter(|job| job.off.is_none()).count();
            let title = safe(&control.title);
            vec![
                safe(&control.id),
                control.frequency.as_str().to_owned(),
                safe(&control.owner),
                jobs.to_string(),
                title,
            ]
        })
        .collect();
    let head = [
        ("CONTROL", Align::Left),
        ("FREQUENCY", Align::Left),
        ("OWNER", Align::Left),
        ("JOBS", Align::Right),
        ("TITLE", Align::Left),
    ];
    let mut text = lines.0 + &table(&head, &rows);
    for off in &set.switched_off {
        text += &format!("switched off: {} ({}): {}\n", safe(&off.id), safe(&off.title), safe(&off.reason));
    }
    for (id, treatment) in &set.treatments {
        text += &format!("{}: {}\n", safe(id), safe(&in_words(treatment)));
    }
    for control in &set.user_entity_controls {
        text += &format!("expected of users: {}: {}\n", safe(&control.id), safe(&control.text));
    }
    for expected in &set.vendor_expectations {
        let by = if expected.controls.is_empty() { "no control".to_owned() } else { expected.controls.join(", ") };
        text +=
            &format!("expected by {}: {} (answered by {})\n", safe(&expected.vendor), safe(&expected.text), safe(&by));
    }
    for job in set.scope.iter().filter_map(|job| job.off.as_ref().map(|off| (job, off))) {
        text += &format!("not run: {}: {}\n", safe(&job.0.job), safe(job.1));
    }
    Shown { text, json: serde_json::to_value(set).unwrap_or(Value::Null) }
}

fn frameworks(set: &ControlSet) -> String {
    let mut all = Vec::new();
    if !set.frameworks.soc2.is_empty() {
        let named = |category| serde_json::to_value(category).ok().and_then(|name| name.as_str().map(str::to_owned));
        let categories: Vec<String> = set.frameworks.soc2.iter().filter_map(named).collect();
        all.push(format!("SOC 2 ({})", categories.join(", ")));
    }
    all.extend(set.frameworks.hipaa.map(|hipaa| format!("HIPAA ({})", hipaa.role.as_str().replace('_', " "))));
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn in_words(treatment: &TreatmentSet) -> String {
    match treatment {
        TreatmentSet::CarvedOut { organisation, expected } => {
            format!("carved out to {organisation}, of whom is expected: {}", expected.join("; "))
        }
        TreatmentSet::Inclusive { organisation } => format!("inclusive of {organisation}"),
        TreatmentSet::NotApplicable { reason } => format!("not applicable: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use controls::{CONTROLS_FORMAT, Category, EntityControl, FrameworkSet, Hipaa, HipaaRole, starter};

    use super::*;

    #[test]
    fn what_is_promised_is_shown_with_what_is_not_the_organisations_own() {
        let set = ControlSet {
            format: CONTROLS_FORMAT.into(),
            origin: "localhost/x".into(),
            agent: "0".into(),
            previous: None,
            reason: "first\u{1b}[2J".into(),
            period: Some(("2026-07-01".into(), "2026-12-31".into())),
            frameworks: FrameworkSet {
                soc2: vec![Category::Security],
                hipaa: Some(Hipaa { role: HipaaRole::BusinessAssociate, proposals: false }),
            },
            parameters: serde_json::Map::new(),
            controls: starter().iter().take(1).cloned().collect(),
            switched_off: Vec::new(),
            treatments: BTreeMap::from([("CC6.4".into(), TreatmentSet::Inclusive { organisation: "Hosting".into() })]),
            user_entity_controls: vec![EntityControl { id: "U-1".into(), text: "Keep keys.".into() }],
            vendor_expectations: Vec::new(),
            scope: Vec::new(),
        };
        let text = controls_text(&set).text;
        for part in [
            "2026-07-01 to 2026-12-31",
            "SOC 2 (security), HIPAA (business associate)",
            "AC-01    automated  identity and access lead     0  ",
            "CC6.4: inclusive of Hosting\n",
            "expected of users: U-1: Keep keys.\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "evidence cannot steer the terminal");
    }
}
