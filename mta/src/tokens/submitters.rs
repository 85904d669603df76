//! ServiceAccounts that submit mail: their tokens, and who they are by them. Pure: the clock is passed in.

use postroad_config::{SERVICE_ACCOUNT, ServiceAccounts, as_service_account};

use super::{Issuer, KeySetError, TokenError};

/// Judges tokens by `authentication.serviceAccounts`.
#[derive(Debug)]
pub struct Submitters {
    issuer: Issuer,
    audience: String,
}

impl Submitters {
    /// Reads the key set. Errors: it is no key set, or holds no key that we can use.
    pub fn new(accounts: &ServiceAccounts) -> Result<Self, KeySetError> {
        Ok(Self {
            issuer: Issuer::new(&accounts.issuer, &accounts.key_set, &accounts.refused_audiences)?,
            audience: accounts.audience.clone(),
        })
    }

    /// Whose token it is: `system:serviceaccount:<namespace>:<name>`. `now`: seconds since 1970.
    ///
    /// `user`: who the client says that it is. Programs must often give some user name, so any is taken, except the name of
    /// another ServiceAccount: that is a mistake which must not go through.
    pub fn identify(&self, token: &str, user: &str, now: i64) -> Result<String, TokenError> {
        let claims = self.issuer.claims(token, now)?;
        if !claims.aud.contains(&self.audience) {
            return Err(TokenError::Audience);
        }
        if as_service_account(&claims.sub).is_none() {
            return Err(TokenError::Subject);
        }
        if user.starts_with(SERVICE_ACCOUNT) && user != claims.sub {
            return Err(TokenError::User);
        }
        Ok(claims.sub)
    }
}

/// Whether what came as a password is a token by its form (RFC 7515 section 7.1): three parts of base64url, of which the first
/// is a JSON object. No other look is taken at it: who has which password must not show in how long a refusal takes.
pub fn looks_like_token(password: &str) -> bool {
    let mut parts = password.split('.');
    let [Some(header), Some(claims), Some(signature), None] = [(); 4].map(|()| parts.next()) else {
        return false;
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    // `{"` in base64url.
    header.starts_with("eyJ") && plain(header) && plain(claims) && plain(signature)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, Signer, es256, sign};
    use super::*;
    use serde_json::{Value, json};

    const AUDIENCE: &str = "smtp.postroad.dev/mail/edge";
    const ORDERS: &str = "system:serviceaccount:shop:orders";

    fn submitters(signer: &Signer) -> Submitters {
        Submitters::new(&ServiceAccounts {
            issuer: "https://issuer.example".into(),
            audience: AUDIENCE.into(),
            key_set: json!({"keys": [signer.jwk]}).to_string(),
            refused_audiences: vec!["https://api.example".into()],
            review: None,
        })
        .unwrap()
    }

    fn claims(change: &Value) -> Value {
        let mut claims = json!({"iss": "https://issuer.example", "sub": ORDERS, "aud": [AUDIENCE],
            "exp": NOW + 600, "nbf": NOW - 1, "iat": NOW - 1});
        for (key, value) in change.as_object().unwrap() {
            claims[key] = value.clone();
        }
        claims
    }

    #[test]
    fn the_identity_is_the_subject_whatever_user_name_a_program_gives() {
        let signer = es256("a");
        let judge = submitters(&signer);
        let token = sign(&signer, &claims(&json!({})));
        for user in ["", "token", "orders", ORDERS] {
            assert_eq!(judge.identify(&token, user, NOW).as_deref(), Ok(ORDERS), "{user}");
        }
        let other = "system:serviceaccount:shop:billing";
        assert_eq!(judge.identify(&token, other, NOW), Err(TokenError::User));
    }

    #[test]
    fn each_claim_that_does_not_hold_is_named() {
        let (signer, stranger) = (es256("a"), es256("a"));
        let judge = submitters(&signer);
        for (change, wanted) in [
            (
                json!({"aud": ["smtp.postroad.dev/mail/other"]}),
                TokenError::Audience,
            ),
            (
                json!({"aud": ["admin.postroad.dev/mail/edge"]}),
                TokenError::Audience,
            ),
            (
                json!({"aud": [AUDIENCE, "https://api.example"]}),
                TokenError::RefusedAudience,
            ),
            (
                json!({"aud": ["https://api.example"]}),
                TokenError::RefusedAudience,
            ),
            (json!({"iss": "https://other.example"}), TokenError::Issuer),
            (json!({"exp": NOW - 31}), TokenError::Expired),
            (json!({"nbf": NOW + 31}), TokenError::NotYet),
            (json!({"sub": "alice"}), TokenError::Subject),
            (json!({"sub": "system:serviceaccount:shop"}), TokenError::Subject),
            (json!({"sub": "system:node:a:b"}), TokenError::Subject),
        ] {
            let token = sign(&signer, &claims(&change));
            assert_eq!(judge.identify(&token, "", NOW), Err(wanted), "{change}");
        }
        for change in [json!({"exp": NOW - 29}), json!({"nbf": NOW + 30})] {
            let token = sign(&signer, &claims(&change));
            assert!(
                judge.identify(&token, "", NOW).is_ok(),
                "clocks may differ: {change}"
            );
        }
        let forged = sign(&stranger, &claims(&json!({})));
        assert_eq!(judge.identify(&forged, "", NOW), Err(TokenError::Signature));
    }

    #[test]
    fn a_token_is_known_by_its_form_alone() {
        let signer = es256("a");
        assert!(looks_like_token(&sign(&signer, &claims(&json!({})))));
        assert!(looks_like_token("eyJh.eyJi.c2ln"));
        for password in [
            "",
            "secret",
            "a.b.c",
            "eyJh.eyJi",
            "eyJh.eyJi.",
            "eyJh.eyJi.x.y",
            "eyJh.e Ji.x",
        ] {
            assert!(!looks_like_token(password), "{password}");
        }
    }
}
