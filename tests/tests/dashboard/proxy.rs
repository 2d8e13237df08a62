//! Between a browser and a server: holds a request back, or puts a page into a phone's frame.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use adafed_tests::fixture::Failure;

/// A phone's width and height.
pub(crate) const PHONE: (u32, u32) = (360, 800);

/// Asked before each request, by its head; a page that is returned is the answer.
type Before = dyn FnMut(&str) -> Option<String> + Send;

/// Holds the second look at a page until something has happened.
pub(crate) struct Gate {
    /// Where it listens.
    pub(crate) address: String,
    /// Says when the page was asked for a second time.
    pub(crate) second: Receiver<()>,
    /// Lets that request pass.
    pub(crate) pass: Sender<()>,
}

impl Gate {
    /// A gate before `server` for requests of `path`.
    pub(crate) fn before(server: &str, path: &str) -> Result<Self, Failure> {
        let (tell, second) = channel();
        let (pass, passes) = channel();
        let (line, mut looks) = (format!("GET {path} "), 0);
        let address = listen(server, move |head| {
            looks += u32::from(head.starts_with(&line));
            if looks == 2 && head.starts_with(&line) {
                // Whatever fails here is missed by the test.
                let _ = tell.send(()).map(|()| passes.recv());
            }
            None
        })?;
        Ok(Self { address, second, pass })
    }
}

/// The address of a page with `path` of `server` in a frame of a phone's width and some
/// height: no window is that small. Its root tells how wide the framed page is.
pub(crate) fn phone(server: &str, path: &str, height: u32) -> Result<String, Failure> {
    let width = PHONE.0;
    let page = format!(
        "<!DOCTYPE html><html><title>A phone</title><style>body{{margin:0}} iframe{{border:0}}\
         </style><iframe width={width} height={height} src='{path}'></iframe><script>\
         setInterval(() => {{ const [root, framed] = [document, frames[0].document].map((d) => \
         d.documentElement); root.dataset.innerWidth = framed.clientWidth; \
         root.dataset.scrollWidth = framed.scrollWidth; }}, 100)</script></html>"
    );
    let address =
        listen(server, move |head| head.starts_with("GET /phone ").then(|| page.clone()))?;
    Ok(format!("{address}/phone"))
}

/// Listens before `server`, such as `http://127.0.0.1:8080`.
fn listen(
    server: &str,
    before: impl FnMut(&str) -> Option<String> + Send + 'static,
) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let server = server.trim_start_matches("http://").to_owned();
    let before: Arc<Mutex<Box<Before>>> = Arc::new(Mutex::new(Box::new(before)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (server, before) = (server.clone(), before.clone());
            // A browser opens connections that it does not use.
            std::thread::spawn(move || forward(stream, &server, &before));
        }
    });
    Ok(address)
}

/// One request a connection: both sides are told to close it.
fn forward(
    mut browser: TcpStream,
    server: &str,
    before: &Mutex<Box<Before>>,
) -> std::io::Result<()> {
    let head = head(&mut browser)?;
    let page = before.lock().unwrap_or_else(PoisonError::into_inner)(&head);
    let answer = match page {
        Some(page) => {
            let length = page.len();
            let head = format!("Content-Type: text/html\r\nContent-Length: {length}\r\n");
            format!("HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n{page}")
        }
        None => asked(&head, server)?,
    };
    browser.write_all(answer.as_bytes())?;
    browser.shutdown(Shutdown::Both)
}

fn head(browser: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match browser.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The server's answer, uncompressed; it may be framed here, though nowhere else.
fn asked(head: &str, server: &str) -> std::io::Result<String> {
    let lines = head.lines().take_while(|line| !line.is_empty());
    let kept = lines.filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("connection:") && !line.starts_with("accept-encoding:")
    });
    let asked: String = kept.map(|line| format!("{line}\r\n")).collect();
    let mut server = TcpStream::connect(server)?;
    server.write_all(format!("{asked}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    // As long as before: the length of the answer is told in its head.
    Ok(answer.replace("frame-ancestors 'none'", "frame-ancestors 'self'"))
}
