//! Masks known secret values: replaces each occurrence by [`STARS`].
//!
//! Recognized forms: the value itself, base64 (all three alignments, URL-safe, wrapped at 76 and 64 columns),
//! percent-encoding, and JSON escapes. Values of several lines are matched line by line, because logs are written line
//! by line. Values shorter than
//! [`SHORTEST`] bytes and lines shorter than [`SHORTEST_LINE`] bytes are not masked: they occur by chance in every log.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Replacement for a secret.
pub const STARS: &str = "***";
/// Least length in bytes of a value that is masked.
pub const SHORTEST: usize = 4;
/// Least length in bytes of a masked line of a value of several lines, before it is encoded. Structured secrets such as
/// a kubeconfig have lines like `users:`, which are no secret and are everywhere.
pub const SHORTEST_LINE: usize = 8;
/// Length of the prefix of each form that the automaton searches for; the rest is compared. Bounds the automaton's
/// memory.
const BEGINNING: usize = 16;
/// Bytes that common tools encode into one line of base64: `base64` 76 columns, PEM 64.
const WRAPPED: [usize; 2] = [57, 48];
/// Longest form, in bytes; a longer value is split into several. Bounds what [`Mask::settled`] holds back.
const LONGEST_FORM: usize = 16 * 1024;

/// Longest run of adjacent secrets, in bytes, that [`Mask::settled`] holds back; a longer one is cut behind a secret.
const LONGEST_RUN: usize = 32 * LONGEST_FORM;

/// The secret values of a build. Cheap to clone, and all clones learn what is added to one; the default masks nothing.
#[derive(Clone, Default)]
pub struct Mask(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// All forms of all values.
    all: BTreeSet<Vec<u8>>,
    /// The search automaton over them; none where there are none.
    search: Option<Arc<Forms>>,
}

struct Forms {
    beginnings: AhoCorasick,
    /// The complete forms of each prefix, by pattern number.
    whole: Vec<Vec<Vec<u8>>>,
    longest: usize,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} forms)", self.search().map_or(0, |forms| forms.whole.iter().map(Vec::len).sum()))
    }
}

impl Mask {
    /// A mask for these values.
    pub fn new<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Mask {
        let mut all = BTreeSet::new();
        for value in values {
            add_forms(value.as_ref(), &mut all);
        }
        let search = Forms::of(&all);
        Mask(Arc::new(RwLock::new(Known { all, search })))
    }

    /// Masks a value from now on, too.
    pub fn add(&self, value: &[u8]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.all.len();
        add_forms(value, &mut known.all);
        if known.all.len() > before {
            known.search = Forms::of(&known.all);
        }
    }

    fn search(&self) -> Option<Arc<Forms>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).search.clone()
    }

    /// Returns the text with every secret replaced.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Replaces every secret of a text in place.
    pub fn apply(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Returns the bytes with every secret replaced.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(forms) = self.search().filter(|forms| forms.beginnings.is_match(bytes)) else {
            return Cow::Borrowed(bytes);
        };
        let found = forms.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut masked = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for secret in found {
            masked.extend_from_slice(&bytes[from..secret.start]);
            masked.extend_from_slice(STARS.as_bytes());
            from = secret.end;
        }
        masked.extend_from_slice(&bytes[from..]);
        Cow::Owned(masked)
    }

    /// Length of the prefix of an unfinished text that can be written: no secret can start inside it and end beyond it,
    /// unless it overlaps another in a run of secrets of over `LONGEST_RUN` bytes. Such a run is cut, for it may have
    /// no end.
    pub fn settled(&self, bytes: &[u8]) -> usize {
        let Some(forms) = self.search() else { return bytes.len() };
        let settled = bytes.len().saturating_sub(forms.longest - 1);
        let cut = forms.find(bytes).into_iter().find(|secret| secret.contains(&settled));
        cut.map_or(settled, |secret| match secret.start {
            0 if settled > LONGEST_RUN => secret.end,
            start => start,
        })
    }
}

