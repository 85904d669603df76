//! The token endpoints: a form in, status and JSON out (RFC 6749 sections 4.4 and 5, RFC 7523), as Google and Entra word them.

use serde_json::{Value, json};

use crate::customer::Proof;
use crate::jwt::Statement;
use crate::keys::{Failed, KEY_ID};
use crate::stand::Authority;
use crate::world::Shared;

/// A form's fields.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// `application/x-www-form-urlencoded`.
    pub(crate) fn read(body: &str) -> Self {
        let fields = body.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decoded(name), decoded(value))
        });
        Self(fields.collect())
    }

    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()]
                    .map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                match digits {
                    [Some(high), Some(low)] => u8::try_from(high * 16 + low).unwrap_or(b'?'),
                    _ => b'?',
                }
            }
            octet => octet,
        });
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// Error code and description.
type Refused = (u16, &'static str, &'static str);

/// Answers, and records what was asked.
pub(crate) fn answer(
    shared: &mut Shared,
    of: Authority,
    path: &str,
    form: &Form,
    now: i64,
) -> Result<(u16, Value), Failed> {
    let judged = match of {
        Authority::Google => google(shared, path, form, now),
        Authority::Entra => {
            let now = now + shared.entra_ahead;
            entra(shared, path, form, now)
        }
    };
    shared.record.tokens.push(json!({
        "host": of.host(), "client": form.get("client_id"),
        "for": judged.as_deref().unwrap_or_default(), "refused": judged.as_ref().err().map(|refused| refused.2),
    }));
    Ok(match judged {
        Ok(user) => {
            let token = shared.give_token(of, &user, now)?;
            let body =
                json!({"access_token": token, "token_type": "Bearer", "expires_in": shared.token_life});
            (200, body)
        }
        Err((status, error, description)) => {
            (status, json!({"error": error, "error_description": description}))
        }
    })
}

/// The mailbox of a service account's statement. Google's server-to-server text.
fn google(shared: &Shared, path: &str, form: &Form, now: i64) -> Result<String, Refused> {
    let grant = |description| (400, "invalid_grant", description);
    if path != "/token" || form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return Err((400, "unsupported_grant_type", "Invalid grant_type"));
    }
    let Some(statement) = Statement::read(form.get("assertion")) else {
        return Err(grant("Invalid JWT: Failed to parse"));
    };
    let customer = &shared.customer;
    let is_signed = statement.header["alg"] == "RS256"
        && statement.header["kid"] == KEY_ID
        && statement.is_by_rsa(customer.keys.google_public());
    if !is_signed || !statement.says("iss", &customer.google_account()) {
        return Err(grant("Invalid JWT Signature."));
    }
    if !statement.says("aud", "https://oauth2.googleapis.com/token") {
        return Err(grant("Invalid JWT: aud is not the token endpoint"));
    }
    let (made, ends) = (
        statement.time("iat").unwrap_or(0),
        statement.time("exp").unwrap_or(0),
    );
    if made > now + SKEW || made < now - 3_600 || ends <= now || ends > made + 3_600 {
        return Err(grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp \
             values in the JWT claim.",
        ));
    }
    if !shared.is_delegated || !statement.says("scope", "https://mail.google.com/") {
        return Err((
            401,
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the \
             scopes requested.",
        ));
    }
    let user = customer.google_user();
    if statement.says("sub", &user) {
        Ok(user)
    } else {
        Err(grant("Invalid email or User ID"))
    }
}

