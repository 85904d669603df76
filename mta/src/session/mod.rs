//! One SMTP session: drives the state machine of postroad-smtp over a stream.
