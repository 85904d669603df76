//! Who is it? Verifiers of users, SASL on the server's side.
