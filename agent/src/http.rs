//! One bounded request to a service that is not AWS's: a timestamp authority, a witness. Its answer is bytes of no known meaning; it is
//! never longer than the caller allows, and never waited for longer.

use std::{fmt, time::Duration};

use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use signing::errors::chain;

/// What every request says of who asks.
const USER_AGENT: &str = concat!("evidenced/", env!("CARGO_PKG_VERSION"));

/// The longest wait that a server's `Retry-After` is granted.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// The program's HTTP client: rustls under the system's roots, and the environment's proxies. A clone shares its connections, which live on
/// the runtime that made them.
#[derive(Clone)]
pub struct Client(SharedHttpConnector);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// What was answered, whatever it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// RFC 9110, section 15.
    pub status: u16,
    /// In lower case, without parameters; empty where there is none.
    pub media_type: String,
    /// How long to wait (RFC 9110, section 10.2.3), where it was given in seconds; at most a day.
    pub retry_after: Option<Duration>,
    /// At most as long as was allowed.
    pub body: Vec<u8>,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or one that broke; with all its causes.
    #[error("it cannot be reached: {0}")]
    Away(String),
    /// Nothing whole in time.
    #[error("it did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// More bytes than allowed.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// TLS cannot be set up, or the address is none.
    #[error("it cannot be asked: {0}")]
    Unusable(String),
}

impl Client {
    /// A client with no connection yet.
    ///
    /// # Errors
    /// [`HttpError::Unusable`]: TLS cannot be set up.
    pub fn new() -> Result<Self, HttpError> {
        let context = TlsContext::builder().build().map_err(|error| HttpError::Unusable(chain(&error)))?;
        let mut builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context);
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        Ok(Self(SharedHttpConnector::new(builder.build())))
    }

    /// POSTs `body` to `url`, once. `accept` is the media type that is asked for; up to `limit` bytes of an answer are taken.
    ///
    /// # Errors
    /// [`HttpError`]: no whole answer. A refusal is an [`Answer`].
    ///
    /// # Cancel safety
    /// Dropping it ends the request; whether the server has seen it is not known.
    pub async fn post(
        &self,
        url: &str,
        media_type: &str,
        accept: &str,
        body: Vec<u8>,
        limit: usize,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let asked = self.ask(url, media_type, accept, body, limit);
        tokio::time::timeout(within, asked).await.unwrap_or(Err(HttpError::Slow(within)))
    }

    async fn ask(
        &self,
        url: &str,
        media_type: &str,
        accept: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Answer, HttpError> {
        let unusable = |error: &dyn fmt::Display| HttpError::Unusable(error.to_string());
        let mut request = http::Request::builder()
            .method("POST")
            .uri(url)
            .header("user-agent", USER_AGENT)
            .header("content-length", body.len());
        for (name, value) in [("content-type", media_type), ("accept", accept)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let request = request.body(SdkBody::from(body)).map_err(|error| unusable(&error))?;
        let request = HttpRequest::try_from(request).map_err(|error| unusable(&error))?;
        let response = self.0.call(request).await.map_err(|error| HttpError::Away(chain(&error)))?;
        let header = |name: &str| response.headers().get(name).map(str::to_owned);
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let retry_after = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let retry_after = retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER));
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| HttpError::Away(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(HttpError::TooLong(limit));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Answer { status, media_type, retry_after, body: bytes })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    /// A server that reads a request with a body of 5 bytes and says `answer`, then holds the connection; and what it was asked.
    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\nquery") {
                let mut bytes = [0; 1024];
                let read = stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "{asked}");
                asked.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            tokio::time::sleep(SHORT * 4).await;
            asked
        });
        (url, task)
    }

    async fn post(url: &str, limit: usize, within: Duration) -> Result<Answer, HttpError> {
        Client::new().unwrap().post(url, "text/query", "text/reply", b"query".to_vec(), limit, within).await
    }

    #[tokio::test]
    async fn nobody_who_listens_is_away_and_says_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = post(&url, 10, SHORT).await.unwrap_err();
        assert!(matches!(&error, HttpError::Away(why) if why.contains("refused")), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_waited_for_no_longer_than_allowed() {
        for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
            let (url, _server) = server(begun).await;
            let start = tokio::time::Instant::now();
            assert!(matches!(post(&url, 10, SHORT).await, Err(HttpError::Slow(_))), "{begun}");
            assert!(start.elapsed() < SHORT * 3);
        }
    }

    #[tokio::test]
    async fn of_a_longer_answer_than_allowed_nothing_is_taken() {
        let long = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n12345678901";
        for (limit, taken) in [(10, false), (11, true)] {
            let (url, _server) = server(long).await;
            let answer = post(&url, limit, SHORT).await;
            assert_eq!(answer.is_ok(), taken, "{answer:?}");
            assert!(taken || matches!(answer, Err(HttpError::TooLong(10))));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer_with_the_wait_that_it_asks_for() {
        let (url, server) =
            server("HTTP/1.1 503 Slow Down\r\nretry-after: 999999999\r\ncontent-type: Text/Reply; x=y\r\ncontent-length: 2\r\n\r\nno")
                .await;
        let answer = post(&url, 10, SHORT).await.unwrap();
        assert_eq!((answer.status, answer.media_type.as_str()), (503, "text/reply"));
        assert_eq!((answer.retry_after, answer.body), (Some(LONGEST_RETRY_AFTER), b"no".to_vec()));
        let asked = server.await.unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("post /path http/1.1\r\n"), "{asked}");
        for header in ["content-type: text/query\r\n", "accept: text/reply\r\n", "content-length: 5\r\n"] {
            assert_eq!(asked.matches(header).count(), 1, "{header}: {asked}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_none_cannot_be_asked() {
        assert!(matches!(post("not an address", 10, SHORT).await, Err(HttpError::Unusable(_))));
    }
}
