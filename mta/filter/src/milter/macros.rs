//! Macros: what sendmail would know of a message, by sendmail's names.

use crate::message::Message;

/// When macros are told; the numbers are those of the protocol (`SMFIM_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connect = 0,
    Helo = 1,
    Mail = 2,
    Rcpt = 3,
    Data = 4,
    EndOfMessage = 5,
    EndOfHeader = 6,
}

impl Stage {
    /// What filters get that choose nothing.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &["j", "{daemon_name}", "v", "_", "{client_addr}", "{client_name}"],
            Self::Helo => &["{tls_version}", "{cipher}"],
            Self::Mail => &[
                "i",
                "{auth_type}",
                "{auth_authen}",
                "{mail_addr}",
                "{mail_host}",
                "{mail_mailer}",
            ],
            Self::Rcpt => &["{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
            Self::Data | Self::EndOfMessage | Self::EndOfHeader => &["i"],
        }
    }

    /// Names and values for a macro packet of this stage; those that have no value are left out. `chosen`: what the filter
    /// chose. `recipient`: the present one.
    pub(super) fn values(
        self,
        message: &Message,
        chosen: &[(u32, Vec<String>)],
        recipient: Option<&str>,
    ) -> Vec<u8> {
        let stage = self as u32;
        let mut out = Vec::new();
        let mut put = |name: &str| {
            if let Some(value) = value(name, message, recipient) {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
                // A zero octet would begin the next name; nothing of a peer may bring one.
                out.extend(value.bytes().filter(|octet| *octet != 0));
                out.push(0);
            }
        };
        match chosen.iter().find(|(of, _)| *of == stage) {
            Some((_, names)) => names.iter().for_each(|name| put(name)),
            None => self.usual().iter().for_each(|name| put(name)),
        }
        out
    }
}

fn value(name: &str, message: &Message, recipient: Option<&str>) -> Option<String> {
    let host = |path: &str| path.rsplit_once('@').map(|(_, host)| host.to_owned());
    let literal = super::commands::literal(message.client);
    Some(match name.trim_start_matches('{').trim_end_matches('}') {
        "i" => message.queue_id.clone(),
        "j" => message.hostname.clone(),
        "v" => concat!("Postroad ", env!("CARGO_PKG_VERSION")).to_owned(),
        "daemon_name" => message.port_name.clone(),
        "_" => format!("{literal} {literal}"),
        "client_addr" => message.client.to_canonical().to_string(),
        "client_name" => literal,
        "client_port" if message.client_port != 0 => message.client_port.to_string(),
        "tls_version" => message.tls.as_ref()?.0.clone(),
        "cipher" => message.tls.as_ref()?.1.clone(),
        "auth_type" => message.login.as_ref().map(|_| "LOGIN".to_owned())?,
        "auth_authen" => message.login.as_ref()?.user.clone(),
        "mail_addr" => message.reverse_path.clone(),
        "mail_host" => host(&message.reverse_path)?,
        "rcpt_addr" => recipient?.to_owned(),
        "rcpt_host" => host(recipient?)?,
        "mail_mailer" => "esmtp".to_owned(),
        "rcpt_mailer" => recipient.map(|_| "esmtp".to_owned())?,
        _ => return None,
    })
}
