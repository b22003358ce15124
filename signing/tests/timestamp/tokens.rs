//! What a token must be in itself: its CMS, its TSTInfo, its signer. Each rule is broken alone.

use signing::timestamp::{Hash, MAX_RESPONSE, TokenError, Verifier};

use crate::{asn1::*, rules::*, tsa::*};

fn is_malformed(verdict: Result<signing::timestamp::Stamp, TokenError>) -> bool {
    matches!(verdict, Err(TokenError::Malformed { .. }))
}

#[test]
fn a_refusal_is_no_token_and_a_grant_with_modifications_is_one() {
    let (tsa, make) = good();
    let make = make.but(|make| make.status = seq(&[&int(&[1]), &seq(&[&tlv(12, &[b"policy changed"])])]));
    judge(&tsa, &make).unwrap();
    for status in 2..=5 {
        let make = Make::new(&tsa).but(|make| make.status = seq(&[&int(&[status])]));
        assert_eq!(judge(&tsa, &make), Err(TokenError::Refused { status: status.into(), text: String::new() }));
    }
}

#[test]
fn signed_attributes_must_be_there() {
    let (tsa, make) = good();
    let none = make.but(|make| make.attributes = None);
    assert_eq!(judge(&tsa, &none), Err(TokenError::Attributes("there are none")));
}

#[test]
fn the_content_type_is_signed_and_that_of_a_tst_info() {
    let (tsa, make) = good();
    let data = "1.2.840.113549.1.7.1";
    let other = make.attribute(0, content_type(data));
    assert_eq!(judge(&tsa, &other), Err(TokenError::Attributes("contentType is not that of a TSTInfo")));
    let missing = Make::new(&tsa).but(|make| drop(make.attributes.as_mut().unwrap().remove(0)));
    assert_eq!(judge(&tsa, &missing), Err(TokenError::Attributes("contentType is not among them")));
    let other = Make::new(&tsa).but(|make| make.content_type = data);
    assert_eq!(judge(&tsa, &other), Err(TokenError::Content));
}

#[test]
fn the_message_digest_is_that_of_the_content() {
    let (tsa, make) = good();
    let altered = make.attribute(1, message_digest(&Hash::Sha256.of(b"other content")));
    assert_eq!(judge(&tsa, &altered), Err(TokenError::MessageDigest));
    let info = Make::new(&tsa).but(|make| make.info.time = "20261122050000Z".to_owned());
    assert_eq!(judge(&tsa, &info), Err(TokenError::MessageDigest));
    let missing = Make::new(&tsa).but(|make| drop(make.attributes.as_mut().unwrap().remove(1)));
    assert_eq!(judge(&tsa, &missing), Err(TokenError::Attributes("messageDigest is not among them")));
    let text = attribute("1.2.840.113549.1.9.4", &tlv(12, &[&Hash::Sha256.of(&Info::new().der())]));
    let text = Make::new(&tsa).attribute(1, text);
    assert_eq!(judge(&tsa, &text), Err(TokenError::Attributes("messageDigest is no OCTET STRING")));
}

#[test]
fn an_attribute_has_one_value_and_is_there_once() {
    let (tsa, make) = good();
    let told = TokenError::Attributes("one of them does not have one value, or is there twice");
    let digest = Hash::Sha256.of(&make.info.der());
    let twice = make.but(|make| make.attributes.as_mut().unwrap().push(message_digest(&digest)));
    assert_eq!(judge(&tsa, &twice).as_ref(), Err(&told));
    for values in [set(&[]), set(&[&octets(&digest), &octets(&digest)])] {
        let make = Make::new(&tsa).attribute(1, seq(&[&oid("1.2.840.113549.1.9.4"), &values]));
        assert_eq!(judge(&tsa, &make).as_ref(), Err(&told));
    }
}

#[test]
fn other_attributes_are_passed_over_and_their_number_is_bounded() {
    let (tsa, make) = good();
    let time = attribute("1.2.840.113549.1.9.5", &tlv(0x17, &[b"261122040000Z"]));
    judge(&tsa, &make.but(|make| make.attributes.as_mut().unwrap().push(time.clone()))).unwrap();
    let many = Make::new(&tsa).but(|make| make.attributes.as_mut().unwrap().extend(vec![time; 62]));
    assert_eq!(judge(&tsa, &many), Err(TokenError::Attributes("there are more than 64")));
}

