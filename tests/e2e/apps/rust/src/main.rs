// SPDX-License-Identifier: Apache-2.0

// hyper on tokio; see ../README.md for the routes. The stamps are taken at the socket: of the read
// that began the request and of the write that ended the answer.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Sender};
use hyper::header::{HeaderValue, CONTENT_LENGTH};
use hyper::server::conn::Http;
use hyper::service::service_fn;
use hyper::{Body, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}
extern "C" {
    fn clock_gettime(id: i32, ts: *mut Timespec) -> i32;
}

fn now() -> u64 {
    let mut ts = Timespec { sec: 0, nsec: 0 };
    unsafe { clock_gettime(1, &mut ts) };
    ts.sec as u64 * 1_000_000_000 + ts.nsec as u64
}

// What one connection knows. A line is pending from the handler's end until the answer's last
// byte is written, which shows when the connection reads again or ends.
#[derive(Default)]
struct Conn {
    begun: AtomicU64,
    writing: AtomicU64,
    written: AtomicU64,
    cut: AtomicBool,
    pending: Mutex<Option<(String, u64, String)>>,
}

impl Conn {
    fn settle(&self, log: &Mutex<File>) {
        if let Some((head, start, tail)) = self.pending.lock().unwrap().take() {
            let line = format!("{} {} {} {} {}\n", head, start, self.written.load(SeqCst), tail, self.writing.load(SeqCst));
            let _ = log.lock().unwrap().write_all(line.as_bytes());
        }
    }
}

struct Stamped {
    io: TcpStream,
    conn: Arc<Conn>,
    log: Arc<Mutex<File>>,
}

impl AsyncRead for Stamped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let r = Pin::new(&mut self.io).poll_read(cx, buf);
        if self.conn.cut.load(SeqCst) {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        if r.is_ready() {
            let _ = self.conn.begun.compare_exchange(0, now(), SeqCst, SeqCst);
        }
        r
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.conn.writing.store(now(), SeqCst);
        let r = Pin::new(&mut self.io).poll_write(cx, buf);
        self.conn.written.store(now(), SeqCst);
        r
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let r = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes when its own buffer is empty: the answer is out, if its handler is done
        if r.is_ready() {
            self.conn.settle(&self.log);
        }
        r
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        self.conn.writing.store(now(), SeqCst);
        let r = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.conn.written.store(now(), SeqCst);
        r
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        self.conn.settle(&self.log);
    }
}

fn fill(n: usize) -> Vec<u8> {
    vec![b'r'; n]
}

async fn pieces(mut to: Sender, n: usize, conn: Arc<Conn>, head: String, start: u64) {
    let mut left = n;
    while left > 0 {
        let k = left.min(30000);
        if to.send_data(Bytes::from(fill(k))).await.is_err() {
            break;
        }
        left -= k;
    }
    *conn.pending.lock().unwrap() = Some((head, start, format!("0 {}", n)));
}

async fn drip(mut to: Sender, conn: Arc<Conn>, head: String, start: u64) {
    for _ in 0..500 {
        if to.send_data(Bytes::from(fill(100))).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    *conn.pending.lock().unwrap() = Some((head, start, "0 0".into()));
}

async fn ten_and_cut(mut to: Sender, conn: Arc<Conn>) {
    let _ = to.send_data(Bytes::from_static(b"0123456789")).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    conn.cut.store(true, SeqCst);
    to.abort();
}

async fn handle(req: Request<Body>, conn: Arc<Conn>, log: Arc<Mutex<File>>) -> Result<Response<Body>, std::io::Error> {
    let start = match conn.begun.swap(0, SeqCst) {
        0 => now(),
        t => t,
    };
    let method = req.method().clone();
    let head = format!("{} {}", method, req.uri().path_and_query().map(|p| p.as_str()).unwrap_or("/"));
    let path = req.uri().path().to_string();
    let mut part = path.split('/').skip(1);
    let what = part.next().unwrap_or("").to_string();
    let arg = part.next().unwrap_or("").to_string();
    let number: usize = arg.parse().unwrap_or(0);
    let mut status = 200;
    let mut received = 0;
    let body: Vec<u8> = match what.as_str() {
        "get" => fill(number),
        "echo" | "sink" => {
            let data = hyper::body::to_bytes(req.into_body()).await.map_err(|_| std::io::ErrorKind::ConnectionReset)?;
            received = data.len();
            conn.begun.store(0, SeqCst);
            if what == "echo" { data.to_vec() } else { received.to_string().into_bytes() }
        }
        "delay" => {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(number as u64)).await;
            }
            vec![b'x']
        }
        "status" => {
            status = number as u16;
            vec![b'x']
        }
        "chunked" => {
            let (to, body) = Body::channel();
            tokio::spawn(pieces(to, number, conn, format!("{} 200", head), start));
            return Ok(Response::new(body));
        }
        "drip" => {
            let (to, body) = Body::channel();
            tokio::spawn(drip(to, conn, format!("{} 200", head), start));
            return Ok(Response::new(body));
        }
        "abort" => {
            let mid = arg == "mid";
            let line = format!("{} {} {} {} 0 0\n", head, if mid { 200 } else { 0 }, start, now());
            let _ = log.lock().unwrap().write_all(line.as_bytes());
            if !mid {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            let (to, body) = Body::channel();
            tokio::spawn(ten_and_cut(to, conn));
            let mut r = Response::new(body);
            r.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(1000));
            return Ok(r);
        }
        _ => {
            status = 404;
            vec![b'x']
        }
    };
    let size = body.len();
    let mut r = if method == Method::HEAD { Response::new(Body::empty()) } else { Response::new(Body::from(body)) };
    *r.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    r.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    let sent = if method == Method::HEAD { 0 } else { size };
    *conn.pending.lock().unwrap() = Some((format!("{} {}", head, status), start, format!("{} {}", received, sent)));
    Ok(r)
}

async fn serve(port: String, log: Arc<Mutex<File>>) -> Result<(), std::io::Error> {
    let listener = TcpListener::bind(format!("127.0.0.1:{}", port)).await?;
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let conn = Arc::new(Conn::default());
        let stamped = Stamped { io, conn: conn.clone(), log: log.clone() };
        let log = log.clone();
        tokio::spawn(async move {
            let service = service_fn(move |q| handle(q, conn.clone(), log.clone()));
            let _ = Http::new().http1_only(true).serve_connection(stamped, service).await;
        });
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let log = OpenOptions::new().append(true).create(true).open(&args[2]).unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(serve(args[1].clone(), Arc::new(Mutex::new(log)))).unwrap();
}

