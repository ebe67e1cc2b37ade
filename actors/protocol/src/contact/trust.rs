//! Whose devices may talk to us: contacts, bans and the chain behind a device (`spec: contacts 5`).

use std::collections::BTreeMap;

use crate::contact::list::{ContactList, Standing};
use crate::identity::{Chain, ChainError, RevocationList, VerifiedChain};
use crate::ids::AccountId;
use crate::time::UnixMillis;

/// Certificates with a status set by hand: these live in memory only.
pub const MAX_MANUAL_STATUSES: usize = 1024;

/// What is thought of a certificate, named by the short id of its key: a device's, an account's or
/// an authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustStatus {
    /// Nothing is known of it.
    Undefined,
    /// Its devices may talk to us.
    Allowed,
    /// Its devices are ignored.
    Banned,
}

/// Whom we listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Only those who are allowed.
    Known,
    /// Everybody who is not banned: for trust requests, and for connections if so configured.
    Public,
}

/// Why a device may not talk to us. It gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The device, its account or its authority is banned.
    #[error("certificate {certificate} in the chain of the device is banned")]
    Banned {
        /// Which one is.
        certificate: AccountId,
    },
    /// Nobody in its chain is allowed.
    #[error("the device belongs to a stranger")]
    Stranger,
    /// Its chain is broken or revoked.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Why a status was not set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The status of a contact follows from its record.
    #[error("{0} is a contact: add, remove or ban it instead")]
    IsContact(AccountId),
    /// [`MAX_MANUAL_STATUSES`] is reached.
    #[error("{MAX_MANUAL_STATUSES} certificates have a status set by hand already: clear some")]
    Full,
}

/// The statuses that do not follow from contacts.
#[derive(Clone, Debug)]
pub struct TrustTable {
    own: AccountId,
    /// The authority of our own account, if devices of the same organisation may connect.
    authority: Option<AccountId>,
    manual: BTreeMap<AccountId, TrustStatus>,
}

impl TrustTable {
    /// The table of the account `own`. `authority` is the one that issued our account certificate,
    /// when accounts of the same authority are to be allowed.
    #[must_use]
    pub fn new(own: AccountId, authority: Option<AccountId>) -> Self {
        Self { own, authority, manual: BTreeMap::new() }
    }

    /// What is thought of a certificate.
    #[must_use]
    pub fn status(&self, contacts: &ContactList, certificate: AccountId) -> TrustStatus {
        match contacts.standing(certificate) {
            Standing::Active { .. } => TrustStatus::Allowed,
            Standing::Banned => TrustStatus::Banned,
            _ if certificate == self.own => TrustStatus::Allowed,
            Standing::Removed => TrustStatus::Undefined,
            Standing::Unknown => match self.manual.get(&certificate) {
                Some(status) => *status,
                None if self.authority == Some(certificate) => TrustStatus::Allowed,
                None => TrustStatus::Undefined,
            },
        }
    }

    /// Sets a status by hand; [`TrustStatus::Undefined`] clears it.
    ///
    /// # Errors
    /// When the certificate is a contact's or too many are set.
    pub fn set(
        &mut self,
        contacts: &ContactList,
        certificate: AccountId,
        status: TrustStatus,
    ) -> Result<(), TrustError> {
        if contacts.get(certificate).is_some() {
            return Err(TrustError::IsContact(certificate));
        }
        if status == TrustStatus::Undefined {
            self.manual.remove(&certificate);
        } else if self.manual.len() >= MAX_MANUAL_STATUSES && !self.manual.contains_key(&certificate) {
            return Err(TrustError::Full);
        } else {
            self.manual.insert(certificate, status);
        }
        Ok(())
    }
}

