//! What a verdict does not prove, in words.

use std::collections::BTreeMap;

use super::{Compared, Numbers, Options, TrustedTime, WitnessedHead, findings::Limit, keyring, order::SetBack, span};
use crate::{store::Hold, time::rfc3339};

/// What this verdict does not prove.
pub(super) fn limits(
    options: &Options<'_>,
    hold: &Hold,
    numbers: &Numbers,
    time: &TrustedTime,
    tail: &str,
) -> Vec<Limit> {
    let mut limits = Vec::new();
    limits.extend(time.limits());
    limits.push(Limit { code: "TAIL-UNPINNED", says: tail.to_owned() });
    match hold {
        Hold::Nothing => {
            let says = "the store does not hold objects in place: what is gone was not hindered from going".to_owned();
            limits.push(Limit { code: "NO-OBJECT-LOCK", says });
        }
        Hold::Weak(says) => limits.push(Limit { code: "WEAK-OBJECT-LOCK", says: says.clone() }),
        Hold::Firm(_) => {}
    }
    if let Some(part) = options.part {
        let says = format!(
            "only what is of {} to {} was looked for: {} entries are outside, and whether their seals and bundles are in place was not asked",
            rfc3339(part.from),
            rfc3339(part.to),
            numbers.outside
        );
        limits.push(Limit { code: "PART", says });
    }
    limits
}

/// What pins the log's end, in words, and what that leaves open: nothing in an archive shows that there was no more.
pub(super) fn tail(
    size: u64,
    witnessed: Option<&WitnessedHead>,
    pinned: Option<&Compared>,
    options: &Options<'_>,
) -> String {
    let kept = pinned.map(|Compared { name, size, .. }| {
        format!("the log's first {size} entries are those under the checkpoint kept in {name}")
    });
    let Some(head) = witnessed else {
        let why =
            if options.witnesses.keys.is_empty() { "no witness was asked for" } else { "too few witnesses signed" };
        return match kept {
            Some(kept) => format!("{kept}, and {why}: newer entries could have been taken away"),
            None => format!(
                "no checkpoint of yours was given and {why}: newer entries could have been taken away, or the log written anew"
            ),
        };
    };
    let at = head.at.map_or(String::new(), |at| format!(" at {}", rfc3339(at)));
    let by = format!("{} signed a checkpoint over {} entries{at}", head.witnesses.join(", "), head.size);
    let by = kept.map_or(by.clone(), |kept| format!("{kept}; {by}"));
    // An older state put back whole has the signatures of its own time.
    match head.size == size {
        true => {
            format!(
                "{by}, all that are here; whether a longer log was signed since the witnesses alone can tell: ask them"
            )
        }
        false => format!("{by}; entries after them could have been taken away or replaced"),
    }
}

/// Keys that were lost.
pub(super) fn lost(keyring: &keyring::Keyring) -> impl Iterator<Item = Limit> {
    keyring.lost().into_iter().map(|key| Limit {
        code: "KEY-LOST",
        says: format!("the key {key} was lost: that another follows it rests on the root's word alone"),
    })
}

/// Tokens of authorities that were not given.
pub(super) fn untrusted(signers: &BTreeMap<String, u64>) -> Limit {
    let list: Vec<_> = signers.iter().map(|(says, tokens)| format!("{tokens}: {says}")).collect();
    let says = format!("tokens that lead to none of the given roots prove no time to you: {}", list.join("; "));
    Limit { code: "TIME-AUTHORITY", says }
}

/// Entries that were sealed before ones that they knew.
pub(super) fn set_back(back: &SetBack) -> Limit {
    let says = format!(
        "{} entries, the first of them {}, say that they were sealed up to {} before entries that they knew: the agent's clock \
         was set back, or these times are not true",
        back.entries,
        back.first,
        span(back.most_seconds)
    );
    Limit { code: "CLOCK-SET-BACK", says }
}