#[test]
fn attributes_and_certificates_that_are_not_in_der_order_are_read() {
    let (tsa, make) = good();
    let mut attributes = make.attributes.clone().unwrap();
    attributes.sort();
    attributes.reverse();
    let unsorted = make.but(|make| (make.attributes, make.sent_unsorted) = (Some(attributes), true));
    judge(&tsa, &unsorted).unwrap();
    for reversed in [false, true] {
        let make = Make::new(&tsa).but(|make| {
            make.certificates.sort();
            if reversed {
                make.certificates.reverse();
            }
        });
        judge(&tsa, &make).unwrap();
    }
}

#[test]
fn there_is_exactly_one_signature() {
    let (tsa, _) = good();
    for signers in [0, 2, 3] {
        let make = Make::new(&tsa).but(|make| make.signers = signers);
        assert_eq!(judge(&tsa, &make), Err(TokenError::Signers(signers.min(2))));
    }
}

#[test]
fn the_signature_is_by_the_named_certificates_key() {
    let (tsa, make) = good();
    let other = make.but(|make| make.key = p256(4));
    assert_eq!(judge(&tsa, &other), Err(TokenError::Signature));
    // A signature of another scheme than the key's
    let algorithm = rsa().algorithm(Hash::Sha256, Spelling::WithHash);
    let other = Make::new(&tsa).but(|make| make.algorithm = Some(algorithm));
    assert_eq!(judge(&tsa, &other), Err(TokenError::Signature));
}

#[test]
fn weak_and_unknown_algorithms_are_refused() {
    let (tsa, make) = good();
    let refused = |part| Err(TokenError::Algorithm { part });
    let sha1 = seq(&[&oid("1.3.14.3.2.26"), &null()]);
    let imprint = make.info(|info| (info.imprint_hash, info.imprint) = (sha1, vec![0; 20]));
    assert_eq!(judge(&tsa, &imprint), refused("message imprint"));
    // ecdsa-with-SHA1, and ECDSA with parameters
    for algorithm in [seq(&[&oid("1.2.840.10045.4.1")]), seq(&[&oid("1.2.840.10045.4.3.2"), &null()])] {
        let make = Make::new(&tsa).but(|make| make.algorithm = Some(algorithm));
        assert_eq!(judge(&tsa, &make), refused("signature"));
    }
    let other = p256(3).algorithm(Hash::Sha512, Spelling::WithHash);
    let mixed = Make::new(&tsa).but(|make| make.algorithm = Some(other));
    assert_eq!(judge(&tsa, &mixed), refused("pair of digest and signature"));
    let short = Tsa::new(rsa_of(1024));
    assert_eq!(judge(&short, &Make::new(&short)), refused("key"));
}

#[test]
fn other_imprints_than_sha_256_are_compared_too() {
    let (tsa, _) = good();
    for hash in [Hash::Sha384, Hash::Sha512] {
        let make =
            || Make::new(&tsa).info(|info| (info.imprint_hash, info.imprint) = (seq(&[&sha(hash)]), hash.of(MESSAGE)));
        judge(&tsa, &make()).unwrap();
        let cut = make().info(|info| info.imprint.truncate(32));
        assert_eq!(judge(&tsa, &cut), Err(TokenError::Imprint));
    }
    let parameters = Make::new(&tsa).info(|info| info.imprint_hash = seq(&[&sha(Hash::Sha256), &int(&[1])]));
    assert_eq!(judge(&tsa, &parameters), Err(TokenError::Algorithm { part: "message imprint" }));
}

