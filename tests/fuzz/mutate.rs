//! Samples, changed a little or a lot.

use crate::random::Random;

/// A file's bytes.
pub type Sample = Vec<u8>;

/// Longer inputs cost more than they find.
const LONGEST: usize = 64 * 1024;
/// Of a longer sample some lines are taken.
const WINDOW: usize = 8 * 1024;

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e309",
    "0.1",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999",
];
/// Values of JSON and TOML of every type.
const VALUES: [&str; 10] =
    ["null", "[]", "{}", "true", "\"\"", "[[[[]]]]", "{\"a\":{}}", "'x'", "1979-05-27T07:32:00Z", "\"\\u0000\""];

/// A sample with some changes.
pub fn mutated(samples: &[Sample], tokens: &[&str], random: &mut Random) -> Sample {
    let sample: &Sample = random.pick(samples);
    let mut input = window(sample, random);
    for _ in 0..=random.below(6) {
        change(&mut input, samples, tokens, random);
        input.truncate(LONGEST);
    }
    input
}

/// Some whole lines of a long sample.
fn window(sample: &[u8], random: &mut Random) -> Sample {
    if sample.len() <= WINDOW {
        return sample.to_vec();
    }
    let line_at = |at: usize| sample[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let start = line_at(random.below(sample.len()));
    let length = random.below(WINDOW);
    let end = sample[(start + length).min(sample.len())..].iter().position(|byte| *byte == b'\n');
    let end = end.map_or(sample.len(), |more| (start + length + more + 1).min(sample.len()));
    // What a stream begins with gives sense to the rest.
    let head = &sample[..sample.iter().take(WINDOW).rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)];
    if random.below(2) == 0 { [head, &sample[start..end]].concat() } else { sample[start..end].to_vec() }
}

fn change(input: &mut Sample, samples: &[Sample], tokens: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let length = 1 << random.below(10);
    let end = (at + random.below(length)).min(input.len());
    match random.below(12) {
        0 => flip(input, at, random),
        1 => replace(input, at, at, &[random.next().to_le_bytes()[0]]),
        2 => replace(input, at, end, b""),
        3 => {
            let piece = input[at..end].to_vec();
            let times = 1 + random.below(if piece.len() < 64 { 200 } else { 3 });
            replace(input, at, at, &piece.repeat(times));
        }
        4 => {
            let other = random.pick(samples);
            let from = random.below(other.len() + 1);
            let piece = &other[from..(from + length).min(other.len())];
            replace(input, at, end, piece);
        }
        5 | 6 if !tokens.is_empty() => {
            let token = random.pick(tokens).as_bytes();
            let end = if random.below(2) == 0 { at } else { end };
            replace(input, at, end, token);
        }
        7 => input.truncate(at),
        8 | 9 => number(input, at, random),
        10 => value(input, at, random),
        _ => {
            let bytes: Vec<u8> = (0..=random.below(8)).map(|_| random.next().to_le_bytes()[0]).collect();
            replace(input, at, (at + bytes.len()).min(input.len()), &bytes);
        }
    }
}

fn replace(input: &mut Sample, from: usize, to: usize, with: &[u8]) {
    drop(input.splice(from..to, with.iter().copied()));
}

fn flip(input: &mut Sample, at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Puts another number in the place of the next one.
fn number(input: &mut Sample, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|more| at + more) else { return };
    let end = input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |more| start + more);
    replace(input, start, end, random.pick(&NUMBERS).as_bytes());
}

/// Puts something else in the place of the next value of JSON or TOML.
fn value(input: &mut Sample, at: usize, random: &mut Random) {
    let sign = |byte: &u8| matches!(byte, b':' | b'=' | b'[' | b',');
    let Some(start) = input[at..].iter().position(sign).map(|more| at + more + 1) else { return };
    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'\n');
    let end = input[start..].iter().position(ends).map_or(input.len(), |more| start + more);
    replace(input, start, end, random.pick(&VALUES).as_bytes());
}
