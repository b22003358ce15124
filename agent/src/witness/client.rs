//! The agent's part: each published checkpoint is shown to the configured witnesses (C2SP tlog-witness, "add-checkpoint"), and what they
//! sign is stored beside it. Each witness is asked by itself, one request at a time. It never holds up collecting, sealing, appending or, for
//! longer than [`LAST`], a stop; and it keeps no signature that it has not verified.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    errors::chain,
    layout::{self, Anchor},
    log::{
        Checkpoint, LogError, MAX_CHECKPOINT,
        cosignature::{self, Cosignature, CosignatureError, WitnessKey},
        growth,
        witness::Submission,
    },
    time::{Utc, rfc3339},
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::config::WitnessConfig;
use crate::{
    archive::{ArchiveError, Body},
    blocking::blocking,
    control,
    http::{Client, HttpError},
    pipeline::{Pipeline, Published, jitter},
};

/// How long a stop, and the end of `collect`, wait for the last submission.
pub const LAST: Duration = Duration::from_secs(5);

/// How long a witness may take, and the archive after it.
const WITHIN: Duration = Duration::from_secs(30);

/// The first wait after a failure; it doubles …
const AGAIN: Duration = Duration::from_secs(10);

/// … up to this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);

/// How often a witness may say another size in one submission: once after each start of either, more only if somebody else submits.
const ROUNDS: u32 = 3;

/// A witness whose clock is further from the agent's than this is not believed: its signature is a statement about its time.
const APART: TimeDelta = TimeDelta::minutes(5);

/// The most signatures that are looked through for the one that is there already.
const LOOKED_AT: usize = 100;