/// The mailbox of an application. Microsoft's text on client credentials.
fn entra(shared: &mut Shared, path: &str, form: &Form, now: i64) -> Result<String, Refused> {
    let tenant = &shared.customer.domain;
    if path != format!("/{tenant}/oauth2/v2.0/token") {
        return Err((400, "invalid_request", "AADSTS90002: Tenant not found."));
    }
    if form.get("grant_type") != "client_credentials" {
        return Err((
            400,
            "unsupported_grant_type",
            "AADSTS70003: The app requested an unsupported grant type.",
        ));
    }
    if form.get("scope") != "https://outlook.office365.com/.default" {
        return Err((
            400,
            "invalid_scope",
            "AADSTS70011: The provided value for the input parameter 'scope' is not valid.",
        ));
    }
    let url = format!("https://login.microsoftonline.com{path}");
    let id = form.get("client_id");
    let Some(application) = shared
        .customer
        .applications
        .iter()
        .find(|known| known.id == id)
        .cloned()
    else {
        return Err((
            400,
            "unauthorized_client",
            "AADSTS700016: Application was not found in the directory.",
        ));
    };
    let assertion = form.get("client_assertion");
    let is_assertion =
        form.get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let refused = (
        401,
        "invalid_client",
        "AADSTS700027: The certificate or token of the client assertion is not valid.",
    );
    match &application.proof {
        Proof::Secret(secret) if form.get("client_secret") == secret => {}
        Proof::Secret(_) => {
            return Err((
                401,
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
            ));
        }
        _ if !is_assertion => {
            return Err((
                401,
                "invalid_client",
                "AADSTS7000216: 'client_assertion' or 'client_secret' is required.",
            ));
        }
        Proof::Certificate => {
            let statement = Statement::read(assertion).ok_or(refused)?;
            let prints = shared.customer.keys.thumbprints();
            let header = &statement.header;
            let is_named = header["x5t#S256"] == prints[0] || header["x5t"] == prints[1];
            let is_sound = is_named
                && statement.is_by_rsa(shared.customer.keys.client_public())
                && statement.says("iss", id)
                && statement.says("sub", id)
                && statement.says("aud", &url);
            let id = statement.claims["jti"].as_str().unwrap_or_default().to_owned();
            if !is_sound || id.is_empty() || !shared.is_new(&id) {
                return Err(refused);
            }
            in_time(&statement, now)?;
        }
        Proof::Federated(subject) => {
            let statement = Statement::read(assertion).ok_or(refused)?;
            let (keys, issuer) = &shared.trusted;
            let is_sound = statement.is_by_set(keys)
                && statement.says("iss", issuer)
                && statement.says("sub", subject)
                && statement.says("aud", "api://AzureADTokenExchange");
            if !is_sound {
                return Err((
                    401,
                    "invalid_client",
                    "AADSTS700213: No matching federated identity record found.",
                ));
            }
            in_time(&statement, now)?;
        }
    }
    Ok(application.mailbox)
}

fn in_time(statement: &Statement<'_>, now: i64) -> Result<(), Refused> {
    let begins = statement
        .time("nbf")
        .or_else(|| statement.time("iat"))
        .unwrap_or(0);
    if begins <= now + SKEW && statement.time("exp").is_some_and(|ends| ends > now) {
        return Ok(());
    }
    Err((
        401,
        "invalid_client",
        "AADSTS700024: Client assertion is not within its valid time range.",
    ))
}

/// The body of an HTTP request: `None` until it is whole. Errors: it is no request that is taken.
pub(crate) fn request(octets: &[u8]) -> Result<Option<(String, String)>, &'static str> {
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if octets.len() > LARGEST {
            Err("too large")
        } else {
            Ok(None)
        };
    };
    let (head, body) = octets.split_at(end + 4);
    let head = std::str::from_utf8(head).map_err(|_| "no text")?;
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some("POST"), Some(path)) = (words.next(), words.next()) else {
        return Err("no POST");
    };
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or("no length")?;
    if length > LARGEST {
        return Err("too large");
    }
    let Some(body) = body.get(..length) else {
        return Ok(None);
    };
    Ok(Some((
        path.to_owned(),
        String::from_utf8_lossy(body).into_owned(),
    )))
}

