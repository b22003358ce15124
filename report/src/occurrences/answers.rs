//! What a run answers of the checks behind a control.

use controls::{CheckResult, Outcome, Results, ScopedCheck};

/// What a run shows of a control. The first that holds, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A check failed.
    Fail,
    /// A check is unknown, or was not asked.
    Unknown,
    /// At least one check passed, and every one was answered.
    Pass,
    /// Every check was answered, and none had anything to test.
    Nothing,
}

/// A run's answers.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    results: Result<&'a Results, &'a str>,
}

impl<'a> Answers<'a> {
    /// Those of a run's results, or why there are none.
    pub fn new(results: Result<&'a Results, &'a str>) -> Self {
        Self { results }
    }

    /// Whether anything could be read of the run.
    pub fn read(&self) -> bool {
        self.results.is_ok()
    }

    /// The result of a check.
    pub fn of(&self, check: &ScopedCheck) -> Option<&'a CheckResult> {
        self.results.ok()?.checks.iter().find(|result| result.id == check.id)
    }

    fn outcome(&self, check: &ScopedCheck) -> Outcome {
        self.of(check).map_or(Outcome::Unknown, |result| result.outcome)
    }

    /// What the run shows over these checks.
    pub fn verdict(&self, checks: &[ScopedCheck]) -> Verdict {
        let each = checks.iter().map(|check| match self.outcome(check) {
            Outcome::Fail => Verdict::Fail,
            Outcome::Unknown => Verdict::Unknown,
            Outcome::Pass => Verdict::Pass,
            Outcome::NotApplicable | Outcome::NotTested => Verdict::Nothing,
        });
        each.min().unwrap_or(Verdict::Unknown)
    }

    /// Whether each of these checks was answered for its whole population.
    pub fn complete(&self, checks: &[ScopedCheck]) -> bool {
        !checks.is_empty() && checks.iter().all(|check| self.of(check).is_some_and(|result| result.unknown == 0))
    }

    /// Why it fails or is unknown: the first check that is, with its first row.
    pub fn reason(&self, checks: &[ScopedCheck]) -> String {
        let results = match self.results {
            Ok(_) => checks.iter().map(|check| (check, self.of(check))),
            Err(why) => return why.to_owned(),
        };
        let mut unknown = None;
        for (check, result) in results {
            match result {
                None => {
                    unknown.get_or_insert_with(|| format!("{}: the run did not ask it", check.id));
                }
                Some(result) if result.outcome == Outcome::Fail => {
                    let first = result.rows.fail().next().map(|row| row.reason).unwrap_or_default();
                    return match result.fail {
                        1 => format!("{}: {first}", check.id),
                        n => format!("{}: {n} records fail, first: {first}", check.id),
                    };
                }
                Some(result) if result.outcome == Outcome::Unknown => {
                    let first = || result.rows.unknown().next().map(|row| row.reason).unwrap_or_default();
                    unknown.get_or_insert_with(|| format!("{}: {}", check.id, first()));
                }
                Some(_) => {}
            }
        }
        unknown.unwrap_or_default()
    }
}
