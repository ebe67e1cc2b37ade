//! Where a call of a conversation goes, and who may join one here (`spec: calls-in-swarm 4, 5.2, 5.3`).

use super::active::ActiveCall;
use super::address::{ANY, CallAddress, GroupAddress};
use super::hosted::HostedCalls;
use crate::ids::{AccountId, ConversationId, DeviceId};

/// What is to be done for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Call this device, and no other one.
    Join(GroupAddress),
    /// Take part in the conference with this id here; begin it if it is not there.
    Here(String),
}

/// Finds where a call goes: to the conference that is named; else to the latest that is going on; else to
/// the device that the conversation names for that; else it is hosted here, under `new_id`.
#[must_use]
pub fn place(
    own: (AccountId, DeviceId),
    address: &CallAddress,
    active: &[ActiveCall],
    default_host: Option<(AccountId, DeviceId)>,
    new_id: &str,
) -> Placed {
    let at = |conversation: &ConversationId, host, device, conference: &str| GroupAddress {
        conversation: *conversation,
        host,
        device,
        conference: conference.to_owned(),
    };
    let chosen = match address {
        CallAddress::Conference(address) => Some(address.clone()),
        CallAddress::Swarm(conversation) => match (active.last(), default_host) {
            (Some(call), _) => Some(at(conversation, call.host, call.device, &call.id)),
            (None, Some((host, device))) => Some(at(conversation, host, device, ANY)),
            (None, None) => None,
        },
    };
    match chosen {
        None => Placed::Here(new_id.to_owned()),
        Some(address) if (address.host, address.device) == own => {
            let id = if address.conference == ANY { new_id } else { &address.conference };
            Placed::Here(id.to_owned())
        }
        Some(address) => Placed::Join(address),
    }
}

/// What becomes of somebody who wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joining {
    /// Answer, and add the call to this conference.
    Admit(String),
    /// Answer, begin a conference with this id in which the owner takes no part, and announce it.
    Begin(String),
}

/// Why somebody may not join. The status is that of the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// Another account or device is meant, or we are not in the conversation.
    #[error("the conference is not here")]
    NotHere,
    /// Who asks is no member.
    #[error("who asks is no member of the conversation")]
    NoMember,
    /// It is not going on, and this device does not host for others.
    #[error("this device does not host calls for others")]
    NotHosting,
}

impl NotJoined {
    /// The status of the refusal.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NotHere => 404,
            Self::NoMember => 403,
            Self::NotHosting => 481,
        }
    }
}

