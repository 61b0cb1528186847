//! `slipway setup`: finds BuildKit and what it needs, or installs it.
//!
//! What is there goes to stdout, progress to stderr. It works on the programs of this machine and on the home itself,
//! not through the pool: there may be none yet.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{self, told};
use super::terminal::{Door, To, columns_of_stderr, is_interactive};
use super::{CliError, Format};
use crate::buildkit::install::{
    self, Ask, Found, InstallError, Machine, Options, Place, Progress, Tool, Version, busybox,
};
use crate::domain::reason::{AsReason, Phrase, Reason, as_texts, display_as_reason, phrase, reason};
use crate::source::git::GitProgram;
use crate::store::home::{Home, NoHome};

/// Find buildctl, buildkitd and an OCI runtime, and install what is missing.
///
/// BuildKit comes from the project's release, checked against the digest in slipway's source (SLIPWAY_RELEASES_URL
/// names a mirror of the releases API). Where slipway has no digest of it, setup says so and asks; without a terminal
/// it needs --trust-tls, or compiles the Go module, whose checksums are all in slipway's source. HTTPS_PROXY,
/// HTTP_PROXY and NO_PROXY are honoured.
#[derive(Debug, Clone, Args)]
pub struct Setup {
    /// Only report what is there; exit 1 when something is missing
    #[arg(long, conflicts_with = "from")]
    pub check: bool,
    /// Install this official release archive (buildkit-vX.linux-ARCH.tar.gz), a file or an https URL
    #[arg(long, value_name = "FILE|URL")]
    pub from: Option<String>,
    /// Take a downloaded archive although slipway has no digest of it: only TLS vouches for what is then run
    #[arg(long, conflicts_with = "check")]
    pub trust_tls: bool,
}

