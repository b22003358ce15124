//! One timestamp authority, asked over HTTP (RFC 3161, section 3.4). It is shown a digest and nothing else. What it answers is verified
//! whole before anybody sees it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use collectors::contract::BoxFuture;
use rand_core::RngCore as _;
use signing::{
    digest::Digest,
    timestamp::{MAX_RESPONSE, Request, Roots, Stamp, TokenError, Verifier},
};

use crate::{
    blocking::blocking,
    config::AuthorityConfig,
    http::{Client, HttpError},
};

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

/// A verified answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The whole TimeStampResp (RFC 3161, section 2.4.2).
    pub der: Vec<u8>,
    /// What it says.
    pub stamp: Stamp,
}

impl Token {
    /// By which the archive names it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.der)
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No whole answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A refusal of the server.
    #[error("it answered with status {status}")]
    Status {
        /// RFC 9110, section 15.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Something else than a timestamp.
    #[error("it answered with {0:?}, not with {REPLY}")]
    MediaType(String),
    /// A token that must not be kept.
    #[error("its answer is refused")]
    Token(#[from] TokenError),
}

/// Asks for a token over a message.
pub trait Ask: Send + Sync {
    /// A verified token over `message`, with a fresh nonce, or why there is none, within that time.
    ///
    /// # Cancel safety
    /// Dropping it loses an answer and nothing else.
    fn ask<'a>(&'a self, message: &'a [u8], within: Duration) -> BoxFuture<'a, Result<Token, AskError>>;
}

/// A configured authority.
#[derive(Debug, Clone)]
pub struct Authority {
    url: String,
    verifier: Arc<Verifier>,
    http: Client,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its file of root certificates.
    #[error("signing.timestamps.authorities: the `ca` of {url}, {}: {why}", path.display())]
    Ca {
        /// The authority.
        url: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("timestamps cannot be asked for")]
    Unusable(#[from] HttpError),
}

impl Authority {
    /// Reads its roots; nothing is asked.
    ///
    /// # Errors
    /// A `ca` that cannot be read.
    pub fn open(config: &AuthorityConfig, http: Client) -> Result<Self, AuthorityError> {
        let mut roots = Roots::public();
        if let Some(path) = &config.ca {
            let failed = |why: String| AuthorityError::Ca { url: config.url.clone(), path: path.clone(), why };
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            roots.add(Roots::from_pem(&pem).map_err(|error| failed(signing::errors::chain(&error)))?);
        }
        Ok(Self { url: config.url.clone(), verifier: Arc::new(Verifier::new(roots)), http })
    }

    /// By which its tokens are verified.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }
}

impl Ask for Authority {
    fn ask<'a>(&'a self, message: &'a [u8], within: Duration) -> BoxFuture<'a, Result<Token, AskError>> {
        Box::pin(async move {
            let mut nonce = [0; 16];
            rand_core::OsRng.fill_bytes(&mut nonce);
            let request = Request::new(message, nonce);
            let answer = self.http.post(&self.url, QUERY, REPLY, request.to_der(), MAX_RESPONSE, within).await?;
            if answer.status != 200 {
                return Err(AskError::Status { status: answer.status, retry_after: answer.retry_after });
            }
            if answer.media_type != REPLY {
                return Err(AskError::MediaType(answer.media_type.chars().take(80).collect()));
            }
            let verifier = self.verifier.clone();
            blocking(move || {
                let stamp = verifier.check_answer(&request, &answer.body)?.stamp;
                Ok(Token { der: answer.body, stamp })
            })
            .await
        })
    }
}
