//! A key that a key service holds: it signs there, and every signature is checked here, so that a service with another key, or a wrong
//! answer, never gives a seal that nobody can verify.

use std::{error::Error, fmt};

use signing::keys::{PublicKey, SignError, Signer};

/// What a key service is asked.
pub(super) trait Service: Send + Sync {
    /// The public half of its key.
    fn public(&self) -> Result<PublicKey, ServiceError>;

    /// The Ed25519 signature over `message` as it is (RFC 8032, no prehash).
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], ServiceError>;
}

/// Why a key service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It does not answer, or not now: asking again later may help.
    #[error("the key service is away: {0}")]
    Away(String),
    /// It has no such key, or one of another kind, or refuses.
    #[error("{0}")]
    Refused(String),
}

/// A key of a key service.
pub(super) struct ServiceKey {
    public: PublicKey,
    service: Box<dyn Service>,
}

impl ServiceKey {
    pub fn new(public: PublicKey, service: Box<dyn Service>) -> Self {
        Self { public, service }
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceKey({})", self.public.fingerprint())
    }
}

impl Signer for ServiceKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let failed = |source: Box<dyn Error + Send + Sync>| SignError { key_id: self.public.fingerprint(), source };
        let signature = self.service.sign(message).map_err(|error| failed(Box::new(error)))?;
        match self.public.verify_strict(message, &signature) {
            true => Ok(signature),
            false => Err(failed("the key service answered with a signature that is not by this key".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use signing::keys::FileKey;

    use super::*;

    struct Fixed(FileKey);

    impl Service for Fixed {
        fn public(&self) -> Result<PublicKey, ServiceError> {
            Ok(*self.0.public())
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], ServiceError> {
            self.0.sign(message).map_err(|error| ServiceError::Refused(error.to_string()))
        }
    }

    #[test]
    fn a_signature_by_another_key_is_never_passed_on() {
        let (one, other) = (FileKey::from_seed(&[1; 32]), FileKey::from_seed(&[2; 32]));
        let honest = ServiceKey::new(*one.public(), Box::new(Fixed(FileKey::from_seed(&[1; 32]))));
        assert!(one.public().verify_strict(b"m", &honest.sign(b"m").unwrap()));
        let wrong = ServiceKey::new(*one.public(), Box::new(Fixed(other)));
        let error = signing::errors::chain(&wrong.sign(b"m").unwrap_err());
        assert!(error.contains("not by this key") && error.contains(&one.public().fingerprint()), "{error}");
    }
}
