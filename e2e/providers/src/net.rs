//! Sockets: a thread for each connection, blocking. What is said is decided elsewhere.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::keys::Failed;
use crate::session::{Answer, Secured, Session, Then};
use crate::stand::{ALL, Authority, Known, Stand};
use crate::tokens::{self, Form};
use crate::world::{self, World};

/// Plays all providers. Returns once all ports are open.
pub(crate) fn play(world: &'static World) -> Result<(), Failed> {
    for stand in &ALL {
        let tls = {
            let shared = world.lock();
            shared
                .customer
                .keys
                .server(stand.hosts, stand.known == Known::Certificate)?
        };
        let mistaken = world.lock().customer.keys.server(&[ANOTHER], false)?;
        for (port, implicit, own) in stand.ports() {
            let door = Door {
                world,
                stand,
                port,
                implicit,
                tls: tls.clone(),
                mistaken: mistaken.clone(),
            };
            let listener = listen(own)?;
            thread::spawn(move || door.open(own, Some(listener)));
        }
    }
    for of in Authority::ALL {
        let tls = world.lock().customer.keys.server(&[of.host()], false)?;
        let listener = listen(of.port())?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tls = tls.clone();
                thread::spawn(move || {
                    if let Err(error) = give_token(world, of, stream, tls) {
                        eprintln!("{}: {error}", of.host());
                    }
                });
            }
        });
    }
    Ok(())
}

fn listen(port: u16) -> io::Result<TcpListener> {
    // Where there is no IPv6, the other.
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

/// A port of a provider.
#[derive(Clone)]
struct Door {
    world: &'static World,
    stand: &'static Stand,
    port: u16,
    implicit: bool,
    tls: Arc<ServerConfig>,
    /// With a certificate for another name.
    mistaken: Arc<ServerConfig>,
}

impl Door {
    /// Takes connections, and closes the port as long as the provider is down.
    fn open(&self, own: u16, mut listener: Option<TcpListener>) {
        loop {
            let is_down = self.world.lock().switches(self.stand).down;
            match (&listener, is_down) {
                (Some(_), true) => listener = None,
                (None, false) => listener = listen(own).ok(),
                (Some(open), false) => {
                    if let Some(stream) = accepted(open) {
                        let door = self.clone();
                        thread::spawn(move || door.welcome(stream));
                    }
                }
                (None, true) => {}
            }
            if listener.is_none() {
                thread::sleep(LOOK);
            }
        }
    }

    fn welcome(&self, stream: TcpStream) {
        let open = {
            let mut shared = self.world.lock();
            let switches = shared.switches(self.stand);
            switches.open += 1;
            switches.open
        };
        if let Err(error) = self.serve(stream, open) {
            eprintln!("{}:{}: {error}", self.stand.name, self.port);
        }
        self.world.lock().switches(self.stand).open -= 1;
    }

    fn serve(&self, stream: TcpStream, open: usize) -> Result<(), Failed> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = Line {
            stream: Stream::Clear(stream),
            ahead: Vec::new(),
        };
        let mut session = Session::new(self.world, self.stand, self.port, open);
        if self.implicit {
            session.secured(self.secure(&mut line)?);
        }
        let mut answer = session.greeting();
        loop {
            line.say(&answer)?;
            match answer.then {
                Then::Close => return Ok(()),
                Then::Tls => session.secured(self.secure(&mut line)?),
                Then::Line | Then::Message => {}
            }
            answer = if answer.then == Then::Message {
                let Some(octets) = line.until(b"\r\n.\r\n", self.stand.size + MORE)? else {
                    return Ok(());
                };
                session.message(&octets)
            } else {
                let Some(octets) = line.until(b"\r\n", LONGEST_LINE)? else {
                    return Ok(());
                };
                session.line(&String::from_utf8_lossy(&octets))
            };
            // The provider went down meanwhile.
            if self.world.lock().switches(self.stand).down {
                return Ok(());
            }
        }
    }

    fn secure(&self, line: &mut Line) -> Result<Secured, Failed> {
        // What was said in the clear behind STARTTLS is not said.
        line.ahead.clear();
        let Stream::Clear(stream) = std::mem::replace(&mut line.stream, Stream::None) else {
            return Err("TLS inside of TLS".into());
        };
        let is_mistaken = self.world.lock().switches(self.stand).mistaken;
        let config = if is_mistaken { &self.mistaken } else { &self.tls };
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone())?, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        let domain = self.world.lock().customer.domain.clone();
        let name = ServerName::try_from(domain)?;
        let shown = tls.conn.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        let how = Secured {
            version: tls
                .conn
                .protocol_version()
                .map(|version| format!("{version:?}"))
                .unwrap_or_default(),
            name: tls.conn.server_name().unwrap_or_default().to_owned(),
            is_certified: shown.is_some_and(|certificate| verify_server_name(&certificate, &name).is_ok()),
        };
        line.stream = Stream::Tls(Box::new(tls));
        Ok(how)
    }
}

