//! A next hop on loopback that does as it is told: an SMTP or LMTP server with scripted replies.
//!
//! Written without the crate's own protocol code, so that a mistake on one side is not repeated on the other.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part of tests, of which each file uses its share"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How the next hop behaves.
pub struct Script {
    pub greeting: &'static str,
    /// What it calls itself.
    pub name: &'static str,
    pub lmtp: bool,
    pub extensions: Vec<&'static str>,
    /// What is offered inside TLS, where that differs.
    pub inside: Option<Vec<&'static str>>,
    pub tls: Option<TlsAcceptor>,
    /// Reply to RCPT. Arguments: address, how often it was asked before.
    pub rcpt: Reply,
    /// Reply to the end of data: one for SMTP (address empty), one per recipient for LMTP.
    pub end: Reply,
    pub trick: Trick,
    /// Reply to a login. Arguments: what was said, as [`Sink::logins`] gives it, how many logins there were before. Absent: nobody
    /// need log in.
    pub login: Option<Reply>,
    /// Whoever does not log in may send all the same.
    pub open: bool,
}

/// A reply for an address that was seen so many times before.
pub type Reply = Box<dyn Fn(&str, usize) -> String + Send + Sync>;

/// What a hostile or broken next hop does instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    None,
    /// The greeting has no end.
    EndlessGreeting,
    /// The reply to MAIL stops in the middle of a line, then the connection closes.
    HalfLine,
    /// The connection closes after the final dot, without a reply.
    CloseAfterData,
    /// The handshake fails.
    BrokenTls,
    /// Octets follow the 220 to STARTTLS in the clear.
    InjectAfterStartTls,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: "220 sink.example ESMTP",
            name: "sink.example",
            lmtp: false,
            extensions: vec![
                "PIPELINING",
                "8BITMIME",
                "SIZE",
                "SMTPUTF8",
                "DSN",
                "ENHANCEDSTATUSCODES",
            ],
            inside: None,
            tls: None,
            rcpt: Box::new(|_, _| "250 2.1.5 ok".to_owned()),
            end: Box::new(|_, _| "250 2.0.0 queued as S1".to_owned()),
            trick: Trick::None,
            login: None,
            open: false,
        }
    }
}

/// A message that the next hop took.
#[derive(Clone, Debug)]
pub struct Taken {
    pub mail: String,
    pub rcpt: Vec<String>,
    pub body: Vec<u8>,
    pub tls: bool,
    /// Number of the connection, from 0.
    pub connection: usize,
    /// By BDAT, not by DATA.
    pub chunked: bool,
}

impl Taken {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    asked: Vec<String>,
    ended: Vec<String>,
    connections: usize,
    resumed: usize,
    logins: Vec<String>,
    /// Who is logged in on which connection.
    users: std::collections::BTreeMap<usize, String>,
    certificates: Vec<Option<Vec<u8>>>,
}

/// A running next hop; ends with the test.
pub struct Sink {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    pub async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub async fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (told, changed) = watch::channel(0);
        let script = Arc::new(script);
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = {
                    let mut seen = shared.lock().unwrap();
                    seen.connections += 1;
                    seen.connections - 1
                };
                let session = Session {
                    script: script.clone(),
                    seen: shared.clone(),
                    told: told.clone(),
                    connection,
                };
                // A broken connection is part of the play.
                sessions.spawn(async move { drop(session.serve(stream).await) });
            }
        });
        Self {
            address,
            seen,
            changed,
            task,
        }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.seen.lock().unwrap().taken.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// What was said in logins: `PLAIN user password`, `XOAUTH2 user token`, `OAUTHBEARER n,a=user, token`; with `IN CLEAR ` before it where it was.
    pub fn logins(&self) -> Vec<String> {
        self.seen.lock().unwrap().logins.clone()
    }

    /// For each handshake, whether the client showed a certificate.
    pub fn certificates(&self) -> Vec<bool> {
        self.shown().iter().map(Option::is_some).collect()
    }

    /// For each handshake, the certificate that the client showed (DER).
    pub fn shown(&self) -> Vec<Option<Vec<u8>>> {
        self.seen.lock().unwrap().certificates.clone()
    }

    /// What was said in the login of a connection that was let in.
    pub fn user_of(&self, connection: usize) -> Option<String> {
        self.seen.lock().unwrap().users.get(&connection).cloned()
    }

    /// TLS handshakes that went on with an earlier session.
    pub fn resumed(&self) -> usize {
        self.seen.lock().unwrap().resumed
    }

    /// Addresses of all RCPT commands so far.
    pub fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().asked.clone()
    }

    /// Waits until that many messages were taken.
    pub async fn wait_for(&self, messages: usize) -> Vec<Taken> {
        let mut changed = self.changed.clone();
        let enough = async { changed.wait_for(|count| *count >= messages).await.map(|_| ()) };
        match tokio::time::timeout(LONGEST_WAIT, enough).await {
            Ok(Ok(())) => self.taken(),
            _ => panic!("waited for {messages} messages, have {:?}", self.taken()),
        }
    }
}

