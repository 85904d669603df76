//! Hands one message in with lettre, as `cargo interop` has its other clients do. All of it comes from the environment:
//! `PORT`, `PASSWORD` of alice, `TO`, `MODE` (`starttls` or `implicit`), `CA`, the file with the authority of the
//! server's certificate.

use std::error::Error;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> Result<(), Box<dyn Error>> {
    let [port, password, to, mode, authority] =
        ["PORT", "PASSWORD", "TO", "MODE", "CA"].map(|name| std::env::var(name).unwrap_or_default());
    let authority = Certificate::from_pem(&std::fs::read(authority)?)?;
    let terms = TlsParameters::builder("localhost".to_owned())
        .certificate_store(CertificateStore::None)
        .add_root_certificate(authority)
        .build()?;
    let tls = match mode.as_str() {
        "starttls" => Tls::Required(terms),
        "implicit" => Tls::Wrapper(terms),
        other => return Err(format!("there is no mode `{other}`").into()),
    };
    let from: Mailbox = "alice@back.test".parse()?;
    let message = Message::builder()
        .from(from)
        .to(to.parse()?)
        .subject("x")
        .body("hello\n".to_owned())?;
    SmtpTransport::builder_dangerous("localhost")
        .port(port.parse()?)
        .tls(tls)
        .credentials(Credentials::new("alice".to_owned(), password))
        .build()
        .send(&message)?;
    Ok(())
}
