//! What platforms are told of a build: the status that they show beside a commit. Pure.

/// How a build stands, as platforms tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitState {
    /// It waits or runs.
    Pending,
    /// Its image is there.
    Success,
    /// It is at its end without an image, because of the commit.
    Failure,
    /// It is at its end without an image, for another reason.
    Error,
}

/// The status of one rule's build of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// How it stands.
    pub state: CommitState,
    /// Whose status it is, such as `slipway/acme/api/main`: a later one of the same name takes its place.
    pub context: String,
    /// One line with the build's number, at most 140 characters: GitHub's limit, the smallest.
    pub description: String,
}
