//! Verifiers that others wrote, called as docs/AUDITORS.md says, accept what the program makes, and refuse it changed.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use signing::{
    keys::{FileKey, Signer as _},
    layout::Anchor,
    log::cosignature::{Cosignature, WitnessKey},
    seal::Seal,
};
use tests::{
    grow::{self, anchor, grow},
    program::{Place, files},
    recipes::{Auditor, recipes},
    tools,
    tsa::Tsa,
};

const PAGE: &str = "AUDITORS.md";

fn collected() -> Place {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    place
}

/// Two authorities of different operators, with different keys.
struct Authorities {
    rsa: Tsa,
    ecdsa: Tsa,
}

/// Made once for all tests that run at the same time, and removed after them.
fn authorities() -> Arc<Authorities> {
    static ALIVE: LazyLock<Mutex<Weak<Authorities>>> = LazyLock::new(Mutex::default);
    let mut alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
    alive.upgrade().unwrap_or_else(|| {
        let rsa = Tsa::new("One", "RSA -pkeyopt rsa_keygen_bits:2048");
        let ecdsa = Tsa::new("Other", "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve");
        let made = Arc::new(Authorities { rsa, ecdsa });
        *alive = Arc::downgrade(&made);
        made
    })
}

impl Authorities {
    /// Of each, over the message.
    fn tokens(&self, message: &[u8]) -> Vec<Vec<u8>> {
        vec![self.rsa.token(message), self.ecdsa.token(message)]
    }

    /// The file of their roots that an auditor has.
    fn roots(&self, place: &Place) -> PathBuf {
        let path = place.path().join("roots.pem");
        let pem = [&self.rsa, &self.ecdsa].map(|tsa| fs::read(tsa.root()).unwrap()).concat();
        fs::write(&path, pem).unwrap();
        path
    }
}

/// What an auditor has when the bundle of `seal` is verified: `keys` and `statement`, and the variables of the page.
fn auditor(place: &Place, seal: &Path) -> Auditor {
    let origin = place.origin();
    let auditor = Auditor::new(place.path(), &origin, &place.root())
        .with("SEAL", seal)
        .with("OTHERS", tools::verifiers())
        .with("KEPT", origin.join("checkpoint"))
        .with("ROOTS", "/dev/null");
    auditor.accepts("FORMAT.md", "");
    auditor
}

/// How `evidenced verify` ends with what recipes are given too.
fn ours(place: &Place, option: &str, file: &Path) -> Option<i32> {
    let root = place.root();
    let arguments = ["verify", "./evidence", "--trust", &root, option, file.to_str().unwrap()];
    place.run(arguments).status.code()
}

/// Does `change` to a file, calls `then`, and puts the file back.
fn changed(path: &Path, change: impl FnOnce(&mut Vec<u8>), then: impl FnOnce()) {
    let sound = fs::read(path).unwrap();
    let mut other = sound.clone();
    change(&mut other);
    assert_ne!(other, sound);
    fs::write(path, other).unwrap();
    then();
    fs::write(path, sound).unwrap();
}

fn flip_the_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// Another payload under the same signature.
fn forge(bytes: &mut Vec<u8>) {
    let mut seal = Seal::from_bytes(bytes).unwrap();
    let place = seal.payload.windows(10).position(|text| text == b"evidenced:").unwrap();
    seal.payload[place + 8] = b'D';
    *bytes = seal.to_bytes();
}

#[test]
fn every_recipe_of_the_page_is_followed_by_a_test() {
    let names: Vec<_> = recipes(PAGE).into_iter().map(|(name, _)| name).collect();
    assert!(names.len() > 8, "{names:?}");
    let here = concat!(include_str!("others.rs"), include_str!("sample.rs"), include_str!("../src/tools.rs"));
    for name in names {
        assert!(here.contains(&format!("\"{name}\"")), "no test follows {name:?}");
    }
}

#[test]
fn securesystemslib_of_pypi_accepts_every_seal_and_refuses_a_changed_one() {
    let place = collected();
    let (seal, _) = grow::receipt(&place);
    let auditor = auditor(&place, &seal);
    let count = files(&place.origin().join("seal")).len();
    let lines = auditor.accepts(PAGE, "seals");
    assert_eq!(lines.lines().filter(|line| line.starts_with("ok ")).count(), count, "{lines}");
    changed(&seal, forge, || auditor.refuses(PAGE, "seals", "refused"));
}

