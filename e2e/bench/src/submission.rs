//! What a submission server that signs is given: a user, a certificate, a key.

use postroad_e2e::kubectl::{Failure, Outcome};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256};

use crate::credentials::Authority;
use crate::load::entrance::Login;
use crate::load::probe::Probe;

/// How it signs.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    /// RSA of 2,048 bits over SHA-256.
    Rsa2048,
    /// Ed25519 over SHA-256 (RFC 8463).
    Ed25519,
}

impl Algorithm {
    /// Name in series.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The `a=` of its signatures, which is `OpenDKIM`'s name of it too.
    pub fn of_opendkim(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

/// One setting.
#[derive(Debug)]
pub struct Submission {
    /// How it signs.
    pub algorithm: Algorithm,
    /// Who sends.
    pub login: Login,
    /// Chain and key in PEM.
    pub certificate: (String, String),
    /// The key that signs, in PEM (PKCS #8).
    pub key: String,
    /// Where one message comes out.
    pub probe: Probe,
}

impl Submission {
    /// New keys, and one user.
    pub fn new(algorithm: Algorithm) -> Outcome<Self> {
        let authority = Authority::new()?;
        let key = KeyPair::generate_for(match algorithm {
            Algorithm::Rsa2048 => &PKCS_RSA_SHA256,
            Algorithm::Ed25519 => &PKCS_ED25519,
        });
        Ok(Self {
            algorithm,
            login: Login {
                tls: authority.client()?,
                user: "alice",
                password: "correct-horse",
            },
            certificate: authority.certificate()?,
            key: key
                .map_err(|error| Failure::wrong(error.to_string()))?
                .serialize_pem(),
            probe: Probe::start()?,
        })
    }
}
