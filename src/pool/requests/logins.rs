//! Logins at platforms: a person enters a code in a browser, on any machine, and the platform gives the pool a token,
//! which never leaves it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::reason::reason;
use crate::protocol::platforms::{LoginId, LoginInvitation};
use crate::protocol::{Error, ErrorKind};
use crate::services::platforms;
use crate::source::platform::device::{DeviceFlow, Invitation, Tokens};
use crate::store::settings::Settings;

/// The most logins at once; the oldest gives way.
const MOST: usize = 16;

/// The logins that have begun and whose tokens are not kept yet.
#[derive(Default)]
pub(in crate::pool) struct Logins(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    logins: BTreeMap<LoginId, Login>,
}

enum Login {
    /// Nobody waits for it yet.
    Begun(String, Box<(DeviceFlow, Invitation)>),
    /// The person has entered the code of this platform's.
    Done(String, Tokens),
}

impl Logins {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a platform for a code.
    pub(super) async fn begin(&self, settings: &Settings, name: &str) -> Result<LoginInvitation, Error> {
        let (flow, invitation) = platforms::invite(settings, name).await?;
        let (address, code, holds) = (invitation.address.clone(), invitation.code.clone(), invitation.holds);
        let mut table = self.table();
        table.last += 1;
        let login = LoginId(table.last);
        table.logins.insert(login, Login::Begun(name.to_owned(), Box::new((flow, invitation))));
        if table.logins.len() > MOST {
            table.logins.pop_first();
        }
        Ok(LoginInvitation { login, address, code, holds })
    }

    /// Waits until a person has entered the code.
    pub(super) async fn finish(&self, login: LoginId) -> Result<(), Error> {
        let begun = self.table().logins.remove(&login);
        let (name, begun) = match begun {
            Some(Login::Begun(name, begun)) => (name, begun),
            _ => return Err(gone()),
        };
        let (flow, invitation) = *begun;
        let tokens = platforms::logged_in(&flow, &invitation).await?;
        self.table().logins.insert(login, Login::Done(name, tokens));
        Ok(())
    }

    /// The tokens of a login of a platform, once.
    pub(in crate::pool) fn take(&self, login: LoginId, platform: &str) -> Result<Tokens, Error> {
        match self.table().logins.remove(&login) {
            Some(Login::Done(name, tokens)) if name == platform => Ok(tokens),
            _ => Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, reason!("request.login_gone"))
}
