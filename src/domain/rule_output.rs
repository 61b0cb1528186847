//! What a rule says of its images' form: the checks before it is saved, and what becomes of it for one ref.

use std::collections::BTreeMap;

use super::image_output::{Compression, Created, Provenance};
use super::pattern::Captures;
use super::push::Ref;
use super::rule::Rule;
use super::template::{self, Piece, TemplateError};
use crate::domain::reason::{Reason, quoted, reason};

/// The build argument that BuildKit takes an image's times from.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Labels, and annotations, of one rule.
pub const MOST_LABELS: usize = 50;
/// Characters of a key.
const LONGEST_KEY: usize = 128;
/// Characters of a value.
const LONGEST_VALUE: usize = 4096;
/// The keys by which slipway finds its own images again: no rule changes them.
const RESERVED_PREFIX: &str = "dev.slipway.";
const RESERVED: [&str; 2] = ["org.opencontainers.image.revision", "org.opencontainers.image.created"];

impl Rule {
    /// How much the provenance tells: none in Docker's format, which holds no attestations.
    pub fn provenance_mode(&self) -> Provenance {
        let default = if self.format.is_oci() { Provenance::Min } else { Provenance::Off };
        self.provenance.unwrap_or(default)
    }

    /// What its images are made of, by the keys of TOML, the defaults too.
    pub fn output_keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            ("format", self.format.word().to_owned()),
            ("provenance", self.provenance_mode().word().to_owned()),
            ("sbom", self.sbom.to_string()),
        ];
        keys.extend(self.compression.map(|compression| ("compression", compression.word().to_owned())));
        keys.extend(self.compression_level.map(|level| ("compression_level", level.to_string())));
        keys.push(("created", self.created.word().to_owned()));
        keys
    }

    /// Whether attestations stand beside each platform's image, so that even one platform has an index.
    pub fn has_attestations(&self) -> bool {
        self.sbom || self.provenance_mode() != Provenance::Off
    }

    /// The rule's labels for a ref, its captures filled in.
    pub fn labels_for(&self, reference: &Ref) -> BTreeMap<String, String> {
        self.filled(&self.labels, reference)
    }

    /// The rule's annotations for a ref, its captures filled in.
    pub fn annotations_for(&self, reference: &Ref) -> BTreeMap<String, String> {
        self.filled(&self.annotations, reference)
    }

    fn filled(&self, texts: &BTreeMap<String, String>, reference: &Ref) -> BTreeMap<String, String> {
        let captures: Captures =
            self.matcher().ok().and_then(|(_, matcher)| matcher.captures(&reference.name)).unwrap_or_default();
        texts.iter().map(|(key, text)| (key.clone(), template::fill(text, &captures))).collect()
    }

    /// What is wrong with the keys that say what its images are made of. `captures` are those of its pattern; none
    /// where that does not compile.
    pub(super) fn output_problems(&self, captures: Option<&[&str]>, problem: &mut impl FnMut(&'static str, Reason)) {
        if !self.format.is_oci() {
            self.docker_problems(problem);
        }
        match (self.compression, self.compression_level) {
            (None, Some(_)) => problem("compression_level", reason!("output.level_without_compression")),
            (Some(compression), Some(level)) if level > compression.highest_level() => {
                let highest = compression.highest_level();
                problem("compression_level", reason!("output.level", level, compression, highest));
            }
            _ => {}
        }
        if self.created == Created::Commit && self.args.contains_key(SOURCE_DATE_EPOCH) {
            problem("created", reason!("output.epoch_is_an_argument"));
        }
        for (field, texts) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if let Some(reason) = text_problem(texts, captures) {
                problem(field, reason);
            }
        }
    }

    fn docker_problems(&self, problem: &mut impl FnMut(&'static str, Reason)) {
        if self.provenance.is_some_and(|provenance| provenance != Provenance::Off) {
            problem("provenance", reason!("output.docker_holds_no_attestations", key = "provenance = \"off\""));
        }
        if self.sbom {
            problem("sbom", reason!("output.docker_holds_no_attestations", key = "sbom = false"));
        }
        if let Some(compression @ (Compression::Zstd | Compression::Estargz)) = self.compression {
            problem("compression", reason!("output.docker_compression", compression));
        }
        if !self.annotations.is_empty() {
            problem("annotations", reason!("output.docker_annotations"));
        }
    }
}

/// The first thing that is wrong with labels or annotations.
fn text_problem(texts: &BTreeMap<String, String>, captures: Option<&[&str]>) -> Option<Reason> {
    if texts.len() > MOST_LABELS {
        return Some(reason!("output.too_many", count = texts.len(), most = MOST_LABELS));
    }
    texts.iter().find_map(|(key, value)| key_problem(key).or_else(|| value_problem(key, value, captures)))
}

fn key_problem(key: &str) -> Option<Reason> {
    // BuildKit ends a key at its first = or blank.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '=';
    if key.is_empty() || key.chars().count() > LONGEST_KEY || key.chars().any(is_odd) {
        return Some(reason!("output.key", key = quoted(&key), longest = LONGEST_KEY));
    }
    let is_reserved = key.starts_with(RESERVED_PREFIX) || RESERVED.contains(&key);
    is_reserved.then(|| reason!("output.reserved_key", key))
}

