//! Each rule of verification, broken alone.

use signing::{
    digest::Digest,
    time::Utc,
    timestamp::{Hash, Request, Stamp, TokenError, Verifier, peek},
};

use crate::{asn1::*, tsa::*};

pub fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

/// Judges the token of an authority that is trusted, over [`MESSAGE`].
pub fn judge(tsa: &Tsa, make: &Make) -> Result<Stamp, TokenError> {
    Verifier::new(tsa.roots()).verify(&make.build(), MESSAGE)
}

pub fn good() -> (Tsa, Make) {
    let tsa = Tsa::new(p256(3));
    let make = Make::new(&tsa);
    (tsa, make)
}

#[test]
fn a_token_says_when_by_whom_and_under_which_root() {
    let (tsa, make) = good();
    let stamp = judge(&tsa, &make).unwrap();
    let wanted = Stamp {
        at: at("2026-11-22T04:00:00Z"),
        earliest: at("2026-11-22T03:59:59Z"),
        latest: at("2026-11-22T04:00:01Z"),
        authority: "Time Stamping Unit".to_owned(),
        root: Digest::of(&tsa.root),
        root_name: "Root".to_owned(),
        serial: "2a".to_owned(),
    };
    assert_eq!(stamp, wanted);
}

#[test]
fn every_hash_verifies_with_every_kind_of_key() {
    for key in [p256(3), p384(3), rsa()] {
        let tsa = Tsa::new(key);
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for spelling in [Spelling::WithHash, Spelling::RsaAlone, Spelling::Pss] {
                judge(&tsa, &Make::new(&tsa).hash(hash, spelling)).unwrap();
            }
        }
    }
}

#[test]
fn another_message_is_refused() {
    let (tsa, make) = good();
    let verdict = Verifier::new(tsa.roots()).verify(&make.build(), b"another");
    assert_eq!(verdict, Err(TokenError::Imprint));
}

#[test]
fn an_answer_must_carry_the_requests_nonce() {
    let (tsa, make) = good();
    let request = Request::new(MESSAGE, [0xff; 16]);
    let verifier = Verifier::new(tsa.roots());
    let nonce = [&[0x7f][..], &[0xff; 15]].concat();
    let der = make.info(|info| info.nonce = int(&nonce)).build();
    let answer = verifier.check_answer(&request, &der).unwrap();
    assert_eq!(answer.digest, Digest::of(&der));
    assert_eq!(answer.stamp, verifier.verify(&der, MESSAGE).unwrap());

    let other = Request::new(MESSAGE, [0xfe; 16]);
    assert_eq!(verifier.check_answer(&other, &der), Err(TokenError::Nonce));
    assert_eq!(verifier.check_answer(&request, &Make::new(&tsa).build()), Err(TokenError::Nonce));
    let other = Request::new(b"another", [0xff; 16]);
    assert_eq!(verifier.check_answer(&other, &der), Err(TokenError::Imprint));
}

#[test]
fn another_root_leaves_a_token_untrusted_and_not_wrong() {
    let (_, make) = good();
    let other = Profile { subject: "Other", issuer: "Other", ..Profile::root() };
    let other = Tsa::with(p256(9), Profile::signer(), Profile::intermediate(), other);
    let error = judge(&other, &make).unwrap_err();
    assert!(error.is_untrusted(), "{error}");
    assert_eq!(error, TokenError::NoPath { signer: "Time Stamping Unit".to_owned() });
}

#[test]
fn a_signer_must_be_for_time_stamping_alone_and_critically() {
    let cases = [
        (None, "it has no extended key usage"),
        (Some((true, vec![CODE_SIGNING])), "its purpose is another"),
        (Some((false, vec![TIME_STAMPING])), "its extended key usage is not critical"),
        (Some((true, vec![TIME_STAMPING, CODE_SIGNING])), "it has other purposes too"),
        (Some((true, vec![TIME_STAMPING, TIME_STAMPING])), "it has other purposes too"),
    ];
    for (purposes, told) in cases {
        let tsa = Tsa::signed_by(Profile { purposes, ..Profile::signer() });
        assert_eq!(judge(&tsa, &Make::new(&tsa)), Err(TokenError::Purpose(told)));
    }
}

#[test]
fn a_peek_tells_what_a_token_is_over_without_trusting_it() {
    let (_, make) = good();
    let (imprint, time) = peek(&make.build()).unwrap();
    assert!(imprint.is_of(MESSAGE) && !imprint.is_of(b"another"));
    assert_eq!(time, at("2026-11-22T04:00:00Z"));
}

#[test]
fn the_signing_certificate_is_named_by_either_attribute_and_each_must_be_right() {
    let (tsa, _) = good();
    let der = tsa.signer.as_slice();
    let named = issuer_serial("Intermediate", 3);
    let v1 = certificate_v1(der, &named);
    for good in [
        v1.clone(),
        certificate_v1(der, &[]),
        certificate_v2(Hash::Sha256, der, &[]),
        certificate_v2(Hash::Sha384, der, &named),
        certificate_v2(Hash::Sha512, der, &named),
    ] {
        judge(&tsa, &Make::new(&tsa).attribute(2, good)).unwrap();
    }
    let both = Make::new(&tsa).but(|make| make.attributes.as_mut().unwrap().push(v1.clone()));
    judge(&tsa, &both).unwrap();

    let by_hash = TokenError::SigningCertificate("the attribute names another one, by its hash");
    let by_name = TokenError::SigningCertificate("the attribute names another one, by its issuer and serial number");
    let other = tsa.intermediate.as_slice();
    for (wrong, told) in [
        (certificate_v1(other, &named), &by_hash),
        (certificate_v2(Hash::Sha256, other, &named), &by_hash),
        (certificate_v2(Hash::Sha512, other, &[]), &by_hash),
        (certificate_v1(der, &issuer_serial("Other", 3)), &by_name),
        (certificate_v2(Hash::Sha256, der, &issuer_serial("Intermediate", 4)), &by_name),
    ] {
        assert_eq!(judge(&tsa, &Make::new(&tsa).attribute(2, wrong)).as_ref(), Err(told));
    }
    let one_wrong = Make::new(&tsa).but(|make| make.attributes.as_mut().unwrap().push(certificate_v1(other, &named)));
    assert_eq!(judge(&tsa, &one_wrong), Err(by_hash));
    let none = Make::new(&tsa).but(|make| drop(make.attributes.as_mut().unwrap().pop()));
    assert_eq!(judge(&tsa, &none), Err(TokenError::SigningCertificate("no attribute names it")));
}