/// Judges who wants to join. `member` says whether the account of the channel's certificate is a member now,
/// or nothing if we are not in that conversation; `call_id` is our id of the call. What it gives must be
/// carried out before the next is judged: so two that ask for any conference get into one.
///
/// # Errors
/// [`NotJoined`] when it is refused.
pub fn join(
    own: (AccountId, DeviceId),
    address: &GroupAddress,
    member: Option<bool>,
    hosted: &HostedCalls,
    active: &[ActiveCall],
    may_host: bool,
    call_id: &str,
) -> Result<Joining, NotJoined> {
    if (address.host, address.device) != own {
        return Err(NotJoined::NotHere);
    }
    match member {
        None => return Err(NotJoined::NotHere),
        Some(false) => return Err(NotJoined::NoMember),
        Some(true) => {}
    }
    let mut id = address.conference.as_str();
    if id == ANY {
        // Of those going on only one that is here can be joined here.
        let here = active.iter().find(|call| (call.host, call.device) == own && hosted.has(&call.id));
        id = here.map_or(call_id, |call| &call.id);
    }
    if hosted.has(id) {
        Ok(Joining::Admit(id.to_owned()))
    } else if may_host {
        Ok(Joining::Begin(id.to_owned()))
    } else {
        Err(NotJoined::NotHosting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMillis;

    const OWN: (AccountId, DeviceId) = (AccountId([1; 20]), DeviceId([1; 32]));
    const OTHER: (AccountId, DeviceId) = (AccountId([2; 20]), DeviceId([2; 32]));
    const ROOM: ConversationId = ConversationId([3; 20]);

    fn address(at: (AccountId, DeviceId), id: &str) -> GroupAddress {
        GroupAddress { conversation: ROOM, host: at.0, device: at.1, conference: id.into() }
    }

    fn active(at: (AccountId, DeviceId), id: &str) -> ActiveCall {
        ActiveCall { id: id.into(), host: at.0, device: at.1 }
    }

    #[test]
    fn a_call_goes_to_the_latest_then_to_the_named_host_then_begins_here() {
        let swarm = CallAddress::Swarm(ROOM);
        let calls = [active(OWN, "5"), active(OTHER, "6")];
        let placed = place(OWN, &swarm, &calls, Some(OWN), "9");
        assert_eq!(placed, Placed::Join(address(OTHER, "6")));
        assert_eq!(place(OWN, &swarm, &calls[..1], Some(OTHER), "9"), Placed::Here("5".into()));
        assert_eq!(place(OWN, &swarm, &[], Some(OTHER), "9"), Placed::Join(address(OTHER, "0")));
        assert_eq!(place(OWN, &swarm, &[], Some(OWN), "9"), Placed::Here("9".into()), "no call to oneself");
        assert_eq!(place(OWN, &swarm, &[], None, "9"), Placed::Here("9".into()));
    }

    #[test]
    fn a_named_conference_is_joined_and_none_but_that() {
        let calls = [active(OTHER, "6")];
        let named = |at, id| CallAddress::Conference(address(at, id));
        assert_eq!(place(OWN, &named(OTHER, "7"), &calls, None, "9"), Placed::Join(address(OTHER, "7")));
        assert_eq!(place(OWN, &named(OWN, "7"), &calls, None, "9"), Placed::Here("7".into()));
        assert_eq!(place(OWN, &named(OWN, "0"), &calls, None, "9"), Placed::Here("9".into()));
    }

    #[test]
    fn members_join_what_goes_on_and_begin_anew_what_has_ended_if_we_may_host() {
        let mut hosted = HostedCalls::default();
        hosted.begin("7", OWN.0, OWN.1, UnixMillis(0));
        let asked =
            |id: &str, may_host| join(OWN, &address(OWN, id), Some(true), &hosted, &[], may_host, "9");
        assert_eq!(asked("7", false), Ok(Joining::Admit("7".into())));
        assert_eq!(asked("8", true), Ok(Joining::Begin("8".into())));
        assert_eq!(asked("8", false).unwrap_err().status(), 481);
    }

    #[test]
    fn strangers_and_what_is_elsewhere_are_refused() {
        let hosted = HostedCalls::default();
        let asked = |at, member| join(OWN, &address(at, "7"), member, &hosted, &[], true, "9");
        assert_eq!(asked(OWN, Some(false)).unwrap_err().status(), 403);
        assert_eq!(asked(OWN, None).unwrap_err().status(), 404);
        assert_eq!(asked(OTHER, Some(true)).unwrap_err().status(), 404);
        assert_eq!(asked((OWN.0, OTHER.1), Some(true)).unwrap_err().status(), 404);
    }

    #[test]
    fn two_that_ask_for_any_conference_get_into_one() {
        let mut hosted = HostedCalls::default();
        // One that is hosted elsewhere is not taken for ours.
        let mut calls = vec![active(OTHER, "6")];
        let asked = |hosted: &HostedCalls, calls: &[ActiveCall], call_id| {
            join(OWN, &address(OWN, "0"), Some(true), hosted, calls, true, call_id)
        };
        let Ok(Joining::Begin(first)) = asked(&hosted, &calls, "11") else { panic!() };
        hosted.begin(&first, OWN.0, OWN.1, UnixMillis(0));
        calls.push(active(OWN, &first));
        assert_eq!(asked(&hosted, &calls, "12"), Ok(Joining::Admit(first)));
    }
}