fn value_problem(key: &str, value: &str, captures: Option<&[&str]>) -> Option<Reason> {
    if value.chars().count() > LONGEST_VALUE || value.chars().any(char::is_control) {
        return Some(reason!("output.value", key, longest = LONGEST_VALUE));
    }
    let pieces = match template::pieces(value) {
        Ok(pieces) => pieces,
        Err(TemplateError::Unclosed) => return Some(reason!("output.unclosed", key)),
        Err(TemplateError::CaptureName(capture)) => return Some(reason!("output.no_capture", key, capture)),
    };
    let captures = captures?;
    pieces.into_iter().find_map(|piece| match piece {
        Piece::Capture(capture) if !captures.contains(&capture) => {
            Some(reason!("output.no_capture", key, capture = capture.to_owned()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image_output::ImageFormat;
    use crate::domain::pattern::Pattern;

    fn problems(rule: Rule) -> Vec<String> {
        rule.problems().iter().map(ToString::to_string).collect()
    }

    fn texts(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn docker_format_is_refused_with_what_it_can_not_hold() {
        let docker = || Rule { format: ImageFormat::Docker, ..Rule::starter("main") };
        assert_eq!(problems(docker()), [""; 0]);
        assert_eq!(docker().provenance_mode(), Provenance::Off, "the default of its format");
        assert_eq!(problems(Rule { compression: Some(Compression::Gzip), ..docker() }), [""; 0]);
        for (rule, words) in [
            (Rule { provenance: Some(Provenance::Min), ..docker() }, "provenance = \"off\""),
            (Rule { sbom: true, ..docker() }, "sbom = false"),
            (Rule { compression: Some(Compression::Zstd), ..docker() }, "zstd"),
            (Rule { compression: Some(Compression::Estargz), ..docker() }, "estargz"),
            (Rule { annotations: texts(&[("a", "b")]), ..docker() }, "labels"),
        ] {
            let found = problems(rule);
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
    }

    #[test]
    fn levels_belong_to_a_compression_and_lie_within_it() {
        let rule = |compression, level| Rule { compression, compression_level: Some(level), ..Rule::starter("main") };
        for good in [rule(Some(Compression::Zstd), 22), rule(Some(Compression::Gzip), 0)] {
            assert_eq!(problems(good), [""; 0]);
        }
        for bad in [rule(None, 3), rule(Some(Compression::Zstd), 23), rule(Some(Compression::Estargz), 10)] {
            assert_eq!(problems(bad).len(), 1);
        }
    }

    #[test]
    fn labels_take_the_captures_of_the_rule_and_no_others() {
        let rule = |pattern, labels: &[(&str, &str)]| Rule {
            branch: Some(pattern),
            labels: texts(labels),
            ..Rule::starter("main")
        };
        let regex = || Pattern::Regex("release-(?<team>.*)".into());
        let good = rule(regex(), &[("team", "of ${team}, $5")]);
        assert_eq!(problems(good.clone()), [""; 0]);
        assert_eq!(good.labels_for(&Ref::branch("release-a/b")), texts(&[("team", "of a/b, $5")]));
        for bad in [
            rule(regex(), &[("team", "${other}")]),
            rule(Pattern::Literal("main".into()), &[("team", "${team}")]),
            rule(regex(), &[("team", "${team")]),
            rule(regex(), &[("a b", "x")]),
            rule(regex(), &[("a=b", "x")]),
            rule(regex(), &[("dev.slipway.build", "7")]),
            rule(regex(), &[("org.opencontainers.image.revision", "x")]),
            rule(regex(), &[("a", "x\ny")]),
        ] {
            assert_eq!(problems(bad.clone()).len(), 1, "{:?}", bad.labels);
        }
    }

    #[test]
    fn an_epoch_of_the_rules_own_does_not_go_with_the_commits_time() {
        let rule = Rule { created: Created::Commit, args: texts(&[(SOURCE_DATE_EPOCH, "0")]), ..Rule::starter("main") };
        assert!(problems(rule)[0].contains(SOURCE_DATE_EPOCH));
    }

    #[test]
    fn the_keys_read_and_write_as_toml() {
        let text = "name = \"main\"\nbranch = \"main\"\nprovenance = \"off\"\nsbom = true\nformat = \"docker\"\n\
                    compression = \"zstd\"\ncompression_level = 3\ncreated = \"commit\"\n\n[[versions]]\nname = \"latest\"\n\n\
                    [labels]\nteam = \"a\"\n\n[annotations]\nb = \"c\"\n";
        let rule: Rule = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<Rule>(&toml::to_string(&rule).unwrap()).unwrap(), rule);
        let plain = toml::to_string(&Rule::starter("main")).unwrap();
        assert!(
            !["provenance", "sbom", "format", "created", "labels"].iter().any(|key| plain.contains(key)),
            "{plain}"
        );
        let error = toml::from_str::<Rule>(&text.replace("\"zstd\"", "\"lz4\"")).unwrap_err().to_string();
        assert!(error.contains("gzip") && error.contains("zstd"), "{error}");
    }
}
