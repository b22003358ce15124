//! From the signer to a root: which certificates, and that each was valid at the token's time and may do what it does.

use std::thread;

use signing::{
    digest::Digest,
    timestamp::{Hash, Roots, RootsError, TokenError, Verifier},
};

use crate::{asn1::*, rules::*, tsa::*};

/// An authority with three profiles changed.
fn with(signer: Profile, intermediate: Profile, root: Profile) -> Tsa {
    Tsa::with(p256(3), signer, intermediate, root)
}

fn validity(profile: Profile, from: &'static str, until: &'static str) -> Profile {
    Profile { from, until, ..profile }
}

fn path(told: &str) -> TokenError {
    TokenError::Path(told.to_owned())
}

#[test]
fn a_certificate_that_has_expired_since_was_valid_then() {
    let then = |profile| validity(profile, "20150101000000Z", "20180101000000Z");
    let tsa = with(then(Profile::signer()), then(Profile::intermediate()), then(Profile::root()));
    let stamp = judge(&tsa, &Make::new(&tsa).info(|info| info.time = "20170615120000Z".to_owned())).unwrap();
    assert_eq!(stamp.at, at("2017-06-15T12:00:00Z"));
}

#[test]
fn every_certificate_of_the_path_is_valid_at_the_tokens_time_to_the_second() {
    let roles: [fn(Profile) -> Tsa; 3] = [
        |p| {
            with(
                Profile { from: p.from, until: p.until, ..Profile::signer() },
                Profile::intermediate(),
                Profile::root(),
            )
        },
        |p| {
            with(
                Profile::signer(),
                Profile { from: p.from, until: p.until, ..Profile::intermediate() },
                Profile::root(),
            )
        },
        |p| {
            with(
                Profile::signer(),
                Profile::intermediate(),
                Profile { from: p.from, until: p.until, ..Profile::root() },
            )
        },
    ];
    for tsa in roles {
        let tsa = tsa(validity(Profile::root(), "20261101000000Z", "20261122040000Z"));
        let judge = |time: &str| judge(&tsa, &Make::new(&tsa).info(|info| info.time = time.to_owned()));
        judge("20261101000000Z").unwrap();
        judge("20261122040000.999Z").unwrap();
        let error = judge("20261122040001Z").unwrap_err();
        assert_eq!(
            error.to_string(),
            "at the token's time, 2026-11-22T04:00:01Z, a certificate of its path was not valid: one ended at 2026-11-22T04:00:00Z"
        );
        let error = judge("20261031235959.9Z").unwrap_err();
        assert!(
            matches!(&error, TokenError::NotValidThen { detail, .. } if detail == "one begins at 2026-11-01T00:00:00Z"),
            "{error}"
        );
        assert!(!error.is_untrusted());
    }
}

#[test]
fn a_remembered_path_holds_for_its_own_time_only() {
    let tsa = with(
        validity(Profile::signer(), "20260101000000Z", "20261122040000Z"),
        Profile::intermediate(),
        Profile::root(),
    );
    let verifier = Verifier::new(tsa.roots());
    let judge =
        |time: &str| verifier.verify(&Make::new(&tsa).info(|info| info.time = time.to_owned()).build(), MESSAGE);
    judge(TIME).unwrap();
    assert!(matches!(judge("20261122040001Z"), Err(TokenError::NotValidThen { .. })));
    judge("20260101000000Z").unwrap();
    assert!(matches!(judge("20251231235959Z"), Err(TokenError::NotValidThen { .. })));
    judge(TIME).unwrap();
}

#[test]
fn a_remembered_signer_excuses_no_later_token() {
    let (tsa, make) = good();
    let verifier = Verifier::new(tsa.roots());
    verifier.verify(&make.build(), MESSAGE).unwrap();
    let forged = Make::new(&tsa).but(|make| make.key = p256(4));
    assert_eq!(verifier.verify(&forged.build(), MESSAGE), Err(TokenError::Signature));
    let other = Make::new(&tsa).attribute(2, certificate_v2(Hash::Sha256, &tsa.intermediate, &[]));
    assert!(matches!(verifier.verify(&other.build(), MESSAGE), Err(TokenError::SigningCertificate(_))));
    let absent = Make::new(&tsa).but(|make| drop(make.certificates.remove(0)));
    assert_eq!(verifier.verify(&absent.build(), MESSAGE), Err(TokenError::SignerAbsent));
}

