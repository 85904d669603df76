//! The tags of a signature (RFC 6376 sections 3.5 and 6.1.1): of `DKIM-Signature`, and of `ARC-Message-Signature`, which is
//! like it (RFC 8617 section 4.1.2).

use std::ops::Range;

use super::canonical::Canonicalization;
use super::header::{Field, Header};
use super::tags::{Tags, elements, shortened, without_space};
use super::{Algorithm, HeaderHash, Problem, base64, domain};
use crate::dkim::algorithm::HeaderHasher;
use crate::dns::{Kind, Question, is_askable};

/// What every signature has, that of an `ARC-Seal` too.
#[derive(Clone, Debug)]
pub(crate) struct Basics {
    pub(crate) algorithm: Algorithm,
    /// `b=`
    pub(crate) signature: Vec<u8>,
    /// Where `b=` has its value within the field's value.
    pub(crate) span: Range<usize>,
    /// `d=`
    pub(crate) domain: String,
    /// `s=`
    pub(crate) selector: String,
    /// `t=`, seconds since 1970
    pub(crate) signed_at: Option<u64>,
}

/// A signature over header fields and a body.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) basics: Basics,
    /// `c=`
    pub(crate) header: Canonicalization,
    pub(crate) body: Canonicalization,
    /// `bh=`
    pub(crate) body_hash: Vec<u8>,
    /// `h=`, in order, as written.
    pub(crate) names: Vec<String>,
    /// `l=`
    pub(crate) length: Option<u64>,
    /// `x=`, seconds since 1970
    pub(crate) expires: Option<u64>,
    /// Whether the domain of `i=` is that of `d=`.
    pub(crate) own_identity: bool,
}

impl Basics {
    pub(crate) fn read(tags: &Tags<'_>) -> Result<Self, Problem> {
        let algorithm = algorithm(required(tags, "a")?)?;
        let b = tags.find("b").ok_or(Problem::Missing("b"))?;
        Ok(Self {
            algorithm,
            signature: base64::decode(b.value).ok_or(Problem::Malformed("b"))?,
            span: b.span.clone(),
            domain: domain::domain(required(tags, "d")?).ok_or(Problem::Malformed("d"))?,
            selector: domain::selector(required(tags, "s")?).ok_or(Problem::Malformed("s"))?,
            signed_at: number(tags, "t")?,
        })
    }

    /// Where the key is (RFC 6376 section 3.6.2.1). None: no such name can exist.
    pub(crate) fn question(&self) -> Option<Question> {
        let name = format!("{}._domainkey.{}", self.selector, self.domain);
        let kind = Kind::Txt;
        is_askable(&name).then_some(Question { name, kind })
    }
}

impl Signature {
    /// Reads the tags of a `DKIM-Signature`.
    pub(crate) fn dkim(tags: &Tags<'_>) -> Result<Self, Problem> {
        if required(tags, "v")? != "1" {
            return Err(Problem::Version);
        }
        let mut signature = Self::read(tags, Canonicalization::Simple)?;
        // Section 3.5, h=: at least one name, and From is among them (section 6.1.1).
        if signature.names.iter().any(String::is_empty) {
            return Err(Problem::Malformed("h"));
        }
        if !signature
            .names
            .iter()
            .any(|name| name.eq_ignore_ascii_case("from"))
        {
            return Err(Problem::FromNotSigned);
        }
        if let Some(identity) = tags.value("i") {
            let owner = owner(identity).ok_or(Problem::Malformed("i"))?;
            if !domain::is_under(&owner, &signature.basics.domain) {
                return Err(Problem::Identity);
            }
            signature.own_identity = owner == signature.basics.domain;
        }
        Ok(signature)
    }

    /// Reads the tags of an `ARC-Message-Signature`. `v=` means nothing there, `i=` is not an identity (RFC 8617 section
    /// 4.1.2), and the seal may not be signed. Without `c=` both forms are relaxed: the public suite wants it so, as programs
    /// in use do it.
    pub(crate) fn arc(tags: &Tags<'_>) -> Result<Self, Problem> {
        let signature = Self::read(tags, Canonicalization::Relaxed)?;
        let seal = |name: &String| name.eq_ignore_ascii_case("arc-seal");
        if signature.names.iter().any(seal) {
            return Err(Problem::Malformed("h"));
        }
        Ok(signature)
    }

    /// Forgets names that only the hash needed: thousands of them are not to be held while the body comes.
    pub(crate) fn hashed(&mut self) {
        self.names.retain(|name| name.eq_ignore_ascii_case("from"));
        self.names.truncate(1);
        self.names.shrink_to_fit();
    }

