//! One attempt: route plan, connection, dialogue, replies.

pub mod exchanges;
pub mod networks;
pub mod plan;
pub mod tls;
