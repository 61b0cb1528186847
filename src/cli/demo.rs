//! `slipway demo`: set up what is missing, build a sample, open the dashboard on it; without a terminal, name its image
//! and digest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use git2::{IndexAddOption, Repository as Git, RepositoryInitOptions, Signature};

use super::dashboard::dashboard;
use super::follow;
use super::output::{print, say, told};
use super::terminal::To;
use super::{CliError, Format, build_view, setup, source};
use crate::client::Client;
use crate::domain::build::BuildState;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::reason::reason;
use crate::domain::repository::{Repository, Source};
use crate::domain::rule::Rule;
use crate::log::reader::Selection;
use crate::protocol::{Entity, Request, SaveMode};
use crate::tui;

const NAMESPACE: &str = "demo";
const REPOSITORY: &str = "hello";
const BRANCH: &str = "main";

/// The sample's Dockerfile, after its base: three steps that a person can read in the log.
const STEPS: &str = r#"COPY greeting.txt /greeting.txt
RUN echo "compiling the greeting" && for i in 1 2 3; do echo "step $i of 3"; done
RUN cat /greeting.txt && wc -c < /greeting.txt > /size.txt
CMD ["/bin/cat", "/greeting.txt"]
"#;

/// Set up what is missing, build a sample, and show it in the dashboard; without a terminal, name its image.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<ExitCode, CliError> {
        client.create_home()?;
        let setup::Sample { directory, busybox } = setup::prepare_sample().await?;
        let made = make_source(&directory, busybox.as_deref())
            .map_err(|error| CliError::failed(reason!("demo.source_not_made", directory, error)))?;
        say(if made { reason!("demo.source", directory) } else { reason!("demo.source_as_it_was", directory) });

        let path = RepositoryPath { namespace: NAMESPACE.into(), repository: REPOSITORY.into() };
        let settings = source::settings(client).await?;
        if !settings.namespaces.contains_key(NAMESPACE) {
            let value = Namespace { summary: "Samples that slipway demo builds".into(), ..Namespace::default() };
            source::save(client, Entity::Namespace { name: NAMESPACE.into(), value }, SaveMode::Apply).await?;
        }
        if !settings.repositories.contains_key(&path) {
            let value = Repository {
                summary: "The sample of slipway demo".into(),
                source: Some(Source { url: directory.display().to_string(), ..Source::default() }),
                rules: vec![Rule::starter(BRANCH)],
                ..Repository::default()
            };
            source::save(client, Entity::Repository { path: path.clone(), value }, SaveMode::Apply).await?;
        }
        say(reason!("demo.building", path));
        let request = Request::Start { path, rule: Some("main".into()) };
        let (queued, _) = client.queue(request).await?;
        if format == Format::Text && tui::has_terminal() {
            return dashboard(client, Some(queued.id)).await;
        }
        let build = follow::until_final(client, queued.id, 1, &Selection::default(), To::Stderr).await?;
        let state = build.state;
        let view = build_view::load(client, build.id).await?;
        print(format, &view, || match view.images.first() {
            Some(image) => {
                let (_, total) = crate::domain::step::progress(&view.steps);
                let cached = view.steps.iter().filter(|step| step.cached && !step.internal).count();
                let built = told(reason!("demo.built", id = view.id, state, cached, total));
                format!("{built}\n{}@{}", image.name, image.digest)
            }
            None => told(reason!("build.with_reason", id = view.id, state, reason = view.why)),
        })?;
        Ok(if state == BuildState::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Makes the sample's git repository unless it is there; says whether it was made.
fn make_source(directory: &Path, busybox: Option<&Path>) -> Result<bool, Box<dyn std::error::Error>> {
    if Git::open(directory).is_ok_and(|git| git.head().is_ok()) {
        return Ok(false);
    }
    fs::create_dir_all(directory)?;
    let base = match busybox {
        Some(busybox) => {
            let copy: PathBuf = directory.join("busybox");
            fs::copy(busybox, &copy)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox --install -s /bin\"]\n"
        }
        None => "FROM docker.io/library/busybox:stable\n",
    };
    fs::write(directory.join("Dockerfile"), format!("{base}{STEPS}"))?;
    fs::write(directory.join("greeting.txt"), "Hello from slipway.\n")?;
    let git = Git::init_opts(directory, RepositoryInitOptions::new().initial_head(BRANCH))?;
    let mut index = git.index()?;
    index.add_all(["."], IndexAddOption::DEFAULT, None)?;
    index.write()?;
    let tree = git.find_tree(index.write_tree()?)?;
    let who = Signature::now("slipway demo", "demo@localhost")?;
    git.commit(Some("HEAD"), &who, &who, "A greeting", &tree, &[])?;
    Ok(true)
}
