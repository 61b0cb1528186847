//! What is in front of everything and takes the keys.

use crossterm::event::{KeyCode, KeyEvent};

use super::effect::Purpose;
use super::form::Form;
use super::popup::{Help, Messages, Palette};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::tag_history::TagEvent;
use crate::lang::Lang;
use crate::protocol::Request;
use crate::sys::secret::Secret;
use crate::tui::keymap::Action;

/// What is in front of everything.
pub enum Modal {
    /// The keys and what they do.
    Help(Help),
    /// Every action and thing by name.
    Palette(Palette<Target>),
    /// The messages so far.
    Messages(Messages),
    /// A question whose default is No.
    Confirm(Confirm),
    /// What can be copied.
    Copy(Vec<CopyItem>),
    /// A form.
    Form(Box<Form>),
    /// The refs that a rule may be replayed for.
    Replay(Box<Replay>),
    /// The rules that may be replayed for the ref of a push.
    ReplayPush(Box<ReplayPush>),
    /// What a tag named when.
    TagHistory(Box<TagHistory>),
    /// A new secret, which is shown once.
    NewSecret(Box<NewSecret>),
}

/// A rule is to be replayed for a ref of its source.
pub struct Replay {
    /// The repository.
    pub path: RepositoryPath,
    /// The rule.
    pub rule: String,
    /// The repository's source, which the refs are asked of.
    pub source: Source,
    /// The refs to choose from, or why there are none; none: they are asked for.
    pub refs: Option<Result<Palette<Ref>, Reason>>,
}

/// A rule is to be chosen, and replayed for the ref of a push.
pub struct ReplayPush {
    /// The repository.
    pub path: RepositoryPath,
    /// The ref.
    pub reference: Ref,
    /// The rules that the ref is one of.
    pub rules: Palette<String>,
}

/// The history of a tag, of which an image may be chosen that the tag is to name again.
pub struct TagHistory {
    /// The repository.
    pub path: RepositoryPath,
    /// The tag.
    pub tag: String,
    /// The events, the newest first, or why there are none; none: they are asked for.
    pub events: Option<Result<Palette<TagEvent>, Reason>>,
}

/// A secret that was made for the webhooks of a platform.
pub struct NewSecret {
    /// The platform.
    pub platform: String,
    /// The secret.
    pub secret: Secret,
}

/// What the palette can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Do this.
    Action(Action),
    /// Go to this namespace.
    Namespace(String),
    /// Go to this repository.
    Repository(RepositoryPath),
    /// Go to this rule.
    Rule(RepositoryPath, String),
    /// Go to this build.
    Build(BuildId),
    /// Look like this.
    Theme(String),
    /// Speak this language.
    Lang(Lang),
}

/// A question; only `y` means yes.
#[derive(Debug)]
pub struct Confirm {
    /// What is asked, with the name of the thing.
    pub question: String,
    /// What the pool is asked for when the answer is yes, and what each of its answers is for.
    pub requests: Vec<(Request, Purpose)>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// Anything else that ends it.
    No,
    /// Not yet one of both.
    Waits,
}

impl Confirm {
    /// What a key answers.
    pub fn answer(key: KeyEvent) -> Answer {
        match key.code {
            KeyCode::Char('y' | 'Y' | '\u{ff59}') => Answer::Yes,
            KeyCode::Char('n' | 'N' | 'q' | '\u{ff4e}') | KeyCode::Esc | KeyCode::Enter => Answer::No,
            _ => Answer::Waits,
        }
    }
}

/// Something that can be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyItem {
    /// Its key.
    pub key: char,
    /// What it is.
    pub label: String,
    /// What is copied; none: the line or the selection of the log.
    pub text: Option<String>,
}
