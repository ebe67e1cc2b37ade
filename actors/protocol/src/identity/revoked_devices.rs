//! What is known of an account's revocations: the union of its lists (`spec: identity 7`).
//!
//! ```text
//!   lists found at the account id ──offer──▶ RevokedDevices ──check──▶ a device that still exists
//!                                  signature, anything new?
//! ```
//!
//! A number on a list starts at random and may be negative, so it does not say which list is newer.
//! The entries do: whatever the account has revoked once stays revoked, and an older list that is
//! shown again adds nothing.

use std::collections::BTreeSet;

use super::chain::{ChainError, VerifiedChain};
use super::revocation::RevocationList;
use crate::keys::PublicKey;

/// Lists kept of one account. An account has one that accumulates all entries; more than one only
/// where archives were used apart from each other.
pub const MAX_LISTS_EACH: usize = 4;

/// Why a list was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListRefused {
    /// Signed by somebody else; anybody may put such a list at the account id.
    #[error("the revocation list is not signed by the account")]
    Forged,
    /// The account has signed [`MAX_LISTS_EACH`] lists, none of which contains another.
    #[error("the account has {MAX_LISTS_EACH} separate revocation lists already")]
    TooMany,
}

/// The certificates that an account has withdrawn, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedDevices {
    key: PublicKey,
    lists: Vec<RevocationList>,
    /// The serial numbers on all lists, as content bytes.
    serials: BTreeSet<Vec<u8>>,
}

impl RevokedDevices {
    /// None yet, of the account with this key.
    #[must_use]
    pub const fn new(key: PublicKey) -> Self {
        Self { key, lists: Vec::new(), serials: BTreeSet::new() }
    }

    /// The account's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The lists behind it, every one signed by the account.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Takes a list in; says whether it revokes anything that was not revoked before. Lists whose
    /// entries it contains are dropped, and it is not kept itself when it says nothing new.
    ///
    /// # Errors
    /// [`ListRefused`]; nothing has changed then.
    pub fn offer(&mut self, list: RevocationList) -> Result<bool, ListRefused> {
        if list.serials().all(|serial| self.serials.contains(serial)) {
            return Ok(false);
        }
        if !list.is_signed_with(&self.key) {
            return Err(ListRefused::Forged);
        }
        let added: BTreeSet<&[u8]> = list.serials().collect();
        let contained = |kept: &RevocationList| kept.serials().all(|serial| added.contains(serial));
        if self.lists.iter().filter(|kept| !contained(kept)).count() >= MAX_LISTS_EACH {
            return Err(ListRefused::TooMany);
        }
        self.lists.retain(|kept| !contained(kept));
        self.serials.extend(added.into_iter().map(<[u8]>::to_vec));
        self.lists.push(list);
        Ok(true)
    }

    /// Whether the account has revoked its certificate with this serial number (content bytes).
    #[must_use]
    pub fn names(&self, serial: &[u8]) -> bool {
        self.serials.contains(serial)
    }

    /// Refuses the chain of a device that its account has revoked. Chains of other accounts pass.
    ///
    /// # Errors
    /// [`ChainError::Revoked`].
    pub fn check(&self, chain: &VerifiedChain) -> Result<(), ChainError> {
        if *chain.account().public_key() == self.key && self.names(chain.device().serial()) {
            return Err(ChainError::Revoked { position: 0 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::Certificate;
    use super::super::chain::Chain;
    use super::super::testing::{CHAIN_B, RECORDED, account_key_b, data, device_key_b};
    use super::*;

    fn chain_b() -> Chain {
        Chain::parse(CHAIN_B).unwrap()
    }

    fn certificates() -> Vec<Certificate> {
        [
            data!("vectors/jami-13.7.0/accounts/alice/ring_device.crt"),
            data!("vectors/jami-13.7.0/accounts/bob/ring_device.crt"),
            data!("vectors/jami-13.11.0/accounts/alice/ring_device.crt"),
            data!("vectors/jami-13.11.0/accounts/bob/ring_device.crt"),
            data!("vectors/newest/accounts/alice/ring_device.crt"),
        ]
        .map(|pem| Chain::parse(pem).unwrap().leaf().clone())
        .into()
    }

    /// A list of account B that adds `revoked` to what `previous` has.
    fn list(previous: Option<&RevocationList>, revoked: &Certificate) -> RevocationList {
        let account = &chain_b().issuers()[0].clone();
        RevocationList::revoke(account, &account_key_b(), previous, revoked, RECORDED, 8).unwrap()
    }

    fn none() -> RevokedDevices {
        RevokedDevices::new(account_key_b().public().clone())
    }

    #[test]
    fn a_device_on_a_list_of_its_account_is_refused_and_others_pass() {
        let device = chain_b().verify(RECORDED).unwrap();
        let stranger = Chain::parse(data!("vectors/newest/accounts/bob/ring_device.crt")).unwrap();
        let stranger = stranger.verify(RECORDED).unwrap();
        let mut known = none();
        assert_eq!(known.check(&device), Ok(()));
        assert_eq!(known.offer(list(None, device.device())), Ok(true));
        assert_eq!(known.check(&device), Err(ChainError::Revoked { position: 0 }));
        // Serial numbers are those of one account.
        let mut named = none();
        named.offer(list(None, stranger.device())).unwrap();
        assert_eq!(named.check(&stranger), Ok(()));
    }

    #[test]
    fn an_older_list_shown_again_takes_nothing_back() {
        let [one, two, ..] = &certificates()[..] else { unreachable!() };
        let older = list(None, one);
        let newer = list(Some(&older), two);
        let mut known = none();
        assert_eq!(known.offer(older.clone()), Ok(true));
        assert_eq!(known.offer(newer.clone()), Ok(true));
        assert_eq!(known.lists(), std::slice::from_ref(&newer), "the older list is contained in the newer");
        for again in [older, newer.clone()] {
            assert_eq!(known.offer(again), Ok(false));
        }
        assert_eq!(known.lists(), [newer]);
        assert!(known.names(one.serial()) && known.names(two.serial()));
    }

    #[test]
    fn a_list_of_another_signer_is_refused() {
        let mut der = list(None, chain_b().leaf()).der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let recorded = RevocationList::from_der(data!("spec/identity/crl.der")).unwrap();
        let mut known = none();
        for forged in [RevocationList::from_der(&der).unwrap(), recorded] {
            assert_eq!(known.offer(forged), Err(ListRefused::Forged));
        }
        assert_eq!(known, none());
        let mut of_another = RevokedDevices::new(device_key_b().public().clone());
        assert_eq!(of_another.offer(list(None, chain_b().leaf())), Err(ListRefused::Forged));
    }

    #[test]
    fn lists_made_apart_from_each_other_are_joined_up_to_a_limit() {
        let certificates = certificates();
        let mut known = none();
        for certificate in &certificates[..MAX_LISTS_EACH] {
            assert_eq!(known.offer(list(None, certificate)), Ok(true));
        }
        assert_eq!(known.lists().len(), MAX_LISTS_EACH);
        let one_more = &certificates[MAX_LISTS_EACH];
        assert_eq!(known.offer(list(None, one_more)), Err(ListRefused::TooMany));
        // One that continues a kept list takes its place.
        let continued = list(Some(&list(None, &certificates[0])), one_more);
        assert_eq!(known.offer(continued), Ok(true));
        assert_eq!(known.lists().len(), MAX_LISTS_EACH);
        assert!(certificates.iter().all(|certificate| known.names(certificate.serial())));
    }
}
