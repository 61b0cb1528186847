//! A form: its pages, and what is known of what they say.

use ratatui::layout::Position;

use super::content;
use super::field::{Field, Value};
use super::kind::Kind;
use super::page::Page;
use super::picker::Picker;
use super::platform;
use crate::domain::outline::Outline;
use crate::domain::preview::PreviewRow;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::tui::effect::FormId;
use crate::tui::widget::input::Input;

/// A form.
#[derive(Debug, Clone)]
pub struct Form {
    /// Tells it from other forms in what it asks.
    pub id: FormId,
    /// What it is for.
    pub kind: Kind,
    /// Its pages.
    pub pages: Vec<Page>,
    /// Which page is shown.
    pub page: usize,
    /// Which of its fields has the focus.
    pub focus: usize,
    /// What else is wrong, and what the pool said.
    pub error: Option<Reason>,
    /// The change to the TOML, once it is to be saved; none: the fields are shown.
    pub diff: Option<String>,
    /// What to know before the change is saved.
    pub(super) warnings: Vec<Reason>,
    /// The rule that a new repository starts with, as the change has it.
    pub(super) starter: Option<Rule>,
    /// What saving would change is being worked out, or it is being saved.
    pub saving: bool,
    /// Something was typed.
    pub touched: bool,
    /// A rule's source, which its refs are asked of.
    pub source: Option<Source>,
    /// The refs of a rule's source.
    pub refs: Refs,
    /// What the rule makes of the refs.
    pub preview: Vec<PreviewRow>,
    /// What stands beside the fields has the whole form, and the keys.
    pub shows_beside: bool,
    /// Errors are shown of fields that nobody has come to yet.
    pub tried: bool,
    pub(super) offered: Offered,
    pub(super) picker: Option<Box<Picker>>,
    pub(super) offset: usize,
    pub(super) beside_offset: usize,
    /// How many rows of what is scrolled the screen held last.
    pub(super) page_rows: usize,
    /// What the fields say of refs and versions is whole.
    pub(super) makes_tags: bool,
    pub(super) cursor: Option<Position>,
}

/// The refs of a rule's source.
#[derive(Debug, Clone, Default)]
pub enum Refs {
    /// There is no source to ask.
    #[default]
    None,
    /// They are asked for.
    Asked,
    /// They are there.
    There(Vec<(Ref, CommitId)>),
    /// Why they can't be had.
    Failed(Reason),
}

/// What is known of the Dockerfile.
#[derive(Debug, Clone, Default)]
pub(super) struct Offered {
    /// What the answer is for; none before anything was asked.
    pub(super) question: Option<String>,
    /// None while the answer is awaited.
    pub(super) answer: Option<Result<Outline, Reason>>,
}

impl Form {
    /// A form whose fields are checked from the start.
    pub(super) fn with(kind: Kind, pages: Vec<Page>) -> Form {
        let mut form = Form {
            id: FormId::default(),
            kind,
            pages,
            page: 0,
            focus: 0,
            error: None,
            diff: None,
            warnings: Vec::new(),
            saving: false,
            starter: None,
            touched: false,
            source: None,
            refs: Refs::None,
            preview: Vec::new(),
            shows_beside: false,
            tried: false,
            offered: Offered::default(),
            picker: None,
            offset: 0,
            beside_offset: 0,
            page_rows: 1,
            makes_tags: true,
            cursor: None,
        };
        form.mask_secrets();
        form.check();
        form
    }

    pub(super) fn focused(&mut self) -> Option<&mut Field> {
        self.pages.get_mut(self.page)?.fields.get_mut(self.focus)
    }

    /// A secret is not shown where it is typed, and what was typed unseen is never taken for a name or a command.
    pub(super) fn mask_secrets(&mut self) {
        for [from, text] in platform::SECRETS {
            let masked = platform::is_masked(&self.pages, from);
            for field in self.pages.iter_mut().flat_map(|page| &mut page.fields).filter(|field| field.key == text) {
                if let Value::Text(input) = &mut field.value
                    && input.is_masked() != masked
                {
                    **input = Input::new("");
                    input.set_masked(masked);
                }
            }
        }
    }

    /// What the fields say is checked; errors stand beside the fields.
    pub(super) fn check(&mut self) {
        let (_, problems) = content::read(&self.kind, &self.pages);
        for field in self.pages.iter_mut().flat_map(|page| &mut page.fields) {
            let found = problems.iter().find(|(key, number, _)| key == field.key && *number == field.number);
            field.error = found.map(|(_, _, why)| why.clone());
        }
    }

    pub(super) fn go_to_page(&mut self, page: usize) {
        self.page = page.min(self.pages.len() - 1);
        self.focus = 0;
        self.offset = 0;
    }

    /// Whether it is not there yet, what the form is about.
    pub(super) fn is_new(&self) -> bool {
        match &self.kind {
            Kind::Namespace { name, .. } | Kind::Builder { name, .. } | Kind::Platform { name, .. } => name.is_none(),
            Kind::Repository { path, .. } => path.is_none(),
            Kind::Rule { is_new, .. } => *is_new,
            Kind::Delete { .. } => false,
        }
    }

    /// What the form is about: a draft of one form is no draft of another.
    pub fn identity(&self) -> String {
        match &self.kind {
            Kind::Namespace { name, .. } => format!("namespace {name:?}"),
            Kind::Repository { path, .. } => format!("repository {path:?}"),
            Kind::Rule { path, base, is_new, .. } => format!("rule {path} {:?} {is_new}", base.name),
            Kind::Builder { name, .. } => format!("builder {name:?}"),
            Kind::Platform { name, .. } => format!("platform {name:?}"),
            Kind::Delete { name, .. } => format!("delete {name}"),
        }
    }
}
