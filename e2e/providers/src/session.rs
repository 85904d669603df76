//! The dialogue of one connection, without a socket: lines in, replies out.
//!
//! ```text
//!   greeting ─► EHLO ─► STARTTLS ─► EHLO ─► AUTH ─► MAIL ─► RCPT … ─► DATA ─► message ─► MAIL … ─► QUIT
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::sasl::{self, Claim};
use crate::stand::{At, Known, Saying, Stand};
use crate::world::{self, World};

/// What is said, and what comes next.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) then: Then,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Line,
    Tls,
    Message,
    Close,
}

/// What the handshake showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secured {
    pub(crate) version: String,
    /// The name that the client asked for.
    pub(crate) name: String,
    /// The client showed a certificate for the customer's domain.
    pub(crate) is_certified: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    world: &'a World,
    stand: &'static Stand,
    port: u16,
    /// There were too many connections when it came.
    is_surplus: bool,
    hello: String,
    tls: Option<Secured>,
    /// As whom, and by which mechanism.
    login: Option<(String, &'static str)>,
    /// How often the provider had taken back what it gave when the login was taken.
    renewals: u64,
    exchange: Exchange,
    from: Option<String>,
    to: Vec<String>,
    messages: usize,
}

/// Where AUTH stands.
#[derive(Debug, PartialEq, Eq)]
enum Exchange {
    None,
    Plain,
    Xoauth2,
    Oauthbearer,
    User,
    Password(String),
    /// The client has to say that it has understood that its token is refused.
    Refused(&'static str),
}

fn say(text: impl Into<String>) -> Answer {
    let text = text.into();
    // RFC 5321 section 3.8: 421 ends the connection.
    let then = if text.starts_with("421") {
        Then::Close
    } else {
        Then::Line
    };
    Answer { text, then }
}

impl<'a> Session<'a> {
    /// `open`: connections to this provider, with this one.
    pub(crate) fn new(world: &'a World, stand: &'static Stand, port: u16, open: usize) -> Self {
        Self {
            world,
            stand,
            port,
            is_surplus: stand.connections.is_some_and(|(most, _)| open > most),
            hello: String::new(),
            tls: None,
            login: None,
            renewals: 0,
            exchange: Exchange::None,
            from: None,
            to: Vec::new(),
            messages: 0,
        }
    }

    pub(crate) fn greeting(&self) -> Answer {
        match self.refusal(At::Connect) {
            Some(text) => Answer {
                then: Then::Close,
                ..self.refuse(text)
            },
            None => say(self.stand.greeting),
        }
    }

    /// Inside of TLS from now on; nothing that was said before holds (RFC 3207 section 4.2).
    pub(crate) fn secured(&mut self, how: Secured) {
        self.tls = Some(how);
        self.hello.clear();
        self.exchange = Exchange::None;
        self.login = None;
        self.reset();
    }

    /// A line without its end.
    pub(crate) fn line(&mut self, line: &str) -> Answer {
        if self.exchange != Exchange::None {
            return self.go_on(line);
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo(rest),
            "HELO" => {
                rest.clone_into(&mut self.hello);
                say("250 Hello")
            }
            "STARTTLS" if self.tls.is_none() => Answer {
                text: "220 2.0.0 Ready to start TLS".to_owned(),
                then: Then::Tls,
            },
            "AUTH" => self.auth(rest),
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" if self.to.is_empty() => say("503 5.5.1 No valid recipients"),
            "DATA" => Answer {
                text: "354 Go ahead".to_owned(),
                then: Then::Message,
            },
            "RSET" => {
                self.reset();
                say("250 2.0.0 OK")
            }
            "NOOP" => say("250 2.0.0 OK"),
            "QUIT" => Answer {
                text: "221 2.0.0 Bye".to_owned(),
                then: Then::Close,
            },
            _ => say("502 5.5.2 Command not recognized"),
        }
    }

    fn ehlo(&mut self, name: &str) -> Answer {
        name.clone_into(&mut self.hello);
        self.reset();
        let host = self.stand.hosts.first().copied().unwrap_or_default();
        let mut lines = vec![format!("{host} at your service, {name}")];
        lines.extend(self.stand.keywords.iter().map(|word| (*word).to_owned()));
        if self.tls.is_none() {
            lines.push("STARTTLS".to_owned());
        } else if !self.stand.mechanisms.is_empty() && !self.stand.knows_address(self.port) {
            lines.push(format!("AUTH {}", self.stand.mechanisms.join(" ")));
        }
        let last = lines.len() - 1;
        let reply = lines.iter().enumerate().map(|(number, line)| {
            let sign = if number == last { ' ' } else { '-' };
            format!("250{sign}{line}")
        });
        say(reply.collect::<Vec<_>>().join("\r\n"))
    }

