//! What BuildKit says of a Dockerfile without building it: its targets, its build arguments, what its linter finds.

use serde::{Deserialize, Serialize};

/// What a Dockerfile offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The stages that have names, in the file's order.
    pub targets: Vec<Target>,
    /// The build arguments that the target takes.
    pub args: Vec<BuildArg>,
    /// What the linter finds.
    pub warnings: Vec<LintWarning>,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What the comment above it says of it, or "".
    pub description: String,
    /// It is what is built where no target is named.
    pub default: bool,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildArg {
    /// Its name.
    pub name: String,
    /// Its value where none is given, or "".
    pub value: String,
    /// What the comment above it says of it, or "".
    pub description: String,
}

/// One finding of BuildKit's linter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintWarning {
    /// The linter's rule, such as `StageNameCasing`.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// The line of the Dockerfile, counted from 1; none where it is about the whole file.
    pub line: Option<u32>,
}
