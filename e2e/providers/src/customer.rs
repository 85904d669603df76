//! The customer of all providers: the domain, and what the providers gave to log in with. Made anew at each start.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::keys::{self, Failed, Keys};
use crate::sasl::Claim;
use crate::stand::{ALL, Known, Stand};

/// What one provider gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    /// The user name; empty: any will do.
    pub(crate) user: String,
    /// The password; empty: there is none.
    pub(crate) password: String,
}

/// An application of Entra, and the mailbox that it may send as.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) id: String,
    pub(crate) mailbox: String,
    pub(crate) proof: Proof,
}

/// How an application proves itself.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Secret(String),
    /// By the certificate of [`Keys`].
    Certificate,
    /// By a token of the cluster for this subject.
    Federated(String),
}

/// The customer.
#[derive(Debug)]
pub(crate) struct Customer {
    pub(crate) domain: String,
    pub(crate) keys: Keys,
    pub(crate) applications: [Application; 3],
    /// The AWS secret key, of which the password is derived.
    pub(crate) aws_secret: String,
    logins: Vec<(&'static str, Login)>,
}

impl Customer {
    /// `subject`: the ServiceAccount that one application trusts.
    pub(crate) fn new(domain: &str, subject: &str) -> Result<Self, Failed> {
        let application = |name: &str, proof| {
            Ok::<_, Failed>(Application {
                id: format!("00000000-0000-4000-8000-{}", keys::word(12)?),
                mailbox: format!("{name}@{domain}"),
                proof,
            })
        };
        let mut customer = Self {
            domain: domain.to_owned(),
            keys: Keys::new(domain)?,
            applications: [
                application("secret", Proof::Secret(keys::word(40)?))?,
                application("certificate", Proof::Certificate)?,
                application("pods", Proof::Federated(subject.to_owned()))?,
            ],
            aws_secret: keys::word(40)?,
            logins: Vec::new(),
        };
        for stand in &ALL {
            let login = customer.make(stand)?;
            customer.logins.push((stand.name, login));
        }
        Ok(customer)
    }

    /// The provider takes back what it gave, and gives something else.
    pub(crate) fn renew(&mut self, stand: &Stand) -> Result<(), Failed> {
        if stand.name == "AmazonSES" {
            self.aws_secret = keys::word(40)?;
        }
        if stand.name == "Microsoft365" {
            self.applications[0].proof = Proof::Secret(keys::word(40)?);
        }
        let login = self.make(stand)?;
        if let Some((_, known)) = self.logins.iter_mut().find(|(name, _)| *name == stand.name) {
            *known = login;
        }
        Ok(())
    }

    fn make(&self, stand: &Stand) -> Result<Login, Failed> {
        let domain = &self.domain;
        let user = match stand.name {
            "SendGrid" => "apikey".to_owned(),
            "Mandrill" => String::new(),
            "AmazonSES" => format!("AKIA{}", keys::word(16)?.to_ascii_uppercase()),
            "Mailgun" => format!("postmaster@{domain}"),
            _ => format!("{}@{domain}", stand.name.to_ascii_lowercase()),
        };
        let password = match (stand.name, stand.known) {
            (_, Known::Certificate) => String::new(),
            ("AmazonSES", _) => ses_password(&self.aws_secret, "eu-west-1"),
            // An app password has 16 letters.
            ("Gmail" | "GoogleWorkspaceRelay", _) => keys::word(16)?,
            _ => keys::word(24)?,
        };
        Ok(Login { user, password })
    }

    /// What a provider gave.
    pub(crate) fn login(&self, stand: &Stand) -> Login {
        let known = self.logins.iter().find(|(name, _)| *name == stand.name);
        known.map(|(_, login)| login.clone()).unwrap_or_default()
    }

    /// Whether a password is the one that the provider gave.
    pub(crate) fn is_password(&self, stand: &Stand, claim: &Claim) -> bool {
        let Claim::Password { user, password } = claim else {
            return false;
        };
        let login = self.login(stand);
        let is_user = login.user.is_empty() || login.user == *user;
        is_user && !login.password.is_empty() && login.password == *password
    }

