//! Submission by programs that people use: swaks, msmtp and Python's smtplib, in the peers' `client` pod or on this
//! computer (through a forwarded port).
//!
//! The certificate of the server is verified in every case. A mail counts as accepted only if the program says so by its
//! exit code, which it takes from the reply after the end of data.

use std::time::Duration;

use super::Mail;
use crate::kubectl::{Failure, Namespace, Outcome};
use crate::shell::{Shell, ShellError};

/// The program that submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// swaks.
    Swaks,
    /// msmtp.
    Msmtp,
    /// Python's smtplib, the one of the three that speaks SMTPUTF8.
    Smtplib,
}

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet (port 465).
    Implicit,
    /// STARTTLS (port 587).
    StartTls,
    /// None (port 25 of the peers).
    Plain,
}

/// Where to submit, and as whom.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// The name that the certificate must have.
    pub name: String,
    /// The authority that signed the certificate, in PEM.
    pub authority: String,
    /// User and password, if the server wants them.
    pub login: Option<(String, String)>,
}

/// Where the program runs.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In the peers' `client` pod.
    Pod(&'a Namespace),
    /// On this computer.
    Host,
}

/// Submits one mail. An error has what the program said.
pub fn submit(place: Place<'_>, program: Program, server: &Server, mail: &Mail) -> Outcome {
    let script = script(program, server, mail);
    let shell = match place {
        Place::Host => Shell::new("bash").args(["-c", &script]),
        Place::Pod(namespace) => {
            let exec = [
                "--namespace",
                &namespace.name,
                "exec",
                "--stdin",
                "client",
                "--",
                "bash",
                "-c",
                &script,
            ];
            namespace.cluster.kubectl(exec)
        }
    };
    let result = shell.input(mail.content.clone()).limit(LIMIT).run();
    result.map(drop).map_err(|error| match error {
        ShellError::Failed { said, status, .. } => Failure::wrong(format!(
            "{program:?} did not get {} accepted ({status}): {said}",
            mail.mark
        )),
        other => other.into(),
    })
}

/// A bash script that reads the mail on standard input and submits it.
fn script(program: Program, server: &Server, mail: &Mail) -> String {
    let body = match program {
        Program::Swaks => swaks(server, mail),
        Program::Msmtp => msmtp(server, mail),
        Program::Smtplib => smtplib(server, mail),
    };
    format!(
        "set -e; dir=$(mktemp -d); trap 'rm -rf \"$dir\"' EXIT; umask 077; cat >\"$dir/mail\"\n\
         cat >\"$dir/ca.pem\" <<'PEM'\n{}\nPEM\n{body}\n",
        server.authority.trim()
    )
}

/// swaks sends what it is given: the dots are stuffed here, and the end of data is put behind it.
fn swaks(server: &Server, mail: &Mail) -> String {
    let trust = format!(
        "--tls-verify --tls-ca-path \"$dir/ca.pem\" --tls-sni {}",
        server.name
    );
    let tls = match server.security {
        Security::Plain => String::new(),
        Security::StartTls => format!("--tls {trust}"),
        Security::Implicit => format!("--tlsc {trust}"),
    };
    let login = server.login.as_ref().map_or(String::new(), |(user, password)| {
        format!("--auth PLAIN --auth-user '{user}' --auth-password '{password}'")
    });
    let Server { host, port, .. } = server;
    let Mail { from, to, .. } = mail;
    format!(
        "{{ sed 's/^\\./../' \"$dir/mail\"; printf '.\\r\\n'; }} >\"$dir/stuffed\"\n\
         swaks --silent 2 --timeout 60 --server {host} --port {port} {tls} {login} --ehlo client.example \
         --from '{from}' --to '{to}' --no-data-fixup --data \"@$dir/stuffed\""
    )
}

fn msmtp(server: &Server, mail: &Mail) -> String {
    let tls = match server.security {
        Security::Plain => "tls off",
        Security::StartTls => "tls on\ntls_starttls on",
        Security::Implicit => "tls on\ntls_starttls off",
    };
    let trust = if server.security == Security::Plain {
        ""
    } else {
        "\ntls_trust_file $dir/ca.pem"
    };
    let login = server
        .login
        .as_ref()
        .map_or("auth off".to_owned(), |(user, password)| {
            format!("auth plain\nuser {user}\npassword {password}")
        });
    let host_name = if server.security == Security::Plain {
        String::new()
    } else {
        format!("\ntls_host_override {}", server.name)
    };
    format!(
        "cat >\"$dir/msmtprc\" <<RC\naccount default\nhost {}\nport {}\ndomain client.example\n{tls}{trust}{host_name}\n\
         {login}\nset_from_header off\nset_date_header off\nRC\n\
         tr -d '\\r' <\"$dir/mail\" | msmtp --file=\"$dir/msmtprc\" --timeout=60 --from='{}' -- '{}'",
        server.host, server.port, mail.from, mail.to
    )
}

fn smtplib(server: &Server, mail: &Mail) -> String {
    let connect = match server.security {
        Security::Plain => "s=smtplib.SMTP(host,port,timeout=60);s.ehlo()",
        Security::StartTls => {
            "s=smtplib.SMTP(host,port,timeout=60);s._host=name;s.ehlo();s.starttls(context=tls);s.ehlo()"
        }
        Security::Implicit => {
            "tls.check_hostname=False\n\
             s=smtplib.SMTP_SSL(host,port,timeout=60,context=tls);s.ehlo()"
        }
    };
    let login = server.login.as_ref().map_or(String::new(), |(user, password)| {
        format!("s.login('{user}','{password}')\n")
    });
    format!(
        "cat >\"$dir/send.py\" <<'PY'\nimport smtplib,ssl,sys\n\
         host,port,name,folder='{}',{},'{}',sys.argv[1]\n\
         tls=ssl.create_default_context(cafile=folder+'/ca.pem') if {} else None\n{connect}\n{login}\
         options=['SMTPUTF8','BODY=8BITMIME'] if not ('{from}'+'{to}').isascii() else ['BODY=8BITMIME']\n\
         s.sendmail('{from}',['{to}'],open(folder+'/mail','rb').read(),mail_options=options)\ns.quit()\nPY\n\
         PYTHONIOENCODING=utf-8 python3 -X utf8 \"$dir/send.py\" \"$dir\"",
        server.host,
        server.port,
        server.name,
        if server.security == Security::Plain {
            "False"
        } else {
            "True"
        },
        from = mail.from,
        to = mail.to,
    )
}

const LIMIT: Duration = Duration::from_mins(3);
