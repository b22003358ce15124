//! The path from a signer's certificate to a root (RFC 5280, 6.1), at the token's own time.

use std::{cell::RefCell, ops::RangeInclusive, time::Duration};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, RequiredEkuNotFoundContext,
    VerifiedPath,
};
use x509_cert::{ext::pkix::KeyUsage, time::Validity};

use super::{
    TokenError, algorithms,
    roots::Roots,
    signer::{self, Signer},
};
use crate::{digest::Digest, time::Utc};

/// A path that was found valid, for as long as all of it is: nothing but the time can change that.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// In seconds of Unix time, both ends included.
    pub valid: RangeInclusive<u64>,
    pub root: Digest,
    pub root_name: String,
}

/// Looks for a path at that second of Unix time.
pub(super) fn find(signer: &Signer, roots: &Roots, at: Utc, second: u64) -> Result<Path, TokenError> {
    let end_entity = EndEntityCert::try_from(&signer.der).map_err(|e| TokenError::Path(e.to_string()))?;
    let between: Vec<CertificateDer<'_>> =
        signer.others.iter().chain(&roots.others).map(|der| CertificateDer::from(der.as_ref())).collect();
    let found = RefCell::new(None);
    let check = |candidate: &VerifiedPath<'_>| {
        *found.borrow_mut() = Some(judge(candidate, roots, second)?);
        Ok(())
    };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(second));
    end_entity
        .verify_for_usage(&algorithms::all(), &roots.anchors, &between, time, TimeStamping, None, Some(&check))
        .map_err(|error| refusal(&error, signer, at))?;
    found.take().ok_or_else(|| TokenError::Path("none was found".to_owned()))
}

/// What webpki leaves open: the root's own validity, and that key usages allow to issue (RFC 5280, 6.1.4 (n)).
fn judge(candidate: &VerifiedPath<'_>, roots: &Roots, second: u64) -> Result<Path, Error> {
    let anchor = candidate.anchor();
    // One key may have several root certificates.
    let same = || roots.roots.iter().filter(|root| root.anchor == *anchor);
    let root =
        same().find(|root| root.valid.contains(&second)).or_else(|| same().next()).ok_or(Error::UnknownIssuer)?;
    let mut valid = root.valid.clone();
    if !valid.contains(&second) {
        let (time, limit) = (unix(second), |at: &u64| unix(*at));
        return Err(if second < *valid.start() {
            Error::CertNotValidYet { time, not_before: limit(valid.start()) }
        } else {
            Error::CertExpired { time, not_after: limit(valid.end()) }
        });
    }
    let issuers = candidate.intermediate_certificates().map(|issuer| (issuer.der(), true));
    for (der, issuer) in issuers.chain([(candidate.end_entity().der(), false)]) {
        let certificate = signer::parse(&der).map_err(|_| Error::BadDer)?.tbs_certificate;
        let usage = certificate.get::<KeyUsage>().map_err(|_| Error::BadDer)?;
        if issuer && usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err(Error::EndEntityUsedAsCa);
        }
        let own = validity(&certificate.validity);
        valid = *valid.start().max(own.start())..=*valid.end().min(own.end());
    }
    Ok(Path { valid, root: root.fingerprint, root_name: root.name.clone() })
}

fn unix(second: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(second))
}

pub(super) fn validity(validity: &Validity) -> RangeInclusive<u64> {
    validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs()
}

fn refusal(error: &Error, signer: &Signer, at: Utc) -> TokenError {
    match error {
        Error::UnknownIssuer => TokenError::NoPath { signer: signer.name.clone() },
        Error::CertNotValidYet { not_before, .. } => {
            TokenError::NotValidThen { at, detail: format!("one begins at {}", spelled(*not_before)) }
        }
        Error::CertExpired { not_after, .. } => {
            TokenError::NotValidThen { at, detail: format!("one ended at {}", spelled(*not_after)) }
        }
        Error::RequiredEkuNotFoundContext(_) => {
            TokenError::Path("an issuer may not issue for time stamping".to_owned())
        }
        Error::InvalidSignatureForPublicKey => TokenError::Path("a certificate is not signed by its issuer".to_owned()),
        Error::EndEntityUsedAsCa => {
            TokenError::Path("a certificate was issued by one that may not issue any".to_owned())
        }
        Error::CaUsedAsEndEntity => TokenError::Path("an authority for certificates signed the token".to_owned()),
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            TokenError::Algorithm { part: "path of certificates" }
        }
        other => TokenError::Path(other.to_string()),
    }
}

fn spelled(at: UnixTime) -> String {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(crate::time::from_unix)
        .map_or_else(|| format!("{} s of Unix time", at.as_secs()), crate::time::rfc3339)
}

/// An issuer's extended key usage, where it has one, must let it issue for time stamping. (That of the signer is stricter and is judged
/// with it.)
struct TimeStamping;

impl ExtendedKeyUsageValidator for TimeStamping {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        /// id-kp-timeStamping, 1.3.6.1.5.5.7.3.8, and anyExtendedKeyUsage
        const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
        const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if [TIME_STAMPING, ANY].into_iter().any(|wanted| purpose == KeyPurposeId::new(wanted)) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = webpki::KeyUsage::required(TIME_STAMPING);
        Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}