const SKEW: i64 = 300;
const LARGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::customer::Customer;
    use crate::jwt::tests::signed;
    use crate::world::World;

    const NOW: i64 = 1_000_000;

    /// A statement that nobody signed.
    fn unsigned(claims: &Value) -> String {
        let coded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.e30", coded(&json!({"alg": "none"})), coded(claims))
    }

    fn form(fields: &[(&str, &str)]) -> Form {
        Form(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn world() -> World {
        World::new(Customer::new("shop.example", "system:serviceaccount:a:b").unwrap())
    }

    fn asked(world: &World, of: Authority, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        answer(&mut world.lock(), of, path, &form(fields), NOW).unwrap()
    }

    #[test]
    fn forms_are_read_and_odd_ones_too() {
        let form = Form::read("a=b+c&d=%2Fe%3d&f&=&%=%zz&g=%E4%BD%A0");
        for (name, value) in [
            ("a", "b c"),
            ("d", "/e="),
            ("f", ""),
            ("none", ""),
            ("g", "你"),
            ("?", "?"),
        ] {
            assert_eq!(form.get(name), value, "{name}");
        }
    }

    #[test]
    fn google_gives_a_token_for_the_mailbox_that_the_account_may_act_for() {
        let world = world();
        let account = world.lock().customer.google_account();
        let ask = |changes: &[(&str, Value)]| {
            let mut claims = json!({
                "iss": account, "scope": "https://mail.google.com/", "aud": "https://oauth2.googleapis.com/token",
                "sub": "noreply@shop.example", "iat": NOW, "exp": NOW + 3_600,
            });
            for (name, value) in changes {
                claims[*name] = value.clone();
            }
            let shared = world.lock();
            let text = signed(
                shared.customer.keys.google(),
                &json!({"alg": "RS256", "kid": KEY_ID}),
                &claims,
            );
            drop(shared);
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            asked(
                &world,
                Authority::Google,
                "/token",
                &[("grant_type", grant), ("assertion", &text)],
            )
        };
        let (status, given) = ask(&[]);
        assert_eq!((status, &given["expires_in"]), (200, &json!(3_599)));
        for (claim, value, error) in [
            ("iss", json!("other"), "invalid_grant"),
            ("aud", json!("https://evil.example/token"), "invalid_grant"),
            ("sub", json!("boss@shop.example"), "invalid_grant"),
            (
                "scope",
                json!("https://www.googleapis.com/auth/gmail.send"),
                "unauthorized_client",
            ),
            ("exp", json!(NOW + 3_700), "invalid_grant"),
            ("iat", json!(NOW + 4_000), "invalid_grant"),
        ] {
            let (status, said) = ask(&[(claim, value)]);
            assert!(status >= 400 && said["error"] == error, "{claim}: {said}");
        }
        world.lock().is_delegated = false;
        assert_eq!(ask(&[]).1["error"], "unauthorized_client");
        let unsigned = unsigned(&json!({"iss": account}));
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let fields = [("grant_type", grant), ("assertion", unsigned.as_str())];
        assert_eq!(asked(&world, Authority::Google, "/token", &fields).0, 400);
    }

    #[test]
    fn entra_gives_each_application_what_it_proves() {
        let world = world();
        let path = "/shop.example/oauth2/v2.0/token";
        let applications = world.lock().customer.applications.clone();
        let Proof::Secret(secret) = &applications[0].proof else {
            panic!("no secret")
        };
        let scope = "https://outlook.office365.com/.default";
        let base = |id| {
            [
                ("grant_type", "client_credentials"),
                ("client_id", id),
                ("scope", scope),
            ]
        };
        let with = |id, more: &[(&'static str, &str)]| {
            let fields = [&base(id)[..], more].concat();
            asked(&world, Authority::Entra, path, &fields)
        };
        let id = applications[0].id.as_str();
        assert_eq!(with(id, &[("client_secret", secret)]).0, 200);
        assert_eq!(with(id, &[("client_secret", "x")]).1["error"], "invalid_client");
        assert_eq!(
            with("nobody", &[("client_secret", secret)]).1["error"],
            "unauthorized_client"
        );
        assert_eq!(
            asked(&world, Authority::Entra, "/other/oauth2/v2.0/token", &base(id)).0,
            400
        );

        let kind = (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        );
        let id = applications[1].id.as_str();
        let statement = |aud: &str, jti: &str| {
            let shared = world.lock();
            let header = json!({"alg": "PS256", "x5t#S256": shared.customer.keys.thumbprints()[0]});
            let claims = json!({"iss": id, "sub": id, "aud": aud, "jti": jti, "nbf": NOW, "exp": NOW + 600});
            signed(shared.customer.keys.client_key(), &header, &claims)
        };
        let url = format!("https://login.microsoftonline.com{path}");
        let good = statement(&url, "one");
        assert_eq!(with(id, &[kind, ("client_assertion", &good)]).0, 200);
        assert_eq!(with(id, &[kind, ("client_assertion", &good)]).0, 401, "once");
        let other = statement("https://evil.example", "two");
        assert_eq!(with(id, &[kind, ("client_assertion", &other)]).0, 401);
        assert_eq!(with(id, &[("client_secret", secret)]).0, 401);
        world.lock().entra_ahead = 3_600;
        let late = statement(&url, "three");
        let said = with(id, &[kind, ("client_assertion", &late)]).1;
        assert!(
            said["error_description"].to_string().contains("AADSTS700024"),
            "{said}"
        );

        let id = applications[2].id.as_str();
        assert_eq!(
            with(id, &[kind, ("client_assertion", &good)]).0,
            401,
            "no key is trusted"
        );
        let shared = world.lock();
        assert_eq!(shared.record.tokens.len(), 10);
    }

    #[test]
    fn requests_are_read_when_they_are_whole() {
        let whole = b"POST /token HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\n\r\na=b";
        for end in 0..whole.len() {
            assert_eq!(request(&whole[..end]), Ok(None), "{end}");
        }
        assert_eq!(request(whole), Ok(Some(("/token".into(), "a=b".into()))));
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST /\r\n\r\n",
            "\r\n\r\n",
            "POST / x\r\ncontent-length: 99999999\r\n\r\n",
        ] {
            assert!(request(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
