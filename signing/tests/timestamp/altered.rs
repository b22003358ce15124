//! A token of which something was altered: only what nothing rests on may be, and then nothing else changes.

use std::{fs, ops::Range, path::Path};

use proptest::prelude::*;
use serde_json::json;
use signing::{
    digest::Digest,
    timestamp::{Hash, Request, Verifier, peek},
};

use crate::{asn1::*, rules::*, tsa::*};

/// What may be altered, and where that lies.
type Place = (&'static str, Range<usize>);

/// A token with everything in it that a token may have beside what counts, and where that lies.
fn with_all_that_is_passed_over() -> (Tsa, Vec<u8>, Vec<Place>) {
    let (tsa, make) = good();
    let unused = Profile { subject: "Unused", issuer: "Unused", ..Profile::root() }.certificate(&p256(7), &p256(7));
    let text = b"all is well";
    let attribute = attribute("1.2.3.4", &octets(b"an unsigned attribute"));
    let list = octets(b"a revocation list");
    let make = make.info(|info| info.nonce = int(&[1, 2, 3])).but(|make| {
        make.status = seq(&[&int(&[0]), &seq(&[&tlv(12, &[text])])]);
        make.certificates.push(unused.clone());
        make.unsigned = context(1, &[&attribute]);
        make.crls = context(1, &[&list]);
    });
    let der = make.build();
    let find = |piece: &[u8]| {
        let at = der.windows(piece.len()).position(|part| part == piece).unwrap();
        at..at + piece.len()
    };
    // SignedData and SignerInfo begin with their versions, behind what is unique.
    let after = |piece: &[u8], bytes: usize| find(piece).end..find(piece).end + bytes;
    let digests = seq(&[&sha(Hash::Sha256), &null()]);
    let version = [int(&[3]), set(&[&digests])].concat();
    let named = seq(&[&name("Intermediate"), &int(&[3])]);
    let signer = [int(&[1]), named].concat();
    let places = vec![
        ("status: granted becomes granted with modifications", after(&make.status[..4], 1)),
        ("status: its text", find(text)),
        ("version of SignedData", find(&version).start + 2..find(&version).start + 3),
        ("announced digest algorithms", find(&version).start + 5..find(&version).end),
        ("a certificate that is not on the path", find(&unused)),
        ("revocation lists", find(&list)),
        ("version of SignerInfo", find(&signer).start + 2..find(&signer).start + 3),
        ("unsigned attributes", find(&attribute)),
    ];
    (tsa, der, places)
}

#[test]
fn a_flipped_byte_is_refused_or_lies_where_nothing_rests_on_it() {
    let (tsa, der, places) = with_all_that_is_passed_over();
    let verifier = Verifier::new(tsa.roots());
    let stamp = verifier.verify(&der, MESSAGE).unwrap();
    let mut used = vec![0; places.len()];
    for at in 0..der.len() {
        for flip in [0x01, 0x80] {
            let mut altered = der.clone();
            altered[at] ^= flip;
            let Ok(found) = verifier.verify(&altered, MESSAGE) else { continue };
            assert_eq!(found, stamp, "byte {at}");
            let place = places.iter().position(|(_, place)| place.contains(&at));
            used[place.unwrap_or_else(|| panic!("byte {at} may be flipped by {flip:#x}"))] += 1;
        }
    }
    for ((name, _), used) in places.iter().zip(used) {
        assert!(used > 0, "{name}: nothing may be flipped there");
    }
}

#[test]
fn a_token_that_was_cut_anywhere_is_refused() {
    let (tsa, make) = good();
    let (verifier, der) = (Verifier::new(tsa.roots()), make.build());
    for length in 0..der.len() {
        assert!(verifier.verify(&der[..length], MESSAGE).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bytes_come_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Verifier::default().verify(&bytes, MESSAGE).is_err());
        prop_assert!(peek(&bytes).is_err());
    }

    #[test]
    fn a_request_is_one_that_its_own_answer_fits(nonce: [u8; 16], other: [u8; 16]) {
        let request = Request::new(MESSAGE, nonce);
        let der = request.to_der();
        prop_assert_eq!(der.len(), 77);
        // The nonce is the INTEGER before certReq; positive, and never shorter.
        let sent = &der[der.len() - 19..der.len() - 3];
        prop_assert!((0x40..0x80).contains(&sent[0]));
        prop_assert_eq!(request == Request::new(MESSAGE, other), sent == &Request::new(MESSAGE, other).to_der()[58..74]);
    }
}

/// `docs/vectors/token`, made again and compared. ECDSA is by RFC 6979, so that the bytes are always the same.
#[test]
fn the_tokens_of_the_vectors_are_made_again() {
    let (tsa, _) = good();
    let request = Request::new(MESSAGE, [7; 16]);
    let make = Make::new(&tsa).info(|info| {
        info.time = "20261122040000.2505Z".to_owned();
        info.nonce = int(&[&[0x47][..], &[7; 15]].concat());
    });
    let token = make.build();
    let stamp = Verifier::new(tsa.roots()).check_answer(&request, &token).unwrap().stamp;
    let said = json!({
        "at": stamp.at, "earliest": stamp.earliest, "latest": stamp.latest, "authority": stamp.authority, "root": stamp.root,
        "root_name": stamp.root_name, "serial": stamp.serial, "token": Digest::of(&token),
    });
    let (query, root) = (request.to_der(), pem(&[&tsa.root]));
    let said = format!("{said:#}\n");
    let files: [(&str, &[u8]); 5] = [
        ("message", MESSAGE),
        ("request.tsq", &query),
        ("response.tsr", &token),
        ("root.pem", root.as_bytes()),
        ("stamp.json", said.as_bytes()),
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/token");
    for (name, made) in files {
        let path = directory.join(name);
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            #[allow(clippy::disallowed_methods, reason = "a file of the source, written on request")]
            fs::write(&path, made).unwrap();
        }
        assert!(fs::read(&path).unwrap() == made, "{} is other than what is made today", path.display());
    }
}
