//! The files of an entry of the vectors' archive, one by one, for tests that change them.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    package, seal,
    store::Dir,
};

use crate::program::{files, workspace};

/// Why nothing here fails: the vectors are checked by `signing`, and a scratch directory can be written.
const WORKS: &str = "the vectors are whole";

fn vectors() -> Value {
    serde_json::from_slice(&fs::read(workspace().join("docs/vectors/vectors.json")).expect(WORKS)).expect(WORKS)
}

/// A key of the vectors, by its name there.
pub fn key(name: &str) -> FileKey {
    let seed: Digest = vectors()["keys"][name]["seed"].as_str().expect(WORKS).parse().expect(WORKS);
    FileKey::from_seed(&seed.0)
}

/// The vectors' root key.
pub fn root() -> String {
    key("root").public().fingerprint()
}

/// A package of an entry of the vectors' archive, as files.
pub fn unpacked(index: u64, to: &Path) {
    let archive = Dir::new(workspace().join("docs/vectors/archive"));
    package::make(&archive, index, &mut |name, content: &mut dyn Read| {
        let path = to.join(name);
        fs::create_dir_all(path.parent().expect(WORKS))?;
        std::io::copy(content, &mut fs::File::create(path)?).map(drop)
    })
    .expect(WORKS);
}

/// A directory as a ZIP in the form of bundles.
pub fn zipped(from: &Path, to: &Path) {
    let mut out = fs::File::options().read(true).write(true).create_new(true).open(to).expect(WORKS);
    signing::bundle::write(from, &mut out).expect(WORKS);
}

/// The files of an entry, one by one, each of which a case may change.
pub struct Loose {
    directory: PathBuf,
    /// The bundle.
    pub bundle: Vec<u8>,
    /// Its seal.
    pub seal: Vec<u8>,
    /// The inclusion proof.
    pub proof: Vec<u8>,
    /// The keys document.
    pub keys: Vec<u8>,
    /// Others, by name.
    pub others: Vec<(String, Vec<u8>)>,
}

impl Loose {
    /// Those of the entry 2, a receipt; they are written to a directory of this name.
    pub fn new(scratch: &Path, name: &str) -> Self {
        let from = scratch.join(format!("{name}.from"));
        unpacked(2, &from);
        let read = |below: &str| fs::read(files(&from.join(below)).remove(0)).expect(WORKS);
        Self {
            directory: scratch.join(name),
            bundle: read("bundle"),
            seal: read("seal"),
            proof: read("proof"),
            keys: read("document/keys"),
            others: Vec::new(),
        }
    }

    /// Writes those that are not empty.
    pub fn written(&self) -> Vec<PathBuf> {
        fs::create_dir_all(&self.directory).expect(WORKS);
        let own = [
            ("bundle.zip", &self.bundle),
            ("entry.sigstore.json", &self.seal),
            ("4.tlog-proof", &self.proof),
            ("keys.json", &self.keys),
        ];
        let all = own.into_iter().chain(self.others.iter().map(|(name, bytes)| (name.as_str(), bytes)));
        let put = |(name, bytes): (&str, &Vec<u8>)| {
            let path = self.directory.join(name);
            fs::write(&path, bytes).expect(WORKS);
            path
        };
        all.filter(|(_, bytes)| !bytes.is_empty()).map(put).collect()
    }

    /// The statement.
    pub fn payload(&self) -> String {
        String::from_utf8(seal::Seal::from_bytes(&self.seal).expect(WORKS).payload).expect(WORKS)
    }

    /// Seals another statement, by a key of the owner.
    pub fn sealed(&mut self, payload: &str, by: &FileKey) {
        let signature = by.sign(&seal::pae("application/vnd.in-toto+json", payload.as_bytes())).expect(WORKS);
        self.seal = seal::seal(payload.as_bytes(), &by.public().fingerprint(), &signature);
    }
}

/// Swaps two texts that must be there.
pub fn swap(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).expect(WORKS);
    assert!(text.contains(from), "{from} is not in {text}");
    *bytes = text.replacen(from, to, 1).into_bytes();
}

/// Changes the base64 of a member, and keeps it base64.
pub fn spoil(bytes: &mut [u8], after: &str) {
    let text = String::from_utf8(bytes.to_vec()).expect(WORKS);
    let at = text.find(after).expect(WORKS) + after.len() + 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
}

/// A statement changed under its old signature.
pub fn restated(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let mut value: Value = serde_json::from_slice(bytes).expect(WORKS);
    let inner = if value.get("dsseEnvelope").is_some() { &mut value["dsseEnvelope"] } else { &mut value };
    let mut payload = STANDARD.decode(inner["payload"].as_str().expect(WORKS)).expect(WORKS);
    swap(&mut payload, from, to);
    inner["payload"] = STANDARD.encode(payload).into();
    *bytes = serde_json::to_vec(&value).expect(WORKS);
}
