//! One object changed by somebody who may write to the store and has no key: each kind of object, each kind of change.

use signing::{digest::Digest, layout};

use super::{Made, Means, Row, Said, all_as_wanted, as_documented, history::*, said, spelled};
use crate::sound::*;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Remove,
    /// By another of its kind or, where there is none, by noise of its length.
    Replace,
    /// Two of a kind change places.
    Swap,
    /// A copy under another name of its kind.
    Double,
    /// The second half goes.
    Truncate,
    /// One byte more.
    Extend,
}

use Change::{Double, Extend, Remove, Replace, Swap, Truncate};

const CHANGES: [Change; 6] = [Remove, Replace, Swap, Double, Truncate, Extend];

/// A kind of object: which one is changed, its neighbour, and where a copy goes.
struct Kind {
    name: &'static str,
    archive: fn() -> Memory,
    /// The auditor's.
    means: Means,
    one: fn(&Memory) -> String,
    /// Another of its kind, where there is one.
    other: fn(&Memory) -> Option<String>,
    copy: fn(&str) -> String,
    /// What must be said of each change, in the order of [`CHANGES`]; `None` where it cannot be made.
    said: [Option<Said>; 6],
}

const fn finds(codes: &'static [&'static str]) -> Option<Said> {
    Some(Said::Finds(codes))
}

/// Another one of those that begin so.
fn another(memory: &Memory, prefix: &str, one: &str) -> Option<String> {
    memory.names(prefix).into_iter().find(|name| name != one)
}

fn nothing(_: &Memory) -> Option<String> {
    None
}

/// The same name with another digest in it.
fn other_digest(name: &str) -> String {
    let hex = name.split(['/', '-', '.']).find(|part| part.len() == 64).unwrap();
    name.replace(hex, &Digest::of(name.as_bytes()).to_string())
}

