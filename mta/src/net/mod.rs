//! Ports: listeners, admission of connections, one task per connection.