    /// Whether an address is in the customer's domain.
    pub(crate) fn owns(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
        domain.eq_ignore_ascii_case(&self.domain)
    }

    /// All that the customer has to know, as the consoles of the providers show it.
    pub(crate) fn shown(&self) -> Value {
        let logins = self.logins.iter().map(|(name, login)| {
            let user = if login.user.is_empty() {
                "any"
            } else {
                login.user.as_str()
            };
            (
                (*name).to_owned(),
                json!({"username": user, "password": login.password}),
            )
        });
        let applications = self.applications.iter().map(|application| {
            json!({
                "clientId": application.id, "user": application.mailbox,
                "clientSecret": match &application.proof {
                    Proof::Secret(secret) => json!(secret),
                    Proof::Certificate | Proof::Federated(_) => Value::Null,
                },
            })
        });
        json!({
            "authority": self.keys.authority,
            "logins": logins.collect::<serde_json::Map<_, _>>(),
            "aws": {"accessKeyId": self.login_of("AmazonSES").user, "secretAccessKey": self.aws_secret},
            "google": {"user": self.google_user(), "key.json": self.keys.google_json(&self.google_account())},
            "entra": {
                "tenant": self.domain, "applications": applications.collect::<Vec<_>>(),
                "tls.crt": self.keys.client.certificate, "tls.key": self.keys.client.key,
            },
            "connector": {"tls.crt": self.keys.connector.certificate, "tls.key": self.keys.connector.key},
        })
    }

    /// The mailbox that the service account may act for.
    pub(crate) fn google_user(&self) -> String {
        format!("noreply@{}", self.domain)
    }

    /// The service account.
    pub(crate) fn google_account(&self) -> String {
        format!("relay@{}.iam.gserviceaccount.com", self.domain.replace('.', "-"))
    }

    fn login_of(&self, name: &str) -> Login {
        Stand::named(name)
            .map(|stand| self.login(stand))
            .unwrap_or_default()
    }
}

/// The password for SMTP that SES makes of a secret key, by its developer guide.
fn ses_password(secret: &str, region: &str) -> String {
    let sign = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let mut key = sign(format!("AWS4{secret}").as_bytes(), "11111111");
    for text in [region, "ses", "aws4_request", "SendRawEmail"] {
        key = sign(&key, text);
    }
    key.insert(0, 4);
    STANDARD.encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_ses_is_that_of_its_guide() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        for (region, password) in [
            ("us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
            ("us-west-2", "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd"),
            ("eu-west-1", "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"),
        ] {
            assert_eq!(ses_password(secret, region), password);
        }
    }

    #[test]
    fn a_login_is_good_at_its_provider_alone_and_until_it_is_taken_back() {
        let mut customer = Customer::new("shop.example", "system:serviceaccount:a:b").unwrap();
        let claim = |customer: &Customer, stand| {
            let login = customer.login(stand);
            Claim::Password {
                user: login.user,
                password: login.password,
            }
        };
        for stand in &ALL {
            let given = claim(&customer, stand);
            for other in &ALL {
                let is_own = stand.name == other.name && stand.known != Known::Certificate;
                assert_eq!(
                    customer.is_password(other, &given),
                    is_own,
                    "{} at {}",
                    stand.name,
                    other.name
                );
            }
            customer.renew(stand).unwrap();
            assert!(!customer.is_password(stand, &given), "{}", stand.name);
            if stand.known != Known::Certificate {
                assert!(
                    customer.is_password(stand, &claim(&customer, stand)),
                    "{}",
                    stand.name
                );
            }
        }
    }

    #[test]
    fn domains_are_whole_domains() {
        let customer = Customer::new("shop.example", "x").unwrap();
        assert!(customer.owns("a@Shop.example") && customer.owns("shop.example"));
        for foreign in ["", "a@myshop.example", "a@shop.example.evil", "example", "<>"] {
            assert!(!customer.owns(foreign), "{foreign}");
        }
    }
}
