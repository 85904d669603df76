//! Serde's way into a tree: what a type asks for is given, or the sentence says what it asked for.

use serde::de::{self, DeserializeSeed, Visitor};

use super::near::alternatives;
use super::patient::{Error, Run, Spot, TEXTS, Why};
use super::tree::{Kind, Node};
use crate::text::shorten;

/// What a type is read from: a node as it is written, or anything that the type likes.
#[derive(Clone, Copy)]
pub(super) enum Value<'run, 'tree> {
    Written(&'tree Node, &'run Run<'tree>),
    /// Stands at this spot; the number is of [`TEXTS`].
    Invented(Spot, usize),
}

impl<'run, 'tree> Value<'run, 'tree> {
    pub fn of(node: &'tree Node, run: &'run Run<'tree>) -> Self {
        match run.patched(node) {
            Some(tried) => Self::Invented(Spot::node(node), tried),
            None => Self::Written(node, run),
        }
    }

    /// Reads; an error is at this node unless it is deeper.
    fn give<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        match self {
            Self::Written(node, _) => seed.deserialize(self).map_err(|error| error.at(node)),
            Self::Invented(spot, _) => seed.deserialize(self).map_err(|mut error: Error| {
                error.spot.get_or_insert(spot);
                error
            }),
        }
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V, least: i128, most: i128) -> Result<V::Value, Error> {
        let Self::Written(node, _) = self else {
            return visitor.visit_u64(1);
        };
        let number = match &node.kind {
            Kind::Scalar { text, plain: true } => text.parse::<i128>().ok(),
            _ => None,
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(i64::try_from(number).unwrap_or_default()),
            },
            None => wrong(
                node,
                &format!("is not a whole number from {least} to {most}; write one without quotes"),
            ),
        }
    }
}

/// `value` and what is wrong with it; of a list or a section its kind.
fn wrong<T>(node: &Node, complaint: &str) -> Result<T, Error> {
    Err(de::Error::custom(format!("{} {complaint}", shown(node))))
}

fn shown(node: &Node) -> String {
    match &node.kind {
        _ if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, .. } => format!("`{}`", shorten(text)),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a section".to_owned(),
    }
}

