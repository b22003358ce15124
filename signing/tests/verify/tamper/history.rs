//! A small archive with every kind of object in it, in all its states; and other histories under the same keys.

use std::sync::LazyLock;

use chrono::TimeDelta;
use signing::{append::Decision, log::Edge, store::Dir};

use crate::sound::*;

/// What happens in an hour instead of the usual; `false` where the usual does.
pub type Twist<'a> = &'a dyn Fn(&mut Writer, i64) -> bool;

/// An archive's directory, its writer, and the archive after each append.
pub struct Story {
    pub dir: tempfile::TempDir,
    pub writer: Writer,
    pub states: Vec<Memory>,
}

/// Two jobs under a schedule, from an hour to the sixth.
pub fn story(from: i64, twist: Twist<'_>) -> Story {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.now = slot(from - 1);
    let mut states = Vec::new();
    let mut append = |writer: &mut Writer| {
        let old_size = writer.edge.size();
        let decision = Decision { instance: "i".into(), old_size, leaves: writer.waiting.clone() };
        writer.put(&format!("append/{old_size}"), &decision.to_bytes());
        writer.append();
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
        writer.document("waiver", b"{\"approver\":\"somebody\"}");
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

/// What auditors have who were there after an append.
pub fn kept(at: usize) -> Vec<u8> {
    STATES[at].objects["checkpoint"].clone()
}

/// The name in the middle of those that begin so.
pub fn middle(memory: &Memory, prefix: &str) -> String {
    let names = memory.names(prefix);
    names[names.len() / 2].clone()
}
