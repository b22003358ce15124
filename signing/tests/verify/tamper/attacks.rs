//! What somebody does who knows the format: with the store alone, or with the agent's keys and programs too. For each case what the
//! auditor's means show.

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    keys::{FileKey, KeySet, Signer},
    layout,
    log::Checkpoint,
    plan::Plan,
    seal::{Seal, seal},
    statement::Statement,
};

use super::{Made, Means, Row, Said, all_as_wanted, anchors::*, as_documented, history::*, said, spelled};
use crate::sound::*;

/// What the attacker holds beside the right to write to the store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Holds {
    Nothing,
    /// The agent's two keys: what is sealed is validly sealed.
    Keys,
}

const MEANS: usize = Means::ALL.len();

/// One case.
struct Attack {
    name: &'static str,
    holds: Holds,
    make: fn() -> Made,
    /// What is said to an auditor with each of [`Means::ALL`].
    said: [Said; MEANS],
}

const fn finds(codes: &'static [&'static str]) -> Said {
    Said::Finds(codes)
}

/// The same to everybody.
const fn all(said: Said) -> [Said; MEANS] {
    [said; MEANS]
}

/// The same to everybody, but to who kept a checkpoint.
const fn but_kept(said: Said, kept: Said) -> [Said; MEANS] {
    [said, kept, said, said]
}

const TAIL: Said = Said::Limit("TAIL-UNPINNED");
const FORKED: Said = finds(&["LOG-FORKED"]);
const QUORUM: Said = finds(&["WITNESS-QUORUM"]);