fn accepted(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).ok()?;
    if let Ok((stream, _)) = listener.accept() {
        return Some(stream);
    }
    thread::sleep(LOOK);
    None
}

enum Stream {
    None,
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A stream, and what was read of it ahead.
struct Line {
    stream: Stream,
    ahead: Vec<u8>,
}

impl Line {
    fn say(&mut self, answer: &Answer) -> io::Result<()> {
        let text = format!("{}\r\n", answer.text);
        match &mut self.stream {
            Stream::None => Err(io::ErrorKind::NotConnected.into()),
            Stream::Clear(stream) => stream.write_all(text.as_bytes()),
            Stream::Tls(stream) => {
                stream.write_all(text.as_bytes())?;
                stream.flush()
            }
        }
    }

    /// What comes before these octets; `None`: the connection ended, or it is too much.
    fn until(&mut self, end: &[u8], most: usize) -> io::Result<Option<Vec<u8>>> {
        let mut from = 0;
        loop {
            // An empty message is its end alone, behind the line end of DATA.
            if end == b"\r\n.\r\n" && self.ahead.starts_with(b".\r\n") {
                self.ahead.drain(..3);
                return Ok(Some(Vec::new()));
            }
            let found = self
                .ahead
                .get(from..)
                .and_then(|rest| rest.windows(end.len()).position(|part| part == end));
            if let Some(at) = found {
                let taken: Vec<u8> = self.ahead.drain(..from + at + end.len()).collect();
                return Ok(taken.get(..from + at).map(<[u8]>::to_vec));
            }
            if self.ahead.len() > most {
                return Ok(None);
            }
            from = self.ahead.len().saturating_sub(end.len());
            let mut octets = [0; 16_384];
            let read = match &mut self.stream {
                Stream::None => Ok(0),
                Stream::Clear(stream) => stream.read(&mut octets),
                Stream::Tls(stream) => stream.read(&mut octets),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(read) => self.ahead.extend(octets.iter().take(read)),
                // Clients that go without a word are no news.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn give_token(world: &World, of: Authority, stream: TcpStream, tls: Arc<ServerConfig>) -> Result<(), Failed> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
    let mut octets = Vec::new();
    let (status, body) = loop {
        let mut part = [0; 4_096];
        let read = stream.read(&mut part)?;
        octets.extend(part.iter().take(read));
        match tokens::request(&octets) {
            Ok(Some((path, body))) => {
                let form = Form::read(&body);
                break tokens::answer(&mut world.lock(), of, &path, &form, world::now())?;
            }
            Ok(None) if read == 0 => return Ok(()),
            Ok(None) => {}
            Err(why) => {
                break (
                    400,
                    serde_json::json!({"error": "invalid_request", "error_description": why}),
                );
            }
        }
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// A host that no provider has.
const ANOTHER: &str = "another.host.example";
/// Between two looks at a port that nobody knocks at.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(10);
const LONGEST_LINE: usize = 64 << 10;
/// Dots and their like.
const MORE: usize = 1 << 20;
