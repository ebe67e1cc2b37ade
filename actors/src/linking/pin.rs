//! A new device that finds its account's archive under a PIN.

use std::path::Path;

use skep_protocol::identity::Archive;
use skep_protocol::ids::{DhtKey, LocalAccountId};
use skep_protocol::linking::{Pin, PinOutcome, PinSearch};

use super::DHT_DEADLINE;
use crate::account::identity::{self, Progress, Stage};
use crate::account::messages::{AccountError, Password};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::messages::{DhtMessage, Found};
use crate::supervision::{Environment, Port};

/// Whose work it is to open what is found: no account's yet.
const SHARE: Share = Share(0);

/// Makes a device of the account whose archive lies under a PIN. The archive gets the password that it
/// has elsewhere, too.
///
/// # Errors
/// [`AccountError::NothingUnderPin`], [`AccountError::InDht`] when no other node was reached, others when
/// the disk refuses or the node is too busy.
pub async fn import_by_pin(
    accounts: &Path,
    pin: Pin,
    password: Option<Password>,
    dht: &Port<DhtMessage>,
    environment: &Environment,
    pool: &BlockingPool,
    progress: Progress,
) -> Result<LocalAccountId, AccountError> {
    progress(Stage::Searching);
    let (now, secret) = (environment.wall(), password.clone().unwrap_or_default());
    let search = move || PinSearch::new(&pin, &secret.0, now);
    let search = pool.run(SHARE, Lane::Bulk, search).await??;
    let [one, other] = search.dht_keys();
    // Both at once: a search that finds nothing takes seconds.
    let found = tokio::join!(look(dht, one), look(dht, other));
    let open = move || open(search, [(one, found.0), (other, found.1)]);
    let archive = pool.run(SHARE, Lane::Bulk, open).await??;
    identity::add_device(accounts, archive, password, environment, pool, progress).await
}

async fn look(dht: &Port<DhtMessage>, key: DhtKey) -> Result<Found, AccountError> {
    Ok(dht.ask(DHT_DEADLINE, |reply| DhtMessage::Get { key, reply }).await??)
}

/// The first archive that opens.
fn open(
    mut search: PinSearch,
    found: [(DhtKey, Result<Found, AccountError>); 2],
) -> Result<Archive, AccountError> {
    let mut problem = AccountError::NothingUnderPin;
    for (key, found) in found {
        let was_reached = found.is_ok();
        match found {
            Ok(found) => {
                if let Some(archive) = found.values.iter().find_map(|value| search.found(key, value)) {
                    return Ok(archive);
                }
            }
            Err(error) => problem = error,
        }
        if search.ended(key, was_reached) == Some(PinOutcome::NotFound) {
            return Err(AccountError::NothingUnderPin);
        }
    }
    Err(problem)
}