/// Bound of every wait for a condition.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONGEST_WAIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Session {
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
    told: watch::Sender<usize>,
    connection: usize,
}

#[derive(Default)]
struct Transaction {
    mail: String,
    rcpt: Vec<String>,
}

enum End {
    Closed,
    StartTls,
}

impl Session {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        if self.script.trick == Trick::EndlessGreeting {
            loop {
                stream.write_all(b"220-and on and on and on\r\n").await?;
            }
        }
        stream
            .write_all(format!("{}\r\n", self.script.greeting).as_bytes())
            .await?;
        if let End::StartTls = self.talk(&mut stream, false).await? {
            match (&self.script.tls, self.script.trick) {
                (_, Trick::BrokenTls) => {
                    // Wait for the client's part: what came before it would be an injection, not a handshake.
                    stream.fill_buf().await?;
                    stream.write_all(b"this is no handshake").await?;
                }
                (Some(acceptor), _) => {
                    let tls = acceptor.accept(stream.into_inner()).await?;
                    if tls.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                        self.seen.lock().unwrap().resumed += 1;
                    }
                    let shown = tls
                        .get_ref()
                        .1
                        .peer_certificates()
                        .and_then(|chain| chain.first());
                    let shown = shown.map(|leaf| leaf.to_vec());
                    self.seen.lock().unwrap().certificates.push(shown);
                    self.talk(&mut BufReader::new(tls), true).await?;
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        tls: bool,
    ) -> std::io::Result<End> {
        let mut open = Transaction::default();
        let mut logged_in = self.script.login.is_none() || self.script.open;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(End::Closed);
            }
            let line = line.trim_end();
            let upper = line.to_ascii_uppercase();
            let reply = match upper.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" | "LHLO" if self.script.lmtp == upper.starts_with("LHLO") => self.hello(tls),
                "STARTTLS" => {
                    let mut reply = b"220 2.0.0 go ahead\r\n".to_vec();
                    if self.script.trick == Trick::InjectAfterStartTls {
                        reply.extend_from_slice(b"250 2.0.0 injected\r\n");
                    }
                    stream.write_all(&reply).await?;
                    return Ok(End::StartTls);
                }
                "AUTH" => {
                    let reply = self.login(stream, line, tls).await?;
                    logged_in |= reply.starts_with("235");
                    reply
                }
                "MAIL" if !logged_in => "530 5.7.0 log in first".to_owned(),
                "MAIL" if self.script.trick == Trick::HalfLine => {
                    stream.write_all(b"250 2.1.0 o").await?;
                    return Ok(End::Closed);
                }
                "MAIL" => {
                    open = Transaction {
                        mail: line.to_owned(),
                        rcpt: vec![],
                    };
                    "250 2.1.0 ok".to_owned()
                }
                "RCPT" => self.rcpt(&mut open, line),
                "BDAT" => self.chunk(stream, &mut open, &upper, tls).await?,
                "DATA" if open.rcpt.is_empty() => "503 5.5.1 no recipient".to_owned(),
                "DATA" => match self.data(stream, &mut open, tls).await? {
                    Some(reply) => reply,
                    None => return Ok(End::Closed),
                },
                "RSET" => {
                    open = Transaction::default();
                    "250 2.0.0 ok".to_owned()
                }
                "NOOP" => "250 2.0.0 ok".to_owned(),
                "QUIT" => {
                    stream.write_all(b"221 2.0.0 bye\r\n").await?;
                    return Ok(End::Closed);
                }
                _ => "500 5.5.2 what?".to_owned(),
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
    }