    /// Whether `h=` names that field.
    pub(crate) fn signs(&self, field: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(field))
    }

    /// `usual`: both canonical forms where there is no `c=`.
    fn read(tags: &Tags<'_>, usual: Canonicalization) -> Result<Self, Problem> {
        let basics = Basics::read(tags)?;
        let (header, body) = match tags.value("c") {
            None => (usual, usual),
            Some(pair) => Canonicalization::pair(pair).ok_or(Problem::Malformed("c"))?,
        };
        let methods = tags.value("q").unwrap_or("dns/txt");
        if !elements(methods).any(|method| method.eq_ignore_ascii_case("dns/txt")) {
            return Err(Problem::Query);
        }
        let expires = number(tags, "x")?;
        if let (Some(signed), Some(expires)) = (basics.signed_at, expires)
            && expires <= signed
        {
            return Err(Problem::Malformed("x"));
        }
        let names = tags.value("h").ok_or(Problem::Missing("h"))?;
        let body_hash = base64::decode(required(tags, "bh")?).filter(|hash| hash.len() == 32);
        Ok(Self {
            basics,
            header,
            body,
            body_hash: body_hash.ok_or(Problem::Malformed("bh"))?,
            names: elements(names).map(str::to_owned).collect(),
            length: number(tags, "l")?,
            expires,
            own_identity: true,
        })
    }

    /// Hash of the signed fields and of the signature without its `b=` (RFC 6376 section 3.7). `at`: which field of the
    /// header is the signature; it does not sign itself.
    pub(crate) fn hash(&self, header: &Header<'_>, at: usize, field: &Field<'_>) -> HeaderHash {
        let mut hasher = HeaderHasher::new();
        let mut text = Vec::new();
        for position in selection(header, &self.names, Some(at)) {
            if let Some(field) = header.fields().get(position) {
                text.clear();
                self.header.field(field, &mut text);
                text.extend_from_slice(b"\r\n");
                hasher.update(&text);
            }
        }
        text.clear();
        absorb_own(self.header, field, self.basics.span.clone(), &mut text);
        hasher.update(&text);
        hasher.finish()
    }
}

/// Appends the canonical form of a signature field without the value of its `b=`.
pub(crate) fn absorb_own(how: Canonicalization, field: &Field<'_>, span: Range<usize>, out: &mut Vec<u8>) {
    let unsigned = field.without(span);
    if let Some(field) = Field::parse(&unsigned) {
        how.field(&field, out);
    }
}

/// The same of a field of ours that is about to be signed, relaxed.
pub(crate) fn absorb_unsigned(unsigned: &str, out: &mut Vec<u8>) {
    if let Some(field) = Field::parse(unsigned.as_bytes()) {
        let tags = Tags::parse(field.value()).ok();
        let span = tags.and_then(|tags| tags.find("b").map(|tag| tag.span.clone()));
        absorb_own(Canonicalization::Relaxed, &field, span.unwrap_or_default(), out);
    }
}

/// Names for `h=`: each as often as it is there and so many times more, so that nobody can add one. None: they come to more than
/// `most`, by the cost of each. A part of them would leave the rest to whoever changes it.
pub(crate) fn names_to_sign<'n>(
    header: &Header<'_>,
    names: impl IntoIterator<Item = (&'n str, usize)>,
    most: usize,
    cost: impl Fn(&str) -> usize,
) -> Option<Vec<String>> {
    let mut left = most;
    let mut chosen = Vec::new();
    for (name, more) in names {
        let count = header.positions(name.as_bytes()).len() + more;
        left = left.checked_sub(count * cost(name))?;
        chosen.extend(std::iter::repeat_n(name.to_owned(), count));
    }
    Some(chosen)
}

/// Positions of the fields that `h=` names: each name takes the lowest field of it that is not yet taken, and a name without
/// a field stands for none (RFC 6376 section 5.4.2). `own`: the field that is never taken.
pub(crate) fn selection(header: &Header<'_>, names: &[String], own: Option<usize>) -> Vec<usize> {
    // One cursor for each name, whatever its case.
    let mut taken: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut selected = Vec::new();
    for name in names {
        let positions = header.positions(name.as_bytes());
        let cursor = taken.entry(name.to_ascii_lowercase()).or_default();
        let next = positions.iter().skip(*cursor).position(|at| Some(*at) != own);
        match next {
            Some(skipped) => {
                *cursor += skipped;
                selected.extend(positions.get(*cursor));
                *cursor += 1;
            }
            None => *cursor = positions.len(),
        }
    }
    selected
}

fn required<'a>(tags: &Tags<'a>, name: &'static str) -> Result<&'a str, Problem> {
    match tags.value(name) {
        None => Err(Problem::Missing(name)),
        Some("") => Err(Problem::Malformed(name)),
        Some(value) => Ok(value),
    }
}

fn algorithm(name: &str) -> Result<Algorithm, Problem> {
    let known = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.to_string().eq_ignore_ascii_case(name));
    known.ok_or_else(|| {
        // RFC 8301 section 3.1
        if name.eq_ignore_ascii_case("rsa-sha1") {
            Problem::Historic
        } else {
            Problem::Algorithm(shortened(name))
        }
    })
}