/// Why a checkpoint was not cosigned, or the cosignature not kept.
#[derive(Debug, thiserror::Error)]
enum SubmitError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it refuses with status {status}: {words}")]
    Refused { status: u16, words: String, retry_after: Option<Duration> },
    #[error(
        "it has signed a tree of {held} entries, but this log has {ours}: was an older archive put back, or does somebody else sign for \
         this log?"
    )]
    Ahead { held: u64, ours: u64 },
    #[error("it has signed another tree of {0} entries for this origin: there are two histories of this log")]
    Fork(u64),
    #[error("it says another size of its tree each time")]
    Sizes,
    #[error("what it says as the size of its tree is none")]
    Size,
    #[error("its answer is no signature of it")]
    Cosignature(#[from] CosignatureError),
    #[error("it signed with the time {at}, while it is {now} here: one of the two clocks is wrong")]
    Time { at: String, now: String },
    #[error("the proof for it cannot be made")]
    Log(#[from] LogError),
    #[error("its signature cannot be stored")]
    Archive(#[from] ArchiveError),
    #[error("the archive did not answer within {} s", .0.as_secs())]
    ArchiveSlow(Duration),
}

impl SubmitError {
    /// Whether somebody must look at the log itself.
    fn is_alarm(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Fork(_) | Self::Refused { status: 422, .. })
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

/// All witnesses of a log.
pub struct Witnessing {
    pipeline: Arc<Pipeline>,
    status: Arc<watch::Sender<Vec<control::Witness>>>,
    resting: Vec<Keeper>,
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Witnessing {
    /// The configured witnesses; `None` where there are none. Nobody is asked yet.
    ///
    /// # Errors
    /// A verifier key that cannot be read; TLS that cannot be set up.
    pub fn open(pipeline: Arc<Pipeline>, witnesses: &[WitnessConfig]) -> anyhow::Result<Option<Self>> {
        if witnesses.is_empty() {
            return Ok(None);
        }
        let http = Client::new()?;
        let keys = witnesses.iter().map(|config| config.witness().map_err(anyhow::Error::msg));
        let keys: Vec<WitnessKey> = keys.collect::<Result<_, _>>()?;
        let told =
            keys.iter().map(|key| control::Witness { name: key.name().to_owned(), ..control::Witness::default() });
        let status = Arc::new(watch::Sender::new(told.collect()));
        let resting = witnesses.iter().zip(keys).enumerate().map(|(index, (config, key))| Keeper {
            pipeline: pipeline.clone(),
            http: http.clone(),
            status: status.clone(),
            index,
            url: config.add_checkpoint(),
            key,
            every: config.every.get(),
            cosigned: 0,
            held: 0,
            failures: 0,
            due: Instant::now(),
        });
        let resting = resting.collect();
        Ok(Some(Self { pipeline, status, resting, tasks: JoinSet::new(), closing: CancellationToken::new() }))
    }

    /// Submits from now on, whenever the log has grown and a witness's interval has passed.
    pub fn start(&mut self) {
        for keeper in self.resting.drain(..) {
            self.tasks.spawn(keeper.keep(self.closing.clone()));
        }
    }

    /// How each witness stands, now and after each try.
    pub fn status(&self) -> watch::Receiver<Vec<control::Witness>> {
        self.status.subscribe()
    }

    /// Submits what is new once more, and ends, after [`LAST`] at the latest. Who did not answer until then is named in what it returns.
    pub async fn finish(mut self) -> Vec<control::Witness> {
        self.closing.cancel();
        for mut keeper in self.resting.drain(..) {
            self.tasks.spawn(async move { keeper.last().await });
        }
        let size = self.pipeline.published().borrow().as_ref().map(|published| published.size);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            self.tasks.abort_all();
            self.status.send_modify(|all| {
                for told in all.iter_mut().filter(|told| told.size < size && told.error.is_none()) {
                    told.error = Some(format!("it did not answer within {} s, at the end", LAST.as_secs()));
                }
            });
        }
        self.status.borrow().clone()
    }
}

/// How a witness stands with the log.
struct Keeper {
    pipeline: Arc<Pipeline>,
    http: Client,
    status: Arc<watch::Sender<Vec<control::Witness>>>,
    /// Its place in the status.
    index: usize,
    url: String,
    key: WitnessKey,
    every: Duration,
    /// The size of the tree whose cosignature was stored last.
    cosigned: u64,
    /// The size of the tree that it signed last, as far as is known here.
    held: u64,
    failures: u32,
    /// It is not asked before.
    due: Instant,
}

impl Keeper {
    /// Submits until `closing`, and then what is new once more. It never fails: what goes wrong is told and tried again.
    async fn keep(mut self, closing: CancellationToken) {
        let mut published = self.pipeline.published();
        loop {
            let cosigned = self.cosigned;
            let grown = async {
                let grown = |now: &Option<Published>| now.as_ref().is_some_and(|now| now.size > cosigned);
                published.wait_for(grown).await.is_ok()
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                grown = grown => if !grown { return },
            }
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = tokio::time::sleep_until(self.due) => {}
            }
            self.submit(WITHIN).await;
        }
        self.last().await;
    }

    async fn last(&mut self) {
        let size = self.pipeline.published().borrow().as_ref().map_or(0, |published| published.size);
        if size > self.cosigned {
            self.submit(LAST).await;
        }
    }

    async fn submit(&mut self, within: Duration) {
        let Some(published) = self.pipeline.published().borrow().clone() else { return };
        let begun = Instant::now();
        match self.try_submit(&published, within).await {
            Ok(at) => {
                self.failures = 0;
                self.due = begun + self.every;
                self.cosigned = published.size;
                tracing::debug!(witness = self.key.name(), size = published.size, at = %rfc3339(at), "cosigned");
                self.status.send_modify(|all| {
                    let told = &mut all[self.index];
                    if told.error.take().is_some() {
                        tracing::info!(witness = self.key.name(), "the witness signs again");
                    }
                    (told.size, told.at) = (Some(published.size), Some(at));
                });
            }
            Err(error) => {
                let doubled = AGAIN.saturating_mul(1 << self.failures.min(16)).min(AGAIN_AT_MOST);
                let wait = jitter(doubled).max(self.every).max(error.retry_after());
                self.failures = self.failures.saturating_add(1);
                self.due = Instant::now() + wait;
                self.complain(&error, wait);
            }
        }
    }

    /// Says why not, once for each cause.
    fn complain(&self, error: &SubmitError, wait: Duration) {
        let (witness, why, seconds) = (self.key.name(), chain(error), wait.as_secs());
        let before = self.status.borrow()[self.index].error.clone();
        if before.as_deref().map(cause) == Some(cause(&why)) {
            tracing::debug!(witness, "not cosigned, and tried again in {seconds} s: {why}");
        } else if error.is_alarm() {
            tracing::error!(
                witness,
                "ALARM: not cosigned, and tried again in {seconds} s: {why}. Run `evidenced verify`"
            );
        } else {
            tracing::warn!(witness, "not cosigned, and tried again in {seconds} s: {why}");
        }
        self.status.send_modify(|all| all[self.index].error = Some(why));
    }

    /// When the witness signed it.
    async fn try_submit(&mut self, published: &Published, within: Duration) -> Result<Utc, SubmitError> {
        let checkpoint = Checkpoint::parse_unverified(&published.bytes)?;
        if self.cosigned == 0
            && let Some(there) = in_time(within, self.find(&checkpoint)).await?
        {
            return Ok(there.at);
        }
        let cosignature = tokio::time::timeout(within, self.ask(published, &checkpoint, within));
        let cosignature = cosignature.await.map_err(|_| HttpError::Slow(within))??;
        self.held = checkpoint.size;
        in_time(within, self.store(published, &cosignature)).await?;
        Ok(cosignature.at)
    }

    /// Its cosignature on this checkpoint, where an earlier start stored it.
    async fn find(&self, checkpoint: &Checkpoint) -> Result<Option<Cosignature>, ArchiveError> {
        let archive = &self.pipeline.options().archive;
        let names = archive.list(&format!("anchor/{}/", checkpoint.size)).await?;
        let kept = |name: &&String| matches!(layout::parse_anchor(name), Some((_, _, Anchor::Cosignature)));
        for name in names.iter().filter(kept).take(LOOKED_AT) {
            let Some(lines) = archive.read(name, MAX_CHECKPOINT).await? else { continue };
            let found = cosignature::verify(&lines, checkpoint.text().as_bytes(), std::slice::from_ref(&self.key));
            if let Some(found) = found.ok().and_then(|found| found.into_iter().next()) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn ask(
        &mut self,
        published: &Published,
        checkpoint: &Checkpoint,
        within: Duration,
    ) -> Result<Cosignature, SubmitError> {
        for _ in 0..ROUNDS {
            let (held, ours) = (self.held, checkpoint.size);
            if held > ours {
                return Err(SubmitError::Ahead { held, ours });
            }
            let (reader, new) = (self.pipeline.options().archive.reader(), checkpoint.clone());
            let (_, proof) = blocking(move || growth(&*reader, held, &new)).await?;
            let body = Submission::new(held, proof, &published.bytes)?.to_bytes();
            let begun = self.pipeline.options().clock.now();
            let answer = self
                .http
                .post(&self.url, "text/plain; charset=utf-8", "", body, MAX_CHECKPOINT as usize, within)
                .await?;
            match answer.status {
                200 => return self.check(&answer.body, checkpoint, begun),
                409 => {
                    let said = size(&answer.body).ok_or(SubmitError::Size)?;
                    if said == held {
                        // It knows the size that was sent, and still disagrees: then it is the tree.
                        return Err(SubmitError::Fork(said));
                    }
                    self.held = said;
                }
                status => {
                    let words: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
                    let words = words.lines().next().unwrap_or_default().escape_debug().to_string();
                    // It may have lost its memory, or be another one: what it holds is asked again.
                    self.held = 0;
                    return Err(SubmitError::Refused { status, words, retry_after: answer.retry_after });
                }
            }
        }
        Err(SubmitError::Sizes)
    }

    /// The witness's signature among the lines of its answer.
    fn check(&self, lines: &[u8], checkpoint: &Checkpoint, begun: Utc) -> Result<Cosignature, SubmitError> {
        let found = cosignature::verify(lines, checkpoint.text().as_bytes(), std::slice::from_ref(&self.key))?;
        let cosignature = found.into_iter().next().ok_or(CosignatureError::Unknown)?;
        let now = self.pipeline.options().clock.now();
        if cosignature.at < begun - APART || cosignature.at > now + APART {
            return Err(SubmitError::Time { at: rfc3339(cosignature.at), now: rfc3339(now) });
        }
        Ok(cosignature)
    }

    /// The checkpoint first: a signature without it would be over nothing that can be found.
    async fn store(&self, published: &Published, cosignature: &Cosignature) -> Result<(), ArchiveError> {
        let archive = &self.pipeline.options().archive;
        let line = cosignature.to_line().into_bytes();
        let name = |bytes: &[u8], kind| layout::anchor(published.size, Digest::of(bytes), kind);
        let checkpoint = Body::Bytes(published.bytes.to_vec());
        archive.create(&name(&published.bytes, Anchor::Checkpoint), checkpoint).await?;
        archive.create(&name(&line, Anchor::Cosignature), Body::Bytes(line.clone())).await?;
        Ok(())
    }
}

async fn in_time<T>(within: Duration, work: impl Future<Output = Result<T, ArchiveError>>) -> Result<T, SubmitError> {
    match tokio::time::timeout(within, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(SubmitError::ArchiveSlow(within)),
    }
}

/// The body of a conflict: a size in decimal and a line feed.
fn size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    text.parse().ok().filter(|size: &u64| size.to_string() == text)
}

/// A message without its numbers: the same trouble, seen again.
fn cause(why: &str) -> String {
    why.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests;
