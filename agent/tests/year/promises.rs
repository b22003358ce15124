//! What the simulated organisation promises: the document of controls of each configuration.

use std::collections::BTreeMap;

use controls::{
    CONTROLS_FORMAT, Category, Control, ControlSet, DatedBy, FrameworkSet,
    Frequency::{self, Annual, AsNeeded, Automated, Daily, Monthly, PerEvent, Quarterly, Weekly},
    Hipaa, HipaaRole, ScopedCheck, ScopedJob, Strength,
};
use evidenced::{jobs::Jobs, pipeline::Pipeline, run::AGENT};
use serde_json::json;
use signing::digest::Digest;

use crate::scenario::{Config, Scenario};

fn control(id: &str, frequency: Frequency, items: &[&str]) -> Control {
    Control {
        id: id.into(),
        title: id.into(),
        owner: "security".into(),
        statement: format!("{id} is kept"),
        frequency,
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        checks: Vec::new(),
        sources: Vec::new(),
        only: Vec::new(),
        except: Vec::new(),
        soc2: [("CC6.1".to_owned(), Strength::Direct)].into(),
        hipaa: [("164.312(d)".to_owned(), Strength::Partial)].into(),
        dated_by: None,
    }
}

fn dated(id: &str, frequency: Frequency, item: &str, kind: &str, within_days: u32) -> Control {
    let dated_by = Some(DatedBy { kind: kind.into(), at: "at".into(), within_days });
    Control { dated_by, ..control(id, frequency, &[item]) }
}

/// All controls, by id.
pub fn all(config: &Config) -> Vec<Control> {
    let logs = if config.weekly { Weekly } else { Daily };
    let mut all = vec![
        control("AC-01", Automated, &["mfa_user_enrolled"]),
        Control {
            sources: vec!["prod".into()],
            ..control("AC-02", Daily, &["mfa_root_privileged", "unique_user_ids"])
        },
        Control { checks: vec!["sim/accounts/not-above".into()], ..control("AC-03", Automated, &[]) },
        control("CF-01", Monthly, &["mfa_enforced_policy"]),
        control("KM-01", Automated, &["privileged_access_trend"]),
        control("LG-01", logs, &["credential_key_age"]),
        control("NW-01", AsNeeded, &["access_review_remediated"]),
        control("NO-01", Annual, &["backup_protected"]),
        control("PA-01", Weekly, &["access_provision_approved"]),
        control("SH-01", Quarterly, &["dormant_accounts", "deprovision_timely"]),
        dated("BK-01", Daily, "backup_job_success", "event", 1),
        dated("CH-01", PerEvent, "change_reviewed", "event", 0),
        dated("RV-01", Monthly, "access_review_completed", "review", 3),
    ];
    if config.text == 1 {
        all[0].statement = "AC-01 is kept, in other words".into();
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// The document of a configuration.
pub fn controls(
    scenario: &Scenario,
    config: &Config,
    jobs: &Jobs,
    origin: &str,
    previous: Option<String>,
) -> ControlSet {
    let day = |n: i64| scenario.instant(n * crate::scenario::DAY).date_naive().to_string();
    let ran = jobs.iter().map(|setup| ScopedJob {
        job: setup.job.to_string(),
        kind: setup.source.kind.clone(),
        version: setup.collector.spec().version,
        checks_sha256: setup.checks.digest().to_string(),
        checks: scoped(setup.checks.checks()),
        off: None,
    });
    let off = jobs.not_run().iter().map(|off| {
        let plan = scenario.jobs.iter().find(|plan| plan.name() == off.job.as_str()).expect("it is in the scenario");
        let parameters = json!({"most_level": config.most_level});
        let checks = evidenced::jobs::Checks::new(&plan.checks(), parameters).expect("they are checks");
        ScopedJob {
            job: off.job.to_string(),
            kind: "test".into(),
            version: 1,
            checks_sha256: checks.digest().to_string(),
            checks: scoped(checks.checks()),
            off: Some(off.reason.clone()),
        }
    });
    let mut scope: Vec<ScopedJob> = ran.chain(off).collect();
    scope.sort_by(|a, b| a.job.cmp(&b.job));
    ControlSet {
        format: CONTROLS_FORMAT.into(),
        origin: origin.into(),
        agent: AGENT.into(),
        previous,
        reason: config.reason.clone(),
        period: Some((day(0), day(scenario.days - 1))),
        frameworks: FrameworkSet {
            soc2: vec![Category::Security],
            hipaa: Some(Hipaa { role: HipaaRole::BusinessAssociate, proposals: false }),
        },
        parameters: json!({"most_level": config.most_level}).as_object().cloned().unwrap_or_default(),
        controls: all(config),
        switched_off: Vec::new(),
        treatments: BTreeMap::new(),
        user_entity_controls: Vec::new(),
        vendor_expectations: Vec::new(),
        scope,
    }
}

fn scoped(checks: &[controls::Check]) -> Vec<ScopedCheck> {
    let scoped = |check: &controls::Check| ScopedCheck {
        id: check.id.clone(),
        item: check.item.clone(),
        kind: check.kind.clone(),
    };
    checks.iter().map(scoped).collect()
}

/// Spools the document, and gives its digest.
pub async fn put_in_force(pipeline: &Pipeline, set: &ControlSet) -> String {
    let bytes = serde_json::to_vec_pretty(set).expect("it is JSON");
    let digest = Digest::of(&bytes).to_string();
    pipeline.spool_document("controls", &set.reason, bytes).await.expect("the disk takes it");
    digest
}
