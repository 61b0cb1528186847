//! The fields of a rule that say what its images are made of.

use std::collections::BTreeMap;

use super::field::Field;
use super::reader::{ANY, Reader, words};
use crate::domain::image_output::{Compression, Created, ImageFormat, Provenance};
use crate::domain::reason::reason;
use crate::domain::rule::Rule;
use crate::domain::rule_output::MOST_LABELS;

/// The page that they stand on.
pub(super) const PAGE: &str = "form.page.output";
/// The key of the lines that hold a label each.
pub(super) const LABEL: &str = "image_label";
/// The key of the lines that hold an annotation each.
pub(super) const ANNOTATION: &str = "annotation";

/// The fields; the annotations last, for a form adds its empty lines at the end of a page.
pub(super) fn fields(value: &Rule) -> Vec<Field> {
    let level = value.compression_level.map_or_else(String::new, |level| level.to_string());
    let mut fields = vec![
        Field::choice("provenance", words([ANY, "off", "min", "max"]), value.provenance.map_or(ANY, Provenance::word)),
        Field::toggle("sbom", value.sbom),
        Field::choice("format", words(ImageFormat::ALL.map(ImageFormat::word)), value.format.word()),
        Field::choice(
            "compression",
            words([ANY, "gzip", "zstd", "estargz"]),
            value.compression.map_or(ANY, Compression::word),
        ),
        Field::text("compression_level", &level),
        Field::choice("created", words(Created::ALL.map(Created::word)), value.created.word()),
    ];
    fields.extend(lines(LABEL, &value.labels));
    fields.extend(lines(ANNOTATION, &value.annotations));
    fields
}

/// A line for each text, and an empty one.
fn lines(key: &'static str, texts: &BTreeMap<String, String>) -> Vec<Field> {
    let line = |(name, value)| format!("{name}={value}");
    let lines = texts.iter().map(line).chain((texts.len() < MOST_LABELS).then(String::new));
    lines.enumerate().map(|(number, text)| Field::text(key, &text).numbered(number)).collect()
}

/// Takes the fields over into a rule.
pub(super) fn read(reader: &mut Reader, rule: &mut Rule) {
    rule.provenance = Provenance::from_word(&reader.text("provenance"));
    rule.sbom = reader.is_on("sbom");
    rule.format = ImageFormat::from_word(&reader.text("format")).unwrap_or_default();
    rule.compression = Compression::from_word(&reader.text("compression"));
    rule.compression_level = level(reader);
    rule.created = Created::from_word(&reader.text("created")).unwrap_or_default();
    rule.labels = texts(reader, LABEL);
    rule.annotations = texts(reader, ANNOTATION);
}

fn level(reader: &mut Reader) -> Option<u8> {
    let text = reader.optional("compression_level")?;
    let level = text.parse().ok();
    if level.is_none() {
        reader.wrong("compression_level", 0, reason!("form.compression_level"));
    }
    level
}

fn texts(reader: &mut Reader, key: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (number, line) in reader.lines(key) {
        match line.split_once('=') {
            Some((name, _)) if texts.contains_key(name) => {
                reader.wrong(key, number, reason!("form.argument_twice", name))
            }
            Some((name, value)) if !name.is_empty() => drop(texts.insert(name.to_owned(), value.to_owned())),
            _ => reader.wrong(key, number, reason!("form.arguments")),
        }
    }
    texts
}
