//! A server that answers as a test says: over HTTP/1.1, on 127.0.0.1, one answer to each request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// With its query.
    pub path: String,
    /// By name in small letters.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Seen {
    /// `sts.GetCallerIdentity`: the service by the signature, the operation by the form or the target.
    pub fn call(&self) -> String {
        let target = self.headers.get("x-amz-target").and_then(|target| target.split('.').next_back());
        let action = self.body.split('&').find_map(|part| part.strip_prefix("Action="));
        format!("{}.{}", self.scope(2), target.or(action).unwrap_or(&self.path))
    }

    /// Whose signature it has.
    pub fn access_key(&self) -> String {
        self.scope(0)
    }

    /// The region that it is signed for.
    pub fn region(&self) -> String {
        self.scope_at(2)
    }

    fn scope(&self, at: usize) -> String {
        self.scope_at(if at == 2 { 3 } else { at })
    }

    /// `Credential=<key>/<day>/<region>/<service>/aws4_request`.
    fn scope_at(&self, at: usize) -> String {
        let signed = self.headers.get("authorization").map(String::as_str).unwrap_or_default();
        let scope = signed.split("Credential=").nth(1).unwrap_or_default();
        scope.split(['/', ',']).nth(at).unwrap_or_default().to_owned()
    }

    /// A member of the form, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}=");
        let raw = self.body.split('&').find_map(|part| part.strip_prefix(&prefix))?;
        Some(percent_encoding::percent_decode_str(&raw.replace('+', " ")).decode_utf8_lossy().into_owned())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Status, more headers, body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body of which this much comes, though its length says more.
    Short(Vec<u8>),
    /// A chunked body that ends without its end.
    ShortChunks(Vec<u8>),
    /// A body that ends where the connection does; nobody knows whether it was all.
    UntilClosed(Vec<u8>),
    /// A head, and then nothing.
    Stalls,
    /// Nothing at all.
    Silent,
    /// The connection is closed.
    Closes,
}

/// 200 with this body.
pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Full(200, vec![("x-amzn-requestid", "id-ok".into())], body.into())
}

/// An error of the query protocol.
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>id-error</RequestId></ErrorResponse>"
    );
    Reply::Full(status, vec![("x-amzn-requestid", "id-error".into())], body.into_bytes())
}

type Answers = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server; it stops when it is dropped.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(answers: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, all): (Answers, _) = (Arc::new(answers), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), all.clone()));
            }
        });
        Self { url, seen, task }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often a call came.
    pub fn count(&self, call: &str) -> usize {
        self.seen().iter().filter(|seen| seen.call() == call).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, all: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    while let Some(seen) = read(&mut stream, &mut buffer).await {
        let reply = answers(&seen);
        all.lock().unwrap().push(seen);
        let sent = match reply {
            Reply::Full(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await.is_ok()
            }
            Reply::Short(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 100);
                let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                false
            }
            Reply::ShortChunks(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), &body, b"\r\n"].concat()).await;
                false
            }
            Reply::UntilClosed(body) => {
                let _ = stream
                    .write_all(&[b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", body.as_slice()].concat())
                    .await;
                false
            }
            Reply::Stalls => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<").await;
                tokio::time::sleep(Duration::from_secs(60)).await;
                false
            }
            Reply::Silent => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                false
            }
            Reply::Closes => false,
        };
        if !sent {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.split("\r\n");
            let mut first = lines.next()?.split(' ');
            let path = first.nth(1)?.to_owned();
            let header =
                |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
            let headers: HashMap<String, String> = lines.filter_map(header).collect();
            let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
                buffer.drain(..end + 4 + length);
                return Some(Seen { path, headers, body });
            }
        }
        let mut more = [0; 8192];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&more[..read]),
        }
    }
}