    fn auth(&mut self, rest: &str) -> Answer {
        if self.tls.is_none() {
            return say(self.stand.needs_tls);
        }
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let mechanism = mechanism.to_ascii_uppercase();
        if self.login.is_some() || !self.stand.mechanisms.contains(&mechanism.as_str()) {
            return say("504 5.7.4 Unrecognized authentication type");
        }
        // RFC 4954 section 4: `=` is an initial response of no octets.
        let initial = Some(initial).filter(|initial| !initial.is_empty());
        self.exchange = match mechanism.as_str() {
            "PLAIN" => Exchange::Plain,
            "XOAUTH2" => Exchange::Xoauth2,
            "OAUTHBEARER" => Exchange::Oauthbearer,
            "LOGIN" => Exchange::User,
            _ => return say("504 5.7.4 Not played here"),
        };
        match (initial, &self.exchange) {
            (Some(initial), _) => self.go_on(initial),
            (None, Exchange::User) => say("334 VXNlcm5hbWU6"),
            (None, _) => say("334 "),
        }
    }

    /// The next line of AUTH.
    fn go_on(&mut self, line: &str) -> Answer {
        let before = std::mem::replace(&mut self.exchange, Exchange::None);
        // RFC 4954 section 4.
        if line == "*" {
            return say("501 5.7.0 Authentication cancelled");
        }
        let (mechanism, claim) = match before {
            Exchange::None => return say("503 5.5.1 Bad sequence of commands"),
            Exchange::Refused(refusal) => return say(refusal),
            Exchange::User => {
                let Some(user) = sasl::decoded(line) else {
                    return say(CODING);
                };
                self.exchange = Exchange::Password(user);
                return say("334 UGFzc3dvcmQ6");
            }
            Exchange::Password(user) => {
                let password = sasl::decoded(line);
                (
                    "LOGIN",
                    password.map(|password| Claim::Password { user, password }),
                )
            }
            Exchange::Plain => ("PLAIN", sasl::plain(line)),
            Exchange::Xoauth2 => ("XOAUTH2", sasl::xoauth2(line)),
            Exchange::Oauthbearer => ("OAUTHBEARER", sasl::oauthbearer(line)),
        };
        match claim {
            Some(claim) => self.judge(mechanism, claim),
            None => say(CODING),
        }
    }

    fn judge(&mut self, mechanism: &'static str, claim: Claim) -> Answer {
        let judged = self.world.lock().admits(self.stand, &claim, world::now());
        let judged = match self.refusal(At::Auth) {
            Some(text) => Err(text),
            None => judged.map_err(str::to_owned),
        };
        let (user, secret, is_token) = match claim {
            Claim::Password { user, password } => (user, password, false),
            Claim::Token { user, token } => (user, token, true),
        };
        self.world.lock().record.logins.push(json!({
            "provider": self.stand.name, "port": self.port, "host": self.name(), "hello": self.hello,
            "mechanism": mechanism, "user": user, "secret": secret, "taken": judged.is_ok(),
        }));
        match judged {
            Ok(user) => {
                self.login = Some((user, mechanism));
                self.renewals = self.world.lock().switches(self.stand).renewals;
                say("235 2.7.0 Accepted")
            }
            // The error as JSON first, then an empty line, then the reply (RFC 7628 section 3.2.3, and XOAUTH2 alike).
            Err(_) if is_token => {
                self.exchange = Exchange::Refused(self.stand.login_refused);
                let why = json!({"status": "401", "schemes": "bearer", "scope": "https://mail.google.com/"});
                say(format!("334 {}", STANDARD.encode(why.to_string())))
            }
            Err(text) => say(text),
        }
    }

    fn mail(&mut self, rest: &str) -> Answer {
        if self.hello.is_empty() || self.from.is_some() {
            return say("503 5.5.1 Bad sequence of commands");
        }
        let Some(from) = path(rest, "FROM:") else {
            return say("501 5.5.4 Syntax error in MAIL");
        };
        let Some(tls) = &self.tls else {
            return say(self.stand.needs_tls);
        };
        let is_certified = tls.is_certified;
        if self.is_of_before() {
            return say("421 4.3.2 Service not available, closing transmission channel");
        }
        if self.stand.messages.is_some_and(|(most, _)| self.messages >= most) {
            return say(self.stand.messages.map_or("", |(_, text)| text));
        }
        let owns = |address: &str| self.world.lock().customer.owns(address);
        let is_unknown = self.world.lock().switches(self.stand).unknown;
        let is_known = match self.stand.known {
            _ if is_unknown => false,
            _ if self.stand.knows_address(self.port) || self.login.is_some() => true,
            Known::Login => false,
            Known::LoginOrDomain => owns(&self.hello) || owns(&from),
            Known::Certificate => is_certified && (from.is_empty() || owns(&from)),
        };
        if !is_known {
            return self.refuse(self.stand.needs_login);
        }
        self.from = Some(from);
        match self.refusal(At::Mail) {
            Some(text) => {
                self.from = None;
                self.refuse(text)
            }
            None => say("250 2.1.0 OK"),
        }
    }

