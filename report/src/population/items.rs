//! Items: the records of a kind at the end of the period, by the newest whole list of each job.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};
use signing::{
    bundle::{Population as Whole, RUN_FACTS, RunFacts},
    layout::Job,
    population::{Gap, Item},
    statement::Body,
    time::rfc3339,
};

use super::{Found, PopulationError, Question};
use crate::{
    ledger::{Ledger, LedgerError, Logged},
    pass::instant,
};

/// How many of a job's newest runs are asked for a whole list.
const ASKED: usize = 100;

pub(super) fn find(
    ledger: &Ledger<'_>,
    jobs: &BTreeSet<Job>,
    kind: &str,
    question: &Question,
) -> Result<Found, PopulationError> {
    let mut newest: BTreeMap<&Job, VecDeque<Logged>> = jobs.iter().map(|job| (job, VecDeque::new())).collect();
    ledger.entries(|logged| {
        if let Body::Receipt(receipt) = &logged.statement.body
            && instant(receipt) < question.to
            && let Some(runs) = newest.get_mut(&receipt.job)
        {
            runs.push_front(logged);
            runs.truncate(ASKED);
        }
        Ok::<_, LedgerError>(())
    })?;
    let mut found = Found::default();
    for (job, runs) in newest {
        let mut why = "no run before the end of the period".to_owned();
        let mut whole = None;
        for run in &runs {
            match list(ledger, run, kind)? {
                Ok(rows) => {
                    whole = Some((run, rows));
                    break;
                }
                Err(reason) => why = reason,
            }
        }
        match whole {
            Some((run, rows)) => {
                let Body::Receipt(receipt) = &run.statement.body else { unreachable!("only receipts are kept") };
                let at = instant(receipt);
                found.says.push(format!("{job}: the list of {}.", rfc3339(at)));
                for row in rows {
                    found.items.push(Item {
                        id: format!("{job} {}", id(&row)),
                        job: Some(job.clone()),
                        from: at,
                        to: at,
                        state: "seen".to_owned(),
                        entry: Some(run.index),
                        bundle: Some(run.statement.subject[0].digest.sha256),
                    });
                }
            }
            None => found.gaps.push(Gap { job: Some(job.clone()), from: question.from, to: question.to, reason: why }),
        }
    }
    Ok(found)
}

/// The whole list of a run, or why there is none.
fn list(ledger: &Ledger<'_>, run: &Logged, kind: &str) -> Result<Result<Vec<Map<String, Value>>, String>, LedgerError> {
    let mut bundle = match ledger.bundle(&run.statement)? {
        Ok(bundle) => bundle,
        Err(unusable) => return Ok(Err(unusable.to_string())),
    };
    let mut read = || -> Result<Vec<Map<String, Value>>, String> {
        let facts = bundle.file(RUN_FACTS).map_err(|error| error.to_string())?;
        let facts: RunFacts = serde_json::from_slice(&facts).map_err(|error| error.to_string())?;
        match facts.populations.get(kind) {
            Some(Whole::Whole) => {}
            Some(Whole::Absent(_)) => return Ok(Vec::new()),
            Some(Whole::Cut(reason) | Whole::Unread(reason)) => return Err(reason.clone()),
            None => return Err(format!("the run read no {kind}")),
        }
        let name = format!("records/{kind}.jsonl");
        if !bundle.names().any(|known| known == name) {
            return Ok(Vec::new());
        }
        let bytes = bundle.file(&name).map_err(|error| error.to_string())?;
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("{name}: {error}"))).collect()
    };
    Ok(read())
}

/// A record's id as text.
pub(super) fn id(row: &Map<String, Value>) -> String {
    match row.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