/// Why `slipway setup` failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The installation failed.
    Install(#[from] InstallError),
    /// There is no home.
    Home(#[from] NoHome),
    /// Signals cannot be waited for, or the report cannot be written.
    Io {
        /// What it cannot do.
        doing: Phrase,
        /// What the system said.
        #[source]
        why: io::Error,
    },
}

display_as_reason!(SetupError);

impl AsReason for SetupError {
    fn reason(&self) -> Reason {
        match self {
            SetupError::Install(error) => error.reason(),
            SetupError::Home(error) => error.reason(),
            SetupError::Io { doing, why } => reason!("setup.io", doing, why),
        }
    }
}

impl Setup {
    /// Runs the command: [`ExitCode::SUCCESS`] when everything is there, 1 when `--check` finds something missing.
    ///
    /// # Errors
    /// When something could not be installed, or a signal interrupted it; what was begun is cleaned up then.
    pub async fn run(self, format: Format) -> Result<ExitCode, SetupError> {
        let home = &Home::from_env()?;
        let found = if self.check {
            let mut found = install::find(home);
            found.probe().await;
            found
        } else {
            let options = Options { from: self.from, trust_tls: self.trust_tls, ask: asker(), ..Options::from_env() };
            let mut printer = Printer::stderr();
            let mut report = |event: Progress| printer.show(&event);
            let machine = Machine::this();
            let mut stop =
                Stop::new().map_err(|why| SetupError::Io { doing: phrase!("verb.wait_for_signals"), why })?;
            tokio::select! {
                found = install::install(home, &machine, &options, &mut report) => found?,
                () = stop.signalled() => return Err(InstallError::Interrupted.into()),
            }
        };
        let mut out = Door::to(To::Stdout);
        let printed = match format {
            Format::Text => out.text(&as_text(&found)),
            Format::Json => out.json(
                &as_json(&found).map_err(|e| SetupError::Io { doing: phrase!("verb.write_json"), why: e.into() })?,
            ),
        };
        printed
            .and_then(|()| out.flush())
            .map_err(|why| SetupError::Io { doing: phrase!("verb.print_the_report"), why })?;
        Ok(if found.missing().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What the sample of `slipway demo` is made of.
pub(super) struct Sample {
    /// Where its source belongs.
    pub directory: PathBuf,
    /// A busybox to begin its image with, where there is one.
    pub busybox: Option<PathBuf>,
}

/// Installs what is missing for the sample of `slipway demo`.
pub(super) async fn prepare_sample() -> Result<Sample, CliError> {
    let home = Home::from_env().map_err(CliError::usage)?;
    let mut printer = Printer::stderr();
    let mut report = |event: Progress| printer.show(&event);
    let options = Options { ask: asker(), ..Options::from_env() };
    let installed = install::ensure(&home, &options, &mut report).await;
    installed.map_err(CliError::failed)?;
    let busybox = busybox::ensure(&mut report).await;
    Ok(Sample { directory: home.state_dir().join("demo").join("source"), busybox })
}

/// Who may be asked, where a person sees the question and can answer.
fn asker() -> Option<Ask> {
    is_interactive(To::Stderr).then_some(ask as Ask)
}

/// Asks on the terminal; anything but yes is no.
fn ask(question: Reason) -> bool {
    let mut line = String::new();
    let asked = output::ask(question, "[y/N] ").is_ok() && io::stdin().read_line(&mut line).is_ok();
    asked && matches!(line.trim(), "y" | "Y" | "yes")
}

/// The signals that end a command.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    pub(super) fn new() -> io::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn signalled(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Prints progress: one line that is written over in a terminal, plain lines and few of them elsewhere.
pub struct Printer {
    out: Door,
    /// Columns, when it is a terminal.
    columns: Option<fn() -> usize>,
    /// What the unfinished line is about, and how many tenths of it were shown.
    shown: Option<(String, u64)>,
}

impl Printer {
    /// On stderr.
    pub fn stderr() -> Printer {
        let columns: Option<fn() -> usize> = To::Stderr.is_terminal().then_some(columns_of_stderr);
        Printer { out: Door::to(To::Stderr), columns, shown: None }
    }

    /// Shows one event. A stderr that is gone is no reason to stop.
    pub fn show(&mut self, event: &Progress) {
        let line = told(event);
        let _nobody_reads = match self.columns {
            Some(columns) if event.is_transient() => {
                let line: String = line.chars().take(columns().saturating_sub(1)).collect();
                self.shown = Some((String::new(), 0));
                self.out.write_over(&line)
            }
            Some(_) => {
                self.clear();
                self.line(&line)
            }
            None => match milestone(event) {
                Some(mark) if self.shown.as_ref() == Some(&mark) => Ok(()),
                mark => {
                    self.shown = mark;
                    self.line(&line)
                }
            },
        };
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.out.text(&format!("{line}\n")).and_then(|()| self.out.flush())
    }

    /// Takes the unfinished line of a terminal away.
    fn clear(&mut self) {
        if self.columns.is_some() && self.shown.take().is_some() {
            let _nobody_reads = self.out.write_over("");
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a counting event is about and its tenths, of which plain output shows one each; none for other events.
fn milestone(event: &Progress) -> Option<(String, u64)> {
    let tenths = |done: u64, total: Option<u64>| total.filter(|&t| t > 0).map_or(0, |t| done.saturating_mul(10) / t);
    match event {
        Progress::Downloading { file, done, total } => Some((file.clone(), tenths(*done, *total))),
        Progress::GoModules { what, .. } => Some((format!("modules of {what}"), 0)),
        Progress::GoCompiling { what, done, total } => Some((format!("packages of {what}"), tenths(*done, *total))),
        _ => None,
    }
}

fn version(tool: &Tool) -> Option<&str> {
    match &tool.version {
        Version::Known(version) => Some(version),
        Version::Unknown | Version::Broken(_) => None,
    }
}

fn as_text(found: &Found) -> String {
    let mut text = String::new();
    for (name, tool) in found.all() {
        let Some(tool) = tool else { continue };
        let place = match tool.place {
            Place::Slipway => told(reason!("setup.installed_by_slipway")),
            Place::System => String::new(),
        };
        let version = version(tool).map_or_else(|| told(phrase!("word.unknown")), str::to_owned);
        text += format!("{name:<12} {version:<12} {} {place}", tool.path.display()).trim_end();
        text.push('\n');
    }
    match GitProgram::find() {
        Ok(git) => text += &format!("{:<12} {:<12} {}\n", "git", git.version().to_string(), git.path().display()),
        Err(error) => text += &format!("{}\n", told(&error)),
    }
    for problem in &found.sandbox_problems {
        text += &format!("{}\n", told(reason!("setup.host_network", what = problem.what)));
    }
    let missing = found.missing();
    if missing.is_empty() {
        text += &format!("{}\n", told(reason!("setup.complete")));
    } else {
        text += &format!("{}\n", told(phrase!("setup.missing")));
        for part in missing {
            text += &format!("  {}\n", told(&part));
        }
    }
    text
}

/// The report as scripts read it.
#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    rootless: bool,
    tools: Vec<ToolReport<'a>>,
    missing: Vec<MissingReport<'a>>,
    /// RUN steps get a network of their own.
    sandbox: bool,
    /// The path of the git that fetches sources.
    git: Option<PathBuf>,
}

#[derive(Serialize)]
struct ToolReport<'a> {
    name: &'static str,
    path: String,
    version: Option<&'a str>,
    installed_by_slipway: bool,
}

#[derive(Serialize)]
struct MissingReport<'a> {
    name: &'static str,
    reason: &'a Reason,
    fix: &'a Reason,
}

fn as_json(found: &Found) -> serde_json::Result<String> {
    let missing = found.missing();
    let report = Report {
        ready: missing.is_empty(),
        rootless: found.is_rootless(),
        sandbox: found.sandbox_problems.is_empty(),
        git: GitProgram::find().ok().map(|git| git.path().to_path_buf()),
        tools: found
            .all()
            .into_iter()
            .filter_map(|(name, tool)| {
                let tool = tool?;
                Some(ToolReport {
                    name,
                    path: tool.path.display().to_string(),
                    version: version(tool),
                    installed_by_slipway: tool.place == Place::Slipway,
                })
            })
            .collect(),
        missing: missing
            .iter()
            .map(|part| MissingReport { name: part.name, reason: &part.why, fix: &part.fix })
            .collect(),
    };
    Ok(as_texts(|| serde_json::to_string_pretty(&report))? + "\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(columns: Option<fn() -> usize>) -> String {
        let page = Page::default();
        let mut printer = Printer { out: Door::over(page.clone(), columns.is_some()), columns, shown: None };
        for done in [0, 5, 6, 7, 40, 100] {
            printer.show(&Progress::Downloading { file: "a".into(), done: done * 100_000, total: Some(10_000_000) });
        }
        printer.show(&Progress::Unpacking { file: "a".into() });
        drop(printer);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn plain_output_shows_a_download_in_tenths() {
        assert_eq!(
            printed(None),
            "downloading a: 0.0 MB of 10.0 MB\ndownloading a: 4.0 MB of 10.0 MB\n\
             downloading a: 10.0 MB of 10.0 MB\nunpacking a\n"
        );
    }

    #[test]
    fn a_terminal_has_one_line_that_is_written_over() {
        let page = printed(Some(|| 20));
        assert_eq!(page.matches('\n').count(), 1);
        assert!(page.ends_with("\r\u{1b}[Kunpacking a\n"), "{page:?}");
        assert!(page.starts_with("\rdownloading a: 0.0 \u{1b}[K\r"), "{page:?}");
    }

    #[test]
    fn the_report_names_what_is_missing_with_its_fix() {
        let dir = tempfile::tempdir().unwrap();
        let found = install::find(&Home::at(dir.path()));
        let json: serde_json::Value = serde_json::from_str(&as_json(&found).unwrap()).unwrap();
        assert_eq!(json["ready"], serde_json::json!(found.missing().is_empty()));
        assert_eq!(json["missing"].as_array().unwrap().len(), found.missing().len());
        assert_eq!(as_text(&found).contains("missing:"), !found.missing().is_empty());
    }
}