const ATTACKS: &[Attack] = &[
    Attack {
        name: "the newest entries taken away: an older log put back under newer objects",
        holds: Holds::Nothing,
        make: older_log,
        said: all(finds(&["LOG-ROLLED-BACK"])),
    },
    Attack {
        name: "the same with all objects of the newest entries",
        holds: Holds::Nothing,
        make: || Made { memory: state(2), object: "checkpoint".into() },
        said: but_kept(TAIL, finds(&["LOG-ROLLED-BACK"])),
    },
    Attack {
        name: "an older checkpoint put back",
        holds: Holds::Nothing,
        make: || replaced("checkpoint", state(2).objects["checkpoint"].clone(), "tile/entries/000.p/18"),
        said: all(finds(&["LOG-ROLLED-BACK"])),
    },
    Attack {
        name: "a checkpoint by another key",
        holds: Holds::Nothing,
        make: || resigned(&FileKey::from_seed(&[9; 32]), |_| {}),
        said: all(finds(&["CHECKPOINT-SIGNATURE"])),
    },
    Attack {
        name: "the checkpoint's signature removed",
        holds: Holds::Nothing,
        make: unsigned_checkpoint,
        said: all(finds(&["CHECKPOINT-MALFORMED"])),
    },
    Attack {
        name: "a checkpoint of another origin, by the owner's key",
        holds: Holds::Keys,
        make: || resigned(&checkpoints_key(), |checkpoint| checkpoint.origin = "example.org/other".into()),
        said: [
            finds(&["ORIGIN", "ANCHOR-MISSING"]),
            Said::Cannot,
            finds(&["ORIGIN", "ANCHOR-MISSING"]),
            finds(&["ORIGIN", "ANCHOR-MISSING", "WITNESS-QUORUM"]),
        ],
    },
    Attack {
        name: "a seal's signature removed",
        holds: Holds::Nothing,
        make: unsigned_seal,
        said: all(finds(&["SEAL-MALFORMED"])),
    },
    Attack {
        name: "a seal by another key, under the old key's name",
        holds: Holds::Nothing,
        make: || resealed(&FileKey::from_seed(&[9; 32])),
        said: all(finds(&["SEAL-SIGNATURE"])),
    },
    Attack {
        name: "old evidence replayed under a new slot's name",
        holds: Holds::Nothing,
        make: replayed_name,
        said: all(finds(&["UNKNOWN-OBJECT"])),
    },
    Attack {
        name: "old evidence in the place of newer",
        holds: Holds::Nothing,
        make: replayed_bytes,
        said: all(finds(&["BUNDLE-DIGEST"])),
    },
    Attack {
        name: "old evidence sealed again for a new slot",
        holds: Holds::Keys,
        make: replayed_receipt,
        said: but_kept(finds(&["LEAF-TWICE"]), finds(&["LEAF-TWICE", "LOG-FORKED"])),
    },
    Attack {
        name: "an entry replaced by another validly signed one, under later entries",
        holds: Holds::Keys,
        make: entry_replaced,
        said: all(finds(&["LOG-FORKED", "TILE-MISSING"])),
    },
    Attack {
        name: "an entry replaced, and every later one sealed again: the log forked, one history for each auditor",
        holds: Holds::Keys,
        make: || Made { memory: second_history(), object: "checkpoint".into() },
        said: [TAIL, FORKED, TAIL, QUORUM],
    },
    Attack {
        name: "the same, with what the first history left",
        holds: Holds::Keys,
        make: both_histories,
        said: all(finds(&["LOG-FORKED"])),
    },
    Attack {
        name: "the log begun anew, its older part put away",
        holds: Holds::Keys,
        make: begun_anew,
        said: [TAIL, finds(&["LOG-ROLLED-BACK"]), TAIL, QUORUM],
    },
    Attack {
        name: "entries of another origin under this one's keys",
        holds: Holds::Keys,
        make: || last_said(|statement| statement.entry.origin = "example.org/other".into()),
        said: but_kept(finds(&["ORIGIN"]), finds(&["ORIGIN", "LOG-FORKED"])),
    },
    Attack {
        name: "the agent's two keys swapped",
        holds: Holds::Keys,
        make: swapped_keys,
        said: but_kept(
            finds(&["CHECKPOINT-SIGNATURE", "SEAL-KEY"]),
            finds(&["CHECKPOINT-SIGNATURE", "LOG-FORKED", "SEAL-KEY"]),
        ),
    },
    Attack {
        name: "the receipts key reported stolen, from hour 3 on",
        holds: Holds::Keys,
        make: || keys_of_hour_five(|set| set.keys[0].compromised_since = Some(slot(3))),
        said: but_kept(finds(&["KEY-COMPROMISED"]), finds(&["KEY-COMPROMISED", "LOG-FORKED"])),
    },
    Attack {
        name: "the receipts key left out of newer keys",
        holds: Holds::Keys,
        make: || keys_of_hour_five(|set| drop(set.keys.remove(0))),
        said: but_kept(finds(&["SEAL-KEY", "KEYS-SUCCESSION"]), finds(&["SEAL-KEY", "KEYS-SUCCESSION", "LOG-FORKED"])),
    },
    Attack {
        name: "keys signed by another root",
        holds: Holds::Keys,
        make: keys_of_a_stranger,
        said: but_kept(finds(&["KEYS-ROOT"]), finds(&["KEYS-ROOT", "LOG-FORKED"])),
    },
    Attack {
        name: "an old revision of the keys logged again",
        holds: Holds::Keys,
        make: keys_again,
        said: but_kept(finds(&["KEYS-REVISION"]), finds(&["KEYS-REVISION", "LOG-FORKED"])),
    },
    Attack {
        name: "a plan with fewer jobs in force before slots that have receipts",
        holds: Holds::Keys,
        make: plan_of_yesterday,
        said: [
            finds(&["PLAN-ORDER", "SLOT-UNKNOWN"]),
            finds(&["PLAN-ORDER", "LOG-FORKED", "SLOT-UNKNOWN"]),
            finds(&["PLAN-ORDER", "SEAL-TIME", "SLOT-UNKNOWN"]),
            finds(&["PLAN-ORDER", "SLOT-UNKNOWN"]),
        ],
    },
    Attack {
        name: "a plan left out between two",
        holds: Holds::Keys,
        make: plan_left_out,
        said: but_kept(finds(&["PLAN-CHAIN"]), finds(&["PLAN-CHAIN", "LOG-FORKED"])),
    },
    Attack {
        name: "a plan that says that slots without receipts have one",
        holds: Holds::Keys,
        make: plan_that_hides,
        said: but_kept(
            finds(&["PLAN-WATERMARK", "SLOT-MISSING"]),
            finds(&["PLAN-WATERMARK", "LOG-FORKED", "SLOT-MISSING"]),
        ),
    },
    Attack {
        name: "a slot left out",
        holds: Holds::Keys,
        make: || hour_three(|_| {}),
        said: but_kept(finds(&["SLOT-MISSING"]), finds(&["SLOT-MISSING", "LOG-ROLLED-BACK"])),
    },
    Attack {
        name: "a slot told twice",
        holds: Holds::Keys,
        make: || {
            let twice = |writer: &mut Writer| {
                for _ in 0..2 {
                    writer.now += TimeDelta::seconds(1);
                    writer.run(&job("host/accounts"), Some(slot(3)));
                }
            };
            hour_three(twice)
        },
        said: but_kept(finds(&["SLOT-DOUBLE"]), finds(&["SLOT-DOUBLE", "LOG-FORKED"])),
    },
    Attack {
        name: "every anchor taken away",
        holds: Holds::Nothing,
        make: || without_anchors(""),
        said: [
            finds(&["ANCHOR-MISSING"]),
            finds(&["ANCHOR-MISSING"]),
            finds(&["ANCHOR-MISSING"]),
            finds(&["ANCHOR-MISSING", "WITNESS-QUORUM"]),
        ],
    },
    Attack {
        name: "the tokens taken away",
        holds: Holds::Nothing,
        make: || without_anchors(".tsr"),
        said: all(finds(&["ANCHOR-MISSING"])),
    },
    Attack {
        name: "the witness's signatures taken away",
        holds: Holds::Nothing,
        make: || without_anchors(".cosig"),
        said: [TAIL, TAIL, TAIL, QUORUM],
    },
    Attack {
        name: "a token of another message added",
        holds: Holds::Nothing,
        make: || token_added(tsa(), b"another message"),
        said: all(finds(&["ANCHOR-TOKEN"])),
    },
    Attack {
        name: "a back-dated token of somebody's own authority added",
        holds: Holds::Nothing,
        make: || token_added(&somebody(), &whole().objects["checkpoint"]),
        said: all(Said::Limit("TIME-AUTHORITY")),
    },
    Attack {
        name: "a second history, with its own tokens of a day later",
        holds: Holds::Keys,
        make: || second_history_anchored_later(TimeDelta::days(1), true),
        said: [TAIL, FORKED, finds(&["SEAL-TIME", "SLOT-MISSING"]), QUORUM],
    },
    Attack {
        name: "a second history whose entries name no token, with its own of an hour later",
        holds: Holds::Keys,
        make: || second_history_anchored_later(TimeDelta::minutes(50), false),
        said: [TAIL, FORKED, TAIL, QUORUM],
    },
];

