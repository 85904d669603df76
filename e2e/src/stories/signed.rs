//! Tokens that a cluster of ours would have signed at another time: Kubernetes gives none for less than ten minutes, and no
//! story waits that long.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use crate::kubectl::{Failure, Outcome};
use crate::shell::Shell;

/// A token with these claims changed, signed by the same key (ES256) as the given one.
pub(super) fn again(token: &str, key: &Path, change: &[(&str, Value)]) -> Outcome<String> {
    let (header, mut claims) = parts(token)?;
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    let text = format!("{header}.{}", BASE64.encode(claims.to_string()));
    let signature = Shell::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .args([key])
        .input(text.clone())
        .run()?;
    let signature =
        plain(&signature.out).ok_or_else(|| Failure::wrong(format!("no signature by {}", key.display())))?;
    Ok(format!("{text}.{}", BASE64.encode(signature)))
}

/// The claims of a token.
pub(super) fn claims(token: &str) -> Outcome<Value> {
    Ok(parts(token)?.1)
}

fn parts(token: &str) -> Outcome<(&str, Value)> {
    let mut parts = token.split('.');
    let header = parts.next().unwrap_or_default();
    let claims = BASE64
        .decode(parts.next().unwrap_or_default())
        .unwrap_or_default();
    let claims = serde_json::from_slice(&claims)
        .map_err(|error| Failure::wrong(format!("the claims of a token: {error}")))?;
    Ok((header, claims))
}

/// Two integers in DER, as openssl writes them, to 64 octets (RFC 7518 section 3.4).
fn plain(der: &[u8]) -> Option<Vec<u8>> {
    let mut rest = der.strip_prefix(&[0x30])?.get(1..)?;
    let mut plain = Vec::with_capacity(64);
    for _ in 0..2 {
        let (length, number) = rest.strip_prefix(&[0x02])?.split_first()?;
        let (number, behind) = number.split_at_checked(usize::from(*length))?;
        rest = behind;
        let digits: Vec<u8> = number.iter().copied().skip_while(|octet| *octet == 0).collect();
        plain.extend(std::iter::repeat_n(0, 32_usize.checked_sub(digits.len())?));
        plain.extend(digits);
    }
    rest.is_empty().then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_der_becomes_two_numbers_of_one_size() {
        let der = [0x30, 0x07, 0x02, 0x01, 0x05, 0x02, 0x02, 0x00, 0x80];
        let plain = plain(&der).unwrap();
        assert_eq!(plain.len(), 64);
        assert_eq!((plain[31], plain[63]), (5, 0x80));
        assert_eq!(super::plain(&der[..8]), None);
        assert_eq!(super::plain(b""), None);
    }
}
