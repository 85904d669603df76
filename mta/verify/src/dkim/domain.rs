//! Domain names and selectors of signatures: U-labels become A-labels, so that one name has one spelling (RFC 8616).

use crate::dns::is_askable;

/// A domain with at least two labels (RFC 6376 section 3.5, `d=`), in lower case, as A-labels.
pub(crate) fn domain(text: &str) -> Option<String> {
    labels(text).filter(|name| name.contains('.'))
}

/// A selector (RFC 6376 section 3.1), in lower case, as A-labels.
pub(crate) fn selector(text: &str) -> Option<String> {
    labels(text)
}

/// Whether a name is a domain or a sub-domain of it. Both as [`domain`] gives them.
pub(crate) fn is_under(name: &str, domain: &str) -> bool {
    name == domain || name.strip_suffix(domain).is_some_and(|left| left.ends_with('.'))
}

/// Labels of letters, digits and hyphens within; underscores too, since selectors in use have them.
fn labels(text: &str) -> Option<String> {
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(text).ok()?
    };
    let sound = |label: &str| {
        !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    (is_askable(&name) && name.split('.').all(sound)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (text, want) in [
            ("Example.COM", Some("example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("_dmarc.example.com", Some("_dmarc.example.com")),
            ("com", None),
            ("example..com", None),
            ("example...", None),
            (".example.com", None),
            ("example.com.", None),
            ("-a.example", None),
            ("a b.example", None),
            ("a@b.example", None),
            ("", None),
        ] {
            assert_eq!(domain(text).as_deref(), want, "{text}");
        }
        assert_eq!(domain(&format!("{}.example", "a".repeat(64))), None);
        assert_eq!(selector("2024").as_deref(), Some("2024"));
    }

    #[test]
    fn only_whole_labels_make_a_sub_domain() {
        assert!(is_under("a.example.com", "example.com") && is_under("example.com", "example.com"));
        assert!(!is_under("badexample.com", "example.com") && !is_under("com", "example.com"));
    }
}
