//! Images that need no base image: a Dockerfile from scratch with a static busybox.

use super::git_repo::GitRepo;
use super::tools;

/// A Dockerfile whose steps run in busybox's shell, for any platform whose busybox is in the context
/// (see [`add_busybox`]). Each of `steps` is a whole instruction.
pub fn dockerfile(steps: &[&str]) -> String {
    let head = "FROM scratch\nARG TARGETARCH\nCOPY busybox-${TARGETARCH} /bin/busybox\n\
                RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox --install -s /bin\"]\n";
    steps.iter().fold(head.to_owned(), |text, step| text + step + "\n")
}

/// Puts the busybox of this machine, and the one for arm64, into the repository.
pub fn add_busybox(repo: &GitRepo) {
    let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let arm64 = tools().join("arm64/busybox");
    let arm64 = std::fs::read(&arm64).unwrap_or_else(|error| panic!("{} ({error}): run tests/run", arm64.display()));
    repo.write_executable("busybox-arm64", arm64);
    repo.write_executable(&format!("busybox-{native}"), std::fs::read("/bin/busybox").unwrap());
}

impl GitRepo {
    /// A repository with one commit: busybox and a [`dockerfile`] with `steps`.
    pub fn with_dockerfile(steps: &[&str]) -> GitRepo {
        let repo = GitRepo::new();
        add_busybox(&repo);
        repo.write("Dockerfile", dockerfile(steps)).commit("An image");
        repo
    }
}
