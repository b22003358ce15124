//! Freezing populations: what samples of a period are drawn from is put into the log before anybody draws, as hashes.

use std::sync::Arc;

use chrono::TimeDelta;
use report::{Ledger, population};
use signing::{
    errors::chain,
    population::{KIND, PopulationDocument},
    store::Reader,
    time::{Utc, rfc3339},
    verify::{self, Options},
};

use crate::pipeline::{Pipeline, PipelineError};

/// How long after a period's end, and after the last record of it may have come, its populations are frozen: by then the last slots are
/// settled, and a daily run has looked.
const AFTER: TimeDelta = TimeDelta::days(1);

/// When it is tried again, where it could not be done.
const AGAIN: TimeDelta = TimeDelta::hours(6);

/// Spools a document that freezes populations.
///
/// # Errors
/// What is no such document, or of another log; the disk's.
pub async fn log(pipeline: &Pipeline, bytes: Vec<u8>) -> Result<(), PipelineError> {
    let document = PopulationDocument::from_bytes(&bytes).map_err(PipelineError::Refused)?;
    let origin = &pipeline.options().origin;
    if document.origin != *origin {
        let why = format!("its populations are of the log {:?}; this agent writes {origin:?}", document.origin);
        return Err(PipelineError::Refused(why));
    }
    pipeline.spool_document(KIND, "populations of a period, before anybody draws", bytes).await.map(drop)
}

/// Freezes the populations of `[from, to)` once, a day after the longest `within_days` of its controls after its end, unless the log has
/// them. It ends when that is done.
///
/// # Cancel safety
/// It may be dropped anywhere: what is in the spool then is logged, and what is not is made at the next start.
pub async fn keep(pipeline: Arc<Pipeline>, (from, to): (Utc, Utc)) {
    let clock = pipeline.options().clock.clone();
    let mut at = to + AFTER;
    loop {
        clock.sleep_until(at).await;
        let again = clock.now() + AGAIN;
        at = match freeze(&pipeline, (from, to)).await {
            Ok(Done::At(due)) => {
                tracing::info!("the populations of the period are frozen from {} on", rfc3339(due));
                due
            }
            Ok(Done::Said(done)) => {
                tracing::info!("the populations of {} to {} {done}", rfc3339(from), rfc3339(to));
                return;
            }
            Err(why) => {
                tracing::warn!("the populations of the period are not frozen yet: {why}");
                again
            }
        };
    }
}

/// What became of it.
enum Done {
    Said(&'static str),
    /// It is too early until then.
    At(Utc),
}

async fn freeze(pipeline: &Pipeline, period: (Utc, Utc)) -> Result<Done, String> {
    // A document that waits in the spool since before a crash is not made twice.
    pipeline.drain().await.map_err(|error| chain(&error))?;
    let reader = pipeline.options().archive.reader();
    let trust = pipeline.options().keys.now().set.root.fingerprint();
    let now = pipeline.options().clock.now();
    let made = tokio::task::spawn_blocking(move || made(&*reader, &trust, period, now)).await;
    match made.map_err(|error| error.to_string())?? {
        Made::Document(document) => {
            log(pipeline, document.to_bytes()).await.map_err(|error| chain(&error))?;
            Ok(Done::Said("are frozen"))
        }
        Made::Before => Ok(Done::Said("were frozen before")),
        Made::Nothing => Ok(Done::Said("are none: no control with one was in force")),
        Made::Early(due) => Ok(Done::At(due)),
    }
}

/// What there is to log of a period that is over.
enum Made {
    /// The log has it.
    Before,
    /// No control has a population.
    Nothing,
    /// Records of it may still come; not before this instant.
    Early(Utc),
    /// This.
    Document(Box<PopulationDocument>),
}

fn made(reader: &dyn Reader, trust: &str, (from, to): (Utc, Utc), now: Utc) -> Result<Made, String> {
    let verdict = verify::verify(reader, &Options::trusting(trust), &|_| {}).map_err(|error| error.to_string())?;
    if !verdict.intact {
        return Err(format!("{}; `evidenced verify` tells more", verdict.statement));
    }
    let Some(at) = verdict.as_of.filter(|at| *at >= to) else {
        return Err("nothing was logged since the end of the period".to_owned());
    };
    let ledger = Ledger::new(reader, &verdict).map_err(|error| chain(&error))?;
    let logged = population::logged(&ledger).map_err(|error| chain(&error))?;
    if logged.iter().any(|logged| (logged.document.from, logged.document.to) == (from, to)) {
        return Ok(Made::Before);
    }
    let settled = population::settled(&ledger, from, to).map_err(|error| chain(&error))?;
    if now < settled + AFTER {
        return Ok(Made::Early(settled + AFTER));
    }
    if at < settled {
        return Err(format!(
            "nothing was logged since {}, until when records of the period may come",
            rfc3339(settled)
        ));
    }
    let all = population::all(&ledger, from, to, at).map_err(|error| chain(&error))?;
    Ok(population::document(&ledger, &all).map_or(Made::Nothing, |document| Made::Document(Box::new(document))))
}