pub fn replaced(name: &str, bytes: Vec<u8>, object: &str) -> Made {
    let mut memory = whole();
    memory.objects.insert(name.to_owned(), bytes);
    Made { memory, object: object.to_owned() }
}

/// The log of an earlier append, the objects of all.
fn older_log() -> Made {
    let (before, mut memory) = (state(2), whole());
    memory.objects.retain(|name, _| !name.starts_with("tile/") && !name.starts_with("append/"));
    let log = before.objects.into_iter().filter(|(name, _)| !name.starts_with("bundle/") && !name.starts_with("seal/"));
    memory.objects.extend(log);
    // The first seal that knew of more.
    let object = memory.names("seal/").into_iter().find(|name| knew_more(&memory, name, 13)).unwrap();
    Made { memory, object }
}

fn resigned(key: &FileKey, change: impl FnOnce(&mut Checkpoint)) -> Made {
    let mut checkpoint = Checkpoint::parse_unverified(&whole().objects["checkpoint"]).unwrap();
    change(&mut checkpoint);
    replaced("checkpoint", checkpoint.sign(key).unwrap(), "checkpoint")
}

fn unsigned_checkpoint() -> Made {
    let bytes = whole().objects["checkpoint"].clone();
    let text = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
    replaced("checkpoint", bytes[..text].to_vec(), "checkpoint")
}

fn unsigned_seal() -> Made {
    let name = middle(&whole(), "seal/");
    let mut json: serde_json::Value = serde_json::from_slice(&whole().objects[&name]).unwrap();
    json["dsseEnvelope"]["signatures"] = serde_json::json!([]);
    replaced(&name, serde_json::to_vec(&json).unwrap(), &name)
}

fn resealed(key: &FileKey) -> Made {
    let name = middle(&whole(), "seal/");
    let old = Seal::from_bytes(&whole().objects[&name]).unwrap();
    let signature = key.sign(&signing::seal::pae("application/vnd.in-toto+json", &old.payload)).unwrap();
    replaced(&name, seal(&old.payload, &old.key_id, &signature), &name)
}

fn replayed_name() -> Made {
    let memory = whole();
    let old = memory.names("bundle/2026/11/01/20261101T01").remove(0);
    replaced(&old.replace("T010000Z", "T070000Z"), memory.objects[&old].clone(), &old.replace("T010000Z", "T070000Z"))
}

fn replayed_bytes() -> Made {
    let memory = whole();
    let old = memory.names("bundle/2026/11/01/20261101T01").remove(0);
    let newer = memory.names("bundle/2026/11/01/20261101T06").remove(0);
    replaced(&newer, memory.objects[&old].clone(), &newer)
}

