//! JSON that others send: a field that is missing, null or of another type is nothing, and never an error of the whole
//! document.
//!
//! Only what [`Lenient`] types ask for is kept, and of that a bounded part; everything else is skipped while it is
//! read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// The longest text that is kept whole, in bytes: refs, ids and URLs. A longer one is nothing.
const LONGEST_TEXT: usize = 4096;
/// How many entries of a list are kept; the others are skipped.
const MOST_ENTRIES: usize = 10_000;

/// A value that can be made of any JSON: of what it does not expect it makes its default.
pub(super) trait Lenient: Default {
    /// Makes it of a text.
    fn text(_: &str) -> Self {
        Self::default()
    }

    /// Makes it of true or false.
    fn flag(_: bool) -> Self {
        Self::default()
    }

    /// Makes it of a whole number.
    fn number(_: i64) -> Self {
        Self::default()
    }

    /// Makes it of a list.
    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    /// Makes it of an object.
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// Reads a field whatever its type is: `#[serde(default, deserialize_with = "lenient")]`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Lenient>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Anything(PhantomData))
}

struct Anything<T>(PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for Anything<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        Ok(T::flag(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Ok(T::number(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Ok(i64::try_from(value).map(T::number).unwrap_or_default())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::object(object)
    }
}

/// A value that is read leniently where no field can say so: an entry of a list.
struct Entry<T>(T);

impl<'de, T: Lenient> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer).map(Entry)
    }
}

/// A text that is not empty.
impl Lenient for Option<String> {
    fn text(text: &str) -> Self {
        (1..=LONGEST_TEXT).contains(&text.len()).then(|| text.to_owned())
    }
}

impl Lenient for bool {
    fn flag(value: bool) -> Self {
        value
    }
}

impl Lenient for Option<i64> {
    fn number(number: i64) -> Self {
        Some(number)
    }
}

impl<T: Lenient> Lenient for Vec<T> {
    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < MOST_ENTRIES {
            let Some(Entry(entry)) = list.next_element()? else { return Ok(entries) };
            entries.push(entry);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(entries)
    }
}

/// A text of people, of which only the beginning is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beginning(pub Option<String>);

impl Lenient for Beginning {
    fn text(text: &str) -> Self {
        Beginning(Some(text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()))
    }
}

/// An identifier that some platforms write as a number and others as a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identifier(pub Option<String>);

impl Lenient for Identifier {
    fn text(text: &str) -> Self {
        Identifier(Lenient::text(text))
    }

    fn number(number: i64) -> Self {
        Identifier(Some(number.to_string()))
    }
}

/// Makes structs whose fields are all lenient lenient themselves.
macro_rules! lenient_objects {
    ($($name:ty),* $(,)?) => {$(
        impl $crate::source::webhook::lenient::Lenient for $name {
            fn object<'de, A: serde::de::MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
                serde::Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(object))
            }
        }
    )*};
}

pub(super) use lenient_objects;

/// Reads a document whose top is an object; anything else is that object's default.
///
/// # Errors
/// When it is no JSON.
pub(super) fn read<T: Lenient>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Entry<T>>(json).map(|Entry(value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Outer {
        #[serde(default, deserialize_with = "lenient")]
        text: Option<String>,
        #[serde(default, deserialize_with = "lenient")]
        flag: bool,
        #[serde(default, deserialize_with = "lenient")]
        number: Option<i64>,
        #[serde(default, deserialize_with = "lenient")]
        list: Vec<Inner>,
        #[serde(default, deserialize_with = "lenient")]
        id: Identifier,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Inner {
        #[serde(default, deserialize_with = "lenient")]
        message: Beginning,
    }

    lenient_objects!(Outer, Inner);

    #[test]
    fn what_has_another_type_is_nothing_and_the_rest_is_kept() {
        let odd = r#"{"text":{"a":[1]},"flag":null,"number":1.5,"list":[null,{"message":"hi"},7],"id":12,"more":[{}]}"#;
        let read: Outer = read(odd.as_bytes()).unwrap();
        let messages: Vec<_> = read.list.iter().map(|inner| inner.message.0.as_deref()).collect();
        assert_eq!((read.text, read.flag, read.number, read.id.0.as_deref()), (None, false, None, Some("12")));
        assert_eq!(messages, [None, Some("hi"), None]);
        assert_eq!(super::read::<Outer>(b"[1,2]").unwrap(), Outer::default());
        assert!(super::read::<Outer>(b"{").is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let json =
            format!(r#"{{"text":"{0}","list":[{{"message":"{0}é"}}{1}]}}"#, "x".repeat(5000), ",null".repeat(20_000));
        let read: Outer = read(json.as_bytes()).unwrap();
        assert_eq!((read.text, read.list.len()), (None, MOST_ENTRIES));
        assert_eq!(read.list[0].message.0.as_ref().map(String::len), Some(LONGEST_TEXT));
    }
}
