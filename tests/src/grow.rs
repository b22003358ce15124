//! Archives that the program made, continued with its own keys: as many entries as a test needs, tokens and anchors, without waiting for
//! as many runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    layout::{self, Anchor},
    log::{Checkpoint, Edge},
    seal::{Seal, pae},
    statement::{Body, PAYLOAD_TYPE, Statement},
    store::Dir,
};

use crate::program::{Place, files};

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("an object lies in a directory")).expect("directories can be made");
    fs::write(path, bytes).expect("an object can be written");
}

fn key(place: &Place, name: &str) -> FileKey {
    let pem = fs::read_to_string(place.path().join("evidence.keys").join(name)).expect("the first run left its keys");
    FileKey::from_pem(&pem).expect("they are keys")
}

/// The archive's checkpoint, unverified.
pub fn checkpoint(place: &Place) -> Checkpoint {
    let bytes = fs::read(place.origin().join(layout::CHECKPOINT)).expect("there is a checkpoint");
    Checkpoint::parse_unverified(&bytes).expect("it is one")
}

/// Logs `count` more receipts like the archive's first one, each sealed a millisecond after the one before, with what `tokens` gives for
/// its signature. All are appended at once; other counts give other entries. Returns their seals.
pub fn grow(place: &Place, count: u64, tokens: &dyn Fn(&[u8; 64]) -> Vec<Vec<u8>>) -> Vec<PathBuf> {
    let origin = place.origin();
    let (receipts, checkpoints) = (key(place, "receipts.pem"), key(place, "checkpoint.pem"));
    let before = checkpoint(place);
    let model = sealed(&receipt(place).0);
    let (mut leaves, mut seals) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let mut statement = model.clone();
        statement.entry.checkpoint = Some(before.known());
        statement.entry.instance = format!("{count:032x}");
        let since = i64::try_from(before.size + number).expect("a small number");
        statement.entry.sealed_at += chrono::TimeDelta::milliseconds(since);
        let payload = statement.to_bytes().expect("it fits");
        let signature = receipts.sign(&pae(PAYLOAD_TYPE, &payload)).expect("a file's key signs");
        let seal = Seal {
            key_id: receipts.public().fingerprint(),
            timestamps: tokens(&signature),
            payload: payload.clone(),
            signature,
        };
        let path = origin.join(layout::seal(statement.entry.sealed_at, Digest::of(&payload)));
        write(&path, &seal.to_bytes());
        leaves.push(payload);
        seals.push(path);
    }
    let mut edge = Edge::read(&Dir::new(&origin), before.size, before.root).expect("the log reads");
    edge.append(&leaves, &mut |name, bytes| write(&origin.join(name), &bytes)).expect("the log grows");
    let after = Checkpoint { size: edge.size(), root: edge.root(), ..before };
    write(&origin.join(layout::CHECKPOINT), &after.sign(&checkpoints).expect("a file's key signs"));
    seals
}

/// Stores the checkpoint as it is, with what `objects` makes of its bytes.
pub fn anchor(place: &Place, objects: impl Fn(&[u8]) -> Vec<(Anchor, Vec<u8>)>) {
    let bytes = fs::read(place.origin().join(layout::CHECKPOINT)).expect("there is a checkpoint");
    let size = checkpoint(place).size;
    for (kind, object) in [(Anchor::Checkpoint, bytes.clone())].into_iter().chain(objects(&bytes)) {
        write(&place.origin().join(layout::anchor(size, Digest::of(&object), kind)), &object);
    }
}

/// The seal of a receipt, and its bundle.
pub fn receipt(place: &Place) -> (PathBuf, PathBuf) {
    for path in files(&place.origin().join("seal")) {
        let statement = sealed(&path);
        if matches!(statement.body, Body::Receipt(_)) {
            return (path, place.origin().join(&statement.subject[0].name));
        }
    }
    panic!("no receipt was sealed");
}

fn sealed(path: &Path) -> Statement {
    let seal = Seal::from_bytes(&fs::read(path).expect("a seal reads")).expect("it is one");
    Statement::from_bytes(&seal.payload).expect("it seals a statement")
}