impl Forms {
    fn of(all: &BTreeSet<Vec<u8>>) -> Option<Arc<Forms>> {
        let mut by_beginning: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for form in all {
            let beginning = form[..form.len().min(BEGINNING)].to_vec();
            by_beginning.entry(beginning).or_default().push(form.clone());
        }
        let longest = by_beginning.values().flatten().map(Vec::len).max().filter(|longest| *longest > 0)?;
        let (beginnings, whole): (Vec<_>, Vec<_>) = by_beginning.into_iter().unzip();
        // Overlapping matches need the standard kind. It fails over 2^31 states: gigabytes of secrets.
        let beginnings = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&beginnings).ok()?;
        Some(Arc::new(Forms { beginnings, whole, longest }))
    }

    /// Ranges of secrets in order, with overlapping and adjacent ones merged.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for candidate in self.beginnings.find_overlapping_iter(bytes) {
            let rest = &bytes[candidate.start()..];
            let forms = self.whole[candidate.pattern().as_usize()].iter();
            if let Some(length) = forms.filter(|form| rest.starts_with(form)).map(Vec::len).max() {
                found.push(candidate.start()..candidate.start() + length);
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

/// Adds every form of a value to the patterns.
fn add_forms(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let value = value.trim_ascii();
    let mut add = |form: &[u8]| {
        forms.extend(form.chunks(LONGEST_FORM).filter(|piece| piece.len() >= SHORTEST).map(<[u8]>::to_vec));
    };
    let lines: Vec<&[u8]> = value.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii).collect();
    let shortest = if lines.len() > 1 { SHORTEST_LINE } else { SHORTEST };
    for line in lines.iter().filter(|line| line.len() >= shortest) {
        add(line);
        base64_forms(line).iter().for_each(|form| add(form));
        percent_forms(line).iter().for_each(|form| add(form));
        json_forms(line).iter().for_each(|form| add(form));
    }
    if lines.len() > 1 {
        base64_forms(value).iter().for_each(|form| add(form));
    }
    for columns in WRAPPED {
        if value.len() > columns {
            // The last line may hold a few bytes.
            for line in value.chunks(columns).filter(|line| line.len() >= SHORTEST) {
                let encoded = STANDARD.encode(line);
                // A file ends with an end of line, which the value here lacks.
                add(&encoded.as_bytes()[..line.len() * 8 / 6]);
                add(encoded.as_bytes());
            }
        }
    }
}

/// Base64 of a value at each alignment, without the characters at its borders that depend on neighbouring bytes; and
/// with its final characters and padding, for a value at the end of the encoded data.
fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let padded = [&[0; 2][..before], value].concat();
        // The first characters hold bits of what stands before, too.
        let first = [0, 2, 3][before];
        let decided = padded.len() * 8 / 6;
        for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            let unpadded = encoded.trim_end_matches('=').len();
            forms.extend([decided, unpadded, encoded.len()].map(|end| encoded.as_bytes()[first..end].to_vec()));
        }
    }
    forms
}

/// Percent-encoded forms, as in URLs and HTML forms: hexadecimal digits of either case, a space as `%20` or `+`.
fn percent_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let encode = |upper: bool, plus: bool| {
        let mut text = String::with_capacity(value.len() * 3);
        for byte in value {
            match byte {
                b' ' if plus => text.push('+'),
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
                byte if upper => text.push_str(&format!("%{byte:02X}")),
                byte => text.push_str(&format!("%{byte:02x}")),
            }
        }
        text.into_bytes()
    };
    vec![encode(true, false), encode(false, false), encode(true, true), encode(false, true)]
}

