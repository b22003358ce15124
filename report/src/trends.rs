//! Trends: how large each check's population was, and how much of it failed, by the day's last run. A day without a run is left out;
//! nothing is filled in. A list that was not whole is said to be so.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use controls::{CheckResult, PopulationState, Results};
use signing::{layout::Job, time::Utc};

use crate::model::{Trend, TrendPoint};

/// Evidence items whose populations are privileged accounts.
const PRIVILEGED: [&str; 4] =
    ["database_roles", "least_privilege_admins", "mfa_root_privileged", "privileged_access_trend"];

/// Kinds that such items look at beside accounts.
const NO_ACCOUNTS: [&str; 4] = ["assignment", "login_path", "organization", "service_control_policy"];

/// The populations of a period's runs.
#[derive(Debug)]
pub struct Trends {
    from: Utc,
    until: Utc,
    by_check: BTreeMap<(Job, String), Days>,
}

#[derive(Debug)]
struct Days {
    kind: String,
    privileged: bool,
    /// Each with the instant of its run.
    points: BTreeMap<NaiveDate, (Utc, TrendPoint)>,
}

impl Trends {
    /// Of runs in `[from, until)`.
    pub fn new(from: Utc, until: Utc) -> Self {
        Self { from, until, by_check: BTreeMap::new() }
    }

    /// Takes a run, in any order.
    pub fn run(&mut self, job: &Job, at: Utc, results: &Results) {
        if at < self.from || at >= self.until {
            return;
        }
        for check in &results.checks {
            let days = self.by_check.entry((job.clone(), check.id.clone())).or_insert_with(|| Days {
                kind: String::new(),
                privileged: false,
                points: BTreeMap::new(),
            });
            days.kind.clone_from(&check.population.kind);
            days.privileged = is_privileged(check);
            let point = TrendPoint {
                day: at.date_naive(),
                size: check.population.size,
                whole: matches!(check.population.state, PopulationState::Whole | PopulationState::Absent),
                fail: check.fail,
            };
            let last = days.points.entry(point.day).or_insert((at, point));
            if last.0 <= at {
                *last = (at, point);
            }
        }
    }

    /// By job and check.
    pub fn finish(self) -> Vec<Trend> {
        let trend = |((job, check), days): ((Job, String), Days)| Trend {
            job,
            check,
            kind: days.kind,
            privileged: days.privileged,
            points: days.points.into_values().map(|(_, point)| point).collect(),
        };
        self.by_check.into_iter().map(trend).collect()
    }
}

fn is_privileged(check: &CheckResult) -> bool {
    PRIVILEGED.contains(&check.item.as_str()) && !NO_ACCOUNTS.contains(&check.population.kind.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;
    use serde_json::json;
    use signing::time::from_unix;

    use super::*;

    fn hour(at: i64) -> Utc {
        from_unix(1_782_864_000).unwrap() + TimeDelta::hours(at)
    }

    fn results(item: &str, kind: &str, state: &str, fail: &[&str], size: u64) -> Results {
        let fail: Vec<_> = fail.iter().map(|id| json!({"id": id, "reason": "r"})).collect();
        let results = json!({"format": "evidenced-results/1", "checks": [{"id": "c", "item": item, "title": "t",
            "criteria": {"soc2": {}, "hipaa": {}}, "definition": {"pass": ".x", "says": "s", "parameters": {}},
            "population": {"kind": kind, "state": state, "size": size}, "outcome": "unknown", "pass": 0, "fail": fail.len(),
            "unknown": 0, "not_applicable": 0, "exempt": 0, "rows": {"pass": [], "exempt": [], "fail": fail, "unknown": []}}]});
        Results::from_bytes(results.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_day_has_its_last_run_and_a_day_without_one_is_left_out() {
        let job: Job = "aws/iam-access@prod".parse().unwrap();
        let mut trends = Trends::new(hour(0), hour(96));
        let of =
            |state: &str, fail: &[&str], size| results("least_privilege_admins", "administrator", state, fail, size);
        trends.run(&job, hour(-1), &of("whole", &[], 9));
        trends.run(&job, hour(20), &of("whole", &["a"], 4));
        // Logged later, and earlier by its slot.
        trends.run(&job, hour(2), &of("whole", &[], 1));
        trends.run(&job, hour(72), &of("cut", &["a", "b"], 2));
        trends.run(&job, hour(96), &of("whole", &[], 9));
        let found = trends.finish();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].check.as_str(), found[0].kind.as_str(), found[0].privileged),
            ("c", "administrator", true)
        );
        let point = |hours, size, whole, fail| TrendPoint { day: hour(hours).date_naive(), size, whole, fail };
        assert_eq!(found[0].points, [point(20, 4, true, 1), point(72, 2, false, 2)]);
    }

    #[test]
    fn privileged_populations_are_those_of_accounts_by_their_items_which_the_catalogue_has() {
        for (item, kind, privileged) in [
            ("mfa_root_privileged", "root", true),
            ("mfa_root_privileged", "login_path", false),
            ("least_privilege_admins", "permission_set", true),
            ("least_privilege_admins", "organization", false),
            ("mfa_user_enrolled", "user", false),
        ] {
            let check = results(item, kind, "whole", &[], 0).checks.remove(0);
            assert_eq!(is_privileged(&check), privileged, "{item} {kind}");
        }
        assert!(PRIVILEGED.iter().all(|item| controls::item(item).is_some()));
    }
}
