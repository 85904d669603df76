//! The one way into the spool: prefix header fields, loop check, commit, and only then 250.