#[test]
fn one_verifier_serves_many_threads() {
    let (tsa, make) = good();
    let verifier = Verifier::new(tsa.roots());
    let (good, forged) = (make.build(), make.but(|make| make.key = p256(4)).build());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    verifier.verify(&good, MESSAGE).unwrap();
                    assert_eq!(verifier.verify(&forged, MESSAGE), Err(TokenError::Signature));
                }
            });
        }
    });
}

#[test]
fn certificates_given_with_the_roots_fill_what_a_token_leaves_out() {
    let (tsa, make) = good();
    let bare = make.but(|make| make.certificates.clear()).build();
    let given = |certificates: &[&[u8]]| Verifier::new(roots(certificates)).verify(&bare, MESSAGE);
    given(&[&tsa.root, &tsa.intermediate, &tsa.signer]).unwrap();

    let error = given(&[&tsa.root, &tsa.intermediate]).unwrap_err();
    assert_eq!(error, TokenError::SignerAbsent);
    assert!(error.is_untrusted());
    let error = given(&[&tsa.root, &tsa.signer]).unwrap_err();
    assert_eq!(error, TokenError::NoPath { signer: "Time Stamping Unit".to_owned() });
}

#[test]
fn a_root_that_the_token_brings_is_not_trusted_for_that() {
    let (tsa, make) = good();
    let other = Profile { subject: "Other", issuer: "Other", ..Profile::root() };
    let other = with(Profile::signer(), Profile::intermediate(), other);
    let whole = make.but(|make| make.certificates.push(tsa.root.clone()));
    judge(&tsa, &whole).unwrap();
    assert!(judge(&other, &whole).unwrap_err().is_untrusted());
}

#[test]
fn a_signer_may_be_named_by_its_key() {
    let tsa = Tsa::signed_by(Profile { key_id: Some(vec![7; 20]), ..Profile::signer() });
    let named = |id: u8| Make::new(&tsa).but(|make| make.signer_id = tlv(0x80, &[&[id; 20]]));
    judge(&tsa, &named(7)).unwrap();
    assert_eq!(judge(&tsa, &named(8)), Err(TokenError::SignerAbsent));
}

#[test]
fn another_certificate_of_the_same_issuer_and_number_is_not_the_signer() {
    let (tsa, make) = good();
    let spoof = Profile { subject: "Spoof", ..Profile::signer() }.certificate(&p256(8), &p256(8));
    let plain = judge(&tsa, &make).unwrap();
    for place in [0, 2] {
        let make = Make::new(&tsa).but(|make| make.certificates.insert(place, spoof.clone()));
        assert_eq!(judge(&tsa, &make).unwrap(), plain);
    }
    // Bound to the other certificate, and so signed by neither
    let bound = Make::new(&tsa).attribute(2, certificate_v2(Hash::Sha256, &spoof, &[]));
    let bound = bound.but(|make| make.certificates.push(spoof));
    assert_eq!(judge(&tsa, &bound), Err(TokenError::Signature));
}

#[test]
fn issuers_may_issue_and_may_issue_for_time_stamping() {
    let intermediate = |profile| with(Profile::signer(), profile, Profile::root());
    let judge = |tsa: Tsa| judge(&tsa, &Make::new(&tsa));
    let purposes = |purposes| Profile { purposes: Some((false, purposes)), ..Profile::intermediate() };
    judge(intermediate(purposes(vec![TIME_STAMPING, CODE_SIGNING]))).unwrap();
    judge(intermediate(purposes(vec!["2.5.29.37.0"]))).unwrap();
    let wrong = judge(intermediate(purposes(vec![CODE_SIGNING]))).unwrap_err();
    assert_eq!(wrong, path("an issuer may not issue for time stamping"));
    let wrong = judge(intermediate(Profile { ca: false, ..Profile::intermediate() })).unwrap_err();
    assert_eq!(wrong, path("a certificate was issued by one that may not issue any"));
    let wrong = judge(intermediate(Profile { key_usage: Some((0x80, 7)), ..Profile::intermediate() })).unwrap_err();
    assert_eq!(wrong, path("a certificate was issued by one that may not issue any"));
    judge(intermediate(Profile { key_usage: None, ..Profile::intermediate() })).unwrap();
}

