//! A key in AWS KMS. It is asked on a thread of its own, so that whoever signs may be on any thread, and nothing else waits for it.

use std::{
    fmt,
    path::PathBuf,
    sync::mpsc::{self, Sender},
    thread,
};

use collectors::aws::{
    kms::{AskAt, Kms, KmsError},
    sdk::{self, AssumedRole},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use signing::keys::PublicKey;

use super::service::{Service, ServiceError};

/// `kms`: a key in AWS KMS. Written as text, it is the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsConfig {
    /// Its ARN, its id or `alias/…`. The key's spec is `ECC_NIST_EDWARDS25519`, its usage `SIGN_VERIFY`.
    pub key: String,
    /// None: the ARN's, else as the AWS SDKs find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where it is asked instead of AWS's own endpoint of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A PEM file with the certificates that are trusted instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<PathBuf>,
    /// A profile of the AWS configuration files; none: `AWS_PROFILE`, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that is assumed; none: the credentials as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the role's trust policy asks for as `sts:ExternalId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

impl KmsConfig {
    /// A key or a mapping.
    pub(crate) fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = KmsConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key's ARN, id or alias, or a mapping with `key`")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<KmsConfig, E> {
                Ok(KmsConfig { key: key.to_owned(), ..KmsConfig::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<KmsConfig, A::Error> {
                KmsConfig::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either).map(Some)
    }

    /// What the types alone do not refuse: each problem with the key that it is at.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.key.is_empty() || self.key.contains(char::is_whitespace) {
            problems.push(("key", "is no key: write its ARN, its id or `alias/…`".to_owned()));
        }
        if let Some(region) = self.region.as_ref().filter(|region| !sdk::is_region(region)) {
            problems.push(("region", format!("{region:?} is no region: write it as `eu-west-1`")));
        }
        if let Some(endpoint) = self.endpoint.as_ref().filter(|url| !crate::archive::s3::is_endpoint(url)) {
            problems.push(("endpoint", format!("{endpoint:?} is no address: write it as `https://kms.example.com`")));
        }
        if self.ca_bundle.as_ref().is_some_and(|path| !path.is_absolute()) {
            problems.push(("ca_bundle", "must be an absolute path".to_owned()));
        }
        problems.extend(self.role.as_deref().and_then(sdk::not_a_role).map(|why| ("role", why)));
        if self.external_id.is_some() && self.role.is_none() {
            problems.push(("external_id", "is for assuming a `role`, and there is none".to_owned()));
        }
        problems.extend(self.external_id.as_deref().and_then(sdk::not_an_external_id).map(|why| ("external_id", why)));
        problems
    }

    fn ask_at(&self) -> AskAt {
        AskAt {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            ca_bundle: self.ca_bundle.clone(),
            profile: self.profile.clone(),
            role: self.role.clone().map(|arn| AssumedRole {
                arn,
                external_id: self.external_id.clone(),
                session_name: "evidenced".to_owned(),
            }),
        }
    }
}

/// What the thread is asked: the public key, or a signature over a message.
struct Ask {
    message: Option<Vec<u8>>,
    answer: Sender<Result<Vec<u8>, KmsError>>,
}

/// A key in KMS.
pub(super) struct KmsKey {
    key: String,
    asks: Sender<Ask>,
}

impl KmsKey {
    /// Nothing is asked yet.
    pub fn new(config: KmsConfig) -> Self {
        let (asks, asked) = mpsc::channel::<Ask>();
        let key = config.key.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let mut client: Option<Kms> = None;
            for Ask { message, answer } in asked {
                let ask = async {
                    if client.is_none() {
                        client = Some(Kms::connect(&config.key, &config.ask_at()).await.map_err(KmsError::Away)?);
                    }
                    let Some(client) = &client else { return Err(KmsError::Away("there is no client".to_owned())) };
                    match &message {
                        None => client.public_key(&config.key).await,
                        Some(message) => client.sign(&config.key, message).await,
                    }
                };
                let answered = match &runtime {
                    Ok(runtime) => runtime.block_on(ask),
                    Err(error) => Err(KmsError::Away(format!("no runtime for KMS: {error}"))),
                };
                // Whoever asked may be gone.
                let _ = answer.send(answered);
            }
        };
        // Without a thread every ask says that it is away.
        let _ = thread::Builder::new().name("kms".to_owned()).spawn(work);
        Self { key, asks }
    }

    fn ask(&self, message: Option<Vec<u8>>) -> Result<Vec<u8>, ServiceError> {
        let (answer, answered) = mpsc::channel();
        let gone = || ServiceError::Away(format!("the thread that asks KMS for {} has ended", self.key));
        self.asks.send(Ask { message, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?.map_err(|error| match error {
            KmsError::Away(says) => ServiceError::Away(says),
            KmsError::Refused(says) => ServiceError::Refused(says),
        })
    }
}

impl Service for KmsKey {
    fn public(&self) -> Result<PublicKey, ServiceError> {
        PublicKey::from_spki_der(&self.ask(None)?).map_err(|error| ServiceError::Refused(error.to_string()))
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], ServiceError> {
        let signature = self.ask(Some(message.to_vec()))?;
        signature.as_slice().try_into().map_err(|_| {
            ServiceError::Refused(format!("KMS answered with {} bytes, not the 64 of a signature", signature.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use collectors::aws::kms::MAX_MESSAGE;
    use signing::{log::Checkpoint, seal::pae, statement};

    #[test]
    fn kms_can_sign_the_longest_statement_and_checkpoint_there_can_be() {
        let longest = vec![b'x'; statement::MAX_PAYLOAD];
        assert!(pae(statement::PAYLOAD_TYPE, &longest).len() <= MAX_MESSAGE);
        // An origin stands in every statement beside much else, so that it is shorter than one.
        let checkpoint = Checkpoint {
            origin: "o".repeat(statement::MAX_PAYLOAD),
            size: 1 << 40,
            root: signing::digest::Digest([0; 32]),
        };
        let key = signing::keys::FileKey::from_seed(&[1; 32]);
        let note = checkpoint.sign(&key).unwrap();
        let text = note.windows(2).position(|two| two == b"\n\n").unwrap() + 1;
        assert!(text <= MAX_MESSAGE, "{text}");
    }
}
