use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::link::mux::control::{self, ChannelState, ControlMessage};
use crate::swarm::diff::TreeReader;
use crate::swarm::golden;
use crate::swarm::layout::TreePath;
use crate::swarm::object::{Commit, ObjectSource};
use crate::testing::{DAEMONS, data, with_mutations};

const OWN: &[u8] = data!("vectors/newest/profiles/alice/profile.vcf");
const GROUP: &[u8] =
    data!("vectors/newest/profiles/alice/conversations/2ce39c209b93cc91155160136e010d9a3cc2077e/profile.vcf");
const NOTES: &[u8] =
    data!("vectors/newest/profiles/alice/conversations/c2a2fce0604a9553e14f69dc7367774abaecd29c/profile.vcf");
const FROM_A_CLIENT: &[u8] = b"BEGIN:VCARD\nVERSION:2.1\nUID:alice-uid\nFN:Alice\n\
    PHOTO;ENCODING=BASE64;TYPE=PNG:iVBORw0KGgo=\nEND:VCARD";

#[test]
fn recorded_profiles_are_read_and_written_byte_for_byte() {
    let own = PersonalProfile::parse(OWN).unwrap();
    assert_eq!(own, PersonalProfile { name: "Alice New".into(), picture: None });
    assert_eq!(own.to_vcard().as_bytes(), OWN);

    let group = ConversationProfile::parse(GROUP).unwrap();
    assert_eq!((&*group.title, &*group.description), ("Golden group", "A group for vectors"));
    assert!(group.avatar.as_ref().unwrap().decode().unwrap().starts_with(b"\x89PNG"));
    assert_eq!((group.call_host, group.call_host_device), (None, None));
    assert_eq!(group.to_vcard().as_bytes(), GROUP);

    let notes = ConversationProfile::parse(NOTES).unwrap();
    assert_eq!((&*notes.title, &notes.avatar), ("renamed notes", &None));
    assert_eq!(notes.to_vcard().as_bytes(), NOTES);
}

#[test]
fn profiles_in_recorded_conversations_read_as_the_daemons_list_them() {
    let mut seen = 0;
    for daemon in DAEMONS {
        let golden = golden::load(daemon);
        for (name, repository) in &golden.repositories {
            let head = Commit::parse(golden.objects.commit(repository.head).unwrap().unwrap()).unwrap();
            let file = TreeReader::new(&golden.objects).file(head.tree, TreePath::Profile).unwrap();
            let bytes = file.map(|id| golden.objects.blob(id, MAX_PROFILE).unwrap().unwrap());
            let profile = ConversationProfile::parse(bytes.as_deref().unwrap_or_default()).unwrap();
            if let Some(bytes) = bytes {
                assert_eq!(profile.to_vcard().as_bytes(), bytes, "{daemon} {name}");
                seen += 1;
            }
            if let Some(mut expected) = repository.infos.clone() {
                expected.remove("mode");
                assert_eq!(listed(&profile), expected, "{daemon} {name}");
            }
        }
    }
    assert!(seen > 5);
}

