//! Where code comes from: the refs of git repositories, and checkouts of a commit.
