//! A client of SCRAM-SHA-256 (RFC 5802, RFC 7677), bound to its connection or not.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Client, Reply};

pub struct Scram<'a> {
    pub mechanism: &'a str,
    /// What comes before the first message, such as `n,,`.
    pub header: &'a str,
    /// What the client says that it is bound to.
    pub binding: &'a [u8],
    pub user: &'a str,
    pub password: &'a str,
}

impl Scram<'_> {
    /// Without channel binding.
    pub fn unbound<'a>(user: &'a str, password: &'a str) -> Scram<'a> {
        Scram {
            mechanism: "SCRAM-SHA-256",
            header: "n,,",
            binding: b"",
            user,
            password,
        }
    }

    /// Logs in; gives the last reply, and checks the server's proof.
    pub async fn login(&self, client: &mut Client) -> Reply {
        let first = format!("n={},r=abcdefgh12345678", self.user);
        let response = STANDARD.encode(format!("{}{first}", self.header));
        let reply = client.say(&format!("AUTH {} {response}", self.mechanism)).await;
        if reply.code != 334 {
            return reply;
        }
        let server = String::from_utf8(STANDARD.decode(&reply.lines[0]).unwrap()).unwrap();
        let field = |name: &str| {
            server
                .split(',')
                .find_map(|field| field.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            field("i=").parse().unwrap(),
            &STANDARD.decode(field("s=")).unwrap(),
            self.password.as_bytes(),
            &mut salted,
        );
        let bound = STANDARD.encode([self.header.as_bytes(), self.binding].concat());
        let last = format!("c={bound},r={}", field("r="));
        let message = format!("{first},{server},{last}");
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let signature = sign(stored.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let reply = client
            .say(&STANDARD.encode(format!("{last},p={}", STANDARD.encode(proof))))
            .await;
        if reply.code != 334 {
            return reply;
        }
        let proof = STANDARD.encode(sign(&sign(&salted, b"Server Key"), message.as_bytes()));
        assert_eq!(
            STANDARD.decode(&reply.lines[0]).unwrap(),
            format!("v={proof}").into_bytes()
        );
        client.say("").await
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}