#[test]
fn a_signer_signs_and_does_nothing_else() {
    let judge = |signer| {
        let tsa = Tsa::signed_by(signer);
        judge(&tsa, &Make::new(&tsa))
    };
    let usage = |bits, unused| Profile { key_usage: Some((bits, unused)), ..Profile::signer() };
    for good in [usage(0xc0, 6), usage(0x40, 6), Profile { key_usage: None, ..Profile::signer() }] {
        judge(good).unwrap();
    }
    for other in [usage(0xa0, 5), usage(0x20, 5), usage(0x84, 2)] {
        let told = "its key usage is not that of signatures alone";
        assert_eq!(judge(other), Err(TokenError::Purpose(told)));
    }
    let authority = judge(Profile { ca: true, ..Profile::signer() });
    assert_eq!(authority, Err(path("an authority for certificates signed the token")));
}

#[test]
fn a_critical_extension_that_is_not_known_ends_the_path() {
    let extra = vec![extension("1.2.3.4", true, &null())];
    let tsa = with(Profile::signer(), Profile { extra: extra.clone(), ..Profile::intermediate() }, Profile::root());
    let error = judge(&tsa, &Make::new(&tsa)).unwrap_err();
    assert!(matches!(error, TokenError::Path(_)), "{error:?}");
    let tsa = Tsa::signed_by(Profile { extra, ..Profile::signer() });
    let error = judge(&tsa, &Make::new(&tsa)).unwrap_err();
    assert!(matches!(error, TokenError::SignerCertificate(_)), "{error:?}");
}

#[test]
fn a_path_may_be_signed_by_every_kind_that_a_token_may() {
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for spelling in [Spelling::WithHash, Spelling::Pss] {
            let key = rsa();
            let root = Profile { hash, spelling, ..Profile::root() }.certificate(&key, &key);
            let signer = Profile { issuer: "Root", hash, spelling, ..Profile::signer() }.certificate(&p256(3), &key);
            let tsa = Tsa { root, intermediate: Vec::new(), signer, key: p256(3) };
            let make = Make::new(&tsa).attribute(2, certificate_v2(Hash::Sha256, &tsa.signer, &[]));
            let make = make.but(|make| {
                make.certificates = vec![tsa.signer.clone()];
                make.signer_id = seq(&[&name("Root"), &int(&[3])]);
            });
            judge(&tsa, &make).unwrap();
        }
    }
}

#[test]
fn an_issuer_of_the_right_name_and_another_key_makes_a_token_wrong() {
    let (tsa, make) = good();
    let impostor = p256(5);
    let signer = Profile::signer().certificate(&impostor, &impostor);
    let forged = Tsa { root: tsa.root.clone(), intermediate: tsa.intermediate.clone(), signer, key: impostor };
    let error = judge(&tsa, &Make::new(&forged)).unwrap_err();
    assert_eq!(error, path("a certificate is not signed by its issuer"));
    assert!(!error.is_untrusted());
    judge(&tsa, &make).unwrap();
}

#[test]
fn roots_are_pem_and_their_own_issuers() {
    let (tsa, _) = good();
    let (root, intermediate) = (tsa.root.as_slice(), tsa.intermediate.as_slice());
    let text = format!("An authority\n{}\nand more text\n", pem(&[intermediate, root]));
    let mut read = Roots::from_pem(text.as_bytes()).unwrap();
    assert_eq!(read.roots().iter().map(|r| r.fingerprint).collect::<Vec<_>>(), [Digest::of(root)]);
    read.add(roots(&[root]));
    assert_eq!(read.roots().len(), 1);
    read.add(Roots::public());
    let all = read.roots().len();
    assert!(all > 5);
    let one = read.clone().only(Digest::of(root)).unwrap();
    assert_eq!(one.roots().len(), 1);
    assert!(matches!(read.only(Digest::of(intermediate)), Err(RootsError::Unknown(_))));

    assert!(matches!(Roots::from_pem(b"no certificate"), Err(RootsError::NoRoot(0))));
    assert!(matches!(Roots::from_pem(pem(&[intermediate]).as_bytes()), Err(RootsError::NoRoot(1))));
    assert!(matches!(Roots::from_pem(pem(&[b"no DER"]).as_bytes()), Err(RootsError::Certificate { number: 1, .. })));
    let cut = &pem(&[root])[..200];
    assert!(matches!(Roots::from_pem(cut.as_bytes()), Err(RootsError::Pem(_))));
}
