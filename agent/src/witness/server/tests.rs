#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use signing::{
    keys::{FileKey, Signer as _},
    log::{
        Checkpoint, EMPTY_ROOT, Edge,
        witness::{Log, Submission},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{clock::SystemClock, durable::Disk, witness::store::init};

const ORIGIN: &str = "example.org/log";

struct Running {
    _dir: TempDir,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

fn log_key() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

async fn running() -> Running {
    let dir = TempDir::new().unwrap();
    let (state, key) = (dir.path().join("state"), dir.path().join("key.pem"));
    init(&Disk::new(), &state, &key, "witness.example/w").unwrap();
    let logs = vec![Log { origin: ORIGIN.into(), keys: vec![*log_key().public()] }];
    let store = Arc::new(Store::open(&Disk::new(), &state, &key, logs).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, store, Arc::new(SystemClock), async {
        let _ = stopped.await;
    }));
    Running { _dir: dir, address, stop, server }
}

fn body(size: u64) -> Vec<u8> {
    let mut edge = Edge::empty();
    let leaves: Vec<Vec<u8>> = (0..size).map(|n| n.to_string().into_bytes()).collect();
    edge.append(&leaves, &mut |_, _| {}).unwrap();
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: edge.root() };
    Submission::new(0, Vec::new(), &checkpoint.sign(&log_key()).unwrap()).unwrap().to_bytes()
}

/// What the witness answers to bytes on a connection of their own.
async fn said(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: w\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn each_answer_has_the_status_type_and_body_that_the_specification_gives_it() {
    let witness = running().await;
    let first = said(witness.address, &post("/add-checkpoint", &body(3))).await;
    assert!(first.starts_with("HTTP/1.1 200 ") && first.contains("\r\n\r\n— witness.example/w "), "{first}");
    let behind = said(witness.address, &post("/some/prefix/add-checkpoint", &body(4))).await;
    assert!(behind.starts_with("HTTP/1.1 409 ") && behind.ends_with("\r\n\r\n3\n"), "{behind}");
    assert!(behind.contains("content-type: text/x.tlog.size\r\n"), "{behind}");
    let unknown = Checkpoint { origin: "example.org/other".into(), size: 0, root: EMPTY_ROOT };
    let unknown = Submission::new(0, Vec::new(), &unknown.sign(&log_key()).unwrap()).unwrap().to_bytes();
    for (request, status) in [
        (post("/add-checkpoint", b"nonsense"), "400"),
        (post("/add-checkpoint", &unknown), "404"),
        (post("/", &body(3)), "404"),
        (b"GET /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n".to_vec(), "405"),
        (b"\0\0\0\0 not HTTP at all\r\n\r\n".to_vec(), "400"),
    ] {
        let answer = said(witness.address, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    witness.stop.send(()).unwrap();
    witness.server.await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read_whole() {
    let witness = running().await;
    let mut stream = TcpStream::connect(witness.address).await.unwrap();
    stream.write_all(b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 9999999999\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    witness.stop.send(()).unwrap();
    witness.server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_more_is_let_go_and_keeps_nobody_out() {
    let witness = running().await;
    let mut slow = TcpStream::connect(witness.address).await.unwrap();
    slow.write_all(b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\nold 0").await.unwrap();
    let mut silent = TcpStream::connect(witness.address).await.unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    answer.clear();
    // Whatever is said to a client that asked nothing, its connection ends.
    silent.read_to_end(&mut answer).await.unwrap();
    witness.stop.send(()).unwrap();
    witness.server.await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_the_answer_under_way_end_and_accepts_no_more() {
    let witness = running().await;
    let mut under_way = TcpStream::connect(witness.address).await.unwrap();
    let request = post("/add-checkpoint", &body(3));
    let (now, later) = request.split_at(request.len() - 10);
    under_way.write_all(now).await.unwrap();
    // Seen by the server, since a whole exchange on another connection came after it.
    said(witness.address, &post("/", b"")).await;
    witness.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    under_way.write_all(later).await.unwrap();
    let mut answer = Vec::new();
    under_way.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    witness.server.await.unwrap();
    assert!(TcpStream::connect(witness.address).await.is_err());
}
