//! How a person looks at a log: each part is changed without regard to the others.

use std::collections::BTreeSet;

use super::lens::Lens;
use crate::log::scan::Search;

/// How times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Times {
    /// Not at all.
    Off,
    /// Seconds since the step began.
    #[default]
    Relative,
    /// The time of the day.
    Absolute,
}

/// What is beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// The steps with their times.
    Table,
    /// The steps along the time.
    Timeline,
}

/// How a person looks at the log: each part is changed without regard to the others.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// The first line on the screen.
    pub top: u64,
    /// The line that the keys are about.
    pub cursor: u64,
    /// The end stays on the screen while the log grows.
    pub following: bool,
    /// Columns that are scrolled off at the left.
    pub left: usize,
    /// Long lines go on in the next row.
    pub wrap: bool,
    pub times: Times,
    /// Step numbers are not shown.
    pub no_numbers: bool,
    pub lens: Lens,
    /// What is searched for, as it was typed.
    pub search: Option<(String, Search)>,
    pub marks: BTreeSet<u64>,
    /// Where a selection of lines began.
    pub selected_from: Option<u64>,
    pub beside: Beside,
    /// The error card is in the place of the log.
    pub card: bool,
}

/// What a text is being typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To find lines.
    Search,
    /// To see no others.
    Filter,
    /// To see one step.
    Step,
}
