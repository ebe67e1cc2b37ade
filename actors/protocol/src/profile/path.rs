//! Which profile a `data-transfer://` channel is for, and whether to take or to give it
//! (`spec: profiles 4.1-4.2, file-transfer 6`).
//!
//! ```text
//!   profile.vcf?sha3=…&modified=…                     opener ─► acceptor   to an own device
//!   <conversation>/<device>/profile.vcf?sha3=…        opener ─► acceptor   to a member
//!   <conversation>/profile/<account>.vcf              acceptor ─► opener   of another member
//!   <conversation>/<device>/<account>.vcf             acceptor ─► opener   of the acceptor itself
//! ```
//!
//! Everything in a path is an id or a fixed word, so that no path leads to another file.

use std::fmt;

use sha3::{Digest as _, Sha3_512};

use crate::ids::{AccountId, ConversationId, DeviceId};
use crate::sync::FileTime;
use crate::time::UnixMillis;

/// How far a time may be ahead of ours and still count, in milliseconds (`spec: profiles 9`).
const MAX_SKEW: i64 = 5 * 60 * 1000;

/// The SHA3-512 of a profile's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileDigest(pub [u8; 64]);

impl ProfileDigest {
    /// Of a file.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        Self(Sha3_512::digest(file).into())
    }
}

impl fmt::Display for ProfileDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// What the opener of a channel says the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Nothing, as releases of 2023 do.
    Nothing,
    /// Its digest.
    Digest(ProfileDigest),
    /// Something that is no digest: no file is that.
    Nonsense,
}

/// Which profile a channel is for. As text it is the path behind `data-transfer://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfilePath {
    /// The opener gives the profile of the account that both devices have.
    Own {
        /// What the file is.
        announced: Announced,
        /// When it was made, as the opener's clock has it.
        modified: Option<FileTime>,
    },
    /// The opener gives its own profile to a member of a conversation.
    Pushed {
        /// The conversation.
        conversation: ConversationId,
        /// The opener's device, as it says.
        device: DeviceId,
        /// What the file is.
        announced: Announced,
        /// When it was made; counts for nothing.
        modified: Option<FileTime>,
    },
    /// The opener wants the profile of a member.
    Wanted {
        /// The conversation.
        conversation: ConversationId,
        /// Whose profile.
        account: AccountId,
    },
    /// The opener wants the acceptor's own profile.
    WantedOfDevice {
        /// The conversation.
        conversation: ConversationId,
        /// The opener's device, as it says.
        device: DeviceId,
        /// Whose profile.
        account: AccountId,
    },
}

/// Whom a channel connects us with: what its certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
}

/// What to do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Read a profile from it.
    Take {
        /// Whose it is: the certificate says so, never the name.
        owner: AccountId,
        /// What the file is.
        announced: Announced,
        /// Of one's own profile: take it only if it is [newer](is_newer).
        modified: Option<FileTime>,
    },
    /// Write a profile into it, or nothing when there is none, and close it.
    Give {
        /// Whose.
        owner: AccountId,
    },
}

/// Why a channel is declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathRefused {
    /// The opener is not a device of ours.
    #[error("a foreign device wants to give or get what is for our own devices; decline it")]
    Foreign,
    /// The opener's account is not in the conversation.
    #[error("the account that opens the channel is not a member of the conversation; decline it")]
    NotAMember,
    /// The path names our device where the opener's should be.
    #[error("the channel's name has our device where the opener's should be; decline it")]
    OurDevice,
    /// Somebody else's profile.
    #[error("the device wants a profile that is not ours to give; decline it")]
    NotOurs,
}