#[test]
fn sigstore_verify_of_npm_accepts_every_seal_with_its_tokens_and_refuses_changed_ones() {
    let (place, authorities) = (collected(), authorities());
    let sealed = grow(&place, 2, &|signature| authorities.tokens(signature));
    let auditor = auditor(&place, &sealed[0]).with("ROOTS", authorities.roots(&place));
    auditor.accepts(PAGE, "tokens");
    let count = files(&place.origin().join("seal")).len();
    let lines = auditor.accepts(PAGE, "seals-sigstore");
    assert_eq!(lines.lines().filter(|line| line.starts_with("ok ")).count(), count, "{lines}");
    assert_eq!(lines.lines().filter(|line| line.ends_with(" tokens 2")).count(), 2, "{lines}");

    changed(&grow::receipt(&place).0, forge, || {
        auditor.refuses(PAGE, "seals-sigstore", "signature verification failed");
    });
    let foreign = |bytes: &mut Vec<u8>| {
        let mut seal = Seal::from_bytes(bytes).unwrap();
        seal.timestamps = authorities.tokens(b"another message");
        *bytes = seal.to_bytes();
    };
    changed(&sealed[1], foreign, || {
        auditor.refuses(PAGE, "seals-sigstore", "refused");
        auditor.refuses(PAGE, "tokens", "it is over another message");
    });
    let expired = |bytes: &mut Vec<u8>| {
        let mut keys: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        for key in keys["keys"].as_array_mut().unwrap() {
            key["valid"]["until"] = key["valid"]["from"].clone();
        }
        *bytes = serde_json::to_vec(&keys).unwrap();
    };
    changed(&auditor.directory().join("keys"), expired, || {
        auditor.refuses(PAGE, "seals-sigstore", "not valid for timestamp")
    });
}

#[test]
fn cosign_accepts_a_seal_with_and_without_tokens_and_refuses_what_was_changed() {
    let Some(cosign) = tools::cosign() else { return };
    let (place, authorities) = (collected(), authorities());
    let (bare, bundle) = grow::receipt(&place);
    let stamped = grow(&place, 1, &|signature| authorities.tokens(signature)).remove(0);
    let roots = authorities.roots(&place);
    for seal in [&bare, &stamped] {
        let auditor = auditor(&place, seal).with("ROOTS", &roots).with_path(cosign.parent().unwrap());
        auditor.accepts(PAGE, "tokens");
        auditor.accepts(PAGE, "cosign");
        changed(seal, forge, || auditor.refuses(PAGE, "cosign", "failed to verify signature"));
        changed(
            &bundle,
            |bytes| flip_the_middle(bytes),
            || {
                auditor.refuses(PAGE, "cosign", "provided artifact digest does not match any digest in statement");
            },
        );
    }
    let auditor = auditor(&place, &stamped).with("ROOTS", &roots).with_path(cosign.parent().unwrap());
    auditor.accepts(PAGE, "tokens");
    let foreign = |bytes: &mut Vec<u8>| {
        let mut seal = Seal::from_bytes(bytes).unwrap();
        seal.timestamps = authorities.tokens(b"another message");
        *bytes = seal.to_bytes();
    };
    changed(&stamped, foreign, || auditor.refuses(PAGE, "cosign", "threshold not met for verified signed timestamps"));
}

