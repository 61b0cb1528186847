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

#[test]
fn a_line_that_arrives_in_two_messages_is_one_line_and_the_streams_do_not_mix() {
    let log = |stream: u8, text: &str| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        format!(
            r#"{{"logs":[{{"vertex":"v","stream":{stream},"data":"{data}","timestamp":"2026-01-01T00:00:01.5Z"}}]}}"#
        )
    };
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
    assert_eq!(lines.0[0].1, "slipway: a line of over 32 MiB from buildctl was dropped");
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
