//! Delivery status notifications (RFC 3464).

pub mod compose;
pub mod text;
