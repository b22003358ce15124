//! A log with a long past, of which nothing but the entries, the tiles, the keys and the plans is kept: whoever reads more of it fails.

use std::path::Path;

use chrono::TimeDelta;
use signing::{
    keys::{Draft, FileKey, KeySet, Signer, Use},
    statement::Statement,
};

use super::sound::*;

/// Old entries that are made at a time: a whole number of tiles.
const CHUNK: u64 = 4096;

/// An archive with `old` entries, a change of keys in their middle and `new` entries since; and the checkpoint over the old ones.
pub fn long(old: u64, new: u64) -> (Memory, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.now = at("2026-11-01T00:00:00Z");
    let jobs = ["host/accounts", "host/sshd"];
    // Two days of the two jobs by the hour before the checkpoint is kept; before that, runs by hand.
    let days = 2;
    let newest = 1 + days * (1 + 48);
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    let sample = {
        let statement = writer.receipt(&job("host/accounts"), None, |_| {});
        String::from_utf8(statement.to_bytes().unwrap()).unwrap()
    };
    let sample_at = Statement::from_bytes(sample.as_bytes()).unwrap().entry.sealed_at;
    for index in 2..old - newest {
        if index == old / 2 {
            rotate(&mut writer);
        } else {
            let now = sample_at + TimeDelta::minutes(index as i64);
            writer.now = now;
            let old = sample_at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            let leaf = sample.replace(&old, &now.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            writer.waiting.push(leaf.into_bytes());
        }
        if writer.waiting.len() as u64 == CHUNK {
            writer.append();
        }
    }
    writer.append();
    forget(dir.path());

    let midnight = (writer.now + TimeDelta::days(1)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    writer.now = midnight + TimeDelta::seconds(1);
    writer.plan_with(&jobs, "schedules in force", None);
    let mut checkpoint = Vec::new();
    for hour in 1.. {
        let slot = midnight + TimeDelta::hours(hour);
        if hour % 24 == 0 {
            writer.now = slot;
            writer.plan_with(&jobs, "restated", Some(slot));
        }
        for name in jobs {
            let size = writer.edge.size() + writer.waiting.len() as u64;
            if checkpoint.is_empty() && size >= old {
                writer.append();
                checkpoint = std::fs::read(dir.path().join("checkpoint")).unwrap();
                forget(dir.path());
            }
            if size >= old + new {
                writer.append();
                return (Memory::read(dir.path()), checkpoint);
            }
            writer.now = slot + TimeDelta::seconds(1);
            writer.run(&job(name), Some(slot));
        }
    }
    unreachable!("slots have no end")
}

/// Takes away what nobody who looks at new entries needs.
fn forget(dir: &Path) {
    for part in ["seal", "bundle"] {
        std::fs::remove_dir_all(dir.join(part)).unwrap();
    }
}

/// A second key for receipts takes over from the first.
fn rotate(writer: &mut Writer) {
    let next = FileKey::from_seed(&[9; 32]);
    let mut set = key_set(2);
    set.keys[0].superseded_by = Some(next.public().fingerprint());
    set.keys.push(key_entry(&next, Use::Receipts));
    writer.sealer = next;
    let draft = Draft::new(&KeySet { made_at: writer.now, ..set }, &[&receipts_key()]).unwrap();
    writer.signed_keys(&draft.sign(&root_key()).unwrap());
}
