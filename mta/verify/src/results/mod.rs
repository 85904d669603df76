//! The field Authentication-Results, RFC 8601: what we write at the top of a message, and which fields of others claim
//! to be ours.
//!
//! ```text
//!   outcomes ─► Statement ─► Field::text ─► "Authentication-Results: mail.example.com;\r\n\tspf=pass …\r\n"
//!   what a sealer wrote (ARC) ─► read ─► Said
//!   a field that came with a message ─► claim ─► ours, unreadable: taken out · of others: stays
//! ```
//!
//! Whoever reads the field later trusts the first one with our name, so: what a stranger chose is quoted, nothing of it
//! can end the field, and no field that he sent keeps our name.

mod claim;
mod read;
mod statement;
mod write;

pub use claim::{Claim, claim};
pub use read::{Said, read};
pub use statement::{SpfIdentity, arc, dkim, dmarc, spf};

/// Name of the field.
pub const NAME: &str = "Authentication-Results";

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Who says it: a name of the receiving site (section 2.5).
    pub authserv_id: String,
    /// What is said; `none` is written where it is nothing.
    pub statements: Vec<Statement>,
}

/// What one method came to (`resinfo`, section 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Of the registry, such as `spf`.
    pub method: &'static str,
    /// Of the registry, such as `pass`.
    pub result: &'static str,
    /// For people.
    pub comment: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it was said about.
    pub properties: Vec<Property>,
}

/// What a statement is about (`propspec`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// `smtp`, `header` or `policy` (section 2.3).
    pub kind: &'static str,
    /// Such as `mailfrom`.
    pub name: &'static str,
    /// Anybody's text.
    pub value: String,
}

/// Whether the octet may stand in a token (RFC 2045 section 5.1).
fn is_token(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet)
}
