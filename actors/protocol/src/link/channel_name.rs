//! What a channel is for, told by its name (`spec: connection 8`).

use std::fmt;
use std::str::FromStr;

use crate::ids::{ConversationId, DeviceId};

/// The purpose of a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelName {
    /// `sip`: SIP messages as a byte stream.
    Sip,
    /// `msg:<device>`: [messages](super::message) to that device.
    Message {
        /// The device that is to receive them.
        device: DeviceId,
    },
    /// `git://<device>/<conversation>`: fetches a conversation from that device.
    Git {
        /// The device that serves.
        device: DeviceId,
        /// The conversation.
        conversation: ConversationId,
    },
    /// `swarm://<conversation>`: messages of the conversation's routing table.
    Swarm {
        /// The conversation.
        conversation: ConversationId,
    },
    /// `sync://<device>`: synchronisation between devices of one account.
    Sync {
        /// The device that is asked.
        device: DeviceId,
    },
    /// `data-transfer://<path>`: one file; the path is for the transfer room to read.
    DataTransfer {
        /// What follows the scheme.
        path: String,
    },
    /// `auth:<code>`: hands an account to a new device.
    Auth {
        /// What the new device showed.
        code: String,
    },
    /// `svcdisc://query`: asks which services the peer shares.
    ServiceDiscovery,
}

/// Why a requested channel must be declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelNameError {
    /// The part before the first `:` is none of ours.
    #[error("the peer asks for a kind of channel we do not know; decline it")]
    UnknownScheme,
    /// The rest of the name is not what its scheme demands.
    #[error("the name of the channel the peer asks for is malformed; decline it")]
    Malformed,
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(name: &str) -> Result<Self, ChannelNameError> {
        let (scheme, rest) = name.split_once(':').unwrap_or((name, ""));
        let path = || rest.strip_prefix("//").ok_or(ChannelNameError::Malformed);
        match scheme {
            "sip" => Ok(Self::Sip),
            "msg" => Ok(Self::Message { device: id(rest)? }),
            "git" => {
                let (device, conversation) = path()?.split_once('/').ok_or(ChannelNameError::Malformed)?;
                Ok(Self::Git { device: id(device)?, conversation: id(conversation)? })
            }
            "swarm" => Ok(Self::Swarm { conversation: id(path()?)? }),
            "sync" => Ok(Self::Sync { device: id(path()?)? }),
            "data-transfer" => Ok(Self::DataTransfer { path: path()?.to_owned() }),
            "auth" => Ok(Self::Auth { code: rest.to_owned() }),
            "svcdisc" if rest == "//query" => Ok(Self::ServiceDiscovery),
            "svcdisc" => Err(ChannelNameError::Malformed),
            _ => Err(ChannelNameError::UnknownScheme),
        }
    }
}

fn id<T: FromStr>(text: &str) -> Result<T, ChannelNameError> {
    text.parse().map_err(|_| ChannelNameError::Malformed)
}

impl fmt::Display for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip => formatter.write_str("sip"),
            Self::Message { device } => write!(formatter, "msg:{device}"),
            Self::Git { device, conversation } => write!(formatter, "git://{device}/{conversation}"),
            Self::Swarm { conversation } => write!(formatter, "swarm://{conversation}"),
            Self::Sync { device } => write!(formatter, "sync://{device}"),
            Self::DataTransfer { path } => write!(formatter, "data-transfer://{path}"),
            Self::Auth { code } => write!(formatter, "auth:{code}"),
            Self::ServiceDiscovery => formatter.write_str("svcdisc://query"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_each_kind_are_read_and_written() {
        let (device, conversation) = ("ab".repeat(32), "cd".repeat(20));
        for name in [
            "sip".to_owned(),
            format!("msg:{device}"),
            format!("git://{device}/{conversation}"),
            format!("swarm://{conversation}"),
            format!("sync://{device}"),
            "data-transfer://a/b/c?x=y".to_owned(),
            "auth:123456".to_owned(),
            "svcdisc://query".to_owned(),
        ] {
            assert_eq!(name.parse::<ChannelName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_and_malformed_names_are_refused() {
        for name in ["", "svc://1", "ydoc://x/y", "SIP", "gopher:"] {
            assert_eq!(name.parse::<ChannelName>(), Err(ChannelNameError::UnknownScheme), "{name}");
        }
        let device = "ab".repeat(32);
        for name in [
            "msg",
            "msg:",
            "msg:ab",
            "git",
            "git://",
            "git:x",
            "swarm:/x",
            "sync://x",
            "svcdisc://list",
            &format!("git://{device}"),
            &format!("git://{device}/"),
            &format!("msg://{device}"),
        ] {
            assert_eq!(name.parse::<ChannelName>(), Err(ChannelNameError::Malformed), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_refused(scheme in "(git|msg|swarm|sync|svcdisc|x)", rest in any::<String>()) {
            if let Ok(name) = format!("{scheme}:{rest}").parse::<ChannelName>() {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
    }
}
