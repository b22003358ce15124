//! What cannot be read leaves the question open: exit code 2 for the program, never intact, and never a finding against anybody.

use signing::{
    statement::RECEIPT_V1,
    verify::{CannotVerify, Options},
};

use super::sound::*;

fn cannot(memory: &Memory, options: &Options<'_>) -> CannotVerify {
    match memory.judge_with(options) {
        Err(cannot) => cannot,
        Ok(verdict) => panic!("it was judged: {:?}", found(&verdict)),
    }
}

#[test]
fn an_object_that_may_not_be_read_is_no_absent_one() {
    let memory = sound();
    for name in [
        "checkpoint".to_owned(),
        "tile/0/000".to_owned(),
        "tile/1/000.p/1".to_owned(),
        "tile/entries/000".to_owned(),
        memory.names("seal/").remove(3),
        memory.names("bundle/").remove(3),
        memory.names("document/keys/").remove(0),
        memory.names("document/plan/").remove(0),
    ] {
        let mut memory = memory.clone();
        memory.refused.insert(name.clone());
        let cannot = cannot(&memory, &Options::trusting(trust()));
        assert_eq!(cannot.object, name);
        assert!(cannot.reason.contains("permission denied"), "{cannot}");
    }
    for prefix in ["", "seal/"] {
        let mut memory = memory.clone();
        memory.refused.insert(prefix.to_owned());
        assert!(cannot(&memory, &Options::trusting(trust())).reason.contains("listing it failed"));
    }
}

#[test]
fn without_a_checkpoint_nothing_is_judged() {
    let mut memory = sound();
    memory.objects.remove("checkpoint");
    assert_eq!(cannot(&memory, &Options::trusting(trust())).object, "checkpoint");
    assert_eq!(cannot(&Memory::default(), &Options::trusting(trust())).object, "checkpoint");
}

#[test]
fn another_root_than_the_trusted_one_leaves_the_question_open_and_names_both() {
    let other = signing::keys::Signer::public(&receipts_key()).fingerprint();
    let cannot = cannot(&sound(), &Options::trusting(other.clone()));
    assert!(cannot.object.starts_with("document/keys/"), "{cannot}");
    assert!(cannot.reason.contains(&other) && cannot.reason.contains(&trust()), "{cannot}");
}

#[test]
fn another_origin_than_the_one_asked_for_leaves_the_question_open() {
    let options = Options { origin: Some("other".into()), ..Options::trusting(trust()) };
    assert!(cannot(&sound(), &options).reason.contains("\"other\" was asked for"));
}

#[test]
fn an_entry_of_a_later_version_leaves_the_question_open() {
    let memory = small(|writer| {
        let statement = writer.receipt(&job("host/accounts"), None, |_| {});
        let leaf = String::from_utf8(statement.to_bytes().unwrap()).unwrap();
        let leaf = leaf.replace(RECEIPT_V1, "urn:evidenced:receipt:v2").into_bytes();
        let signature =
            signing::keys::Signer::sign(&writer.sealer, &signing::seal::pae("application/vnd.in-toto+json", &leaf))
                .unwrap();
        let name = signing::layout::seal(statement.entry.sealed_at, signing::digest::Digest::of(&leaf));
        writer.put(&name, &signing::seal::seal(&leaf, &statement.entry.key_id, &signature));
        writer.waiting.push(leaf);
    });
    let cannot = cannot(&memory, &Options::trusting(trust()));
    assert_eq!(cannot.object, "entry 4");
    assert!(cannot.reason.contains("receipt:v2") && cannot.reason.contains("newer"), "{cannot}");
}

#[test]
fn what_is_no_plain_file_is_named_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let seal = sound().names("seal/").remove(3);
    std::fs::remove_file(dir.path().join(&seal)).unwrap();
    std::fs::create_dir(dir.path().join(&seal)).unwrap();
    let reader = signing::store::Dir::new(dir.path());
    let cannot = signing::verify::verify(&reader, &Options::trusting(trust()), &|_| {}).unwrap_err();
    assert_eq!(cannot.object, seal);
    assert!(cannot.reason.contains("no plain file"), "{cannot}");
}
