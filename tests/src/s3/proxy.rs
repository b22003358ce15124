//! A server between an agent and a store, which does harm on demand: answers that are lost after the write was done, refusals, cut bodies,
//! waits, a wrong clock. It keeps a list of what was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{TimeDelta, Utc};

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store does it, and the connection ends before the answer's first byte.
    LoseAnswer,
    /// The store never sees it; it is answered with this status and S3's code.
    Refuse(u16, &'static str),
    /// The store never sees it, and the connection ends.
    Drop,
    /// The connection ends after so many bytes of the answer's body.
    CutAnswer(usize),
    /// The store's answer comes so much later.
    Late(Duration),
    /// The answer says another time: so many seconds ahead.
    Ahead(i64),
}

/// Which requests it is done to.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `PUT`.
    pub method: &'static str,
    /// Part of path and query.
    pub part: &'static str,
    /// To so many, the first ones.
    pub times: u32,
    /// What is done.
    pub fault: Fault,
}

/// One request, as it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `PUT`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Of the body.
    pub bytes: usize,
    /// Of the answer's body; 0 where it was lost.
    pub answered: usize,
}

/// Ends with its last connection once it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
    stop: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// In front of a server on 127.0.0.1.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            asked: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, accepting.clone()) else { continue };
                std::thread::spawn(move || while serve(&stream, &shared).unwrap_or(false) {});
            }
        });
        Self { address, shared }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn fault(&self, method: &'static str, part: &'static str, times: u32, fault: Fault) {
        lock(&self.shared.rules).push(Rule { method, part, times, fault });
    }

    /// No more faults.
    pub fn sound(&self) {
        lock(&self.shared.rules).clear();
    }

    /// What was asked since the start, or since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.shared.asked))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// One request of a connection; whether another may come.
fn serve(client: &TcpStream, shared: &Shared) -> std::io::Result<bool> {
    let mut reader = BufReader::new(client);
    let Some(head) = head(&mut reader)? else { return Ok(false) };
    let mut first = head.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    if header(&head, "expect").is_some() {
        (&mut &*client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let at = {
        let mut asked = lock(&shared.asked);
        asked.push(Asked { method: method.clone(), path: path.clone(), bytes: body.len(), answered: 0 });
        asked.len() - 1
    };
    let fault = taken(&mut lock(&shared.rules), &method, &path);
    match fault {
        Some(Fault::Drop) => {
            client.shutdown(Shutdown::Both)?;
            return Ok(false);
        }
        Some(Fault::Refuse(status, code)) => {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on demand</Message></Error>");
            let body = if method == "HEAD" { String::new() } else { body };
            let answer = format!(
                "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            (&mut &*client).write_all(answer.as_bytes())?;
            return Ok(true);
        }
        _ => {}
    }
    let (mut answer_head, mut answer) = ask(shared.upstream, &head, &body, &method)?;
    if let Some(asked) = lock(&shared.asked).get_mut(at) {
        asked.answered = answer.len();
    }
    match fault {
        Some(Fault::LoseAnswer) => {
            client.shutdown(Shutdown::Both)?;
            return Ok(false);
        }
        Some(Fault::Late(wait)) => std::thread::sleep(wait),
        Some(Fault::Ahead(seconds)) => {
            let lines = answer_head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
            let rest: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            let date = (Utc::now() + TimeDelta::seconds(seconds)).format("%a, %d %b %Y %H:%M:%S GMT");
            answer_head = format!("{}\r\nDate: {date}\r\n\r\n", rest.join("\r\n"));
        }
        Some(Fault::CutAnswer(after)) => {
            answer.truncate(after);
            (&mut &*client).write_all(answer_head.as_bytes())?;
            (&mut &*client).write_all(&answer)?;
            client.shutdown(Shutdown::Both)?;
            return Ok(false);
        }
        _ => {}
    }
    (&mut &*client).write_all(answer_head.as_bytes())?;
    (&mut &*client).write_all(&answer)?;
    Ok(true)
}

fn taken(rules: &mut [Rule], method: &str, path: &str) -> Option<Fault> {
    let rule = rules.iter_mut().find(|rule| rule.times > 0 && rule.method == method && path.contains(rule.part))?;
    rule.times -= 1;
    Some(rule.fault)
}

/// Asks the store on a connection of its own; head and body of the answer, the head with the body's length.
fn ask(port: u16, head: &str, body: &[u8], method: &str) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let lines = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !line.is_empty() && name != "connection" && name != "expect"
    });
    let lines: Vec<&str> = lines.collect();
    stream.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let head = self::head(&mut reader)?.unwrap_or_default();
    let mut answer = Vec::new();
    let chunked = header(&head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    if method != "HEAD" {
        match header(&head, "content-length").and_then(|length| length.parse::<u64>().ok()) {
            Some(length) => {
                reader.take(length).read_to_end(&mut answer)?;
            }
            None if chunked => answer = chunks(&mut reader)?,
            None => {
                reader.read_to_end(&mut answer)?;
            }
        }
    }
    let drop = ["connection", "transfer-encoding"];
    let has_length = header(&head, "content-length").is_some();
    let lines = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !line.is_empty() && !drop.contains(&name.as_str())
    });
    let mut head = lines.collect::<Vec<_>>().join("\r\n");
    if !has_length {
        head.push_str(&format!("\r\nContent-Length: {}", answer.len()));
    }
    Ok((head + "\r\n\r\n", answer))
}

/// A chunked body (RFC 9112, section 7.1).
fn chunks(reader: &mut dyn BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0);
        if length == 0 {
            return Ok(body);
        }
        (&mut *reader).take(length).read_to_end(&mut body)?;
        reader.read_line(&mut String::new())?;
    }
}

/// Up to the empty line; `None` where the connection ended.
fn head(reader: &mut dyn BufRead) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[before..].trim().is_empty() {
            return Ok(Some(head));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
