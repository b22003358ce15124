//! Asking the archive again: a store that answers now and then fails a request, and the same one a moment later does not. What a store
//! that is away keeps waiting is the caller's to try later.

use std::time::Duration;

use rand_core::RngCore;

use crate::archive::ArchiveError;

/// How often it is asked.
const ATTEMPTS: u32 = 4;

/// The longest pause after the first failure; after each further one twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks until the answer is another than a failure of the store, which may pass. Each ask must be safe to repeat, as all of
/// [`crate::archive::Archive`] are.
pub(super) async fn again<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ArchiveError>
where
    F: Future<Output = Result<T, ArchiveError>>,
{
    for attempt in 0..ATTEMPTS - 1 {
        match ask().await {
            Err(error @ ArchiveError::Io { .. }) => {
                let pause = jitter(PAUSE * (1 << attempt));
                tracing::debug!(%error, "asking the archive again in {} ms", pause.as_millis());
                tokio::time::sleep(pause).await;
            }
            other => return other,
        }
    }
    ask().await
}

/// Between half of it and the whole, by chance: many that wait for one store do not come back together.
pub(crate) fn jitter(pause: Duration) -> Duration {
    let half = pause / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(rand_core::OsRng.next_u64() % span)
}
