//! The password of Amazon SES for SMTP, made of an AWS secret key. Pure.
//!
//! One key serves every region, with another password in each. The secret key itself never leaves the operator: what can be done
//! with it goes far beyond mail.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The password for a region, by the steps that AWS publishes.
pub fn password(secret: &str, region: &str) -> String {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), DATE);
    for part in [region, "ses", "aws4_request", "SendRawEmail"] {
        key = hmac(&key, part);
    }
    let mut octets = vec![VERSION];
    octets.extend(key);
    STANDARD.encode(octets)
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

/// The region in a host name of SES, such as `email-smtp.eu-west-1.amazonaws.com`.
pub fn region_of(host: &str) -> Option<&str> {
    let (first, rest) = host.split_once('.')?;
    let (region, rest) = rest.split_once('.')?;
    let is_ses = matches!(first, "email-smtp" | "email-smtp-fips") && rest.starts_with("amazonaws.");
    is_ses.then_some(region)
}

/// Whether a text looks like a region. AWS opens new ones: no list is kept.
pub fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_word = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
    };
    parts.len() >= 3
        && parts.iter().all(is_word)
        && parts
            .last()
            .is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()))
}

/// The date is a constant of the scheme.
const DATE: &str = "11111111";
const VERSION: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample secret that AWS publishes.
    #[test]
    fn passwords_are_those_that_the_published_steps_give() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        for (region, want) in [
            ("us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
            ("us-west-2", "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd"),
            ("eu-west-1", "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"),
        ] {
            assert_eq!(password(secret, region), want, "{region}");
        }
    }

    #[test]
    fn regions_are_found_in_host_names_and_told_from_other_words() {
        for (host, want) in [
            ("email-smtp.eu-west-1.amazonaws.com", Some("eu-west-1")),
            (
                "email-smtp-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("email-smtp.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("email-smtp.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
            ("smtp.eu-west-1.amazonaws.com", None),
            ("email-smtp.eu-west-1.example.com", None),
            ("email-smtp", None),
        ] {
            assert_eq!(region_of(host), want, "{host}");
        }
        for (text, want) in [
            ("eu-west-1", true),
            ("us-gov-west-1", true),
            ("eusc-de-east-1", true),
            ("ap-southeast-7", true),
            ("eu-west", false),
            ("EU West 1", false),
            ("eu_west_1", false),
            ("eu-west-1a", false),
            ("", false),
        ] {
            assert_eq!(is_region(text), want, "{text}");
        }
    }
}