/// A receipt for hour 3 over the bundle of hour 1.
fn replayed_receipt() -> Made {
    let name = std::cell::RefCell::new(String::new());
    let memory = history(&|writer, hour| {
        if hour != 3 {
            return false;
        }
        let dir = writer.dir.clone();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
        let seals = Memory::read(&dir).names("seal/");
        let statements =
            seals.iter().map(|name| Statement::from_bytes(&Seal::from_bytes(&read(name)).unwrap().payload));
        let old = statements.map(Result::unwrap).find(|old| old.subject[0].name.contains("T010000Z-host+accounts"));
        let mut again = writer.receipt(&job("host/accounts"), Some(slot(3)), |_| {});
        let copy = old.unwrap();
        std::fs::remove_file(writer.dir.join(&again.subject[0].name)).unwrap();
        let bytes = read(&copy.subject[0].name);
        again.subject = copy.subject;
        again.subject[0].name = again.subject[0].name.replace("T010000Z", "T030000Z");
        writer.put(&again.subject[0].name, &bytes);
        writer.seal(&again);
        writer.run(&job("host/sshd"), Some(slot(3)));
        name.replace(again.subject[0].name.clone());
        true
    });
    Made { memory, object: name.into_inner() }
}

/// Whether a seal is of an entry that knew a log of more than `size` entries.
pub fn knew_more(memory: &Memory, name: &str, size: u64) -> bool {
    let payload = Seal::from_bytes(&memory.objects[name]).unwrap().payload;
    Statement::from_bytes(&payload).unwrap().entry.checkpoint.is_some_and(|known| known.size > size)
}

fn entry_replaced() -> Made {
    let memory = relogged(|writer, leaves| {
        let old = Statement::from_bytes(&leaves[2]).unwrap();
        writer.now = slot(1) + TimeDelta::seconds(5);
        (writer.known, writer.plan, writer.anchor) = (old.entry.checkpoint, old.entry.plan, old.entry.anchor);
        writer.run(&job("host/accounts"), Some(slot(1)));
        leaves[2] = writer.waiting.pop().unwrap();
    });
    Made { memory, object: "tile/entries/000.p/18".into() }
}

/// A receipt of hour 3 that says something else, and all that follows from it.
fn second_history() -> Memory {
    let unseen = &mut |_: &mut Writer| {};
    anchored_story(1, &slower, unseen).states.pop().unwrap()
}

fn begun_anew() -> Made {
    let story = anchored_story(4, &|_, _| false, &mut |_| {});
    Made { memory: story.states.last().unwrap().clone(), object: "checkpoint".into() }
}

pub fn slower(writer: &mut Writer, hour: i64) -> bool {
    if hour == 3 {
        writer.now += TimeDelta::seconds(5);
    }
    false
}

fn both_histories() -> Made {
    let mut memory = whole();
    let second = second_history();
    let mut first = memory.names("seal/").into_iter().filter(|name| !second.objects.contains_key(name));
    let object = first.find(|name| knew_more(&memory, name, 6)).unwrap();
    memory.objects.extend(second.objects);
    Made { memory, object }
}

/// One more entry, by the agent's key.
fn last_said(change: impl Fn(&mut Statement)) -> Made {
    let memory = history(&|writer, hour| {
        if hour == 6 {
            let mut statement = writer.receipt(&job("host/accounts"), None, |_| {});
            change(&mut statement);
            writer.seal(&statement);
        }
        false
    });
    Made { memory, object: "tile/entries/000.p/19".into() }
}

fn swapped_keys() -> Made {
    let Story { mut writer, dir, .. } = story(1, &|writer, hour| {
        if hour == 6 {
            writer.sealer = checkpoints_key();
        }
        false
    });
    let checkpoint = Checkpoint::parse_unverified(&Memory::read(dir.path()).objects["checkpoint"]).unwrap();
    writer.put("checkpoint", &checkpoint.sign(&receipts_key()).unwrap());
    writer.waiting.clear();
    Made { memory: Memory::read(dir.path()), object: "checkpoint".into() }
}

/// A document at hour 5, and the archive that has it.
fn document_of_hour_five(kind: &str, bytes: impl Fn(&Writer) -> Vec<u8>) -> Made {
    let digest = std::cell::Cell::new(None);
    let memory = history(&|writer, hour| {
        if hour == 5 {
            writer.now = slot(4) + TimeDelta::minutes(30);
            let bytes = bytes(writer);
            digest.set(Some(writer.document(kind, &bytes)));
            if kind == "plan" {
                writer.plan = digest.get();
            }
            writer.now = slot(5) + TimeDelta::seconds(1);
        }
        false
    });
    Made { memory, object: layout::document(kind, digest.get().unwrap()) }
}

