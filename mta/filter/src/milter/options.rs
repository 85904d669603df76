//! What both sides agree on before the first command: which changes the filter may make, and which steps it wants.

use crate::answer::Malformed;

/// Changes that a filter may make (`SMFIF_…`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(pub u32);

/// Steps that a filter does without, or does not answer (`SMFIP_…`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub u32);

/// What was agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Version of the protocol.
    pub version: u32,
    /// What the filter may do.
    pub actions: Actions,
    /// What it does without.
    pub steps: Steps,
    /// Names of macros that it wants, by stage; absent stages get ours.
    pub macros: Vec<(u32, Vec<String>)>,
}

impl Actions {
    /// Fields are added.
    pub const ADD_FIELDS: Self = Self(0x01);
    /// The body is replaced.
    pub const CHANGE_BODY: Self = Self(0x02);
    /// Recipients are added.
    pub const ADD_RECIPIENTS: Self = Self(0x04);
    /// Recipients are taken away.
    pub const REMOVE_RECIPIENTS: Self = Self(0x08);
    /// Fields are changed and taken away.
    pub const CHANGE_FIELDS: Self = Self(0x10);
    /// The message is held.
    pub const QUARANTINE: Self = Self(0x20);
    /// The reverse-path is changed.
    pub const CHANGE_FROM: Self = Self(0x40);
    /// Recipients are added with parameters of ESMTP, which have no effect here.
    pub const ADD_RECIPIENTS_WITH: Self = Self(0x80);
    /// Macros are chosen.
    pub const CHOOSE_MACROS: Self = Self(0x100);
    /// All of them.
    pub const OFFERED: Self = Self(0x1ff);

    /// Whether all of these are in it.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl Steps {
    /// No CONNECT.
    pub const NO_CONNECT: Self = Self(0x01);
    /// No HELO.
    pub const NO_HELO: Self = Self(0x02);
    /// No MAIL.
    pub const NO_MAIL: Self = Self(0x04);
    /// No RCPT.
    pub const NO_RCPT: Self = Self(0x08);
    /// No body.
    pub const NO_BODY: Self = Self(0x10);
    /// No fields.
    pub const NO_FIELDS: Self = Self(0x20);
    /// No end of the header.
    pub const NO_END_OF_HEADER: Self = Self(0x40);
    /// Fields are not answered.
    pub const SILENT_FIELDS: Self = Self(0x80);
    /// No unknown commands: none are told anyway.
    pub const NO_UNKNOWN: Self = Self(0x100);
    /// No DATA.
    pub const NO_DATA: Self = Self(0x200);
    /// The rest of the body may be declined.
    pub const SKIP: Self = Self(0x400);
    /// CONNECT is not answered.
    pub const SILENT_CONNECT: Self = Self(0x1000);
    /// HELO is not answered.
    pub const SILENT_HELO: Self = Self(0x2000);
    /// MAIL is not answered.
    pub const SILENT_MAIL: Self = Self(0x4000);
    /// RCPT is not answered.
    pub const SILENT_RCPT: Self = Self(0x8000);
    /// DATA is not answered.
    pub const SILENT_DATA: Self = Self(0x1_0000);
    /// Unknown commands are not answered.
    pub const SILENT_UNKNOWN: Self = Self(0x2_0000);
    /// The end of the header is not answered.
    pub const SILENT_END_OF_HEADER: Self = Self(0x4_0000);
    /// Pieces of the body are not answered.
    pub const SILENT_BODY: Self = Self(0x8_0000);
    /// Values of fields keep the space behind the colon.
    pub const LEADING_SPACE: Self = Self(0x10_0000);
    /// All but: being told of recipients that were refused (`SMFIP_RCPT_REJ`; none is told), and longer pieces.
    pub const OFFERED: Self = Self(0x1f_f7ff);

    /// Whether all of these are in it.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl Options {
    /// What we say first.
    pub(super) fn offer() -> [u8; 12] {
        let mut offer = [0; 12];
        let words = [VERSION, Actions::OFFERED.0, Steps::OFFERED.0];
        for (to, word) in offer.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        offer
    }

    /// What the filter says to it. Errors: it wants what was not offered.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let short = Malformed("its options are too short");
        let (version, data) = word(data).ok_or_else(|| short.clone())?;
        let (actions, data) = word(data).ok_or_else(|| short.clone())?;
        let (steps, mut data) = word(data).ok_or(short)?;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(Malformed("it speaks another version of milter"));
        }
        if !Actions::OFFERED.has(Actions(actions)) || !Steps::OFFERED.has(Steps(steps)) {
            return Err(Malformed("it wants what was not offered"));
        }
        let mut macros = Vec::new();
        while !data.is_empty() {
            let bad = || Malformed("its list of macros cannot be read");
            let (stage, rest) = word(data).ok_or_else(bad)?;
            let (names, rest) = super::reply::text(rest).ok_or_else(bad)?;
            if stage > LAST_STAGE || macros.len() > MOST_LISTS {
                return Err(bad());
            }
            let names = String::from_utf8_lossy(names);
            let names = names.split([' ', ',']).filter(|name| !name.is_empty());
            macros.push((stage, names.map(str::to_owned).take(MOST_MACROS).collect()));
            data = rest;
        }
        Ok(Self {
            version,
            actions: Actions(actions),
            steps: Steps(steps),
            macros,
        })
    }
}

/// A number of four octets in front.
pub(super) fn word(data: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = data.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

const VERSION: u32 = 6;
/// Older ones are of the last century.
const OLDEST: u32 = 2;
const LAST_STAGE: u32 = 6;
const MOST_LISTS: usize = 14;
const MOST_MACROS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: u32, actions: u32, steps: u32, rest: &[u8]) -> Vec<u8> {
        let words = [version, actions, steps].map(u32::to_be_bytes).concat();
        [&words, rest].concat()
    }

    #[test]
    fn what_was_offered_may_be_taken_and_macros_chosen() {
        let rest = b"\0\0\0\x02i {auth_authen}\0\0\0\0\0j\0";
        let options = Options::parse(&answer(6, 0x1ff, 0x1f_f7ff, rest)).unwrap();
        assert!(options.actions.has(Actions::CHANGE_BODY) && options.steps.has(Steps::SKIP));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            options.macros,
            [(2, names(&["i", "{auth_authen}"])), (0, names(&["j"]))]
        );
        assert_eq!(Options::parse(&answer(2, 0, 0, b"")).unwrap().version, 2);
    }

    #[test]
    fn nothing_else_may() {
        for (what, data) in [
            ("version 1", answer(1, 0, 0, b"")),
            ("version 7", answer(7, 0, 0, b"")),
            ("an action", answer(6, 0x200, 0, b"")),
            ("a step", answer(6, 0, 0x800, b"")),
            ("longer pieces", answer(6, 0, 0x1000_0000, b"")),
            ("a stage", answer(6, 0, 0, b"\0\0\0\x07i\0")),
            ("no end of the list", answer(6, 0, 0, b"\0\0\0\x02i")),
            ("half a stage", answer(6, 0, 0, b"\0\0")),
        ] {
            assert!(Options::parse(&data).is_err(), "{what}");
        }
        let whole = answer(6, 0, 0, b"");
        for cut in 0..whole.len() {
            assert!(Options::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