const KINDS: &[Kind] = &[
    Kind {
        name: "checkpoint",
        archive: whole,
        means: Means::Nothing,
        one: |_| "checkpoint".into(),
        other: nothing,
        copy: |_| "checkpoint.old".into(),
        said: [
            Some(Said::Cannot),
            finds(&["CHECKPOINT-MALFORMED"]),
            None,
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["CHECKPOINT-MALFORMED"]),
            finds(&["CHECKPOINT-MALFORMED"]),
        ],
    },
    Kind {
        name: "entries",
        archive: whole,
        means: Means::Nothing,
        one: |_| "tile/entries/000.p/18".into(),
        other: |_| Some("tile/entries/000.p/17".into()),
        copy: |_| "tile/entries/001.p/18".into(),
        said: [
            finds(&["ENTRIES-MISSING", "KEYS-NONE"]),
            finds(&["ENTRIES-BYTES"]),
            finds(&["ENTRIES-BYTES"]),
            finds(&["LOG-ROLLED-BACK"]),
            finds(&["ENTRIES-BYTES"]),
            finds(&["ENTRIES-BYTES"]),
        ],
    },
    Kind {
        name: "entries, a full bundle",
        archive: sound,
        means: Means::Nothing,
        one: |_| "tile/entries/000".into(),
        other: |_| Some("tile/entries/001.p/9".into()),
        copy: |_| "tile/entries/001".into(),
        said: [
            finds(&["ENTRIES-MISSING", "KEYS-NONE", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["ENTRIES-BYTES", "KEYS-NONE", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["ENTRIES-BYTES", "KEYS-NONE"]),
            finds(&["LOG-ROLLED-BACK"]),
            finds(&["ENTRIES-BYTES", "PLAN-UNKNOWN", "SLOT-MISSING", "SLOT-PLAN"]),
            finds(&["ENTRIES-BYTES"]),
        ],
    },
    Kind {
        name: "hashes",
        archive: whole,
        means: Means::Nothing,
        one: |_| "tile/0/000.p/18".into(),
        other: |_| Some("tile/0/000.p/17".into()),
        copy: |_| "tile/0/001.p/18".into(),
        said: [
            finds(&["TILE-MISSING"]),
            finds(&["TILE-BYTES"]),
            finds(&["TILE-BYTES"]),
            finds(&["LOG-ROLLED-BACK"]),
            finds(&["TILE-BYTES"]),
            finds(&["TILE-BYTES"]),
        ],
    },
    Kind {
        name: "hashes, a full tile",
        archive: sound,
        means: Means::Nothing,
        one: |_| "tile/0/000".into(),
        other: |_| Some("tile/0/001.p/9".into()),
        copy: |_| "tile/2/000".into(),
        said: [
            finds(&["TILE-MISSING"]),
            finds(&["TILE-BYTES"]),
            finds(&["TILE-BYTES"]),
            finds(&["LOG-ROLLED-BACK"]),
            finds(&["TILE-BYTES"]),
            finds(&["TILE-BYTES"]),
        ],
    },
    Kind {
        name: "hashes above them",
        archive: sound,
        means: Means::Nothing,
        one: |_| "tile/1/000.p/1".into(),
        other: nothing,
        copy: |_| "tile/1/000.p/2".into(),
        said: [
            finds(&["TILE-MISSING"]),
            finds(&["TILE-BYTES"]),
            None,
            finds(&["LOG-ROLLED-BACK"]),
            finds(&["TILE-BYTES"]),
            finds(&["TILE-BYTES"]),
        ],
    },
    Kind {
        name: "seal",
        archive: whole,
        means: Means::Nothing,
        one: |memory| middle(memory, "seal/"),
        other: |memory| another(memory, "seal/", &middle(memory, "seal/")),
        copy: other_digest,
        said: [
            finds(&["SEAL-MISSING"]),
            finds(&["SEAL-PAYLOAD"]),
            finds(&["SEAL-PAYLOAD"]),
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["SEAL-MALFORMED"]),
            finds(&["SEAL-MALFORMED"]),
        ],
    },
    Kind {
        name: "bundle",
        archive: whole,
        means: Means::Nothing,
        one: |memory| middle(memory, "bundle/"),
        other: |memory| another(memory, "bundle/", &middle(memory, "bundle/")),
        copy: |name| name.replace("T030000Z", "T030001Z").replace("T040000Z", "T040001Z"),
        said: [
            finds(&["BUNDLE-MISSING"]),
            finds(&["BUNDLE-DIGEST"]),
            finds(&["BUNDLE-DIGEST"]),
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["BUNDLE-DIGEST"]),
            finds(&["BUNDLE-DIGEST"]),
        ],
    },
    Kind {
        name: "plan",
        archive: whole,
        means: Means::Nothing,
        one: |memory| layout::document("plan", first_plan(memory)),
        other: |memory| another(memory, "document/plan/", &layout::document("plan", first_plan(memory))),
        copy: other_digest,
        said: [
            finds(&["DOCUMENT-MISSING", "PLAN-CHAIN", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["DOCUMENT-DIGEST", "PLAN-CHAIN", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["DOCUMENT-DIGEST", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["DOCUMENT-DIGEST", "PLAN-CHAIN", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
            finds(&["DOCUMENT-DIGEST", "PLAN-CHAIN", "PLAN-UNKNOWN", "SLOT-UNKNOWN"]),
        ],
    },
    Kind {
        name: "keys",
        archive: whole,
        means: Means::Nothing,
        one: |memory| middle(memory, "document/keys/"),
        other: nothing,
        copy: other_digest,
        said: [
            finds(&["DOCUMENT-MISSING", "KEYS-NONE"]),
            finds(&["DOCUMENT-DIGEST", "KEYS-NONE"]),
            None,
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["DOCUMENT-DIGEST", "KEYS-NONE"]),
            finds(&["DOCUMENT-DIGEST", "KEYS-NONE"]),
        ],
    },
    Kind {
        name: "another document",
        archive: whole,
        means: Means::Nothing,
        one: |memory| middle(memory, "document/letter/"),
        other: nothing,
        copy: other_digest,
        said: [
            finds(&["DOCUMENT-MISSING"]),
            finds(&["DOCUMENT-DIGEST"]),
            None,
            finds(&["UNKNOWN-OBJECT"]),
            finds(&["DOCUMENT-DIGEST"]),
            finds(&["DOCUMENT-DIGEST"]),
        ],
    },
    Kind {
        name: "append that is done",
        archive: whole,
        means: Means::Nothing,
        one: |_| "append/6".into(),
        other: |_| Some("append/2".into()),
        copy: |_| "append/7".into(),
        said: [
            Some(Said::Allowed),
            finds(&["APPEND-BYTES"]),
            finds(&["APPEND-BYTES"]),
            finds(&["APPEND-BYTES"]),
            finds(&["APPEND-BYTES"]),
            finds(&["APPEND-BYTES"]),
        ],
    },
    Kind {
        name: "anchored checkpoint",
        archive: whole,
        means: Means::TrustedTime,
        one: |memory| anchored(memory, 13, ".checkpoint"),
        other: |memory| Some(anchored(memory, 6, ".checkpoint")),
        copy: other_digest,
        said: [
            finds(&["ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
        ],
    },
    Kind {
        name: "token",
        archive: whole,
        means: Means::TrustedTime,
        one: |memory| anchored(memory, 13, ".tsr"),
        other: |memory| Some(anchored(memory, 6, ".tsr")),
        copy: other_digest,
        said: [
            finds(&["ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
            finds(&["ANCHOR-BYTES", "ANCHOR-MISSING"]),
        ],
    },
    Kind {
        name: "witness's signature",
        archive: whole,
        means: Means::Witness,
        one: |memory| anchored(memory, 13, ".cosig"),
        other: |memory| Some(anchored(memory, 6, ".cosig")),
        copy: other_digest,
        said: [
            Some(Said::Limit("TAIL-UNPINNED")),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES"]),
            finds(&["ANCHOR-BYTES"]),
        ],
    },
];

/// What pins the log of that size.
fn anchored(memory: &Memory, size: u64, suffix: &str) -> String {
    memory.names(&format!("anchor/{size}/")).into_iter().find(|name| name.ends_with(suffix)).unwrap()
}

/// The plan that the first receipts rest on.
fn first_plan(memory: &Memory) -> Digest {
    let older = state(0);
    let name = older.names("document/plan/").remove(0);
    assert!(memory.objects.contains_key(&name));
    Digest::of(&memory.objects[&name])
}

impl Kind {
    /// The archive with the change, where it can be made.
    fn changed(&self, change: Change) -> Option<Made> {
        let mut memory = (self.archive)();
        let one = (self.one)(&memory);
        let other = (self.other)(&memory);
        let bytes = memory.objects[&one].clone();
        let mut object = one.clone();
        match change {
            Remove => {
                memory.objects.remove(&one);
                // What is gone is told of what rested on it.
                if one.ends_with(".checkpoint") {
                    object = anchored(&memory, 13, ".tsr");
                }
            }
            Replace => {
                let noise = || (0..bytes.len()).map(|at| (at * 7) as u8).collect();
                let by = other.map_or_else(noise, |other| memory.objects[&other].clone());
                memory.objects.insert(one, by);
            }
            Swap => {
                let other = other?;
                let second = memory.objects.insert(other.clone(), bytes)?;
                memory.objects.insert(one, second);
            }
            Double => {
                object = (self.copy)(&one);
                assert!(memory.objects.insert(object.clone(), bytes).is_none(), "{object} is there already");
            }
            Truncate => memory.objects.get_mut(&one)?.truncate(bytes.len() / 2),
            Extend => memory.objects.get_mut(&one)?.push(b'X'),
        }
        Some(Made { memory, object })
    }
}

#[test]
fn every_change_to_every_kind_of_object_is_called_what_it_is() {
    let mut rows = Vec::new();
    for kind in KINDS {
        for (change, wanted) in CHANGES.into_iter().zip(kind.said) {
            let Some(made) = kind.changed(change) else {
                assert_eq!(wanted, None, "{}: {change:?} cannot be made", kind.name);
                continue;
            };
            let verdict = made.memory.judge_with(&kind.means.options());
            let found = said(&verdict, &made.object, wanted.unwrap_or(Said::Cannot));
            rows.push(Row {
                case: format!("{}: {change:?}", kind.name),
                wanted: wanted.map(spelled).unwrap_or_default(),
                found,
            });
        }
    }
    all_as_wanted(&rows);
}

#[test]
fn the_table_of_changes_is_documented() {
    let mut table =
        "| object | removed | replaced | two swapped | copied under another name | cut in half | a byte more |\n\
                     | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for kind in KINDS {
        let cells = kind.said.map(|said| said.map(spelled).unwrap_or_default());
        table += &format!("| {} | {} |\n", kind.name, cells.join(" | "));
    }
    as_documented(&table);
}
