//! Well-known public time stamping authorities: data, not an endorsement. The certificates are in `signing/data/authorities`.

/// A public authority that answers RFC 3161 requests over HTTP, without an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Its operator.
    pub name: &'static str,
    /// Where it answers.
    pub url: &'static str,
    /// SHA-256 fingerprints of the shipped roots that its tokens lead to, lower-case hexadecimal.
    pub roots: &'static [&'static str],
    /// What it asks of those who use it, as far as that is published; empty where nothing was found.
    pub terms: &'static str,
    /// Whence it is known which root its tokens lead to.
    pub source: &'static str,
}

/// A shipped root certificate.
pub(super) struct ShippedRoot {
    pub name: &'static str,
    /// SHA-256 of the certificate, as root programmes and its owner list it.
    #[cfg_attr(not(test), allow(dead_code, reason = "a test holds the certificate against it"))]
    pub fingerprint: &'static str,
    pub pem: &'static str,
}

const DIGICERT_G4: &str = "552f7bdcf1a7af9e6ce672017f4f12abf77240c78e761ac203d1d9d20ac89988";
const USERTRUST_RSA: &str = "e793c9b02fd8aa13e21c31228accb08119643b749c898964b1746d46c3d4cbd2";
const GLOBALSIGN_R6: &str = "2cabeafe37d06ca22aba7391c0033d25982952c453647349763a3ab5ad6ccf69";
const SSL_COM_RSA: &str = "85666a562ee0be5ce925c1d8890a6f76a87ec16d4d7d5f29ea7419cf20123b69";
const CERTUM_2: &str = "b676f2eddae8775cd36cb0f63cd1d4603961f49e6265ba013a2f0307b6d0b804";
const IDENTRUST_COMMERCIAL_1: &str = "5d56499be4d2e08bcfcad08a3e38723d50503bde706948e42f55603019e528ae";
const IDENTRUST_PUBLIC_SECTOR_1: &str = "30d0895a9a448a262091635522d1f52010b5867acae12c78ef958fd4f4389f2f";

/// The authorities whose roots ship here.
pub const AUTHORITIES: &[Authority] = &[
    Authority {
        name: "DigiCert",
        url: "http://timestamp.digicert.com",
        roots: &[DIGICERT_G4],
        terms: "",
        source: "a token of 2025-03-24, verified with this crate; a published exchange of 2026-08-02",
    },
    Authority {
        name: "Sectigo",
        url: "http://timestamp.sectigo.com",
        roots: &[USERTRUST_RSA],
        terms: "at least 15 seconds between requests of a script",
        source: "a published exchange of 2026-08-02: its Time Stamping Root R46 comes signed by USERTrust RSA",
    },
    Authority {
        name: "GlobalSign",
        url: "http://timestamp.globalsign.com/tsa/r6advanced1",
        roots: &[GLOBALSIGN_R6],
        terms: "",
        source: "the published certificates of Timestamping CA - SHA384 - G4, which Root CA - R6 issued, and of its signers",
    },
    Authority {
        name: "SSL.com",
        url: "http://ts.ssl.com",
        roots: &[SSL_COM_RSA],
        terms: "10,000 tokens a year without an account",
        source: "a published signature of 2026-09-22, whose token leads to Root Certification Authority RSA",
    },
    Authority {
        name: "Certum",
        url: "http://time.certum.pl",
        roots: &[CERTUM_2],
        terms: "",
        source: "published signatures of 2025 and 2026, whose tokens lead over Certum Timestamping 2021 CA to Trusted Network CA 2",
    },
    Authority {
        name: "IdenTrust",
        url: "http://timestamp.identrust.com",
        roots: &[IDENTRUST_COMMERCIAL_1, IDENTRUST_PUBLIC_SECTOR_1],
        terms: "",
        source: "tokens of 2025-03-11, verified with this crate, under the former; published reports of 2026 name the latter",
    },
];

/// The shipped roots, from Debian's ca-certificates 20230311+deb12u1; PyPI's certifi 2026.10.18 has the same. Both take them from Mozilla.
pub(super) const ROOTS: &[ShippedRoot] = &[
    ShippedRoot {
        name: "DigiCert Trusted Root G4",
        fingerprint: DIGICERT_G4,
        pem: include_str!("../../data/authorities/digicert-trusted-root-g4.pem"),
    },
    ShippedRoot {
        name: "USERTrust RSA Certification Authority",
        fingerprint: USERTRUST_RSA,
        pem: include_str!("../../data/authorities/usertrust-rsa.pem"),
    },
    ShippedRoot {
        name: "GlobalSign Root CA - R6",
        fingerprint: GLOBALSIGN_R6,
        pem: include_str!("../../data/authorities/globalsign-root-r6.pem"),
    },
    ShippedRoot {
        name: "SSL.com Root Certification Authority RSA",
        fingerprint: SSL_COM_RSA,
        pem: include_str!("../../data/authorities/ssl-com-root-rsa.pem"),
    },
    ShippedRoot {
        name: "Certum Trusted Network CA 2",
        fingerprint: CERTUM_2,
        pem: include_str!("../../data/authorities/certum-trusted-network-ca-2.pem"),
    },
    ShippedRoot {
        name: "IdenTrust Commercial Root CA 1",
        fingerprint: IDENTRUST_COMMERCIAL_1,
        pem: include_str!("../../data/authorities/identrust-commercial-root-ca-1.pem"),
    },
    ShippedRoot {
        name: "IdenTrust Public Sector Root CA 1",
        fingerprint: IDENTRUST_PUBLIC_SECTOR_1,
        pem: include_str!("../../data/authorities/identrust-public-sector-root-ca-1.pem"),
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::Roots, *};

    #[test]
    fn the_shipped_roots_are_those_that_the_table_names() {
        let roots = Roots::public();
        let found: Vec<String> = roots.roots().iter().map(|root| root.fingerprint.to_string()).collect();
        let named: Vec<&str> = ROOTS.iter().map(|root| root.fingerprint).collect();
        assert_eq!(found, named);
        let used: Vec<&str> = AUTHORITIES.iter().flat_map(|authority| authority.roots).copied().collect();
        assert_eq!(used, named, "each root is there for an authority, and the other way round");
        for (root, shipped) in roots.roots().iter().zip(ROOTS) {
            let read = Roots::from_pem(shipped.pem.as_bytes()).unwrap();
            assert_eq!(read.roots().len(), 1);
            assert_eq!(root.name, shipped.name);
        }
    }
}
