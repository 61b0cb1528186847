//! The actions: what a person can tell the dashboard to do. The names are what `[keys]` of config.toml says.

/// Where an action is at hand. A pane's own keys come before those of lists, and those before the global ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere but in text.
    Global,
    /// In every pane that is a list.
    List,
    /// Where a build is selected or shown: in the list of builds and in the log.
    Build,
    /// In the list of platforms.
    Platform,
    /// In the list of tags.
    Tag,
    /// In the log.
    Log,
}

impl Scope {
    /// All of them, in the order of the help.
    pub const ALL: [Scope; 6] = [Scope::Log, Scope::Build, Scope::Platform, Scope::Tag, Scope::List, Scope::Global];

    /// Whether there is a pane where both are at hand: in the log no list's keys are.
    pub fn meets(self, other: Scope) -> bool {
        let is_elsewhere = |one: Scope, other: Scope| match one {
            Scope::Log => other == Scope::List,
            Scope::Tag => matches!(other, Scope::Log | Scope::Build | Scope::Platform),
            _ => false,
        };
        !is_elsewhere(self, other) && !is_elsewhere(other, self)
    }

    /// Its name among the texts.
    pub fn text_key(self) -> &'static str {
        match self {
            Scope::Global => "scope.global",
            Scope::List => "scope.list",
            Scope::Build => "scope.build",
            Scope::Platform => "scope.platform",
            Scope::Tag => "scope.tag",
            Scope::Log => "scope.log",
        }
    }
}

impl Action {
    /// Whether it does something to the row that is selected.
    pub fn is_for_a_row(self) -> bool {
        match self.scope() {
            Scope::Build | Scope::Platform | Scope::Tag => true,
            Scope::List => !matches!(self, Action::Add | Action::UndoDelete | Action::SortNext | Action::SortReverse),
            Scope::Global => matches!(self, Action::Open | Action::Copy | Action::Details),
            Scope::Log => false,
        }
    }
}

macro_rules! actions {
    ($($scope:ident { $($action:ident $name:literal [$keys:literal] $text:literal,)* })*) => {
        /// What a person can tell the dashboard to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action {
            $($(#[doc = $text] $action,)*)*
        }

        impl Action {
            /// All of them, in the order of the help.
            pub const ALL: &[Action] = &[$($(Action::$action,)*)*];

            /// As `[keys]` of config.toml has it.
            pub fn name(self) -> &'static str {
                match self { $($(Action::$action => $name,)*)* }
            }

            /// Where it is at hand.
            pub fn scope(self) -> Scope {
                match self { $($(Action::$action => Scope::$scope,)*)* }
            }

            /// What it does, in English; every language is among the texts.
            pub fn english(self) -> &'static str {
                match self { $($(Action::$action => $text,)*)* }
            }

            /// Its keys unless config.toml says otherwise, with blanks between them.
            pub fn default_keys(self) -> &'static str {
                match self { $($(Action::$action => $keys,)*)* }
            }
        }
    };
}