    /// It was let in before: what is said to a login, and what a handshake shows, is for all connections from the order on.
    fn is_of_before(&self) -> bool {
        let mut shared = self.world.lock();
        let switches = shared.switches(self.stand);
        let at_login = |saying: Saying| matches!(saying.at, At::Connect | At::Auth);
        let is_over = switches.over_quota && self.stand.quota.is_some_and(at_login);
        self.login.is_some() && (is_over || switches.mistaken || switches.renewals > self.renewals)
    }

    fn rcpt(&mut self, rest: &str) -> Answer {
        let Some(to) = path(rest, "TO:").filter(|to| to.contains('@')) else {
            return say("501 5.1.3 Bad recipient address syntax");
        };
        if self.from.is_none() {
            return say("503 5.5.1 Need MAIL before RCPT");
        }
        let (most, crowded) = self.stand.recipients;
        if self.to.len() >= most {
            return self.refuse(crowded);
        }
        // High Volume Email: recipients of the own organisation only. The reply is unpublished.
        let domain = to
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain)
            .to_ascii_lowercase();
        let own = self.world.lock().customer.domain.clone();
        if self.stand.name == "Microsoft365HVE" && domain != own && !domain.ends_with(&format!(".{own}")) {
            return self.refuse("550 5.7.1 Recipients outside of the organization are not allowed");
        }
        if let Some(text) = self.refusal(At::Rcpt) {
            return self.refuse(text);
        }
        self.to.push(to);
        say("250 2.1.5 OK")
    }

    /// The message, dots and all.
    pub(crate) fn message(&mut self, octets: &[u8]) -> Answer {
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        if octets.len() > self.stand.size {
            return self.refuse("552 5.3.4 Message size exceeds fixed limit");
        }
        self.from = Some(from.clone());
        let refusal = self.refusal(At::Data);
        self.from = None;
        if let Some(text) = refusal {
            return self.refuse(text);
        }
        self.messages += 1;
        let (user, mechanism) = self.login.clone().unwrap_or_default();
        let mut shared = self.world.lock();
        let is_queued = shared.switches(self.stand).over_quota && self.stand.quota.is_none();
        let (tls, certified) = self
            .tls
            .as_ref()
            .map_or(("", false), |tls| (tls.version.as_str(), tls.is_certified));
        shared.record.messages.push(json!({
            "provider": self.stand.name, "port": self.port, "host": self.name(), "hello": self.hello,
            "tls": tls, "certified": certified, "user": user, "mechanism": mechanism,
            "from": from, "to": to, "subject": subject(octets), "fields": own_fields(octets), "queued": is_queued,
        }));
        say(self.stand.taken)
    }

    /// What is said at this place in place of going on.
    fn refusal(&self, at: At) -> Option<String> {
        let surplus = self
            .stand
            .connections
            .filter(|(_, saying)| self.is_surplus && saying.at == at);
        let mut shared = self.world.lock();
        // Once others have ended it is one of those that may be there.
        let open = shared.switches(self.stand).open;
        if let Some((_, saying)) = surplus.filter(|(most, _)| open > *most) {
            return Some(saying.text.to_owned());
        }
        if let Some(text) = shared.refusal(self.stand, at) {
            return Some(text);
        }
        let saying = self.stand.foreign_sender.filter(|saying| saying.at == at)?;
        let from = self.from.as_deref().filter(|from| !from.is_empty())?;
        let user = self.login.as_ref().map(|(user, _)| user.as_str());
        let is_own = match self.stand.name {
            "Microsoft365" => user == Some(from),
            _ => shared.customer.owns(from),
        };
        (!is_own).then(|| saying.text.to_owned())
    }

    fn refuse(&self, text: impl Into<String>) -> Answer {
        let mut shared = self.world.lock();
        *shared.record.refusals.entry(self.stand.name).or_default() += 1;
        say(text)
    }

    fn name(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| tls.name.as_str())
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }
}

/// The path of MAIL or RCPT, without its brackets.
fn path(rest: &str, word: &str) -> Option<String> {
    let head = rest.get(..word.len())?;
    let rest = rest.get(word.len()..)?.trim_start();
    let (path, _) = rest.strip_prefix('<')?.split_once('>')?;
    head.eq_ignore_ascii_case(word).then(|| path.to_owned())
}

fn subject(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut fields = text.lines().take_while(|line| !line.is_empty());
    let found = fields.find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned));
    found.unwrap_or_default()
}

/// Names of the header fields that no standard has.
fn own_fields(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets).to_ascii_lowercase();
    let lines = text.lines().take_while(|line| !line.is_empty());
    let names = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name);
    names
        .filter(|name| name.starts_with("x-"))
        .map(str::to_owned)
        .collect()
}

const CODING: &str = "501 5.5.2 Cannot decode response";

#[cfg(test)]
mod tests;
