use super::*;
use crate::domain::step::{StepState, progress};
use proptest::prelude::*;

#[derive(Default)]
struct Lines(Vec<(Stream, String)>);

impl Sink for Lines {
    fn line(&mut self, stream: Stream, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        let line = [prefix, text].concat();
        self.0.push((stream, String::from_utf8_lossy(&line).into_owned()));
        Ok(())
    }
}

fn run(stream: &[u8], cut: impl Fn(usize) -> usize) -> (Parser, Lines) {
    let mut parser = Parser::new(0, Numbers::default());
    let mut lines = Lines::default();
    let mut at = 0;
    while at < stream.len() {
        let end = (at + cut(at).max(1)).min(stream.len());
        parser.push(&stream[at..end], &mut lines).unwrap();
        at = end;
    }
    parser.finish(&mut lines).unwrap();
    (parser, lines)
}

fn recording(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn log(stream: u8, text: &str) -> String {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    format!(r#"{{"logs":[{{"vertex":"v","stream":{stream},"data":"{data}","timestamp":"2026-01-01T00:00:01.5Z"}}]}}"#)
}

#[test]
fn a_line_that_arrives_in_two_messages_is_one_line_and_the_streams_do_not_mix() {
    let text = [
        r#"{"vertexes":[{"digest":"v","name":"[1/1] RUN x","started":"2026-01-01T00:00:01Z"}]}"#.to_owned(),
        log(1, "hel"),
        log(2, "bad\n"),
        log(1, "lo\nno end"),
        r#"{"vertexes":[{"digest":"v","name":"[1/1] RUN x","started":"2026-01-01T00:00:01Z","completed":"2026-01-01T00:00:03Z"}]}"#.to_owned(),
    ]
    .join("\n");
    let (parser, lines) = run(text.as_bytes(), |_| usize::MAX / 2);
    let got: Vec<(Stream, &str)> = lines.0.iter().map(|(stream, line)| (*stream, line.as_str())).collect();
    assert_eq!(
        got,
        [
            (Stream::Out, "#1 [1/1] RUN x"),
            (Stream::Err, "#1 0.500 bad"),
            (Stream::Out, "#1 0.500 hello"),
            (Stream::Out, "#1 0.500 no end"),
            (Stream::Out, "#1 DONE 2.0s"),
        ]
    );
    assert_eq!(parser.steps()[0].state, StepState::Done);
    assert_eq!(progress(&parser.steps()), (1, 1));
}

#[test]
fn nonsense_and_endless_lines_do_no_harm() {
    let (parser, lines) = run(b"{\"a\":1}\n{}\n{\"vertexes\":3}\n\xff\xfe\nerror: x", |_| 3);
    assert_eq!(lines.0.len(), 5);
    assert!(parser.text_after().ends_with("error: x\n"));
    let mut parser = Parser::new(0, Numbers::default());
    let mut lines = Lines::default();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..40 {
        parser.push(&piece, &mut lines).unwrap();
    }
    parser.push(b"\nerror: y\n", &mut lines).unwrap();
    assert_eq!(lines.0[0].1, "slipway: a line of over 16 MiB from buildctl was dropped");
    assert_eq!(parser.text_after(), "error: y\n");
}

#[test]
fn a_sink_that_fails_is_told_to_the_caller_and_the_steps_are_still_known() {
    struct Full;
    impl Sink for Full {
        fn line(&mut self, _: Stream, _: &[u8], _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let mut parser = Parser::new(0, Numbers::default());
    let error = parser.push(&recording("success"), &mut Full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(parser.steps().iter().all(|step| step.state.is_final()));
}

#[test]
fn secrets_are_hidden_in_lines_names_errors_warnings_and_what_was_said_last() {
    let text = [
        r#"{"vertexes":[{"digest":"v","name":"[1/1] RUN echo hunter2hunter2","started":"2026-01-01T00:00:01Z"}]}"#.to_owned(),
        log(1, "token hunt"),
        log(1, "er2hunter2 used\nlast: hunter2hunter2 un"),
        r#"{"warnings":[{"vertex":"v","short":"aHVudGVyMmh1bnRlcjI=","url":"https://hunter2hunter2"}]}"#.to_owned(),
        r#"{"vertexes":[{"digest":"v","started":"2026-01-01T00:00:01Z","completed":"2026-01-01T00:00:03Z","error":"no: hunter2hunter2"}]}"#.to_owned(),
        "error: failed: hunter2hunter2".to_owned(),
    ]
    .join("\n");
    let mut parser = Parser::new(0, Numbers::default()).masking(crate::log::mask::Mask::new(["hunter2hunter2"]));
    let mut lines = Lines::default();
    parser.push(text.as_bytes(), &mut lines).unwrap();
    parser.finish(&mut lines).unwrap();
    let lines: Vec<String> = lines.0.into_iter().map(|(_, line)| line).collect();
    assert_eq!(
        lines,
        [
            "#1 [1/1] RUN echo ***",
            "#1 0.500 token *** used",
            "#1 WARN: ***",
            "#1 0.500 last: *** un",
            "#1 ERROR: no: ***",
            "error: failed: ***",
        ]
    );
    let step = &parser.steps()[0];
    assert_eq!((step.error.as_deref(), step.last_line.as_deref()), (Some("no: ***"), Some("last: *** un")));
    assert_eq!(parser.warnings()[0].url, "https://***");
    assert_eq!(parser.text_after(), "error: failed: ***\n");
}

#[test]
fn a_secret_that_the_end_of_an_endless_line_cuts_is_hidden() {
    let secret = "s3cr3t".repeat(100);
    let mut parser = Parser::new(0, Numbers::default()).masking(crate::log::mask::Mask::new([&secret]));
    let mut lines = Lines::default();
    let begin = r#"{"vertexes":[{"digest":"v","name":"x","started":"2026-01-01T00:00:01Z"}]}"#;
    parser.push(format!("{begin}\n").as_bytes(), &mut lines).unwrap();
    for _ in 0..3000 {
        parser.push(format!("{}\n", log(1, &format!("-{secret}"))).as_bytes(), &mut lines).unwrap();
    }
    parser.finish(&mut lines).unwrap();
    assert!(lines.0.len() > 2);
    let printed: String = lines.0.iter().skip(1).map(|(_, line)| line.trim_start_matches("#1 0.500 ")).collect();
    assert_eq!(printed, "-***".repeat(3000));
}

#[test]
fn a_secret_that_the_limit_of_all_unfinished_lines_cuts_is_hidden() {
    let mut parser = Parser::new(0, Numbers::default()).masking(crate::log::mask::Mask::new(["hunter2hunter2"]));
    let mut lines = Lines::default();
    let mut say = |vertex: &str, text: &str| {
        let begin = r#"{"vertexes":[{"digest":"V","name":"x","started":"2026-01-01T00:00:01Z"}]}"#;
        let message = format!("{begin}\n{}\n", log(1, text));
        parser.push(message.replace(r#""V""#, r#""v""#).replace(r#""v""#, vertex).as_bytes(), &mut lines).unwrap();
    };
    for vertex in 0..8 {
        say(&format!("\"{vertex}\""), &"-".repeat(1024 * 1024));
    }
    say("\"last\"", "token hunt");
    say("\"last\"", "er2hunter2 used\n");
    let lines: Vec<String> = lines.0.into_iter().map(|(_, line)| line).filter(|line| !line.contains("--")).collect();
    let printed = lines.concat();
    assert!(printed.contains("***") && !printed.contains("hunt"), "{printed}");
}

#[test]
fn what_a_hostile_builder_says_is_kept_within_bounds() {
    let mut parser = Parser::new(0, Numbers::default());
    let mut lines = Lines::default();
    for n in 0..10_300 {
        let long = "n".repeat(if n < 1_500 { 5_000 } else { 300 });
        let vertex = format!(
            r#"{{"vertexes":[{{"digest":"{n}","name":"{long}","started":"2026-01-01T00:00:01Z","error":"{long}"}}],"statuses":[{{"id":"{n}","vertex":"{n}","current":-9223372036854775808,"total":9223372036854775807,"timestamp":"2026-01-01T00:00:01Z"}},{{"id":"{n}","vertex":"{n}","current":9223372036854775807,"timestamp":"2026-01-01T00:00:02Z"}}],"warnings":[{{"vertex":"{n}","short":"aGkK","url":"{n}{long}"}}]}}"#
        );
        parser.push(format!("{vertex}\n").as_bytes(), &mut lines).unwrap();
        // Unfinished lines of every step.
        let data = "YWFh".repeat(300);
        let output = format!(r#"{{"logs":[{{"vertex":"{n}","data":"{data}","timestamp":"2026-01-01T00:00:01.5Z"}}]}}"#);
        parser.push(format!("{output}\n").as_bytes(), &mut lines).unwrap();
        lines.0.retain(|(_, line)| line.starts_with("slipway: "));
    }
    assert_eq!(lines.0.len(), 1, "{:?}", lines.0);
    let steps = parser.steps();
    assert_eq!(steps.len(), 10_000);
    let text = |step: &crate::domain::step::Step| step.name.len() + step.error.as_ref().map_or(0, String::len);
    assert!(steps.iter().map(text).sum::<usize>() < 16 << 20);
    assert!(steps[0].name.len() > 4000 && steps[9999].name.len() < 300);
    assert!(parser.warnings().len() <= 1000);
    parser.finish(&mut lines).unwrap();
    // A step that begins again for ever.
    let mut parser = Parser::new(0, Numbers::default());
    for n in 0..1500 {
        let vertex = format!(
            r#"{{"vertexes":[{{"digest":"v","name":"x","started":"2026-01-01T00:00:00.{n:09}Z","completed":"2026-01-01T00:00:09Z"}}]}}"#
        );
        parser.push(format!("{vertex}\n").as_bytes(), &mut lines).unwrap();
    }
    assert_eq!(parser.steps()[0].seconds.round(), 9.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn wherever_the_stream_is_cut_the_result_is_the_same(
        name in prop::sample::select(vec!["success", "cached", "failed-run", "multi-platform", "warnings", "daemon-lost"]),
        sizes in prop::collection::vec(1usize..5000, 1..20),
    ) {
        let stream = recording(name);
        let (whole, whole_lines) = run(&stream, |_| stream.len());
        let (cut, cut_lines) = run(&stream, |at| sizes[at % sizes.len()]);
        prop_assert_eq!(whole.steps(), cut.steps());
        prop_assert_eq!(whole.warnings(), cut.warnings());
        prop_assert_eq!(whole.text_after(), cut.text_after());
        prop_assert_eq!(whole_lines.0, cut_lines.0);
    }

    #[test]
    fn arbitrary_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..2000)) {
        run(&stream, |at| at % 7 + 1);
    }
}
