//! What something is, for its looks.

macro_rules! roles {
    ($($role:ident $name:literal $text:literal,)*) => {
        /// What something is, for its looks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Role {
            $(#[doc = $text] $role,)*
        }

        impl Role {
            /// All of them.
            pub const ALL: &[Role] = &[$(Role::$role,)*];

            /// As a theme's file has it.
            pub fn name(self) -> &'static str {
                match self { $(Role::$role => $name,)* }
            }
        }
    };
}

roles! {
    Text "text" "Ordinary text.",
    Muted "text.muted" "Text that matters less.",
    Strong "text.strong" "Text that matters more.",
    Border "border" "The border of a pane.",
    BorderFocus "border.focus" "The border of the pane that has the focus.",
    Title "title" "The title of a pane.",
    TitleFocus "title.focus" "The title of the pane that has the focus.",
    Header "header" "The header of a table.",
    Selection "selection" "The selected row of the pane that has the focus.",
    SelectionElsewhere "selection.elsewhere" "The selected row of another pane.",
    Marked "marked" "A marked row or line.",
    Bar "bar" "The bar in the first row.",
    Key "key" "A key in a hint.",
    KeyText "key.text" "What the key does.",
    StatusOk "status.ok" "A state that is well.",
    StatusFail "status.fail" "A state that is not.",
    StatusRun "status.run" "A state of work.",
    StatusWait "status.wait" "A state of waiting.",
    StatusStopped "status.stopped" "A state that somebody chose: cancelled, superseded.",
    StatusWarn "status.warn" "Something that asks for attention.",
    StatusCached "status.cached" "What came from the cache.",
    LogText "log" "A line of a log.",
    LogStderr "log.stderr" "A line of a log that came from standard error.",
    LogStep "log.step" "A step's line in a log.",
    LogTime "log.time" "A time in a log.",
    LogError "log.error" "A line of a log with an error in it.",
    LogWarning "log.warning" "A line of a log with a warning in it.",
    Match "match" "What a search found.",
    Popup "popup" "The text of a popup.",
    PopupBorder "popup.border" "The border of a popup.",
    Backdrop "backdrop" "What is behind a popup.",
    Field "field" "A field of a form.",
    FieldFocus "field.focus" "The field that has the focus.",
    FieldError "field.error" "What is wrong with a field.",
    FieldNote "field.note" "What to know of a field.",
    DiffAdded "diff.added" "A line that a change adds.",
    DiffRemoved "diff.removed" "A line that a change takes away.",
    ToastInfo "toast" "A message.",
    ToastError "toast.error" "A message of something that went wrong.",
    Scrollbar "scrollbar" "The scroll bar.",
}