/// Newer keys by the root, and the seal of the last entry.
fn keys_of_hour_five(change: impl Fn(&mut KeySet)) -> Made {
    let Made { memory, .. } = document_of_hour_five("keys", |_| {
        let mut set = key_set(2);
        change(&mut set);
        set.sign(&root_key()).unwrap()
    });
    let object = memory.names("seal/").into_iter().rfind(|name| knew_more(&memory, name, 17)).unwrap();
    Made { memory, object }
}

fn keys_of_a_stranger() -> Made {
    let stranger = FileKey::from_seed(&[9; 32]);
    document_of_hour_five("keys", |_| {
        let set = KeySet { root: *stranger.public(), ..key_set(2) };
        set.sign(&stranger).unwrap()
    })
}

fn keys_again() -> Made {
    document_of_hour_five("keys", |_| {
        let set = KeySet { made_at: slot(4), ..key_set(1) };
        set.sign(&root_key()).unwrap()
    })
}

/// The plan in force, told anew with a change.
fn replanned(writer: &Writer, change: impl Fn(&mut Plan)) -> Vec<u8> {
    let name = layout::document("plan", writer.plan.unwrap());
    let mut plan: Plan = serde_json::from_slice(&std::fs::read(writer.dir.join(name)).unwrap()).unwrap();
    (plan.previous, plan.sealed_at) = (writer.plan, writer.now);
    change(&mut plan);
    serde_json::to_vec(&plan).unwrap()
}

/// A plan at hour 5 that is in force since hour 3, without a job that has receipts since then.
fn plan_of_yesterday() -> Made {
    let memory = history(&|writer, hour| {
        if hour == 5 {
            writer.now = slot(2) + TimeDelta::minutes(30);
            let bytes = replanned(writer, |plan| drop(plan.jobs.remove(0)));
            writer.plan = Some(writer.document("plan", &bytes));
            writer.now = slot(5) + TimeDelta::seconds(1);
        }
        false
    });
    Made { memory, object: "entry 13".into() }
}

fn plan_left_out() -> Made {
    let Made { memory, .. } = document_of_hour_five("plan", |writer| {
        replanned(writer, |plan| plan.previous = Some(Digest::of(b"never logged")))
    });
    Made { memory, object: "entry 13".into() }
}

/// Hour 3 of one job is left out, and the plan of hour 5 says that it was not.
fn plan_that_hides() -> Made {
    let memory = history(&|writer, hour| {
        if hour == 5 {
            writer.now = slot(4) + TimeDelta::minutes(30);
            let bytes = replanned(writer, |plan| plan.jobs[0].watermark = Some(slot(5)));
            writer.plan = Some(writer.document("plan", &bytes));
            writer.now = slot(5) + TimeDelta::seconds(1);
        }
        if hour == 3 {
            writer.run(&job("host/sshd"), Some(slot(3)));
        }
        hour == 3
    });
    Made { memory, object: "host/accounts@this 2026-11-01T03:00:00Z".into() }
}

/// Something else than the one receipt for a slot of hour 3.
fn hour_three(instead: impl Fn(&mut Writer)) -> Made {
    let memory = history(&|writer, hour| {
        if hour == 3 {
            instead(writer);
            writer.run(&job("host/sshd"), Some(slot(3)));
        }
        hour == 3
    });
    Made { memory, object: "host/accounts@this 2026-11-01T03:00:00Z".into() }
}

#[test]
fn every_attack_is_seen_or_a_limit_says_that_it_cannot_be() {
    let mut rows = Vec::new();
    for attack in ATTACKS {
        let made = (attack.make)();
        for (means, wanted) in Means::ALL.into_iter().zip(attack.said) {
            let verdict = made.memory.judge_with(&means.options());
            let found = said(&verdict, &made.object, wanted);
            rows.push(Row { case: format!("{} ({means:?})", attack.name), wanted: spelled(wanted), found });
        }
    }
    all_as_wanted(&rows);
}

#[test]
fn the_table_of_attacks_is_documented() {
    let mut table =
        "| what was done | with | root key alone | a kept checkpoint | trusted time | a witness |\n".to_owned();
    table += "| --- | --- | --- | --- | --- | --- |\n";
    for attack in ATTACKS {
        let holds = match attack.holds {
            Holds::Nothing => "the store",
            Holds::Keys => "the agent's keys",
        };
        let cells = attack.said.map(spelled).join(" | ");
        table += &format!("| {} | {holds} | {cells} |\n", attack.name);
    }
    as_documented(&table);
}
