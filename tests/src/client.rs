//! HTTP as plain bytes over kept connections: fast enough to load a server from the same
//! machine, and exact enough to send a request again bit by bit.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request that can be sent any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, upper case.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Headers beside those of the connection.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// A `GET` with an operator's token.
    #[must_use]
    pub fn get(path: &str, admin: &str) -> Self {
        Self { method: "GET", path: path.into(), headers: vec![bearer(admin)], body: vec![] }
    }

    /// A `POST` with an operator's token.
    #[must_use]
    pub fn post(path: &str, admin: &str, kind: &str, body: Vec<u8>) -> Self {
        let headers = vec![bearer(admin), ("content-type", kind.to_owned())];
        Self { method: "POST", path: path.into(), headers, body }
    }

    fn head(&self, host: SocketAddr) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        head.into_bytes()
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// An answer, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// Status and body of anything else.
    pub fn success(self) -> io::Result<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let problem = String::from_utf8_lossy(&self.body);
        Err(io::Error::other(format!("{}: {problem}", self.status)))
    }
}

/// One kept connection, opened when it is needed.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client that waits for an answer for so long.
    #[must_use]
    pub const fn new(address: SocketAddr, patience: Duration) -> Self {
        Self { address, patience, stream: None }
    }

    /// Sends a request and reads the answer. A kept connection that the server has closed
    /// meanwhile is opened anew.
    ///
    /// # Errors
    /// Those of the connection, which is then dropped: whether the server has read the
    /// request, let alone served it, is unknown.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        if let Some(kept) = self.stream.take()
            && let Ok(answer) = self.exchange(kept, request)
        {
            return Ok(answer);
        }
        let new = self.connect()?;
        self.exchange(new, request)
    }

    fn exchange(
        &mut self,
        mut stream: BufReader<TcpStream>,
        request: &Request,
    ) -> io::Result<Answer> {
        stream.get_mut().write_all(&request.head(self.address))?;
        stream.get_mut().write_all(&request.body)?;
        let (answer, kept) = read_answer(&mut stream)?;
        self.stream = kept.then_some(stream);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(BufReader::with_capacity(16 << 10, stream))
    }
}

/// An answer, and whether the connection stays open.
fn read_answer(stream: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let first = read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| malformed(&first))?;
    let (mut length, mut chunked, mut kept) = (0, false, true);
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", text) => length = text.parse().map_err(|_| malformed(&line))?,
            ("transfer-encoding", text) => chunked = text == "chunked",
            ("connection", text) => kept = text != "close",
            _ => {}
        }
    }
    let body = if chunked { read_chunks(stream)? } else { read_exact(stream, length)? };
    Ok((Answer { status, body }, kept))
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
        body.extend(read_exact(stream, length)?);
        read_line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_exact(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::other(format!("not an answer: {line:?}"))
}
