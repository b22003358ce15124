//! Whose log the checkpoint is of, and who signed it: by the owner's keys, by witnesses.

use super::{
    Options, WitnessedHead, Witnesses, anchors,
    findings::{CannotVerify, Code, Findings},
    order::Order,
    times,
};
use crate::{
    errors::chain,
    keys::{KeySet, Use},
    layout::{self, CHECKPOINT},
    log::{Checkpoint, LogError},
};

/// The keys that came from outside.
pub(super) fn given_keys(bytes: &[u8], trust: &str, origin: &str) -> Result<KeySet, CannotVerify> {
    let cannot = |reason| CannotVerify::new("the keys file that was given", reason);
    let set = KeySet::open(bytes, trust).map_err(|e| cannot(chain(&e)))?;
    match set.origin == origin {
        true => Ok(set),
        false => Err(cannot(format!("it is for the log {:?}, not {origin:?}", set.origin))),
    }
}

/// The log's name by the caller, the directory and the checkpoint.
pub(super) fn origin(checkpoint: &Checkpoint, options: &Options<'_>, findings: &Findings) -> Result<(), CannotVerify> {
    if let Some(wanted) = options.origin.as_ref().filter(|wanted| **wanted != checkpoint.origin) {
        let reason = format!("it is of the log {:?}, but {wanted:?} was asked for", checkpoint.origin);
        return Err(CannotVerify::new(CHECKPOINT, reason));
    }
    let own = layout::origin_directory(&checkpoint.origin);
    if let Some(directory) = options.directory.as_ref().filter(|directory| **directory != own) {
        let says = format!("it is of the log {:?}, whose directory is {own:?}, not {directory:?}", checkpoint.origin);
        findings.add(Code::Origin, CHECKPOINT, None, says);
    }
    Ok(())
}

/// No keys under the trusted root: another owner's archive, or keys that were altered.
pub(super) fn no_keys(order: &Order<'_>, findings: &Findings) -> Result<(), CannotVerify> {
    if let Some((name, error)) = &order.other_root {
        return Err(CannotVerify::new(name, chain(error)));
    }
    if !findings.any() {
        let reason = "it logs no keys document under the trusted root; give one with --keys, or check the fingerprint";
        return Err(CannotVerify::new("the log", reason));
    }
    let says = "no keys document of the log can be used (see the other findings), so that no signature was checked";
    findings.add(Code::KeysNone, CHECKPOINT, None, says);
    Ok(())
}

/// The key that signed the checkpoint, if one did that may.
pub(super) fn signature(
    bytes: &[u8],
    checkpoint: &Checkpoint,
    order: &Order<'_>,
    growth: &times::Growth,
    findings: &Findings,
) -> Option<String> {
    let finding = |code, says: String| findings.add(code, CHECKPOINT, None, says);
    if order.keyring.is_empty() {
        return None;
    }
    if let Some(set) = order.keyring.newest().filter(|set| set.origin != checkpoint.origin) {
        finding(
            Code::Origin,
            format!("it is of the log {:?}; the owner's keys are for {:?}", checkpoint.origin, set.origin),
        );
    }
    let keys = order.keyring.checkpoint_keys();
    let by = match Checkpoint::open(bytes, &checkpoint.origin, &keys) {
        Ok((_, by)) => by,
        Err(error @ LogError::NoKnownSignature(_)) => {
            let known: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let says = format!("{}; the owner's keys for checkpoints are: {}", chain(&error), known.join(", "));
            finding(Code::CheckpointSignature, says);
            return None;
        }
        Err(error) => {
            finding(Code::CheckpointSignature, chain(&error));
            return None;
        }
    };
    // It was signed after the newest entry under it.
    let at = order.newest_entry.unwrap_or_default();
    if let Err(refusal) = order.keyring.current(&by, Use::Checkpoints, at, growth.size_by(checkpoint.size)) {
        finding(refusal.code, refusal.says);
        return None;
    }
    let lines = bytes.split(|b| *b == b'\n').filter(|line| line.starts_with("\u{2014} ".as_bytes())).count();
    if lines > keys.len().max(1) || lines > 1 && keys.len() == 1 {
        finding(
            Code::CheckpointSignature,
            format!("it carries {lines} signatures, of which not all are by known keys"),
        );
    }
    Some(by)
}

/// The newest checkpoint that enough of the given witnesses signed; that there is none is a finding.
pub(super) fn witnessed(
    options: &Options<'_>,
    anchors: &anchors::Anchors,
    size: u64,
    findings: &Findings,
) -> Option<WitnessedHead> {
    let Witnesses { keys, .. } = &options.witnesses;
    if keys.is_empty() {
        return None;
    }
    let needed = options.witnesses.needed();
    let found = anchors.witnessed(needed, keys);
    if found.is_none() && size > 0 {
        let says = match anchors.witnessed(1, keys) {
            None => format!(
                "{needed} of {} witnesses must have signed; none of them signed any checkpoint of this log",
                keys.len()
            ),
            Some(most) => format!(
                "{needed} of {} witnesses must have signed; the newest checkpoint that any of them signed is over {} entries, by {}",
                keys.len(),
                most.size,
                most.witnesses.join(", ")
            ),
        };
        findings.add(Code::WitnessQuorum, CHECKPOINT, None, says);
    }
    found
}
