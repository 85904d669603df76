//! What a filter is told of a message, besides its octets.

use std::net::IpAddr;

use crate::header::Section;

/// A message that is complete, and how it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Name of this server.
    pub hostname: String,
    /// Name of the port that it came to.
    pub port_name: String,
    /// Its id in the queue.
    pub queue_id: String,
    /// Address of the client.
    pub client: IpAddr,
    /// Port that the client uses; 0 where nobody knows.
    pub client_port: u16,
    /// What the client called itself.
    pub helo: String,
    /// TLS version and cipher suite; empty without TLS.
    pub tls: Option<(String, String)>,
    /// Who has logged in.
    pub login: Option<Login>,
    /// Reverse-path without brackets; empty is the null one.
    pub reverse_path: String,
    /// BODY=8BITMIME was said (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 was said (RFC 6531).
    pub smtputf8: bool,
    /// Forward-paths as the client gave them; at least one.
    pub recipients: Vec<String>,
    /// Its header, as it is now.
    pub header: Section,
    /// Octets of its body.
    pub body: u64,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Name of the user.
    pub user: String,
}