/// The fields as daemons list them (`spec: swarm 11`).
fn listed(profile: &ConversationProfile) -> BTreeMap<String, String> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    [
        ("title", some(&profile.title)),
        ("description", some(&profile.description)),
        ("avatar", profile.avatar.as_ref().map(|avatar| avatar.as_base64().to_owned())),
        ("rdvAccount", profile.call_host.map(|id| id.to_hex())),
        ("rdvDevice", profile.call_host_device.map(|id| id.to_hex())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

#[test]
fn order_line_ends_and_unknown_keys_do_not_matter() {
    let with_returns = String::from_utf8(FROM_A_CLIENT.to_vec()).unwrap().replace('\n', "\r\n");
    for vcard in [FROM_A_CLIENT, with_returns.as_bytes()] {
        let profile = PersonalProfile::parse(vcard).unwrap();
        assert_eq!(profile.name, "Alice");
        assert_eq!(profile.picture.unwrap().as_base64(), "iVBORw0KGgo=");
    }
}

#[test]
fn the_first_of_equal_keys_wins_and_the_first_colon_parts() {
    let vcard = b"FN:a:b\nFN:second\nno colon\nFNX:third\nPHOTO:x\nPHOTO;ENCODING=BASE64:y\n";
    let profile = ConversationProfile::parse(vcard).unwrap();
    assert_eq!((&*profile.title, profile.avatar.unwrap().as_base64()), ("a:b", "x"));
}

#[test]
fn the_default_host_is_set_and_cleared() {
    let profile = ConversationProfile {
        title: "Group".into(),
        call_host: Some(AccountId([1; 20])),
        call_host_device: Some(DeviceId([2; 32])),
        ..Default::default()
    };
    let vcard = profile.to_vcard();
    let lines = format!("RDV_ACCOUNT:{}\n\nRDV_DEVICE:{}\n\nEND:VCARD", "01".repeat(20), "02".repeat(32));
    assert!(vcard.ends_with(&lines), "{vcard}");
    assert_eq!(ConversationProfile::parse(vcard.as_bytes()).unwrap(), profile);
    let wrong = b"RDV_ACCOUNT:nobody\nRDV_DEVICE:12\nFN:Group";
    let read = ConversationProfile::parse(wrong).unwrap();
    assert_eq!((read.call_host, read.call_host_device), (None, None));
}

#[test]
fn no_value_can_make_a_new_line() {
    let name = "a\nRDV_ACCOUNT:1111111111111111111111111111111111111111\r\nFN:b";
    let personal = PersonalProfile { name: name.into(), picture: Picture::from_base64("AA\nFN:x") };
    assert_eq!(personal.to_vcard().lines().count(), 5);
    let conversation =
        ConversationProfile { title: name.into(), description: name.into(), ..Default::default() };
    let read = ConversationProfile::parse(conversation.to_vcard().as_bytes()).unwrap();
    assert_eq!((read.call_host, read.title.contains('\n')), (None, false));
}

#[test]
fn a_trust_request_carries_the_profile_without_its_last_newline() {
    assert_eq!(trust_request_payload(OWN), &OWN[..OWN.len() - 1]);
    assert_eq!(trust_request_payload(FROM_A_CLIENT), FROM_A_CLIENT);
    assert_eq!(trust_request_payload(b""), b"");
    assert_eq!(trust_request_payload(&[b'a'; 63_999]).len(), 63_999);
    assert_eq!(trust_request_payload(&[b'a'; 64_000]), b"");
}

#[test]
fn a_profile_that_was_cut_off_is_noticed() {
    assert!(is_complete(OWN) && is_complete(GROUP) && is_complete(b"END:VCARD\r\n"));
    assert!(!is_complete(&OWN[..OWN.len() - 3]) && !is_complete(b""));
}

#[test]
fn pictures_are_typed_and_limited() {
    assert!(
        PersonalProfile {
            name: String::new(),
            picture: Some(Picture::from_bytes(&[0xff, 0xd8, 0xff, 0xe0]))
        }
        .to_vcard()
        .contains("PHOTO;ENCODING=BASE64;TYPE=JPEG:/9j/4A==\n")
    );
    assert_eq!(Picture::from_base64(" \n"), None);
    assert_eq!(Picture::from_base64("not base64!").unwrap().decode(), None);
    assert_eq!(Picture::from_bytes(&vec![0; MAX_PICTURE]).decode().unwrap().len(), MAX_PICTURE);
    assert_eq!(Picture::from_bytes(&vec![0; MAX_PICTURE + 1]).decode(), None);
    assert_eq!(PersonalProfile::parse(&vec![b'\n'; MAX_PROFILE + 1]), Err(ProfileTooLong(MAX_PROFILE + 1)));
}

#[test]
fn pictures_are_told_by_their_first_bytes() {
    let kind = |bytes: &[u8]| Picture::from_bytes(bytes).kind();
    assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Some(PictureKind::Png));
    assert_eq!(kind(&[0xff, 0xd8, 0xff, 0xe0, 0]), Some(PictureKind::Jpeg));
    for other in [b"GIF89a".as_slice(), b"<svg xmlns=", b"\x89PNX", b"RIFF1234WEBP"] {
        assert_eq!(kind(other), None);
        assert_eq!(Picture::from_image(other), Err(PictureError::Kind));
    }
    let mut image = vec![0xff; MAX_PICTURE];
    image[1] = 0xd8;
    assert_eq!(Picture::from_image(&image).unwrap().decode().as_deref(), Some(&*image));
    image.push(0);
    assert_eq!(Picture::from_image(&image), Err(PictureError::TooLong(MAX_PICTURE + 1)));
}

#[test]
fn profiles_of_a_hundred_megabytes_are_refused_before_they_are_read() {
    assert_eq!(check_length(MAX_PROFILE as u64), Ok(()));
    assert_eq!(check_length(100_000_000), Err(ProfileTooLong(100_000_000)));
    assert!(check_length(u64::MAX).is_err());
}

#[test]
fn files_are_named_after_accounts_and_nothing_else() {
    let account = "b08c67bcb7b83cdffbf33f0f4a68c82095c9790c".parse().unwrap();
    let recorded = "YjA4YzY3YmNiN2I4M2NkZmZiZjMzZjBmNGE2OGM4MjA5NWM5NzkwYw==.vcf";
    assert_eq!((file_name(account), account_of_file(recorded)), (recorded.to_owned(), Some(account)));
    let upper_case = STANDARD.encode(account.to_hex().to_uppercase());
    for name in ["", ".vcf", "../x.vcf", "profile.vcf", &recorded[..56], &format!("{upper_case}.vcf")] {
        assert_eq!(account_of_file(name), None, "{name}");
    }
}

#[test]
fn names_in_other_encodings_cost_no_more_than_their_letters() {
    let read = |vcard: &[u8]| PersonalProfile::parse(vcard).unwrap();
    assert_eq!(read(b"FN:Ren\xe9\nPHOTO:AAAA").name, "Ren\u{fffd}", "Latin-1");
    assert_eq!(read(b"FN:\xff\xfe\xed\xa0\x80\nPHOTO:AAAA").picture, Picture::from_base64("AAAA"));
    // The format has no quoted-printable and no charsets: such lines have other keys.
    for line in
        ["FN;ENCODING=QUOTED-PRINTABLE:Ren=C3=A9", "FN;CHARSET=UTF-8:René", "item1.FN:René", "fn:René"]
    {
        assert_eq!(read(format!("BEGIN:VCARD\n{line}\nEND:VCARD").as_bytes()), PersonalProfile::default());
    }
    assert_eq!(read(b"FN:Ren=C3=A9\\, Jr.").name, "Ren=C3=A9\\, Jr.", "nothing is unescaped");
}

#[test]
fn folded_lines_are_not_joined_and_a_picture_cut_by_them_is_not_decoded() {
    let folded =
        b"BEGIN:VCARD\nFN:Alice\n and more\nPHOTO;ENCODING=BASE64;TYPE=PNG:iVBORw0\n KGgo=\nEND:VCARD";
    let profile = PersonalProfile::parse(folded).unwrap();
    assert_eq!((&*profile.name, profile.picture.unwrap().decode()), ("Alice", None));
}

#[test]
fn of_nested_vcards_the_first_lines_count() {
    let nested = b"BEGIN:VCARD\nFN:outer\nBEGIN:VCARD\nFN:inner\nEND:VCARD\nEND:VCARD\nFN:after";
    assert_eq!(PersonalProfile::parse(nested).unwrap().name, "outer");
    let deep = "BEGIN:VCARD\n".repeat(600_000) + "FN:deep";
    assert_eq!(PersonalProfile::parse(deep.as_bytes()).unwrap().name, "deep");
}

/// The channels of all recordings over which profiles went, with the bytes that their openers wrote.
fn recorded_transfers() -> Vec<(ProfilePath, Vec<u8>)> {
    let mut transfers = Vec::new();
    for connection in DAEMONS.into_iter().flat_map(crate::link::golden::connections) {
        let mut open: BTreeMap<(bool, u16), (ProfilePath, Vec<u8>)> = BTreeMap::new();
        for frame in &connection.frames {
            if frame.channel == 0 {
                for message in control::read_control(&frame.data) {
                    let ControlMessage::Channel { name, number, state: ChannelState::Request } = message
                    else {
                        continue;
                    };
                    let Some(path) = name.strip_prefix("data-transfer://").and_then(ProfilePath::parse)
                    else {
                        continue;
                    };
                    assert_eq!(format!("data-transfer://{path}"), name);
                    transfers.extend(open.insert((frame.sent, number.0), (path, Vec::new())));
                }
            } else if let Some((_, bytes)) = open.get_mut(&(frame.sent, frame.channel)) {
                bytes.extend(&frame.data);
            }
        }
        transfers.extend(open.into_values());
    }
    transfers
}

#[test]
fn recorded_transfers_are_what_their_channels_announce() {
    let (mut announced_ones, mut bare_ones) = (0, 0);
    for (path, bytes) in recorded_transfers() {
        // Declined, or ended before anything was written.
        if bytes.is_empty() {
            continue;
        }
        let (announced, modified) = match path {
            ProfilePath::Own { announced, modified } => (announced, modified),
            ProfilePath::Pushed { announced, modified, .. } => (announced, modified),
            _ => continue,
        };
        let mut receptions = Receptions::default();
        let key = (DeviceId([1; 32]), AccountId([2; 20]));
        receptions.begin(key, announced).unwrap();
        receptions.data(key, &bytes).unwrap();
        let received = receptions.end(key);
        assert_eq!(received.as_deref(), Ok(&*bytes), "{path}");
        assert!(!PersonalProfile::parse(&bytes).unwrap().name.is_empty());
        match announced {
            Announced::Digest(_) => announced_ones += 1,
            _ => bare_ones += 1,
        }
        // The recordings were made on one day.
        assert!(
            modified.is_none_or(|time| (1_795_300_000..1_795_400_000).contains(&time.seconds())),
            "{path}"
        );
    }
    assert!(announced_ones > 3 && bare_ones > 0, "{announced_ones} announced, {bare_ones} bare");
}

#[test]
fn shown_names_are_harmless() {
    assert_eq!(shown_name(" A\u{202e}li\u{0}ce\u{2028}\n "), "Alice");
    assert_eq!(shown_name(&"é".repeat(1000)).chars().count(), MAX_SHOWN_NAME);
    assert_eq!(shown_name("محمد 👩‍🚀"), "محمد 👩‍🚀", "scripts and joined emoji stay");
}

fn fuzz_profile(data: &[u8]) {
    let profile = ConversationProfile::parse(data).unwrap();
    let again = ConversationProfile::parse(profile.to_vcard().as_bytes()).unwrap();
    assert_eq!((again.call_host, again.call_host_device), (profile.call_host, profile.call_host_device));
    let _ = (PersonalProfile::parse(data).unwrap().to_vcard(), shown_name(&profile.title));
    let _ = (is_complete(data), profile.avatar.and_then(|avatar| avatar.decode()));
}

fn fuzz_path(data: &[u8]) {
    if let Some(path) = ProfilePath::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(ProfilePath::parse(&path.bare().to_string()), Some(path.bare()));
    }
}