#[test]
fn openssl_and_rfc3161_client_accept_anchors_and_refuse_them_under_another_root_or_over_another_checkpoint() {
    let (place, authorities) = (collected(), authorities());
    let token = |bytes: &[u8]| authorities.tokens(bytes).into_iter().map(|token| (Anchor::Token, token)).collect();
    anchor(&place, token);
    place.expect(0, ["collect", "host/accounts"]);
    anchor(&place, token);
    let auditor = auditor(&place, &grow::receipt(&place).0).with("ROOTS", authorities.roots(&place));
    for recipe in ["tokens-openssl", "tokens"] {
        let lines = auditor.accepts(PAGE, recipe);
        assert_eq!(lines.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{lines}");
    }
    assert_eq!(ours(&place, "--tsa-roots", &authorities.roots(&place)), Some(0));
    // What the log's readers add: the anchored checkpoints are of this log's past.
    auditor.accepts(PAGE, "vkeys");
    let lines = auditor.accepts(PAGE, "log");
    assert_eq!(lines.matches("the log's first 4 entries are still there").count(), 1, "{lines}");

    let auditor = auditor.with("ROOTS", authorities.rsa.root());
    auditor.refuses(PAGE, "tokens-openssl", "refused");
    auditor.refuses(PAGE, "tokens", "unable to get local issuer certificate");
    let auditor = auditor.with("ROOTS", authorities.roots(&place));
    let anchored = place.origin().join("anchor/4");
    let path = files(&anchored).into_iter().find(|path| path.extension().unwrap() == "tsr").unwrap();
    changed(
        &path,
        |bytes| *bytes = authorities.ecdsa.token(b"another message"),
        || {
            auditor.refuses(PAGE, "tokens-openssl", "refused");
            auditor.refuses(PAGE, "tokens", "it is over another message");
            assert_eq!(ours(&place, "--tsa-roots", &authorities.roots(&place)), Some(1));
        },
    );
    changed(
        &path,
        |bytes| {
            let end = bytes.len() - 1;
            bytes[end] ^= 1
        },
        || {
            auditor.refuses(PAGE, "tokens-openssl", "refused");
            auditor.refuses(PAGE, "tokens", "refused");
        },
    );
}

/// Both readers, by their recipes.
const READERS: [&str; 2] = ["log", "log-aics"];

#[test]
fn sumdb_of_go_and_aics_tlog_of_pypi_audit_a_log_of_several_tiles_and_refuse_what_was_changed() {
    let place = collected();
    // Asked for here: seals of one day are named by their digests, in no order of time.
    let (first, _) = grow::receipt(&place);
    grow(&place, 200, &|_| Vec::new());
    let kept = place.path().join("kept");
    fs::copy(place.origin().join("checkpoint"), &kept).unwrap();
    let fork = place.path().join("fork");
    copy(&place.path().join("evidence"), &fork);
    grow(&place, 120, &|_| Vec::new());
    let auditor = auditor(&place, &first).with("KEPT", &kept);
    auditor.accepts(PAGE, "vkeys");
    for reader in READERS {
        let lines = auditor.accepts(PAGE, reader);
        assert!(lines.contains("324"), "{lines}");
        assert!(lines.contains("statement: entry "), "{lines}");
        assert!(lines.contains("the log's first 204 entries are still there"), "{lines}");
    }
    // Partial tiles may go once they are full.
    fs::remove_dir_all(place.origin().join("tile/0/000.p")).unwrap();
    fs::remove_dir_all(place.origin().join("tile/entries/000.p")).unwrap();
    for reader in READERS {
        auditor.accepts(PAGE, reader);
        for object in [
            "tile/entries/000",
            "tile/entries/001.p/68",
            "tile/0/000",
            "tile/0/001.p/68",
            "tile/1/000.p/1",
            "checkpoint",
        ] {
            changed(
                &place.origin().join(object),
                |bytes| flip_the_middle(bytes),
                || auditor.refuses(PAGE, reader, "refused"),
            );
        }
        changed(
            &auditor.directory().join("statement"),
            |bytes| flip_the_middle(bytes),
            || auditor.refuses(PAGE, reader, "refused"),
        );
    }
    // The newest entries taken away, and another history of the same key.
    let now = place.path().join("now");
    fs::copy(place.origin().join("checkpoint"), &now).unwrap();
    let shown = place.path().join("evidence");
    fs::remove_dir_all(&shown).unwrap();
    fs::rename(&fork, &shown).unwrap();
    for reader in READERS {
        auditor.accepts(PAGE, reader);
    }
    let auditor = auditor.with("KEPT", &now);
    for reader in READERS {
        auditor.refuses(PAGE, reader, "refused");
    }
    grow(&place, 150, &|_| Vec::new());
    for reader in READERS {
        auditor.refuses(PAGE, reader, "refused");
    }
}

#[test]
fn aics_tlog_of_pypi_accepts_our_cosignatures_and_refuses_those_of_others() {
    let place = collected();
    let key = FileKey::generate();
    let witness = WitnessKey::new("witness.example/1", *key.public()).unwrap();
    let at = chrono::Utc::now();
    anchor(&place, |bytes| {
        let text = &bytes[..bytes.windows(2).position(|two| two == b"\n\n").unwrap() + 1];
        let line = Cosignature::sign(&witness, &key, text, at).unwrap().to_line();
        vec![(Anchor::Cosignature, line.into_bytes())]
    });
    let known = place.path().join("witnesses");
    fs::write(&known, witness.vkey() + "\n").unwrap();
    let auditor = auditor(&place, &grow::receipt(&place).0).with("WITNESSES", &known);
    auditor.accepts(PAGE, "vkeys");
    let lines = auditor.accepts(PAGE, "witnesses");
    let seen = format!("witness.example/1 saw 4 entries at {}", signing::time::rfc3339(at));
    assert!(lines.contains(&seen), "{lines}");
    assert_eq!(ours(&place, "--witness", &known), Some(0));

    let stored =
        files(&place.origin().join("anchor")).into_iter().find(|path| path.extension().unwrap() == "cosig").unwrap();
    changed(
        &stored,
        |bytes| {
            let end = bytes.len() - 8;
            bytes[end] ^= 1
        },
        || auditor.refuses(PAGE, "witnesses", "refused"),
    );
    let other = WitnessKey::new("witness.example/1", *FileKey::generate().public()).unwrap();
    fs::write(&known, other.vkey() + "\n").unwrap();
    auditor.refuses(PAGE, "witnesses", "none of these witnesses has signed");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