impl ProfilePath {
    /// Reads what follows `data-transfer://`. `None` if it is for a file that is no profile, or malformed.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (path, arguments) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.split('/');
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        let (announced, modified) = read_arguments(arguments);
        match (second, third, parts.next()) {
            (None, ..) if first == "profile.vcf" => Some(Self::Own { announced, modified }),
            (Some("profile"), Some(file), None) => {
                Some(Self::Wanted { conversation: first.parse().ok()?, account: account_of(file)? })
            }
            (Some(device), Some(file), None) => {
                let (conversation, device) = (first.parse().ok()?, device.parse().ok()?);
                if file == "profile.vcf" {
                    Some(Self::Pushed { conversation, device, announced, modified })
                } else {
                    Some(Self::WantedOfDevice { conversation, device, account: account_of(file)? })
                }
            }
            _ => None,
        }
    }

    /// Whether to take or to give a profile. `is_member` says who is in a conversation that we are in.
    ///
    /// # Errors
    /// Why neither.
    pub fn admit(
        &self,
        ours: Opener,
        opener: Opener,
        is_member: impl Fn(ConversationId, AccountId) -> bool,
    ) -> Result<Transfer, PathRefused> {
        let (is_own, account) = (opener.account == ours.account, opener.account);
        let member_from = |conversation, device| {
            if device == ours.device {
                Err(PathRefused::OurDevice)
            } else if is_member(conversation, account) {
                Ok(())
            } else {
                Err(PathRefused::NotAMember)
            }
        };
        match *self {
            Self::Own { announced, modified } if is_own => {
                Ok(Transfer::Take { owner: ours.account, announced, modified })
            }
            Self::Own { .. } => Err(PathRefused::Foreign),
            Self::Pushed { conversation, device, announced, .. } => {
                member_from(conversation, device)?;
                Ok(Transfer::Take { owner: account, announced, modified: None })
            }
            Self::Wanted { account: owner, .. } if is_own => Ok(Transfer::Give { owner }),
            Self::Wanted { account: owner, .. } if owner != ours.account => Err(PathRefused::NotOurs),
            Self::Wanted { conversation, .. } if !is_member(conversation, account) => {
                Err(PathRefused::NotAMember)
            }
            Self::Wanted { account: owner, .. } => Ok(Transfer::Give { owner }),
            Self::WantedOfDevice { conversation, device, account: owner } => {
                member_from(conversation, device)?;
                if owner == ours.account { Ok(Transfer::Give { owner }) } else { Err(PathRefused::NotOurs) }
            }
        }
    }

    /// The same without arguments. Devices of 2023 take the profile of their own account under this name
    /// only (`spec: profiles 4.1`).
    #[must_use]
    pub const fn bare(self) -> Self {
        match self {
            Self::Own { .. } => Self::Own { announced: Announced::Nothing, modified: None },
            Self::Pushed { conversation, device, .. } => {
                Self::Pushed { conversation, device, announced: Announced::Nothing, modified: None }
            }
            other => other,
        }
    }
}

impl fmt::Display for ProfilePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { announced, modified } => {
                formatter.write_str("profile.vcf")?;
                write_arguments(formatter, announced, *modified)
            }
            Self::Pushed { conversation, device, announced, modified } => {
                write!(formatter, "{conversation}/{device}/profile.vcf")?;
                write_arguments(formatter, announced, *modified)
            }
            Self::Wanted { conversation, account } => {
                write!(formatter, "{conversation}/profile/{account}.vcf")
            }
            Self::WantedOfDevice { conversation, device, account } => {
                write!(formatter, "{conversation}/{device}/{account}.vcf")
            }
        }
    }
}

/// Whether the profile of one's own account that another device has takes the place of the one here.
/// Times that are not known, or far ahead, do not hold it up (`spec: profiles 4.3 and 9`).
#[must_use]
pub fn is_newer(offered: Option<FileTime>, here: Option<FileTime>, now: UnixMillis) -> bool {
    match (offered.filter(|time| (1..=latest(now)).contains(&time.seconds())), here) {
        (Some(offered), Some(here)) => offered > here,
        _ => true,
    }
}

/// The time with which a profile of one's own account is kept: one that is far ahead becomes now. Kept as it is, no
/// device would believe it and every one would refuse what is older, so that they would swap profiles for ever.
#[must_use]
pub fn kept_time(time: FileTime, now: UnixMillis) -> FileTime {
    if time.seconds() > latest(now) { FileTime::at(now) } else { time }
}

/// The latest time that is believed, in Unix seconds.
fn latest(now: UnixMillis) -> i64 {
    UnixMillis(now.0.saturating_add(MAX_SKEW)).seconds()
}

fn account_of(file: &str) -> Option<AccountId> {
    file.strip_suffix(".vcf")?.parse().ok()
}