/// Digits only. What is beyond 64 bits is as good as the largest number: `l=` may have 76 digits.
fn number(tags: &Tags<'_>, name: &'static str) -> Result<Option<u64>, Problem> {
    let Some(value) = tags.value(name) else {
        return Ok(None);
    };
    let sound = (1..=76).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    if !sound {
        return Err(Problem::Malformed(name));
    }
    Ok(Some(value.parse().unwrap_or(u64::MAX)))
}

/// The domain of an `i=`.
fn owner(identity: &str) -> Option<String> {
    let identity = without_space(identity);
    let (_, owner) = identity.rsplit_once('@')?;
    domain::domain(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=Example.com; s=Sel; h=From : to:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA";

    fn read(text: &str) -> Result<Signature, Problem> {
        let tags = Tags::parse(text.as_bytes())?;
        Signature::dkim(&tags)
    }

    #[test]
    fn a_signature_has_defaults() {
        let signature = read(GOOD).unwrap();
        assert_eq!(
            (signature.header, signature.body),
            (Canonicalization::Simple, Canonicalization::Simple)
        );
        assert_eq!(signature.names, ["From", "to", "to"]);
        assert_eq!(
            signature.basics.question().unwrap().name,
            "sel._domainkey.example.com"
        );
        assert!(signature.own_identity && signature.length.is_none());
    }

    #[test]
    fn required_tags_are_required() {
        for name in ["v", "a", "d", "s", "h", "bh", "b"] {
            let text: Vec<&str> = GOOD
                .split("; ")
                .filter(|tag| tag.split_once('=').unwrap().0 != name)
                .collect();
            assert_eq!(read(&text.join("; ")).err(), Some(Problem::Missing(name)));
        }
    }

    #[test]
    fn what_cannot_be_right_is_said() {
        for (more, want) in [
            ("; c=nowsp", Problem::Malformed("c")),
            ("; c=", Problem::Malformed("c")),
            ("; t=", Problem::Malformed("t")),
            ("; t=-1", Problem::Malformed("t")),
            ("; x=icecream", Problem::Malformed("x")),
            ("; t=10; x=10", Problem::Malformed("x")),
            ("; l=1 0", Problem::Malformed("l")),
            ("; q=http/json", Problem::Query),
            ("; i=@example.org", Problem::Identity),
            ("; i=@badexample.com", Problem::Identity),
            ("; i=example.com", Problem::Malformed("i")),
        ] {
            assert_eq!(read(&format!("{GOOD}{more}")).err(), Some(want), "{more}");
        }
        for (from, to, want) in [
            ("v=1", "v=1.0", Problem::Version),
            ("a=rsa-sha256", "a=rsa-sha1", Problem::Historic),
            ("a=rsa-sha256", "a=dsa", Problem::Algorithm("dsa".to_owned())),
            ("From", "Sender", Problem::FromNotSigned),
            (": to", ": ", Problem::Malformed("h")),
            ("d=Example.com", "d=com", Problem::Malformed("d")),
            ("s=Sel", "s=a..b", Problem::Malformed("s")),
            ("b=AAAA", "b=", Problem::Malformed("b")),
            ("bh=47DEQpj8", "bh=", Problem::Malformed("bh")),
        ] {
            assert_eq!(read(&GOOD.replace(from, to)).err(), Some(want), "{to}");
        }
    }

    #[test]
    fn harmless_differences_are_accepted() {
        for more in [
            "; i=a@mail.example.com",
            "; i=\"a@b\"@EXAMPLE.com",
            "; q=http/json : dns/txt",
            "; c=Relaxed",
            "; l=99999999999999999999999999",
            "; z=From:x|To:y; unknown=1",
        ] {
            assert!(read(&format!("{GOOD}{more}")).is_ok(), "{more}");
        }
        assert!(
            !read(&format!("{GOOD}; i=@mail.example.com"))
                .unwrap()
                .own_identity
        );
    }

    #[test]
    fn internationalised_names_are_compared_as_a_labels() {
        let text = GOOD
            .replace(
                "d=Example.com",
                "d=xn--bcher-kva.example; i=ü@post.bücher.example",
            )
            .replace("s=Sel", "s=grün");
        let signature = read(&text).unwrap();
        assert_eq!(
            signature.basics.question().unwrap().name,
            "xn--grn-ioa._domainkey.xn--bcher-kva.example"
        );
        assert!(!signature.own_identity);
    }

    #[test]
    fn names_take_fields_from_the_bottom_and_never_the_signature() {
        let section = b"Sig: own\r\nA: 1\r\nB: 2\r\na: 3\r\nSig: old\r\n";
        let header = Header::parse(section);
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (list, want) in [
            (&["a"][..], &[3][..]),
            (&["A", "a", "A"], &[3, 1]),
            (&["sig", "sig", "b"], &[4, 2]),
            (&["", "x", "B"], &[2]),
        ] {
            assert_eq!(selection(&header, &names(list), Some(0)), want, "{list:?}");
        }
    }
}
