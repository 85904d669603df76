//! A daemon that is set up as the servers were for which the dialogues were written.

use std::net::SocketAddr;

use postroad_mta::auth::Verifier;

use crate::stage::{Daemon, free_port, serve};

pub struct House {
    _daemon: Daemon,
    _directory: tempfile::TempDir,
    pub chain: String,
    /// For other servers, TLS by STARTTLS.
    pub transfer: SocketAddr,
    /// For users, TLS from the first octet.
    pub submissions: SocketAddr,
}

impl House {
    /// One domain that takes mail for anybody, one user, messages of 1 MiB.
    pub fn open(domain: &str, user: &str, password: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
        let chain = made.cert.pem();
        std::fs::write(directory.path().join("tls.crt"), &chain).unwrap();
        std::fs::write(directory.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let (transfer, submissions) = (free_port(), free_port());
        let (local, verifier) = (
            user.split('@').next().unwrap_or(user),
            Verifier::argon2id(password).unwrap(),
        );
        let text = format!(
            "format: 1\nhostname: {domain}\nspool: {{directory: spool, highWaterPercent: 99}}\n\
             tls: {{certificateFile: {at}/tls.crt, keyFile: {at}/tls.key}}\nlimits: {{messageSize: 1Mi}}\n\
             users: [{{name: '{user}', verifier: '{verifier}'}}]\nports:\n\
             \x20 - {{name: smtp, address: '{transfer}', role: Transfer, tls: Opportunistic}}\n\
             \x20 - {{name: submissions, address: '{submissions}', role: Submission, tls: Implicit}}\n\
             domains:\n  - name: {domain}\n    inbound: {{recipients: {{mode: Any}}, deliverTo: {{lmtp: {{host: 127.0.0.1, port: 1}}}}}}\n\
             \x20   senders: [{{user: '{user}', addresses: ['{local}']}}]\n",
            at = directory.path().display(),
        );
        let config = directory.path().join("postroad.yaml");
        std::fs::write(&config, text).unwrap();
        Self {
            _daemon: serve(&config, &directory.path().join("log")),
            chain,
            transfer,
            submissions,
            _directory: directory,
        }
    }
}
