//! `slipway platform login`: a person enters a code in a browser, on any machine, and the platform gives the pool a token.

use chrono::Utc;

use super::super::output::{print, say};
use super::super::{CliError, Format, source};
use super::check::Who;
use crate::client::Client;
use crate::domain::reason::{quoted, reason};
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Entity, SaveMode};

pub(super) async fn run(client: &Client, value: SourcePlatform, name: String, format: Format) -> Result<(), CliError> {
    let invitation = client.begin_login(name.clone()).await?;
    let minutes = invitation.holds.as_secs() / 60;
    say(reason!("platform.enter_code", address = invitation.address, code = invitation.code, minutes));
    client.finish_login(invitation.login).await?;
    // As it is by now: people take minutes.
    let value = source::settings(client).await?.platforms.remove(&name).unwrap_or(value);
    let login = Some(invitation.login);
    let entity = Entity::Platform { name: name.clone(), value, token: None, webhook_secret: None, login };
    source::save(client, entity, SaveMode::Edit).await?;
    let identity: Who = client.check_platform(name.clone()).await?.into();
    say(reason!("platform.token_kept", name = quoted(&name)));
    print(format, &identity, || identity.text(Utc::now()))
}
