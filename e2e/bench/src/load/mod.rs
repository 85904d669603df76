//! What the servers are loaded with: Postfix's own `smtp-source`, and a generator that fills the connection.

pub mod body;
pub mod client;
pub mod entrance;
pub mod generator;
pub mod probe;
pub mod signature;
pub mod source;