/// Decides whether the device behind `chain` may talk to us. `status` is what
/// [`TrustTable::status`] says of a certificate; `revocations` are the lists known for the account.
///
/// # Errors
/// Why it may not; it gets no answer.
pub fn admit<'l>(
    chain: &Chain,
    status: impl Fn(AccountId) -> TrustStatus,
    audience: Audience,
    revocations: impl IntoIterator<Item = &'l RevocationList>,
    now: UnixMillis,
) -> Result<VerifiedChain, Denial> {
    let mut allowed = audience == Audience::Public;
    for certificate in chain.short_ids() {
        match status(certificate) {
            TrustStatus::Banned => return Err(Denial::Banned { certificate }),
            TrustStatus::Allowed => allowed = true,
            TrustStatus::Undefined => {}
        }
    }
    if !allowed {
        return Err(Denial::Stranger);
    }
    // The top of the chain is taken as it stands. That is what the public audience asks for, and
    // where somebody is allowed the signatures below prove that the device is his.
    let verified = chain.verify(now)?;
    verified.check_not_revoked(revocations)?;
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::tests::numbered;

    const OWN: AccountId = AccountId([0xaa; 20]);
    const PEER: AccountId = AccountId([1; 20]);
    const NOW: UnixMillis = UnixMillis(1_795_400_000_000);

    fn chain() -> Chain {
        let (_, value) = crate::dht::golden::certificates().pop().unwrap();
        Chain::parse(&value.content().unwrap().data).unwrap()
    }

    fn decide(chain: &Chain, audience: Audience, known: &[(AccountId, TrustStatus)]) -> Result<(), Denial> {
        let status =
            |id| known.iter().find(|(known, _)| *known == id).map_or(TrustStatus::Undefined, |k| k.1);
        admit(chain, status, audience, [], NOW).map(drop)
    }

    #[test]
    fn strangers_are_heard_in_public_only() {
        assert_eq!(decide(&chain(), Audience::Known, &[]), Err(Denial::Stranger));
        assert_eq!(decide(&chain(), Audience::Public, &[]), Ok(()));
    }

    #[test]
    fn whoever_is_allowed_in_the_chain_opens_and_whoever_is_banned_closes() {
        let chain = chain();
        let ids: Vec<_> = chain.short_ids().collect();
        assert_eq!(ids.len(), 3);
        for id in &ids {
            assert_eq!(decide(&chain, Audience::Known, &[(*id, TrustStatus::Allowed)]), Ok(()));
            for audience in [Audience::Known, Audience::Public] {
                let others = ids.iter().filter(|other| *other != id);
                let mut known: Vec<_> = others.map(|other| (*other, TrustStatus::Allowed)).collect();
                known.push((*id, TrustStatus::Banned));
                let denied = Err(Denial::Banned { certificate: *id });
                assert_eq!(decide(&chain, audience, &known), denied);
            }
        }
    }

    #[test]
    fn a_broken_chain_is_refused_whoever_is_allowed() {
        let whole = chain();
        let alone = Chain::new(whole.leaf().clone(), Vec::new()).unwrap();
        let allowed = [(whole.leaf().account_id(), TrustStatus::Allowed)];
        for known in [&allowed[..], &[]] {
            let denied = decide(&alone, Audience::Public, known);
            assert_eq!(denied, Err(Denial::Chain(ChainError::NoIssuer)));
        }
        let late = admit(&whole, |_| TrustStatus::Allowed, Audience::Public, [], UnixMillis(i64::MAX));
        assert!(matches!(late, Err(Denial::Chain(ChainError::Expired { .. }))));
    }

    #[test]
    fn statuses_follow_contacts_before_what_was_set_by_hand() {
        let mut contacts = ContactList::new(OWN);
        let authority = AccountId([9; 20]);
        let mut table = TrustTable::new(OWN, Some(authority));
        assert_eq!(table.status(&contacts, OWN), TrustStatus::Allowed);
        assert_eq!(table.status(&contacts, authority), TrustStatus::Allowed);
        assert_eq!(table.status(&contacts, PEER), TrustStatus::Undefined);

        table.set(&contacts, PEER, TrustStatus::Banned).unwrap();
        assert_eq!(table.status(&contacts, PEER), TrustStatus::Banned);
        contacts.add(UnixMillis(1), PEER, None, false).unwrap();
        assert_eq!(table.status(&contacts, PEER), TrustStatus::Allowed);
        let refused = table.set(&contacts, PEER, TrustStatus::Banned);
        assert_eq!(refused, Err(TrustError::IsContact(PEER)));
        contacts.remove(UnixMillis(2), PEER, false).unwrap();
        assert_eq!(table.status(&contacts, PEER), TrustStatus::Undefined);
        contacts.remove(UnixMillis(3), PEER, true).unwrap();
        assert_eq!(table.status(&contacts, PEER), TrustStatus::Banned);
    }

    #[test]
    fn statuses_set_by_hand_are_bounded_and_can_be_cleared() {
        let contacts = ContactList::new(OWN);
        let mut table = TrustTable::new(OWN, None);
        for number in 0..MAX_MANUAL_STATUSES {
            table.set(&contacts, numbered(number), TrustStatus::Banned).unwrap();
        }
        assert_eq!(table.set(&contacts, PEER, TrustStatus::Banned), Err(TrustError::Full));
        table.set(&contacts, numbered(0), TrustStatus::Undefined).unwrap();
        assert_eq!(table.set(&contacts, PEER, TrustStatus::Banned), Ok(()));
    }
}
