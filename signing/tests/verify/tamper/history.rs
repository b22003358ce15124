//! A small archive with every kind of object in it, in all its states; and other histories under the same keys.

use std::sync::LazyLock;

use chrono::TimeDelta;
use signing::{
    append::Decision,
    digest::Digest,
    keys::{FileKey, Signer},
    layout::{self, Anchor},
    log::{
        Checkpoint, Edge,
        cosignature::{Cosignature, WitnessKey},
    },
    store::Dir,
    verify::Kept,
};

use crate::{
    sound::*,
    tsa::{Tsa, p256},
};

/// The authority whose tokens the archive has.
pub fn tsa() -> &'static Tsa {
    static TSA: LazyLock<Tsa> = LazyLock::new(|| Tsa::new(p256(3)));
    &TSA
}

fn witness_key() -> FileKey {
    FileKey::from_seed(&[5; 32])
}

/// The witness that signs the archive's checkpoints.
pub fn witness() -> WitnessKey {
    WitnessKey::new("witness.example.org/w", *witness_key().public()).unwrap()
}

/// A token over the published checkpoint and a witness's signature, a minute later.
pub fn anchor(writer: &mut Writer) {
    let at = writer.now + TimeDelta::minutes(1);
    writer.anchor(tsa(), at);
    let checkpoint = std::fs::read(writer.dir.join("checkpoint")).unwrap();
    let text = Checkpoint::parse_unverified(&checkpoint).unwrap().text();
    let line = Cosignature::sign(&witness(), &witness_key(), text.as_bytes(), at).unwrap().to_line();
    let name = layout::anchor(writer.edge.size(), Digest::of(line.as_bytes()), Anchor::Cosignature);
    writer.put(&name, line.as_bytes());
}

/// What happens in an hour instead of the usual; `false` where the usual does.
pub type Twist<'a> = &'a dyn Fn(&mut Writer, i64) -> bool;

/// An archive's directory, its writer, and the archive after each append.
pub struct Story {
    pub dir: tempfile::TempDir,
    pub writer: Writer,
    pub states: Vec<Memory>,
}

/// Two jobs under a schedule, from an hour to the sixth, with every checkpoint anchored.
pub fn story(from: i64, twist: Twist<'_>) -> Story {
    anchored_story(from, twist, &mut anchor)
}

/// The same with other anchors.
pub fn anchored_story(from: i64, twist: Twist<'_>, anchor: &mut dyn FnMut(&mut Writer)) -> Story {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.now = slot(from - 1);
    let mut states = Vec::new();
    let mut append = |writer: &mut Writer| {
        let old_size = writer.edge.size();
        let decision = Decision { instance: "i".into(), old_size, leaves: writer.waiting.clone() };
        writer.put(&format!("append/{old_size}"), &decision.to_bytes());
        writer.append();
        anchor(writer);
        states.push(Memory::read(dir.path()));
    };
    writer.keys(&key_set(1));
    writer.now += TimeDelta::seconds(1);
    writer.plan(&["host/accounts", "host/sshd"], "started");
    append(&mut writer);
    for hour in from..=6 {
        writer.now = slot(hour) + TimeDelta::seconds(1);
        if !twist(&mut writer, hour) {
            usual(&mut writer, hour);
        }
        if hour % 2 == 0 {
            append(&mut writer);
        }
    }
    writer.now += TimeDelta::minutes(2);
    writer.run(&job("host/sshd"), None);
    append(&mut writer);
    Story { dir, writer, states }
}

/// Six hours with a twist, at their end.
pub fn history(twist: Twist<'_>) -> Memory {
    story(1, twist).states.pop().unwrap()
}

/// The same log with its leaves changed and written anew, over the same objects.
pub fn relogged(change: impl FnOnce(&mut Writer, &mut Vec<Vec<u8>>)) -> Memory {
    let Story { dir, mut writer, .. } = story(1, &|_, _| false);
    let mut leaves = Vec::new();
    signing::log::entries(&Dir::new(dir.path()), 0, writer.edge.size(), &mut |_, leaf| {
        leaves.push(leaf.to_vec());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    change(&mut writer, &mut leaves);
    for gone in ["tile", "append"] {
        std::fs::remove_dir_all(dir.path().join(gone)).unwrap();
    }
    writer.edge = Edge::empty();
    writer.waiting = leaves;
    writer.append();
    Memory::read(dir.path())
}

pub fn slot(hour: i64) -> signing::time::Utc {
    at("2026-11-01T00:00:00Z") + TimeDelta::hours(hour)
}

/// What is done in an hour.
pub fn usual(writer: &mut Writer, hour: i64) {
    writer.run(&job("host/accounts"), Some(slot(hour)));
    if hour == 2 {
        writer.now = slot(hour) + TimeDelta::minutes(20);
        writer.missed(&job("host/sshd"), slot(hour));
    } else {
        writer.run(&job("host/sshd"), Some(slot(hour)));
    }
    if hour == 4 {
        writer.now += TimeDelta::seconds(30);
        writer.run(&job("host/accounts"), None);
        writer.document("letter", b"{\"approver\":\"somebody\"}");
        writer.now += TimeDelta::seconds(30);
        writer.plan(&["host/accounts", "host/sshd"], "restated");
    }
}

static STATES: LazyLock<Vec<Memory>> = LazyLock::new(|| story(1, &|_, _| false).states);

/// The archive, to be changed.
pub fn whole() -> Memory {
    STATES.last().unwrap().clone()
}

/// The archive as it was after an append, from 0.
pub fn state(at: usize) -> Memory {
    STATES[at].clone()
}

/// The checkpoint that an auditor copied at the end.
pub fn kept() -> Kept {
    Kept { name: "kept".into(), bytes: whole().objects["checkpoint"].clone() }
}

/// The name in the middle of those that begin so.
pub fn middle(memory: &Memory, prefix: &str) -> String {
    let names = memory.names(prefix);
    names[names.len() / 2].clone()
}
