//! `slipway platform login`: a person enters a code in a browser, on any machine, and the platform gives slipway a token.

use chrono::Utc;

use super::super::output::{print, say};
use super::super::{CliError, Format, source};
use super::check::Who;
use crate::domain::reason::{quoted, reason};
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Entity, SaveMode};
use crate::services::{platforms, tokens};
use crate::store::Home;
use crate::store::settings::Settings;

pub(super) async fn run(
    home: &Home,
    settings: &Settings,
    value: SourcePlatform,
    name: String,
    format: Format,
) -> Result<(), CliError> {
    let (flow, invitation) = platforms::invite(settings, &name).await?;
    let minutes = invitation.holds.as_secs() / 60;
    say(reason!("cli_login.open_enter_code_holds", address = invitation.address, code = invitation.code, minutes));
    let tokens = platforms::logged_in(&flow, &invitation).await?;
    // As it is by now: people take minutes.
    let value = source::settings(home).platforms.get(&name).cloned().unwrap_or(value);
    let token = Some(tokens.token.expose().to_owned());
    let entity = Entity::Platform { name: name.clone(), value, token, webhook_secret: None };
    source::save(home, entity, SaveMode::Edit).await?;
    tokens::keep_renewal(home, &name, &tokens)?;
    let identity: Who = platforms::check(home, &source::settings(home), &name).await?.into();
    say(reason!("cli_login.token_platform_kept_under", name = quoted(&name)));
    print(format, &identity, || identity.text(Utc::now()))
}