actions! {
    Global {
        FocusNamespaces "focus_namespaces" ["1"] "Go to the namespaces",
        FocusRepositories "focus_repositories" ["2"] "Go to the repositories",
        FocusRules "focus_rules" ["3"] "Go to the rules",
        FocusBuilds "focus_builds" ["4"] "Go to the builds",
        FocusLog "focus_log" ["5"] "Go to the log",
        FocusTags "focus_tags" ["6"] "Go to the tags",
        FocusBuilders "focus_builders" ["7"] "Go to the builders",
        FocusPushes "focus_pushes" ["8"] "Go to the pushes",
        FocusPlatforms "focus_platforms" ["9"] "Go to the platforms",
        NextPane "next_pane" ["tab"] "Next pane",
        PreviousPane "previous_pane" ["shift-tab"] "Previous pane",
        Down "down" ["j down"] "Down",
        Up "up" ["k up"] "Up",
        Top "top" ["g home"] "To the top",
        Bottom "bottom" ["G end"] "To the bottom",
        HalfPageDown "half_page_down" ["ctrl-d"] "Half a page down",
        HalfPageUp "half_page_up" ["ctrl-u"] "Half a page up",
        PageDown "page_down" ["pagedown"] "A page down",
        PageUp "page_up" ["pageup"] "A page up",
        Out "out" ["h left"] "Out to the pane before; in the log: scroll left",
        In "in" ["l right"] "Into the pane after; in the log: scroll right",
        Open "open" ["enter"] "Open",
        Back "back" ["esc"] "Back one step",
        Search "search" ["/"] "Search; in a list: filter",
        NextMatch "next_match" ["n"] "Next match",
        PreviousMatch "previous_match" ["N"] "Previous match",
        Palette "palette" [":"] "Every action and thing by name",
        Help "help" ["? f1"] "Help",
        Zoom "zoom" ["z +"] "One pane on the whole screen, and back",
        Copy "copy" ["y"] "Copy",
        Details "details" ["i"] "Details of what is selected, in the place of the log",
        Messages "messages" ["M"] "The messages so far",
        Refresh "refresh" ["R"] "Read everything again",
        Redraw "redraw" ["ctrl-l"] "Draw the screen again",
        NextTheme "next_theme" [""] "Next theme",
        SwitchLanguage "switch_language" [""] "Switch the language",
        ToggleMouse "toggle_mouse" [""] "Mouse on or off",
        Quit "quit" ["q"] "Back; at the root: leave, builds go on",
        Interrupt "interrupt" ["ctrl-c"] "Leave what is open; twice: leave slipway",
        Suspend "suspend" ["ctrl-z"] "Suspend; fg resumes",
    }
    List {
        Add "add" ["a"] "Add",
        Edit "edit" ["e"] "Edit in a form",
        EditToml "edit_toml" ["E"] "Edit the TOML in $EDITOR",
        Delete "delete" ["X"] "Delete; asks",
        UndoDelete "undo_delete" ["u"] "Undo the last delete",
        SortNext "sort_next" ["s"] "Sort by the next column",
        SortReverse "sort_reverse" ["S"] "Sort the other way round",
        BuildNow "build_now" ["b"] "Build now",
        Replay "replay" ["B"] "Replay: build a chosen ref",
    }
    Build {
        Cancel "cancel" ["x"] "Cancel; asks",
        Retry "retry" ["r"] "Build again",
        MarkBuild "mark_build" ["space"] "Mark the build; cancel and build again take all marked",
        Pager "pager" ["|"] "Log in $PAGER",
        Export "export" ["D"] "Write the log to a file",
    }
    Platform {
        CheckPlatform "check_platform" ["C"] "Ask the platform who its token is, what it may do, and when it ends",
    }
    Tag {
        TagHistory "tag_history" ["t"] "What the tag named when; enter moves it there, after a question",
    }
    Log {
        Follow "follow" ["f"] "Follow, or stop following",
        Wrap "wrap" ["w"] "Wrap long lines",
        Timestamps "timestamps" ["t"] "Times: off, relative, absolute",
        StepNumbers "step_numbers" ["#"] "Step numbers on or off",
        NextError "next_error" ["e"] "Next error",
        PreviousError "previous_error" ["E"] "Previous error",
        FirstError "first_error" ["!"] "First error",
        NextWarning "next_warning" ["W"] "Next warning",
        PreviousStep "previous_step" ["{ ["] "Previous step",
        NextStep "next_step" ["} ]"] "Next step",
        Fold "fold" ["o"] "Fold or unfold the step",
        FoldAll "fold_all" ["O"] "Fold or unfold all finished steps",
        PickStep "pick_step" ["s"] "Pick a step",
        Filter "filter" ["&"] "Only the lines that match",
        StepTable "step_table" ["T"] "Steps with their times",
        Timeline "timeline" ["L"] "Steps along the time",
        Mark "mark" ["m"] "Mark the line",
        NextMark "next_mark" ["'"] "Next marked line",
        Select "select" ["v"] "Select lines",
        ErrorCard "error_card" ["c"] "The error card, or the log",
        EarlierAttempt "earlier_attempt" ["<"] "The log of the attempt before",
        LaterAttempt "later_attempt" [">"] "The log of the attempt after",
    }
}
