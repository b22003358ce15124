//! OpenSSL as the authority, and OpenSSL as the other verifier: both sides of a token are also somebody else's.

#![allow(clippy::disallowed_methods, reason = "scratch files")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use signing::timestamp::{Hash, Request, Roots, Verifier};
use tempfile::TempDir;

use crate::{asn1::*, rules::*, tsa::*};

fn openssl(directory: &Path, arguments: &str) -> Output {
    Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output().unwrap()
}

fn done(directory: &Path, arguments: &str) {
    let output = openssl(directory, arguments);
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory to work in; none, and a word about it, where OpenSSL is not installed.
fn scratch() -> Option<TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: openssl is not installed");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// A root, an intermediate certificate and an authority whose keys are made by `key`.
fn authority(home: &Path, key: &str, settings: &str) {
    fs::write(
        home.join("tsa.cnf"),
        format!(
            "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
             [unit]\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n\
             [tsa]\ndefault_tsa=it\n[it]\nserial=serial\nsigner_cert=unit.pem\nsigner_key=unit.key\ncerts=between.pem\n\
             default_policy=1.3.6.1.4.1.99999.1\ndigests=sha256,sha384,sha512\ness_cert_id_chain=no\n{settings}"
        ),
    )
    .unwrap();
    for name in ["root", "between", "unit"] {
        done(
            home,
            &format!("req -new -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /O=Test/CN={name}"),
        );
    }
    let sign = "x509 -req -sha384 -days 2 -extfile tsa.cnf";
    done(home, &format!("{sign} -in root.csr -signkey root.key -extensions ca -out root.pem"));
    done(
        home,
        &format!("{sign} -in between.csr -CA root.pem -CAkey root.key -CAcreateserial -extensions ca -out between.pem"),
    );
    done(
        home,
        &format!(
            "{sign} -in unit.csr -CA between.pem -CAkey between.key -CAcreateserial -extensions unit -out unit.pem"
        ),
    );
}

#[test]
fn an_authority_of_openssl_answers_our_request_and_its_answer_verifies() {
    let cases = [
        ("rsa:2048", "signer_digest=sha256\ness_cert_id_alg=sha1\n", None),
        ("rsa:3072", "signer_digest=sha512\nclock_precision_digits=3\naccuracy=secs:1,millisecs:500\n", Some(1_500)),
        (
            "ec -pkeyopt ec_paramgen_curve:P-256",
            "signer_digest=sha256\naccuracy=millisecs:20\ntsa_name=yes\n",
            Some(20),
        ),
        ("ec -pkeyopt ec_paramgen_curve:P-384", "signer_digest=sha384\nordering=yes\ness_cert_id_alg=sha512\n", None),
    ];
    for (number, (key, settings, accuracy)) in (0..).zip(cases) {
        let Some(scratch) = scratch() else { return };
        let home = scratch.path();
        authority(home, key, settings);
        let request = Request::new(MESSAGE, [number; 16]);
        fs::write(home.join("request.tsq"), request.to_der()).unwrap();
        done(home, "ts -reply -config tsa.cnf -queryfile request.tsq -out response.tsr");

        let der = fs::read(home.join("response.tsr")).unwrap();
        let verifier = Verifier::new(Roots::from_pem(&fs::read(home.join("root.pem")).unwrap()).unwrap());
        let stamp = verifier.check_answer(&request, &der).unwrap().stamp;
        assert_eq!((stamp.authority.as_str(), stamp.root_name.as_str()), ("unit", "root"), "{key}");
        let width = (stamp.latest - stamp.earliest).num_milliseconds();
        let stated = 2 * accuracy.unwrap_or(1_000);
        assert!((stated..=stated + 1).contains(&width), "{key}: {width} ms");
        assert!(verifier.verify(&der, b"another").is_err());
    }
}

#[test]
fn an_authority_that_refuses_is_told_in_its_own_words() {
    let Some(scratch) = scratch() else { return };
    let home = scratch.path();
    authority(home, "ec -pkeyopt ec_paramgen_curve:P-256", "signer_digest=sha256\n");
    done(home, "ts -query -digest 0000000000000000000000000000000000000000 -sha1 -out request.tsq");
    openssl(home, "ts -reply -config tsa.cnf -queryfile request.tsq -out response.tsr");
    let refusal = Verifier::default().verify(&fs::read(home.join("response.tsr")).unwrap(), MESSAGE).unwrap_err();
    let told = "the authority refused with status 2: Message digest algorithm is not supported.; badAlg";
    assert_eq!(refusal.to_string(), told);
}

/// What OpenSSL says of a token over [`MESSAGE`], at the token's time.
fn other_verdict(home: &Path, tsa: &Tsa, make: &Make) -> bool {
    fs::write(home.join("message"), MESSAGE).unwrap();
    fs::write(home.join("root.pem"), pem(&[&tsa.root])).unwrap();
    fs::write(home.join("token.tsr"), make.build()).unwrap();
    let seconds = at("2026-11-22T04:00:00Z").timestamp();
    openssl(home, &format!("ts -verify -data message -in token.tsr -CAfile root.pem -attime {seconds}"))
        .status
        .success()
}

#[test]
fn openssl_comes_to_the_same_verdicts() {
    let Some(scratch) = scratch() else { return };
    let agree = |tsa: &Tsa, make: &Make, wanted: bool, what: &str| {
        assert_eq!(judge(tsa, make).is_ok(), wanted, "{what}");
        assert_eq!(other_verdict(scratch.path(), tsa, make), wanted, "OpenSSL: {what}");
    };
    for key in [p256(3), p384(3), rsa()] {
        let tsa = Tsa::new(key);
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            agree(&tsa, &Make::new(&tsa).hash(hash, Spelling::RsaAlone), true, &format!("{hash:?}"));
        }
    }
    let (tsa, make) = good();
    agree(&tsa, &make.info(|info| info.time = "20261122040000.25Z".to_owned()), true, "fractions");
    agree(&tsa, &Make::new(&tsa).attribute(2, certificate_v1(&tsa.signer, &[])), true, "SHA-1 in the attribute");
    agree(&tsa, &Make::new(&tsa).but(|make| make.certificates.reverse()), true, "order of certificates");

    let wrong = |change: fn(&mut Make)| Make::new(&tsa).but(change);
    agree(&tsa, &Make::new(&tsa).info(|info| info.imprint[0] ^= 1), false, "another message");
    agree(&tsa, &wrong(|make| make.key = p256(4)), false, "another key");
    agree(&tsa, &wrong(|make| make.signers = 2), false, "two signatures");
    agree(&tsa, &wrong(|make| make.info.serial = int(&[1])), false, "altered content");
    agree(&tsa, &wrong(|make| drop(make.attributes.as_mut().unwrap().pop())), false, "no signing certificate");
    let other = certificate_v2(Hash::Sha256, &tsa.intermediate, &[]);
    agree(&tsa, &Make::new(&tsa).attribute(2, other), false, "another signing certificate");
    let purposes = [
        None,
        Some((true, vec![CODE_SIGNING])),
        Some((false, vec![TIME_STAMPING])),
        Some((true, vec![TIME_STAMPING, CODE_SIGNING])),
    ];
    for purposes in purposes {
        let what = format!("{purposes:?}");
        let tsa = Tsa::signed_by(Profile { purposes, ..Profile::signer() });
        agree(&tsa, &Make::new(&tsa), false, &what);
    }
    let tsa = Tsa::signed_by(Profile { until: "20261122035959Z", ..Profile::signer() });
    agree(&tsa, &Make::new(&tsa), false, "expired then");
}
