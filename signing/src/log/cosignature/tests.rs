#![allow(clippy::unwrap_used)]

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::{digest::Digest, keys::FileKey};

const TEXT: &[u8] = b"example.org/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn witness(seed: u8) -> (FileKey, WitnessKey) {
    let key = FileKey::from_seed(&[seed; 32]);
    let witness = WitnessKey::new("witness.example/w1", *key.public()).unwrap();
    (key, witness)
}

fn line(seed: u8, text: &[u8], when: &str) -> String {
    let (key, witness) = witness(seed);
    Cosignature::sign(&witness, &key, text, at(when)).unwrap().to_line()
}

#[test]
fn what_is_signed_and_written_is_what_the_specification_says() {
    let (key, witness) = witness(1);
    let cosignature = Cosignature::sign(&witness, &key, TEXT, at("2023-03-20T12:25:47.900Z")).unwrap();
    assert_eq!(cosignature.at, at("2023-03-20T12:25:47Z"));
    let message = [b"cosignature/v1\ntime 1679315147\n", TEXT].concat();
    assert!(key.public().verify_strict(&message, &cosignature.signature));
    let line = cosignature.to_line();
    let bytes = STANDARD.decode(line.strip_prefix("— witness.example/w1 ").unwrap().trim_end()).unwrap();
    let id = Digest::of(&[b"witness.example/w1\n\x04", key.public().to_bytes().as_slice()].concat()).0;
    assert_eq!(bytes[..4], id[..4]);
    assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
    assert_eq!(bytes[12..], cosignature.signature);
    assert_eq!(verify(line.as_bytes(), TEXT, &[witness]).unwrap(), [cosignature]);
}

/// The example of tlog-cosignature: its key is not published, but name, key id and time can be read.
#[test]
fn the_example_of_the_specification_is_read() {
    let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ\
                +qnA==";
    let cosignature = read(&Signature::from_bytes(line.as_bytes()).unwrap()).unwrap();
    assert_eq!((cosignature.id, cosignature.at), (0x8d66_cf3f, at("2023-03-20T12:25:47Z")));
}

#[test]
fn a_verifier_key_has_one_spelling() {
    let (key, witness) = witness(1);
    let text = witness.vkey();
    assert_eq!(WitnessKey::from_vkey(&text).unwrap(), witness);
    assert!(text.starts_with("witness.example/w1+"));
    let refused = [
        text.to_uppercase(),
        format!("{text}="),
        format!("{text}\n"),
        format!(" {text}"),
        text.replace("w1+", "w2+"),
        text.replacen('+', "", 1),
        text.split('+').next().unwrap().to_owned(),
        String::new(),
        "+".repeat(2000),
        // A log's key, and the same key under both types: a witness is no log.
        super::super::vkey("witness.example/w1", key.public()),
    ];
    for text in refused {
        assert!(WitnessKey::from_vkey(&text).is_err(), "{text}");
    }
    assert!(super::super::from_vkey(&text).is_err());
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\u{1}b"] {
        assert!(WitnessKey::new(name, *key.public()).is_err(), "{name:?}");
    }
}

