//! Looks for the tags of a build in its registry, before any work: those of immutable repositories are never
//! overwritten.

use crate::domain::name::RepositoryPath;
use crate::domain::reason::Reason;
use crate::pool::core::{Event, SubmissionId, TagCheckFailure};
use crate::pool::tasks::{TaskContext, record_reader};
use crate::registry::Kind;
use crate::registry::publish::{self, PublishError, Taken};
use crate::services::registries::{self, RegistriesError};
use crate::store::settings::Settings;

/// Looks for tags, and reports those that are there.
pub(in crate::pool) async fn check(
    context: TaskContext,
    submission: SubmissionId,
    path: RepositoryPath,
    registry: String,
    tags: Vec<String>,
) {
    let settings = context.settings();
    let mut result = look(&context, &settings, &path, &registry, tags).await;
    if let Err(TagCheckFailure::Forbidden { published, .. }) = &mut result {
        *published = record_reader::has_published(&context, &path).await;
    }
    context.report(Event::TagsChecked { submission, result });
}

async fn look(
    context: &TaskContext,
    settings: &Settings,
    path: &RepositoryPath,
    registry: &str,
    tags: Vec<String>,
) -> Result<Vec<Taken>, TagCheckFailure> {
    let target = registries::open(&context.home, settings, registry, path).await.map_err(of_registries)?;
    registries::on_own_thread(async move || publish::check(&target, &tags, true).await).await.map_err(of_publish)
}

fn of_registries(error: RegistriesError) -> TagCheckFailure {
    let why = Reason::from(&error);
    match error {
        RegistriesError::Denied(_) => TagCheckFailure::Denied(why),
        RegistriesError::Registry(error) => of_kind(&error.kind, why),
        RegistriesError::Reference(_)
        | RegistriesError::Credentials(_)
        | RegistriesError::Docker { .. }
        | RegistriesError::Password { .. } => TagCheckFailure::Lasting(why),
    }
}

fn of_publish(error: PublishError) -> TagCheckFailure {
    let why = Reason::from(&error);
    match error {
        PublishError::Registry(error) => of_kind(&error.kind, why),
        // A directory of this machine that can't be read: the disk comes back.
        _ => TagCheckFailure::Passing(why),
    }
}

fn of_kind(kind: &Kind, why: Reason) -> TagCheckFailure {
    match kind {
        Kind::Credentials { .. } => TagCheckFailure::Forbidden { why, published: true },
        // A certificate that is not trusted, or TLS spoken to plain http, stays so.
        Kind::Network(error) if !error.is_passing() => TagCheckFailure::Lasting(why),
        kind if kind.is_transient() => TagCheckFailure::Passing(why),
        Kind::NotFound | Kind::Network(_) | Kind::Refused { .. } | Kind::Unusable(_) => TagCheckFailure::Lasting(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{NetworkError, NetworkFault};

    #[test]
    fn what_will_not_pass_is_an_answer_and_what_will_is_waited_for() {
        let of = |kind: Kind| of_kind(&kind, Reason::default());
        let refused = |status| Kind::Refused { status: Some(status), message: Reason::default() };
        let forbidden = Kind::Credentials { status: 403, user: None, message: Reason::default() };
        assert!(matches!(of(forbidden), TagCheckFailure::Forbidden { .. }));
        let network = |fault| Kind::Network(NetworkError { fault, why: Reason::default() });
        assert!(matches!(of(network(NetworkFault::Connection)), TagCheckFailure::Passing(_)));
        assert!(matches!(of(refused(503)), TagCheckFailure::Passing(_)));
        assert!(matches!(of(refused(405)), TagCheckFailure::Lasting(_)));
        assert!(matches!(of(network(NetworkFault::Certificate)), TagCheckFailure::Lasting(_)));
        assert!(matches!(of(network(NetworkFault::PlainHttp)), TagCheckFailure::Lasting(_)));
    }
}