fn fuzz_chunks(data: &[u8]) {
    let content_type = String::from_utf8_lossy(data);
    let mut chunks = Chunks::default();
    let _ = (chunks.take(&content_type, data), chunks.take(&content_type, data));
}

fn fuzz_distribution(data: &[u8]) {
    if let Ok(distribution) = Distribution::decode(data) {
        assert_eq!(Distribution::decode(&distribution.encode()), Ok(distribution));
    }
}

#[test]
fn damaged_names_of_profile_channels_are_read_or_refused() {
    let digest = ProfileDigest::of(b"");
    for path in [
        format!("profile.vcf?sha3={digest}&modified=18446744069067231427"),
        format!("{}/{}/profile.vcf?sha3={digest}", "ab".repeat(20), "cd".repeat(32)),
        format!("{}/profile/{}.vcf", "ab".repeat(20), "ef".repeat(20)),
    ] {
        with_mutations(path.as_bytes(), 1000, fuzz_path);
    }
}

#[test]
fn damaged_parts_of_profiles_are_taken_or_ignored() {
    with_mutations(b"x-ring/ring.profile.vcard;id=123%2Cpart%3D1%2Cof%3D3", 1000, fuzz_chunks);
}

#[test]
fn damaged_files_of_who_has_the_profile_are_read_or_refused() {
    let mut distribution = Distribution::default();
    let digest = ProfileDigest::of(b"");
    distribution.profile(Some(digest));
    distribution.finished((AccountId([1; 20]), DeviceId([2; 32])), digest);
    with_mutations(&distribution.encode(), 1000, fuzz_distribution);
}

#[test]
fn damaged_profiles_are_read() {
    for vcard in [OWN, GROUP, NOTES, FROM_A_CLIENT] {
        with_mutations(vcard, 500, fuzz_profile);
    }
}

proptest! {
    #[test]
    fn any_profile_survives_its_text(title in "[^\\p{Cc}]*", description in "[^\\p{Cc}]*", image: Option<Vec<u8>>) {
        let avatar = image.filter(|bytes| !bytes.is_empty()).map(|bytes| Picture::from_bytes(&bytes));
        let personal = PersonalProfile { name: title.clone(), picture: avatar.clone() };
        prop_assert_eq!(PersonalProfile::parse(personal.to_vcard().as_bytes()).unwrap(), personal);
        let profile = ConversationProfile { title, description, avatar, ..Default::default() };
        prop_assert_eq!(ConversationProfile::parse(profile.to_vcard().as_bytes()).unwrap(), profile);
    }
}