/// JSON-escaped forms: the required escapes, those of Go's encoder (`<`, `>`, `&`), and `\/`.
fn json_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(value) else { return Vec::new() };
    let Ok(quoted) = serde_json::to_string(text) else { return Vec::new() };
    let plain = quoted[1..quoted.len() - 1].to_owned();
    let for_html = plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    vec![plain.clone().into_bytes(), for_html.into_bytes(), plain.replace('/', "\\/").into_bytes()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Masks a text that arrives in pieces, as the progress parser does with a line that has no end.
    fn in_pieces(mask: &Mask, text: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut out, mut kept, mut at) = (Vec::new(), Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let end = (at + size).min(text.len());
            kept.extend_from_slice(&text[at..end]);
            at = end;
            if at == text.len() {
                break;
            }
            let settled = mask.settled(&kept);
            out.extend_from_slice(&mask.bytes(&kept[..settled]));
            kept.drain(..settled);
        }
        out.extend_from_slice(&mask.bytes(&kept));
        out
    }

    #[test]
    fn a_value_that_is_added_later_is_masked_by_every_clone() {
        let mask = Mask::new(["hunter2"]);
        let clone = mask.clone();
        assert_eq!(clone.text("hunter2 renewed-secret"), "*** renewed-secret");
        mask.add(b"renewed-secret");
        assert_eq!(clone.text("hunter2 renewed-secret"), "*** ***");
        let empty = Mask::default();
        empty.add(b"first-secret");
        assert_eq!(empty.text("a first-secret"), "a ***");
    }

    #[test]
    fn a_value_is_hidden_in_every_form() {
        let secret = "s3cr3t/T0ken+\"&<>x\\ y";
        let mask = Mask::new([secret]);
        let base64 = |before: &str, after: &str| STANDARD.encode(format!("{before}{secret}{after}"));
        for text in [
            secret.to_owned(),
            "s3cr3t%2FT0ken%2B%22%26%3C%3Ex%5C%20y".to_owned(),
            "s3cr3t%2fT0ken%2b%22%26%3c%3ex%5c+y".to_owned(),
            serde_json::to_string(secret).unwrap(),
            "s3cr3t/T0ken+\\\"\\u0026\\u003c\\u003ex\\\\ y".to_owned(),
        ] {
            let masked = mask.text(&text).into_owned();
            assert!(masked.trim_matches('"') == STARS, "{text} {masked}");
        }
        for (before, after) in [("", ""), ("u:", ""), ("kim:", "\n"), ("name:", "more"), ("a", "b")] {
            let text = base64(before, after);
            let masked = mask.text(&text);
            // What a neighbour shares bits with may stay: two characters on either side.
            let left = masked.replacen(STARS, "", 1);
            let shared = STANDARD.encode(before).len() + STANDARD.encode(after).len() + 4;
            assert!(masked.contains(STARS) && left.len() <= shared, "{text} {masked}");
        }
        assert_eq!(mask.text(&URL_SAFE.encode(secret)), STARS);
    }

    #[test]
    fn a_key_of_several_lines_is_hidden_line_by_line_and_as_the_base64_of_its_file() {
        let key = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz\nc2gtZWQyNTUxOQAA\n-----END KEY-----\n";
        let mask = Mask::new([key]);
        assert_eq!(mask.text("see c2gtZWQyNTUxOQAA; and -----BEGIN KEY-----"), "see ***; and ***");
        let file = STANDARD.encode(key);
        for line in file.as_bytes().chunks(76) {
            let masked = mask.bytes(line);
            assert!(masked.starts_with(STARS.as_bytes()) && masked.len() <= STARS.len() + 4, "{masked:?}");
        }
    }

    #[test]
    fn short_values_and_short_lines_are_left_alone() {
        let mask = Mask::new(["abc", "", "  x ", "{\n  \"long\": 1\n}"]);
        assert_eq!(mask.text("abc x {\n}"), "abc x {\n}");
        assert_eq!(mask.text("\"long\": 1"), STARS);
        assert_eq!(Mask::default().text("abcdef"), "abcdef");
        assert_eq!(Mask::new(["abc"]).settled(b"abcdef"), 6);
    }

    #[test]
    fn words_of_a_structured_secret_are_left_alone() {
        let kubeconfig = "apiVersion: v1\nusers:\n- name: kim\n  user:\n    token: abcdefgh12345\ndata:\n  k: v\n";
        let mask = Mask::new([kubeconfig, "s3cr"]);
        assert_eq!(mask.text("users: data: user: k: v"), "users: data: user: k: v");
        assert_eq!(mask.text("token: abcdefgh12345 s3cr"), "*** ***");
    }

    #[test]
    fn values_that_overlap_are_hidden_whole() {
        let mask = Mask::new(["abcdef", "defghi"]);
        assert_eq!(mask.text("-abcdefghi-abcdefabcdef-"), "-***-***-");
    }

    #[test]
    fn a_text_of_nothing_but_secrets_is_not_kept_for_ever() {
        let mask = Mask::new(["abcd"]);
        let text = "abcd".repeat(LONGEST_RUN / 3) + "ab";
        assert_eq!(mask.settled(text.as_bytes()), text.len() - 2);
    }

    #[test]
    fn many_long_values_make_a_small_automaton() {
        let values: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n | 0x40; 64 * 1024]).collect();
        let mask = Mask::new(&values);
        assert!(mask.search().unwrap().beginnings.memory_usage() < 4 << 20);
        assert!(mask.search().unwrap().longest <= LONGEST_FORM);
        assert_eq!(mask.bytes(&values[7]).as_ref(), STARS.as_bytes());
    }

    proptest! {
        #[test]
        fn no_secret_survives_wherever_the_text_is_cut(
            secrets in prop::collection::vec("[ -)+-~é]{4,40}", 1..4),
            texts in prop::collection::vec("[a-c \n]{0,30}", 4),
            sizes in prop::collection::vec(1usize..60, 1..8),
        ) {
            let mask = Mask::new(&secrets);
            let mut text = texts[0].clone();
            for (secret, after) in secrets.iter().zip(&texts[1..]) {
                text.push_str(secret);
                text.push_str(after);
            }
            let whole = mask.bytes(text.as_bytes()).into_owned();
            let masked = String::from_utf8_lossy(&whole).into_owned();
            for secret in secrets.iter().map(|secret| secret.trim()).filter(|secret| secret.len() >= SHORTEST) {
                prop_assert!(!masked.contains(secret), "{secret:?} in {masked:?}");
            }
            // A longer run of stars may come out where a run of secrets was cut between two of them.
            let squeeze = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let mut text = text.replace("******", STARS);
                while text.contains("******") {
                    text = text.replace("******", STARS);
                }
                text
            };
            prop_assert_eq!(squeeze(&in_pieces(&mask, text.as_bytes(), &sizes)), squeeze(&whole));
        }

        #[test]
        fn bytes_that_hold_no_secret_stay_as_they_are(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(Mask::new(["\u{1f511}-a-secret"]).bytes(&bytes), &bytes[..]);
        }
    }
}