#[test]
fn fractions_of_a_second_and_accuracy_make_the_bounds() {
    let (tsa, make) = good();
    let parts = seq(&[&int(&[2]), &tlv(0x80, &[&[1, 0xf4]]), &tlv(0x81, &[&[1]])]);
    let make = make.info(|info| (info.time, info.accuracy) = ("20261122040000.2505Z".to_owned(), parts));
    let stamp = judge(&tsa, &make).unwrap();
    assert_eq!(stamp.at, at("2026-11-22T04:00:00.250Z"));
    assert_eq!(stamp.earliest, at("2026-11-22T03:59:57.750Z"));
    assert_eq!(stamp.latest, at("2026-11-22T04:00:02.751Z"));
    let unstated = judge(&tsa, &Make::new(&tsa).info(|info| info.accuracy.clear())).unwrap();
    assert_eq!((unstated.earliest, unstated.latest), (at("2026-11-22T03:59:59Z"), at("2026-11-22T04:00:01Z")));
}

#[test]
fn what_a_tst_info_may_have_beside_is_read_and_a_critical_extension_is_not_passed_over() {
    let (tsa, _) = good();
    let named = context(0, &[&context(4, &[&name("Somebody else")])]);
    let with = |critical| context(1, &[&extension("1.2.3.4", critical, &null())]);
    let tail = |tail: Vec<u8>| Make::new(&tsa).info(|info| info.tail = tail);
    judge(&tsa, &tail([yes(), int(&[9]), named, with(false)].concat())).unwrap();
    assert_eq!(judge(&tsa, &tail(with(true))), Err(TokenError::CriticalExtension));
    assert!(is_malformed(judge(&tsa, &tail(null()))));
    assert!(is_malformed(judge(&tsa, &tail(context(1, &[&null()])))));
}

#[test]
fn versions_and_numbers_out_of_range_are_malformed() {
    let (tsa, _) = good();
    assert!(is_malformed(judge(&tsa, &Make::new(&tsa).info(|info| info.version = 2))));
    assert!(is_malformed(judge(&tsa, &Make::new(&tsa).info(|info| info.serial = int(&[1; 65])))));
    assert!(is_malformed(judge(&tsa, &Make::new(&tsa).info(|info| info.serial = int(&[])))));
    assert!(is_malformed(judge(&tsa, &Make::new(&tsa).info(|info| info.time = "20261122040000".to_owned()))));
    assert!(is_malformed(judge(&tsa, &Make::new(&tsa).info(|info| info.time = "19000101000000Z".to_owned()))));
    judge(&tsa, &Make::new(&tsa).info(|info| info.serial = int(&[0x7f; 20]))).unwrap();
}

#[test]
fn bytes_after_what_was_read_are_refused() {
    let (tsa, make) = good();
    let verifier = Verifier::new(tsa.roots());
    let der = make.build();
    assert!(is_malformed(verifier.verify(&[der.as_slice(), &null()].concat(), MESSAGE)));
    assert!(is_malformed(verifier.verify(&der[..der.len() - 1], MESSAGE)));
    for unsigned in [null(), context(2, &[])] {
        let make = Make::new(&tsa).but(|make| make.unsigned = unsigned);
        assert!(is_malformed(judge(&tsa, &make)));
    }
    let status = Make::new(&tsa).but(|make| make.status = seq(&[&int(&[0]), &null()]));
    assert!(is_malformed(judge(&tsa, &status)));
}

#[test]
fn sizes_are_bounded() {
    let (tsa, make) = good();
    let crls = |bytes: usize| context(1, &[&octets(&vec![0; bytes])]);
    judge(&tsa, &make.but(|make| make.crls = crls(60_000))).unwrap();
    let large = Make::new(&tsa).but(|make| make.crls = crls(MAX_RESPONSE));
    assert!(matches!(judge(&tsa, &large), Err(TokenError::TooLarge(_))));
    let many = Make::new(&tsa).but(|make| make.certificates.extend(vec![tsa.root.clone(); 14]));
    judge(&tsa, &many).unwrap();
    let many = many.but(|make| make.certificates.push(tsa.root.clone()));
    assert!(is_malformed(judge(&tsa, &many)));
}

#[test]
fn an_unsigned_attribute_changes_nothing() {
    let (tsa, make) = good();
    let plain = judge(&tsa, &make).unwrap();
    let with = make.but(|make| make.unsigned = context(1, &[&attribute("1.2.3.4", &null())]));
    assert_eq!(judge(&tsa, &with).unwrap(), plain);
}
