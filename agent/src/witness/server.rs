//! A witness's HTTP interface: C2SP tlog-witness (v1.0.0), "add-checkpoint", over HTTP/1.1 without TLS, which is a proxy's work.
//!
//! It answers requests and keeps nothing: what is signed, and what must be remembered for it, is [`Store`]'s.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use signing::{
    errors::chain,
    log::witness::{MAX_SUBMISSION, Refusal, SIZE_TYPE},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::store::{NotSigned, Store};
use crate::{blocking::blocking, clock::Clock};

/// The path of the one call; a proxy may put a prefix before it.
const PATH: &str = "/add-checkpoint";

/// Connections at the same time; further ones wait.
const CONNECTIONS: usize = 128;

/// How long a client may take for the head of a request, and again for its body.
const READING: Duration = Duration::from_secs(10);

/// How long a stop waits for answers that are under way.
const LAST: Duration = Duration::from_secs(5);

/// Answers until `stop`; then what is under way may end.
pub async fn serve(listener: TcpListener, store: Arc<Store>, clock: Arc<dyn Clock>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut connections = JoinSet::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let stopping = CancellationToken::new();
    loop {
        let accepted = async {
            let permit = free.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => (stream, permit),
                Err(error) => {
                    // Too many open files, or a peer that was gone at once: neither ends a witness.
                    tracing::warn!(%error, "a connection could not be accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (store, clock, stopping) = (store.clone(), clock.clone(), stopping.clone());
        connections.spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request| {
                let (store, clock) = (store.clone(), clock.clone());
                async move { Ok::<_, Infallible>(answer(request, store, clock).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(READING).max_buf_size(16 * 1024);
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = chain(&error), "a connection broke");
            }
        });
    }
    drop(listener);
    stopping.cancel();
    let last = async { while connections.join_next().await.is_some() {} };
    if time::timeout(LAST, last).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

async fn answer(request: Request<Incoming>, store: Arc<Store>, clock: Arc<dyn Clock>) -> Response<Full<Bytes>> {
    if !request.uri().path().ends_with(PATH) {
        return words(StatusCode::NOT_FOUND, "a witness answers POST /add-checkpoint, and nothing else");
    }
    if request.method() != Method::POST {
        let mut refused = words(StatusCode::METHOD_NOT_ALLOWED, "POST a checkpoint here");
        refused.headers_mut().insert(ALLOW, http::HeaderValue::from_static("POST"));
        return refused;
    }
    let too_long = || words(StatusCode::PAYLOAD_TOO_LARGE, &format!("at most {MAX_SUBMISSION} bytes are read"));
    if request.body().size_hint().lower() > MAX_SUBMISSION {
        return too_long();
    }
    let body = Limited::new(request.into_body(), MAX_SUBMISSION as usize);
    let body = match time::timeout(READING, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return too_long(),
        Ok(Err(_)) => return words(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return words(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    // From here on it goes to its end, also where the client goes away.
    let signed = blocking(move || store.add_checkpoint(&body, clock.now())).await;
    match signed {
        Ok(cosignature) => text(StatusCode::OK, "text/plain; charset=utf-8", cosignature.to_line()),
        Err(NotSigned::Refused(refusal)) => refused(&refusal),
        Err(error @ NotSigned::Clock { .. }) => {
            tracing::error!("{error}");
            words(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(error) => {
            // What is wrong with the files is nobody's business but the operator's.
            tracing::error!("nothing was signed: {}", chain(&error));
            words(StatusCode::INTERNAL_SERVER_ERROR, "this witness has trouble of its own, which its log tells")
        }
    }
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal.held() {
        Some(size) => text(status, SIZE_TYPE, format!("{size}\n")),
        None => words(status, &refusal.to_string()),
    }
}

fn words(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", format!("{words}\n"))
}

fn text(status: StatusCode, media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests;
