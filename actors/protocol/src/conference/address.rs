//! How a call of a conversation is named (`spec: calls-in-swarm 2`).
//!
//! ```text
//!   swarm:<conversation>                                  start or join, by the rules
//!   rdv:<conversation>/<host>/<device>/<conference>       join this one
//!   <conversation>/<host>/<device>/<conference>           the user part of To in its INVITE
//! ```

use std::fmt;
use std::str::FromStr;

use crate::ids::{AccountId, ConversationId, DeviceId};

/// Longest id of a conference, in bytes. Those of daemons are numbers of up to 16 digits.
pub const MAX_CONFERENCE_ID: usize = 64;

/// Stands for the call that the host has, or would begin.
pub const ANY: &str = "0";

/// One conference at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAddress {
    /// Of which conversation.
    pub conversation: ConversationId,
    /// Who hosts it.
    pub host: AccountId,
    /// On which device.
    pub device: DeviceId,
    /// Its id; [`ANY`] for whichever there is.
    pub conference: String,
}

/// Why a text names no conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There are not four parts that are ids.
    #[error("the address of a call in a conversation has four parts: conversation/host/device/conference")]
    NotFound,
    /// The id of the conference is empty, too long, or has letters that cannot be seen.
    #[error("the id of a conference has at most {MAX_CONFERENCE_ID} visible letters")]
    Malformed,
}

impl AddressError {
    /// The status of an INVITE that is refused for it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Malformed => 400,
        }
    }
}

impl FromStr for GroupAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts: Vec<&str> = text.splitn(5, '/').collect();
        let [conversation, host, device, conference] = parts[..] else { return Err(AddressError::NotFound) };
        let good = (1..=MAX_CONFERENCE_ID).contains(&conference.len())
            && conference
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'@' | b'"'));
        if !good {
            return Err(AddressError::Malformed);
        }
        let unknown = |_| AddressError::NotFound;
        Ok(Self {
            conversation: conversation.parse().map_err(unknown)?,
            host: host.parse().map_err(unknown)?,
            device: device.parse().map_err(unknown)?,
            conference: conference.to_owned(),
        })
    }
}

impl fmt::Display for GroupAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}/{}", self.conversation, self.host, self.device, self.conference)
    }
}

/// What the owner calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAddress {
    /// A conversation.
    Swarm(ConversationId),
    /// One conference.
    Conference(GroupAddress),
}

impl FromStr for CallAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(id) = text.strip_prefix("swarm:") {
            return id.parse().map(Self::Swarm).map_err(|_| AddressError::NotFound);
        }
        text.strip_prefix("rdv:").ok_or(AddressError::NotFound)?.parse().map(Self::Conference)
    }
}

impl fmt::Display for CallAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swarm(id) => write!(formatter, "swarm:{id}"),
            Self::Conference(address) => write!(formatter, "rdv:{address}"),
        }
    }
}

/// The conference that the `To` of an INVITE names; `None` if it names a person.
#[must_use]
pub fn of_to(to: &str) -> Option<Result<GroupAddress, AddressError>> {
    let address = crate::sip::fields::uri(to);
    let (user, _) = address.split_once(':')?.1.rsplit_once('@')?;
    user.contains('/').then(|| user.parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "<sips:2ce39c209b93cc91155160136e010d9a3cc2077e/b08c67bcb7b83cdffbf33f0f4a68c82095c9790c/2bf3a0dc71ede749e017909696141169bb1a3db28ec254db8fb3c6a70ca76eae/604168913243961@10.77.0.3>";

    #[test]
    fn recorded_addresses_are_read_and_written() {
        let address = of_to(TO).unwrap().unwrap();
        assert_eq!(address.conference, "604168913243961");
        assert!(TO.contains(&address.to_string()));
        for text in [format!("rdv:{address}"), format!("swarm:{}", address.conversation)] {
            assert_eq!(text.parse::<CallAddress>().unwrap().to_string(), text);
        }
        assert!(of_to("<sips:b08c67bcb7b83cdffbf33f0f4a68c82095c9790c@10.77.0.3>").is_none());
    }

    #[test]
    fn what_has_not_four_good_parts_is_not_found_or_malformed() {
        let address = of_to(TO).unwrap().unwrap();
        let conversation = address.conversation;
        for text in ["a/b", "a/b/c/d", "///", &format!("{conversation}/x/y/z"), &format!("{address}/7")] {
            assert!(text.parse::<GroupAddress>().is_err(), "{text}");
        }
        assert_eq!("a/b".parse::<GroupAddress>().unwrap_err().status(), 404);
        for id in ["", "a b", "ä", &"7".repeat(MAX_CONFERENCE_ID + 1)] {
            let text = GroupAddress { conference: id.to_owned(), ..address.clone() }.to_string();
            assert_eq!(text.parse::<GroupAddress>().unwrap_err().status(), 400, "{id}");
        }
        for text in ["", "rdv:", "swarm:x", "7", &address.to_string()] {
            assert!(text.parse::<CallAddress>().is_err(), "{text}");
        }
    }
}