    fn hello(&self, tls: bool) -> String {
        let mut lines = vec![self.script.name];
        let inside = self.script.inside.as_ref().filter(|_| tls);
        lines.extend(inside.unwrap_or(&self.script.extensions));
        if (self.script.tls.is_some() || self.script.trick == Trick::BrokenTls) && !tls {
            lines.push("STARTTLS");
        }
        let last = lines.len() - 1;
        let shown = lines
            .iter()
            .enumerate()
            .map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }));
        shown.collect::<Vec<_>>().join("\r\n")
    }

    async fn login<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        line: &str,
        tls: bool,
    ) -> std::io::Result<String> {
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut said = vec![];
        let wanted = if mechanism == "LOGIN" { 2 } else { 1 };
        said.extend(words.next().map(str::to_owned));
        while said.len() < wanted {
            stream.write_all(b"334 \r\n").await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            said.push(line.trim_end().to_owned());
        }
        let said: Vec<_> = said.iter().map(|word| decoded(word)).collect();
        let clear = if tls { "" } else { "IN CLEAR " };
        let said = format!("{clear}{mechanism} {}", said.join(" "));
        let before = {
            let mut seen = self.seen.lock().unwrap();
            seen.logins.push(said.clone());
            seen.logins.len() - 1
        };
        let reply = match &self.script.login {
            Some(login) => login(&said, before),
            None => "235 2.7.0 welcome".to_owned(),
        };
        if reply.starts_with("235") {
            self.seen.lock().unwrap().users.insert(self.connection, said);
        }
        let due = match mechanism.as_str() {
            "XOAUTH2" => Some("\r\n"),
            // RFC 7628 section 3.2.3: an octet of 1, in base 64.
            "OAUTHBEARER" => Some("AQ==\r\n"),
            _ => None,
        };
        if let Some(due) = due.filter(|_| !reply.starts_with('2')) {
            // The refusal is told first, and the client has to answer before it is given.
            stream.write_all(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n").await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            assert_eq!(line, due, "the answer to a refusal by {mechanism}");
        }
        Ok(reply)
    }

    fn rcpt(&self, open: &mut Transaction, line: &str) -> String {
        let address = address(line);
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let before = seen.asked.iter().filter(|asked| **asked == address).count();
            seen.asked.push(address.clone());
            before
        };
        let reply = (self.script.rcpt)(&address, before);
        if reply.starts_with('2') {
            open.rcpt.push(line.to_owned());
        }
        reply
    }

    async fn data<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        open: &mut Transaction,
        tls: bool,
    ) -> std::io::Result<Option<String>> {
        stream.write_all(b"354 go on\r\n").await?;
        let mut body = vec![];
        loop {
            let start = body.len();
            if stream.read_until(b'\n', &mut body).await? == 0 {
                return Ok(None);
            }
            if &body[start..] == b".\r\n" {
                body.truncate(start);
                break;
            }
            if body[start..].starts_with(b".") {
                body.remove(start);
            }
        }
        if self.script.trick == Trick::CloseAfterData {
            return Ok(None);
        }
        Ok(Some(self.take(std::mem::take(open), body, tls, false)))
    }

    /// One chunk that is the whole message, as RFC 3030 section 2 allows.
    async fn chunk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        open: &mut Transaction,
        line: &str,
        tls: bool,
    ) -> std::io::Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.len() == 3 && words[2] == "LAST", "{line}");
        let mut body = vec![0; words[1].parse().unwrap()];
        stream.read_exact(&mut body).await?;
        if open.rcpt.is_empty() {
            return Ok("503 5.5.1 no recipient".to_owned());
        }
        Ok(self.take(std::mem::take(open), body, tls, true))
    }

    fn take(&self, open: Transaction, body: Vec<u8>, tls: bool, chunked: bool) -> String {
        let mut seen = self.seen.lock().unwrap();
        let whom: Vec<String> = if self.script.lmtp {
            open.rcpt.iter().map(|line| address(line)).collect()
        } else {
            vec![String::new()]
        };
        let mut replies = vec![];
        for address in whom {
            let before = seen.ended.iter().filter(|ended| **ended == address).count();
            replies.push((self.script.end)(&address, before));
            seen.ended.push(address);
        }
        if replies.iter().any(|reply| reply.starts_with('2')) {
            seen.taken.push(Taken {
                mail: open.mail,
                rcpt: open.rcpt,
                body,
                tls,
                connection: self.connection,
                chunked,
            });
            self.told.send_replace(seen.taken.len());
        }
        replies.join("\r\n")
    }
}

/// The words in base 64, without what separates them.
fn decoded(word: &str) -> String {
    let octets = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, word).unwrap();
    let text = String::from_utf8(octets).unwrap();
    let words = text.split(['\0', '\u{1}']).filter(|word| !word.is_empty());
    let words = words.map(|word| {
        word.trim_start_matches("user=")
            .trim_start_matches("auth=Bearer ")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The address between the angle brackets of a command.
pub fn address(line: &str) -> String {
    let start = line.find('<').map_or(0, |at| at + 1);
    let end = line.rfind('>').unwrap_or(line.len());
    line[start..end].to_owned()
}