/// The first argument of each name; unknown ones do not matter.
fn read_arguments(text: &str) -> (Announced, Option<FileTime>) {
    let argument = |wanted| {
        let mut pairs = text.split('&').filter_map(|argument| argument.split_once('='));
        pairs.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    let announced = argument("sha3").map_or(Announced::Nothing, |digits| {
        let mut digest = [0; 64];
        match hex::decode_to_slice(digits, &mut digest) {
            Ok(()) => Announced::Digest(ProfileDigest(digest)),
            Err(_) => Announced::Nonsense,
        }
    });
    let modified = argument("modified").filter(|number| *number != "0").and_then(FileTime::from_text);
    (announced, modified)
}

fn write_arguments(
    formatter: &mut fmt::Formatter<'_>,
    announced: &Announced,
    modified: Option<FileTime>,
) -> fmt::Result {
    let mut separator = '?';
    if let Announced::Digest(digest) = announced {
        write!(formatter, "{separator}sha3={digest}")?;
        separator = '&';
    }
    modified.map_or(Ok(()), |modified| write!(formatter, "{separator}modified={}", modified.to_wire()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONVERSATION: ConversationId = ConversationId([0xc0; 20]);
    const OURS: Opener = Opener { account: AccountId([1; 20]), device: DeviceId([0x11; 32]) };
    const SISTER: Opener = Opener { account: AccountId([1; 20]), device: DeviceId([0x12; 32]) };
    const MEMBER: Opener = Opener { account: AccountId([2; 20]), device: DeviceId([0x22; 32]) };
    const STRANGER: Opener = Opener { account: AccountId([3; 20]), device: DeviceId([0x33; 32]) };

    fn admit(path: &str, opener: Opener) -> Result<Transfer, PathRefused> {
        let members = [OURS.account, MEMBER.account];
        let path = ProfilePath::parse(path).unwrap();
        path.admit(OURS, opener, |conversation, account| {
            conversation == CONVERSATION && members.contains(&account)
        })
    }

    #[test]
    fn own_devices_give_the_own_profile_and_nobody_else_does() {
        let taken = Transfer::Take { owner: OURS.account, announced: Announced::Nothing, modified: None };
        assert_eq!(admit("profile.vcf", SISTER), Ok(taken));
        for foreign in [MEMBER, STRANGER] {
            assert_eq!(admit("profile.vcf", foreign), Err(PathRefused::Foreign));
        }
    }

    #[test]
    fn a_member_gives_its_own_profile_whatever_the_name_says() {
        let path = |device: Opener| format!("{CONVERSATION}/{}/profile.vcf", device.device);
        let of = |owner: Opener| {
            Ok(Transfer::Take { owner: owner.account, announced: Announced::Nothing, modified: None })
        };
        assert_eq!(admit(&path(MEMBER), MEMBER), of(MEMBER));
        assert_eq!(admit(&path(STRANGER), MEMBER), of(MEMBER));
        assert_eq!(admit(&path(STRANGER), STRANGER), Err(PathRefused::NotAMember));
        assert_eq!(admit(&path(OURS), MEMBER), Err(PathRefused::OurDevice));
        let elsewhere = format!("{}/{}/profile.vcf", ConversationId([9; 20]), MEMBER.device);
        assert_eq!(admit(&elsewhere, MEMBER), Err(PathRefused::NotAMember));
    }

    #[test]
    fn own_devices_get_any_profile_and_members_ours() {
        let wanted = |account: AccountId| format!("{CONVERSATION}/profile/{account}.vcf");
        let give = |owner| Ok(Transfer::Give { owner });
        assert_eq!(admit(&wanted(MEMBER.account), SISTER), give(MEMBER.account));
        assert_eq!(admit(&wanted(OURS.account), SISTER), give(OURS.account));
        assert_eq!(admit(&wanted(OURS.account), MEMBER), give(OURS.account));
        assert_eq!(admit(&wanted(STRANGER.account), MEMBER), Err(PathRefused::NotOurs));
        assert_eq!(admit(&wanted(OURS.account), STRANGER), Err(PathRefused::NotAMember));
        let of_device = |account: AccountId| format!("{CONVERSATION}/{}/{account}.vcf", MEMBER.device);
        assert_eq!(admit(&of_device(OURS.account), MEMBER), give(OURS.account));
        assert_eq!(admit(&of_device(MEMBER.account), MEMBER), Err(PathRefused::NotOurs));
        assert_eq!(admit(&of_device(OURS.account), STRANGER), Err(PathRefused::NotAMember));
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_count_as_they_should() {
        let digest = ProfileDigest::of(b"x");
        let read = |arguments: &str| match ProfilePath::parse(&format!("profile.vcf?{arguments}")) {
            Some(ProfilePath::Own { announced, modified }) => (announced, modified.map(FileTime::seconds)),
            other => panic!("{other:?}"),
        };
        let recorded = "modified=18446744069067231427";
        let both = (Announced::Digest(digest), Some(1_795_343_811));
        assert_eq!(read(&format!("sha3={digest}&{recorded}")), both);
        assert_eq!(read(&format!("new=1&{recorded}&x&sha3={digest}&sha3=0")), both);
        assert_eq!(read("modified=soon"), (Announced::Nothing, None));
        assert_eq!(read("modified=0"), (Announced::Nothing, None));
        assert_eq!(read("modified=-1"), (Announced::Nothing, None));
        for digits in ["", "00", &"g".repeat(128), &"0".repeat(127), &"0".repeat(130)] {
            assert_eq!(read(&format!("sha3={digits}")), (Announced::Nonsense, None), "{digits}");
        }
    }

    #[test]
    fn paths_with_tricks_and_those_of_other_files_are_no_profiles() {
        let (device, account) = (MEMBER.device, OURS.account);
        for path in [
            "",
            "/profile.vcf",
            "profile.vcf/",
            "profile.vcf/x",
            "../profile.vcf",
            "Profile.vcf",
            "profile.vcf%3fsha3=x",
            &format!("{CONVERSATION}/profile.vcf"),
            &format!("{CONVERSATION}//profile.vcf"),
            &format!("{CONVERSATION}/../profile.vcf"),
            &format!("{CONVERSATION}/{device}/../profile.vcf"),
            &format!("{CONVERSATION}/{device}/..%2fprofile.vcf"),
            &format!("{CONVERSATION}/{device}/profile.vcf/"),
            &format!("{CONVERSATION}/{device}/{}_17.vcf", "ab".repeat(20)),
            &format!("{CONVERSATION}/profile/../{account}.vcf"),
            &format!("{CONVERSATION}/profile/{account}"),
            &format!("{CONVERSATION}/profile/x{account}.vcf"),
            &format!("{CONVERSATION}/profile/.vcf"),
        ] {
            assert_eq!(ProfilePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_time_far_ahead_is_kept_as_now() {
        let now = UnixMillis::from_seconds(1_000_000);
        let time = |seconds| FileTime::at(UnixMillis::from_seconds(seconds));
        for (given, kept) in
            [(1, 1), (1_000_300, 1_000_300), (1_000_301, 1_000_000), (4_000_000_000, 1_000_000)]
        {
            assert_eq!(kept_time(time(given), now), time(kept), "{given}");
        }
    }

    #[test]
    fn the_newer_own_profile_wins() {
        let now = UnixMillis::from_seconds(1_000_000);
        let time = |seconds| Some(FileTime::at(UnixMillis::from_seconds(seconds)));
        assert!(is_newer(time(501), time(500), now));
        assert!(!is_newer(time(500), time(500), now) && !is_newer(time(499), time(500), now));
        assert!(is_newer(None, time(500), now) && is_newer(time(1), None, now));
        // Five minutes ahead count; beyond that nobody knows when it was.
        assert!(!is_newer(time(1_000_300), time(1_000_300), now));
        assert!(is_newer(time(1_000_301), time(1_000_301), now));
    }

    fn argument() -> impl Strategy<Value = (Announced, Option<FileTime>)> {
        let announced = prop_oneof![
            Just(Announced::Nothing),
            any::<Vec<u8>>().prop_map(|file| Announced::Digest(ProfileDigest::of(&file)))
        ];
        (
            announced,
            prop::option::of(
                (1..2_000_000_000_i64).prop_map(|it| FileTime::at(UnixMillis::from_seconds(it))),
            ),
        )
    }

    proptest! {
        #[test]
        fn any_path_survives_its_text((announced, modified) in argument(), ids: ([u8; 20], [u8; 32], [u8; 20])) {
            let (conversation, device, account) = (ConversationId(ids.0), DeviceId(ids.1), AccountId(ids.2));
            for path in [
                ProfilePath::Own { announced, modified },
                ProfilePath::Pushed { conversation, device, announced, modified },
                ProfilePath::Wanted { conversation, account },
                ProfilePath::WantedOfDevice { conversation, device, account },
            ] {
                prop_assert_eq!(ProfilePath::parse(&path.to_string()), Some(path));
                prop_assert!(!path.bare().to_string().contains('?'));
            }
        }

        #[test]
        fn any_text_is_a_path_or_none(text in "(profile.vcf|[0-9a-f]{40}/([0-9a-f]{64}|profile)/\\PC{0,50})?\\??\\PC{0,20}") {
            if let Some(path) = ProfilePath::parse(&text) {
                let again = ProfilePath::parse(&path.to_string());
                prop_assert_eq!(again.map(ProfilePath::bare), Some(path.bare()));
            }
        }
    }
}
