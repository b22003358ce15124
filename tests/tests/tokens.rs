//! Tokens that others had from their authorities, and that others altered: PyPI's rfc3161-client keeps them for its own tests.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use signing::timestamp::{AUTHORITIES, Roots, Stamp, TokenError, Verifier};
use tests::tools;

const MESSAGE: &[u8] = b"hello";

fn file(name: &str) -> Vec<u8> {
    fs::read(tools::tokens().join(name)).unwrap()
}

/// Judges a token under the roots in the file beside it.
fn judge(directory: &str, token: &str, message: &[u8]) -> Result<Stamp, TokenError> {
    let roots = Roots::from_pem(&file(&format!("{directory}/ts_chain.pem"))).unwrap();
    Verifier::new(roots).verify(&file(&format!("{directory}/{token}")), message)
}

#[test]
fn a_token_of_a_public_authority_verifies_under_the_shipped_roots() {
    let token = file("identrust/issue-104.tsr");
    let stamp = Verifier::new(Roots::public()).verify(&token, MESSAGE).unwrap();
    assert_eq!(stamp.at.to_rfc3339(), "2025-03-11T08:52:08+00:00");
    assert_eq!(stamp.authority, "TrustID Timestamp Authority");
    assert_eq!(stamp.root_name, "IdenTrust Commercial Root CA 1");
    let authority = AUTHORITIES.iter().find(|authority| authority.name == "IdenTrust").unwrap();
    assert!(authority.roots.contains(&stamp.root.to_string().as_str()));

    assert_eq!(Verifier::new(Roots::public()).verify(&token, b"other"), Err(TokenError::Imprint));
    let others = Roots::from_pem(&file("sigstage/ts_chain.pem")).unwrap();
    assert!(Verifier::new(others).verify(&token, MESSAGE).unwrap_err().is_untrusted());
    assert!(Verifier::new(Roots::public().only(stamp.root).unwrap()).verify(&token, MESSAGE).is_ok());
}

#[test]
fn tokens_of_sigstores_authority_verify_with_every_hash() {
    for hash in ["sha256", "sha384", "sha512"] {
        let stamp = judge("sigstage", &format!("response-{hash}.tsr"), MESSAGE).unwrap();
        assert_eq!((stamp.authority.as_str(), stamp.root_name.as_str()), ("sigstore-tsa", "sigstore-tsa-selfsigned"));
    }
}

#[test]
fn a_token_without_certificates_needs_them_beside_the_roots() {
    judge("sigstage", "response-no-embedded-cert.tsr", MESSAGE).unwrap();
    let token = file("sigstage/response-no-embedded-cert.tsr");
    let error = Verifier::new(Roots::public()).verify(&token, MESSAGE).unwrap_err();
    assert_eq!(error, TokenError::SignerAbsent);
    assert!(error.is_untrusted());
}

#[test]
fn an_altered_signature_is_refused() {
    assert_eq!(judge("sigstage", "response-invalid-signature.tsr", MESSAGE), Err(TokenError::Signature));
}

#[test]
fn certificates_put_into_a_token_change_nothing() {
    let plain = judge("test_tsa", "response.tsr", MESSAGE).unwrap();
    assert_eq!(judge("test_tsa", "response-injected-certs.tsr", MESSAGE).unwrap(), plain);
    let whole = judge("test_tsa_full_chain", "response.tsr", MESSAGE).unwrap();
    assert_eq!(whole.root_name, "Embedded Full Chain Test Root Certificate");
    // A root of the same name with another key
    assert!(matches!(judge("test_tsa", "other_response.tsr", MESSAGE), Err(TokenError::Path(_))));
}

#[test]
fn a_token_whose_certificates_have_expired_shows_its_time() {
    let stamp = judge("sigstore.mock", "response-expired.tsr", &file("sigstore.mock/payload")).unwrap();
    assert_eq!(stamp.at.to_rfc3339(), "2023-02-01T00:00:00+00:00");
}
