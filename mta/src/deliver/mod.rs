//! One attempt: route plan, connection, dialogue, replies.