/// Integers, by the range of their type.
macro_rules! numbers {
    ($($method:ident: $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.number(visitor, i128::from(<$type>::MIN), i128::from(<$type>::MAX))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    numbers!(
        deserialize_u8: u8, deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64,
        deserialize_i8: i8, deserialize_i16: i16, deserialize_i32: i32, deserialize_i64: i64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self::Written(node, _) = self else {
            return visitor.visit_bool(false);
        };
        match &node.kind {
            Kind::Scalar { text, plain: true } if text.eq_ignore_ascii_case("true") => {
                visitor.visit_bool(true)
            }
            Kind::Scalar { text, plain: true } if text.eq_ignore_ascii_case("false") => {
                visitor.visit_bool(false)
            }
            _ => wrong(
                node,
                "is neither true nor false; write one of them without quotes",
            ),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Invented(_, tried) => visitor.visit_str(TEXTS[tried]),
            Self::Written(node, _) if node.is_null() => {
                wrong(node, "stands where a text is needed; write one")
            }
            Self::Written(node, _) => match &node.kind {
                Kind::Scalar { text, .. } => visitor.visit_str(text),
                _ => wrong(node, "stands where a text is needed; write it behind the colon"),
            },
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Invented(..) => visitor.visit_none(),
            Self::Written(node, _) if node.is_null() => visitor.visit_none(),
            Self::Written(..) => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Invented(..) => visitor.visit_seq(Items::empty()),
            Self::Written(node, run) => match &node.kind {
                Kind::List(items) => visitor.visit_seq(Items {
                    items: items.iter(),
                    run: Some(run),
                }),
                _ => wrong(
                    node,
                    "stands where a list is needed; write items behind `- `, or [a, b]",
                ),
            },
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Invented(..) => visitor.visit_map(Fields::default()),
            Self::Written(node, run) => match &node.kind {
                Kind::Map(entries) => visitor.visit_map(Fields::written(entries.iter().collect(), run)),
                _ => wrong(
                    node,
                    "stands where a section is needed; write `name: value` lines under it",
                ),
            },
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Invented(..) => visitor.visit_map(Fields::invented(fields, self)),
            Self::Written(node, run) => {
                let Kind::Map(entries) = &node.kind else {
                    let names = alternatives(fields);
                    return wrong(
                        node,
                        &format!("stands where a section is needed; write {names} under it"),
                    );
                };
                let (known, unknown): (Vec<_>, Vec<_>) = entries
                    .iter()
                    .partition(|(key, _)| fields.iter().any(|field| key.text() == Some(field)));
                let mut given = Fields::written(known, run);
                given.named.extend(run.missing(node.id));
                for (key, value) in unknown {
                    // Read as the field that was meant, so that its value is judged in the same run.
                    let meant = run.note_unknown(node, key, fields);
                    given
                        .named
                        .extend(meant.map(|meant| (meant, Value::of(value, run))));
                }
                visitor.visit_map(given)
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Self::Written(node, run) = self else {
            return visitor.visit_enum(Choice {
                name: variants.first().copied().unwrap_or_default(),
                content: self,
            });
        };
        let (key, content) = match &node.kind {
            Kind::Scalar { .. } => (node, node),
            Kind::Map(entries) => match entries.as_slice() {
                [(key, value)] => (key, value),
                _ => {
                    return wrong(
                        node,
                        &format!(
                            "has not exactly one field; write one of {}",
                            alternatives(variants)
                        ),
                    );
                }
            },
            Kind::List(_) => {
                return wrong(
                    node,
                    &format!("stands where one of {} is needed", alternatives(variants)),
                );
            }
        };
        let text = key.text().unwrap_or_default();
        let Some(name) = variants.iter().find(|variant| **variant == text) else {
            let error = Error {
                spot: Some(Spot::node(node)),
                why: Why::Unknown {
                    shown: shown(key),
                    given: text.to_owned(),
                    variants,
                },
            };
            return Err(error);
        };
        visitor.visit_enum(Choice {
            name,
            content: Value::of(content, run),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Written(
                Node {
                    kind: Kind::List(_), ..
                },
                _,
            ) => self.deserialize_seq(visitor),
            Self::Written(
                Node {
                    kind: Kind::Map(_), ..
                },
                _,
            ) => self.deserialize_map(visitor),
            _ => self.deserialize_str(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

/// Items of a list.
struct Items<'run, 'tree> {
    items: std::slice::Iter<'tree, Node>,
    run: Option<&'run Run<'tree>>,
}

impl Items<'_, '_> {
    fn empty() -> Self {
        Self {
            items: [].iter(),
            run: None,
        }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        match (self.items.next(), self.run) {
            (Some(node), Some(run)) => Value::of(node, run).give(seed).map(Some),
            _ => Ok(None),
        }
    }
}

/// Fields of a section: those that are written, then those that are misspelt or missing, under the names they should have.
#[derive(Default)]
struct Fields<'run, 'tree> {
    entries: std::vec::IntoIter<&'tree (Node, Node)>,
    run: Option<&'run Run<'tree>>,
    named: Vec<(&'static str, Value<'run, 'tree>)>,
    value: Option<Value<'run, 'tree>>,
}

impl<'run, 'tree> Fields<'run, 'tree> {
    fn written(entries: Vec<&'tree (Node, Node)>, run: &'run Run<'tree>) -> Self {
        Self {
            entries: entries.into_iter(),
            run: Some(run),
            ..Self::default()
        }
    }

    fn invented(fields: &'static [&'static str], value: Value<'run, 'tree>) -> Self {
        Self {
            named: fields.iter().map(|field| (*field, value)).collect(),
            ..Self::default()
        }
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if let (Some((key, value)), Some(run)) = (self.entries.next(), self.run) {
            self.value = Some(Value::of(value, run));
            return Value::of(key, run).give(seed).map(Some);
        }
        let Some((field, value)) = self.named.pop() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(de::value::StrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(value) => value.give(seed),
            None => Err(de::Error::custom("a value is asked for before its name")),
        }
    }
}

/// One of several kinds, by its name.
struct Choice<'run, 'tree> {
    name: &'static str,
    content: Value<'run, 'tree>,
}

impl<'de> de::EnumAccess<'de> for Choice<'_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name = seed.deserialize(de::value::StrDeserializer::<Error>::new(self.name))?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Value::Written(node, _) if node.text() != Some(self.name) && !node.is_null() => wrong(
                node,
                &format!("stands behind `{}`, which stands alone", self.name),
            ),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.content.give(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self.content, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.content, self.name, fields, visitor)
    }
}
