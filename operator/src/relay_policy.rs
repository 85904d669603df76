//! `RelayPolicy`: which mail leaves how.
//!
//! * [`credentials`], [`logins`]: what routes log in with, out of Secrets; [`ses`]: the password of Amazon SES.
//! * [`probe`], [`upstream`], [`reported`]: are smart hosts reached, is their TLS right, do they let us in.
//! * [`provider`]: what a provider's name stands for.
//! * [`quota`]: whether providers take more, and what they refuse.
//! * [`waiting`]: mail of a new policy whose routes are wrong.
//! * [`rank`]: which policy decides first, and which can never decide because an older one has the same rank and match.

pub mod credentials;
pub mod logins;
pub mod probe;
pub mod provider;
pub mod quota;
pub mod rank;
pub mod reconcile;
pub mod reported;
pub mod ses;
pub mod upstream;
pub mod users;
pub mod validate;
pub mod waiting;

pub use reconcile::reconcile;
