//! Well-known public time stamping authorities: data, not an endorsement. The certificates are in `signing/data/authorities`.

/// A public authority that answers RFC 3161 requests over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Its operator.
    pub name: &'static str,
    /// Where it answers.
    pub url: &'static str,
    /// SHA-256 fingerprints of the shipped roots that its tokens lead to, lower-case hexadecimal.
    pub roots: &'static [&'static str],
    /// Whence the link between address and root is known.
    pub source: &'static str,
}

/// A shipped root certificate.
pub(super) struct ShippedRoot {
    pub name: &'static str,
    /// SHA-256 of the certificate, as its owner publishes it.
    #[cfg_attr(not(test), allow(dead_code, reason = "a test holds the certificate against it"))]
    pub fingerprint: &'static str,
    pub pem: &'static str,
}

const DIGICERT_G4: &str = "552f7bdcf1a7af9e6ce672017f4f12abf77240c78e761ac203d1d9d20ac89988";
const DIGICERT_ASSURED_ID: &str = "3e9099b5015e8f486c00bcea9d111ee721faba355a89bcf1df69561e3dc6325c";
const USERTRUST_RSA: &str = "e793c9b02fd8aa13e21c31228accb08119643b749c898964b1746d46c3d4cbd2";
const GLOBALSIGN_R6: &str = "2cabeafe37d06ca22aba7391c0033d25982952c453647349763a3ab5ad6ccf69";
const GLOBALSIGN_R3: &str = "cbb522d7b7f127ad6a0113865bdf1cd4102e7d0759af635a7cf4720dc963c53b";
const SSL_COM_RSA: &str = "85666a562ee0be5ce925c1d8890a6f76a87ec16d4d7d5f29ea7419cf20123b69";
const SSL_COM_ECC: &str = "3417bb06cc6007da1b961c920b8ab4ce3fad820e4aa30b9acbc4a74ebdcebc65";
const CERTUM_2: &str = "b676f2eddae8775cd36cb0f63cd1d4603961f49e6265ba013a2f0307b6d0b804";
const CERTUM: &str = "5c58468d55f58e497e743982d2b50010b6d165374acf83a7d4a32db768c4408e";
const IDENTRUST_COMMERCIAL_1: &str = "5d56499be4d2e08bcfcad08a3e38723d50503bde706948e42f55603019e528ae";
const ENTRUST_G2: &str = "43df5774b03e7fef5fe40d931a7bedf1bb2e6b42738c4e6d3841103d3aa7f339";

/// The authorities whose roots ship here.
pub const AUTHORITIES: &[Authority] = &[Authority {
    name: "DigiCert",
    url: "http://timestamp.digicert.com",
    roots: &[DIGICERT_G4, DIGICERT_ASSURED_ID],
    source: "tokens are issued under DigiCert Trusted G4 TimeStamping RSA4096 SHA256 2025 CA1, by users' records",
}];

/// The shipped roots, as Debian's ca-certificates 20230311+deb12u1 has them (Mozilla's set).
pub(super) const ROOTS: &[ShippedRoot] = &[
    ShippedRoot {
        name: "DigiCert Trusted Root G4",
        fingerprint: DIGICERT_G4,
        pem: include_str!("../../data/authorities/digicert-trusted-root-g4.pem"),
    },
    ShippedRoot {
        name: "DigiCert Assured ID Root CA",
        fingerprint: DIGICERT_ASSURED_ID,
        pem: include_str!("../../data/authorities/digicert-assured-id-root-ca.pem"),
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
        name: "GlobalSign Root CA - R3",
        fingerprint: GLOBALSIGN_R3,
        pem: include_str!("../../data/authorities/globalsign-root-r3.pem"),
    },
    ShippedRoot {
        name: "SSL.com Root Certification Authority RSA",
        fingerprint: SSL_COM_RSA,
        pem: include_str!("../../data/authorities/ssl-com-root-rsa.pem"),
    },
    ShippedRoot {
        name: "SSL.com Root Certification Authority ECC",
        fingerprint: SSL_COM_ECC,
        pem: include_str!("../../data/authorities/ssl-com-root-ecc.pem"),
    },
    ShippedRoot {
        name: "Certum Trusted Network CA 2",
        fingerprint: CERTUM_2,
        pem: include_str!("../../data/authorities/certum-trusted-network-ca-2.pem"),
    },
    ShippedRoot {
        name: "Certum Trusted Network CA",
        fingerprint: CERTUM,
        pem: include_str!("../../data/authorities/certum-trusted-network-ca.pem"),
    },
    ShippedRoot {
        name: "IdenTrust Commercial Root CA 1",
        fingerprint: IDENTRUST_COMMERCIAL_1,
        pem: include_str!("../../data/authorities/identrust-commercial-root-ca-1.pem"),
    },
    ShippedRoot {
        name: "Entrust Root Certification Authority - G2",
        fingerprint: ENTRUST_G2,
        pem: include_str!("../../data/authorities/entrust-root-g2.pem"),
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
        for root in AUTHORITIES.iter().flat_map(|authority| authority.roots) {
            assert!(named.contains(root), "{root}");
        }
        for (root, shipped) in roots.roots().iter().zip(ROOTS) {
            let read = Roots::from_pem(shipped.pem.as_bytes()).unwrap();
            assert_eq!(read.roots().len(), 1);
            assert_eq!(root.name, shipped.name);
        }
    }
}
