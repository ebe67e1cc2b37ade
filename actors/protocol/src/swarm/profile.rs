//! `profile.vcf`: title, description, picture and default call host of a conversation
//! (`spec: swarm 6.6`). Not the vCard of a person.

use std::collections::BTreeMap;

use crate::ids::{AccountId, DeviceId};

/// Longest profile read, in bytes; clients keep pictures far below it.
pub const MAX_PROFILE: usize = 8 * 1024 * 1024;

/// What a conversation looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationProfile {
    /// Its title.
    pub title: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// Its picture in base64, as written.
    pub avatar: Option<String>,
    /// Who hosts its calls.
    pub call_host: Option<AccountId>,
    /// On which device.
    pub call_device: Option<DeviceId>,
}

impl ConversationProfile {
    /// Reads a profile; lines that make no sense are passed over.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.get(..MAX_PROFILE).unwrap_or(bytes));
        let mut profile = Self::default();
        for line in text.split('\n') {
            let Some((key, value)) = line.trim_end_matches('\r').split_once(':') else { continue };
            match key {
                "FN" => profile.title = some_text(value),
                "DESCRIPTION" => profile.description = some_text(value),
                _ if key.starts_with("PHOTO") => profile.avatar = some_text(value),
                _ if key.starts_with("RDV_ACCOUNT") => profile.call_host = value.parse().ok(),
                _ if key.starts_with("RDV_DEVICE") => profile.call_device = value.parse().ok(),
                _ => {}
            }
        }
        profile
    }

    /// The bytes the reference would write.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = "BEGIN:VCARD\nVERSION:2.1\n".to_owned();
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                // A line break would begin another field.
                text.push_str(&format!("{key}:{}\n", value.replace(['\r', '\n'], " ")));
            }
        };
        line("FN", self.title.clone());
        line("DESCRIPTION", self.description.clone());
        line("PHOTO;ENCODING=BASE64", self.avatar.clone());
        if self.avatar.is_none() {
            text.push_str("PHOTO;ENCODING=BASE64\n");
        }
        for (key, value) in [
            ("RDV_ACCOUNT", self.call_host.map(|id| id.to_hex())),
            ("RDV_DEVICE", self.call_device.map(|id| id.to_hex())),
        ] {
            text.push_str(&value.map(|value| format!("{key}:{value}\n")).unwrap_or_default());
            text.push('\n');
        }
        text.push_str("END:VCARD");
        text.into_bytes()
    }

    /// The fields under the names that invitations and clients use (`spec: swarm 11`).
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        [
            ("title", self.title.clone()),
            ("description", self.description.clone()),
            ("avatar", self.avatar.clone()),
            ("rdvAccount", self.call_host.map(|id| id.to_hex())),
            ("rdvDevice", self.call_device.map(|id| id.to_hex())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }
}

fn some_text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::diff::TreeReader;
    use crate::swarm::golden;
    use crate::swarm::layout::TreePath;
    use crate::swarm::object::{Commit, ObjectSource};

    #[test]
    fn golden_profiles_read_as_the_daemons_list_them_and_are_written_alike() {
        let mut seen = 0;
        for daemon in golden::DAEMONS {
            let golden = golden::load(daemon);
            for (name, repository) in &golden.repositories {
                let head = Commit::parse(golden.objects.commit(repository.head).unwrap().unwrap()).unwrap();
                let file = TreeReader::new(&golden.objects).file(head.tree, TreePath::Profile).unwrap();
                let bytes = file.map(|id| golden.objects.blob(id, MAX_PROFILE).unwrap().unwrap());
                let profile = ConversationProfile::parse(bytes.as_deref().unwrap_or_default());
                if let Some(bytes) = bytes {
                    assert_eq!(profile.to_bytes(), bytes, "{daemon} {name}");
                    seen += 1;
                }
                if let Some(mut expected) = repository.infos.clone() {
                    expected.remove("mode");
                    assert_eq!(profile.to_map(), expected, "{daemon} {name}");
                }
            }
        }
        assert!(seen > 5);
    }

    proptest! {
        #[test]
        fn profiles_survive(title in "[^\r\n]{1,20}", host: [u8; 20], device: [u8; 32]) {
            let profile = ConversationProfile {
                title: Some(title),
                description: None,
                avatar: Some("QUJD".to_owned()),
                call_host: Some(AccountId(host)),
                call_device: Some(DeviceId(device)),
            };
            prop_assert_eq!(ConversationProfile::parse(&profile.to_bytes()), profile);
        }

        #[test]
        fn any_bytes_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ConversationProfile::parse(&bytes);
        }
    }
}