#[test]
fn a_line_of_a_known_witness_that_does_not_verify_is_refused_whatever_the_others_say() {
    let (_, known) = witness(1);
    let good = line(1, TEXT, "2026-11-22T04:00:00Z");
    let other_text =
        line(1, b"example.org/log\n8\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "2026-11-22T04:00:00Z");
    let mut bytes = STANDARD.decode(good.rsplit_once(' ').unwrap().1.trim_end()).unwrap();
    bytes[11] ^= 1;
    let other_time = format!("— witness.example/w1 {}\n", STANDARD.encode(&bytes));
    for bad in [other_text, other_time] {
        for lines in [bad.clone(), format!("{good}{bad}"), format!("{bad}{good}")] {
            let refused = verify(lines.as_bytes(), TEXT, std::slice::from_ref(&known)).unwrap_err();
            assert!(matches!(refused, CosignatureError::Signature(_)), "{refused}");
        }
    }
}

#[test]
fn lines_of_others_are_left_alone_and_are_not_enough() {
    let (_, known) = witness(1);
    let (good, other) = (line(1, TEXT, "2026-11-22T04:00:00Z"), line(2, TEXT, "2026-11-22T04:00:00Z"));
    let found = verify(format!("{other}{good}").as_bytes(), TEXT, std::slice::from_ref(&known)).unwrap();
    assert_eq!(found.len(), 1);
    let refused = verify(other.as_bytes(), TEXT, &[known]).unwrap_err();
    assert!(matches!(refused, CosignatureError::Unknown), "{refused}");
    assert!(matches!(verify(good.as_bytes(), TEXT, &[]).unwrap_err(), CosignatureError::Unknown));
}

#[test]
fn a_witness_counts_once_with_its_earliest_time() {
    let (_, known) = witness(1);
    let lines: String = ["2026-11-22T04:00:05Z", "2026-11-22T04:00:01Z", "2026-11-22T04:00:09Z"]
        .map(|when| line(1, TEXT, when))
        .concat();
    let found = verify(lines.as_bytes(), TEXT, &[known]).unwrap();
    assert_eq!(found.iter().map(|c| c.at).collect::<Vec<_>>(), [at("2026-11-22T04:00:01Z")]);
}

#[test]
fn what_is_no_sequence_of_signature_lines_is_malformed() {
    let (_, known) = witness(1);
    let good = line(1, TEXT, "2026-11-22T04:00:00Z");
    let id = witness(1).1.id().to_be_bytes();
    let framed = |rest: &[u8]| format!("— witness.example/w1 {}\n", STANDARD.encode([&id[..], rest].concat()));
    for lines in [
        String::new(),
        "\n".into(),
        good.trim_end().into(),
        format!("{good}\n"),
        format!("\n{good}"),
        good.replace('—', "-"),
        good.replace('\n', "\r\n"),
        good.repeat(MAX_LINES + 1),
        format!("{good}{}\n", "x".repeat(70_000)),
        framed(&[0; 71]),
        framed(&[0; 73]),
        framed(&[0xff; 72]),
        framed(&[&(i64::MAX as u64).to_be_bytes()[..], &[0; 64]].concat()),
    ] {
        let refused = verify(lines.as_bytes(), TEXT, std::slice::from_ref(&known)).unwrap_err();
        assert!(matches!(refused, CosignatureError::Malformed(_)), "{refused}: {}", &lines[..lines.len().min(90)]);
    }
    assert_eq!(verify(good.repeat(MAX_LINES).as_bytes(), TEXT, &[known]).unwrap().len(), 1);
}

#[test]
fn a_cosigned_note_is_read_as_the_checkpoint_that_it_was() {
    let log = FileKey::from_seed(&[3; 32]);
    let checkpoint = Checkpoint { origin: "example.org/log".into(), size: 7, root: Digest::of(b"root") };
    let note = checkpoint.sign(&log).unwrap();
    let (_, known) = witness(1);
    let cosigned = [note.as_slice(), line(1, checkpoint.text().as_bytes(), "2026-11-22T04:00:00Z").as_bytes()].concat();
    let (found, by) = verify_note(&cosigned, std::slice::from_ref(&known)).unwrap();
    assert_eq!((found.clone(), by.len()), (checkpoint, 1));
    assert_eq!(Checkpoint::open(&cosigned, &found.origin, &[*log.public()]).unwrap().0, found);
    assert!(matches!(verify_note(&note, &[known]).unwrap_err(), NotWitnessed::Cosignature(CosignatureError::Unknown)));
}

#[test]
fn nothing_is_signed_with_another_key_than_the_witnesss() {
    let ((_, known), (other, _)) = (witness(1), witness(2));
    assert!(Cosignature::sign(&known, &other, TEXT, at("2026-11-22T04:00:00Z")).is_err());
    let (key, known) = witness(1);
    assert!(Cosignature::sign(&known, &key, TEXT, at("1969-12-31T23:59:59Z")).is_err());
}
