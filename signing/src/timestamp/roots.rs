//! What an auditor trusts for time: root certificates, and further ones that lead to them.

use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use super::{authorities, errors::RootsError, paths::validity, signer};
use crate::digest::Digest;

/// A root certificate: a trust anchor (RFC 5280, 6.1.1), which counts while it is valid itself.
#[derive(Clone, Debug)]
pub struct Root {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// CN of its subject, or the whole of it; of a shipped root, its owner's name for it.
    pub name: String,
    pub(super) anchor: TrustAnchor<'static>,
    /// In seconds of Unix time.
    pub(super) valid: std::ops::RangeInclusive<u64>,
}

/// Trust anchors for tokens, and certificates that are not trusted by themselves but may stand between.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    pub(super) roots: Vec<Root>,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) others: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// The roots of well-known public authorities that ship with this crate: [`super::AUTHORITIES`].
    pub fn public() -> Self {
        let mut roots = Self::default();
        for shipped in authorities::ROOTS {
            let mut read = Self::from_pem(shipped.pem.as_bytes()).expect("a test has read what ships");
            for root in &mut read.roots {
                shipped.name.clone_into(&mut root.name);
            }
            roots.add(read);
        }
        roots
    }

    /// The certificates of a PEM file. Those that are their own issuers are roots; the others (intermediate ones, or a signer's that
    /// tokens leave out) only help to find a path. Text between them is passed over.
    ///
    /// # Errors
    /// Bytes that are no PEM, a certificate that cannot be read, a file without a root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut found = Self::default();
        let mut number = 0;
        for der in CertificateDer::pem_slice_iter(pem) {
            let der = der.map_err(|e| RootsError::Pem(e.to_string()))?;
            number += 1;
            let unreadable = |detail: String| RootsError::Certificate { number, detail };
            let certificate = signer::parse(&der).map_err(|e| unreadable(e.to_string()))?.tbs_certificate;
            if certificate.subject != certificate.issuer {
                found.others.push(der);
                continue;
            }
            let fingerprint = Digest::of(&der);
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|e| unreadable(e.to_string()))?.to_owned();
            let root =
                Root { fingerprint, name: signer::subject(&der), anchor, valid: validity(&certificate.validity) };
            found.add(Self { roots: vec![root], ..Self::default() });
        }
        if found.roots.is_empty() { Err(RootsError::NoRoot(number)) } else { Ok(found) }
    }

    /// Adds the others to these; a root that is there already is not added again.
    pub fn add(&mut self, others: Self) {
        for root in others.roots {
            if self.roots.iter().all(|known| known.fingerprint != root.fingerprint) {
                self.anchors.push(root.anchor.clone());
                self.roots.push(root);
            }
        }
        self.others.extend(others.others);
    }

    /// Only the root with that fingerprint, with all further certificates.
    ///
    /// # Errors
    /// No such root.
    pub fn only(mut self, fingerprint: Digest) -> Result<Self, RootsError> {
        self.roots.retain(|root| root.fingerprint == fingerprint);
        self.anchors = self.roots.iter().map(|root| root.anchor.clone()).collect();
        if self.roots.is_empty() { Err(RootsError::Unknown(fingerprint)) } else { Ok(self) }
    }

    /// The roots.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }
}
