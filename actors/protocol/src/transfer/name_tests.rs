//! Names of files and channels: the specification's, those of real daemons, and bad ones.

use proptest::prelude::*;

use super::*;
use crate::link::channel_name::ChannelName;
use crate::link::golden;
use crate::link::mux::control::{ControlMessage, read_control};
use crate::testing::DAEMONS;

const COMMIT: &str = "32c0610b1c788107a74ed24d553e85a549eca07c";
const CONVERSATION: &str = "10ad34b1474a4bea1b70bd5d00241f1fd8441f13";

fn device() -> String {
    "f083a20bb24b7480ad38e8a5434336925b8b141aa0aa96fa3e0c3d69d27dc32b".to_owned()
}

#[test]
fn extensions_become_part_of_the_id_as_the_specification_says() {
    for (name, extension) in [
        ("photo.JPEG", ".JPEG"),
        ("archive.tar.gz", ".gz"),
        (".bashrc", ".bashrc"),
        ("noext", ""),
        ("name.", ""),
        ("x.verylongext", ""),
        ("x.1234567", ".1234567"),
        ("x.12345678", ""),
        ("something.vcf", ".vcf"),
        ("x.éé", ".éé"),
        ("x.éééé", ""),
    ] {
        let id = FileId::new(COMMIT.parse().unwrap(), "7", name).unwrap();
        assert_eq!(id.as_str(), format!("{COMMIT}_7{extension}"), "{name}");
        assert_eq!(id.commit().to_hex(), COMMIT);
    }
}

#[test]
fn ids_that_lead_elsewhere_are_refused() {
    let long = "1".repeat(17);
    for text in [
        "",
        "_",
        "profile.vcf",
        COMMIT,
        &format!("{COMMIT}_"),
        &format!("{COMMIT}_x"),
        &format!("{COMMIT}_-1"),
        &format!("{COMMIT}_{long}"),
        &format!("{COMMIT}_7."),
        &format!("{COMMIT}_7.."),
        &format!("{COMMIT}_7.a.b"),
        &format!("{COMMIT}_7.12345678"),
        &format!("{COMMIT}_7./a"),
        &format!("{COMMIT}_7.a\\b"),
        &format!("{COMMIT}_7.a\0"),
        &format!("{COMMIT}_7/../x"),
        &format!("../{COMMIT}_7"),
        &format!("{}_7", COMMIT.to_uppercase()),
        &format!("{}_7", &COMMIT[1..]),
    ] {
        assert_eq!(text.parse::<FileId>(), Err(FileIdError), "{text:?}");
    }
}

#[test]
fn names_of_all_kinds_are_read_and_written() {
    let device = device();
    let hash = FileHash::of(b"profile");
    for name in [
        "profile.vcf".to_owned(),
        format!("profile.vcf?sha3={hash}"),
        "profile.vcf?modified=18446744069067230020".to_owned(),
        format!("profile.vcf?sha3={hash}&modified=18446744069067231398"),
        format!("{CONVERSATION}/{device}/profile.vcf"),
        format!("{CONVERSATION}/{device}/profile.vcf?sha3={hash}&modified=5"),
        format!("{CONVERSATION}/profile/d80eb171c037c5a1630db8ae9abf2cafc3e9c56d.vcf"),
        format!("{CONVERSATION}/{device}/{COMMIT}_1252817945532450.png"),
        format!("{CONVERSATION}/{device}/{COMMIT}_1252817945532450.png?start=65535&end=0"),
        format!("{CONVERSATION}/{device}/{COMMIT}_1?start=5&end=8589934592"),
    ] {
        assert_eq!(TransferName::parse(&name).unwrap().to_string(), name);
    }
}

#[test]
fn a_file_called_like_a_card_is_an_ordinary_file() {
    let name = format!("{CONVERSATION}/{}/{COMMIT}_7.vcf", device());
    let Ok(TransferName::File(request)) = TransferName::parse(&name) else { panic!("no file") };
    assert_eq!(request.file.as_str(), format!("{COMMIT}_7.vcf"));
}

#[test]
fn a_device_that_asks_itself_is_told_apart() {
    let own: DeviceId = device().parse().unwrap();
    let file: FileId = format!("{COMMIT}_7").parse().unwrap();
    let request = FileRequest::from(CONVERSATION.parse().unwrap(), own, file, 0);
    assert!(request.is_from(own));
    assert!(!request.is_from(DeviceId([0; 32])));
}

#[test]
fn ranges_are_read_leniently_and_nonsense_is_refused() {
    let file = format!("{CONVERSATION}/x/{COMMIT}_7");
    let range = |arguments: &str| match TransferName::parse(&format!("{file}?{arguments}")) {
        Ok(TransferName::File(request)) => Ok((request.range.start, request.range.end)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(range(""), Ok((0, 0)));
    assert_eq!(range("start=7"), Ok((7, 0)));
    assert_eq!(range("start=7&start=8&x=y&z&=&end=9"), Ok((8, 9)));
    assert_eq!(range("start=8589934592&end=0"), Ok((1 << 33, 0)));
    for arguments in [
        "start=",
        "start=-1",
        "start=x",
        "end=0x10",
        "start=18446744073709551616",
        "start=9&end=8",
        "end=1e3",
    ] {
        assert_eq!(range(arguments), Err(TransferNameError::Range), "{arguments}");
    }
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let device = device();
    for (name, error) in [
        ("", TransferNameError::Malformed),
        ("x", TransferNameError::Malformed),
        ("profile.vcf/", TransferNameError::Malformed),
        (CONVERSATION, TransferNameError::Malformed),
        (&format!("{CONVERSATION}/{COMMIT}_7"), TransferNameError::Malformed),
        (&format!("x/{device}/{COMMIT}_7"), TransferNameError::Conversation),
        (&format!("/{device}/{COMMIT}_7"), TransferNameError::Conversation),
        (&format!("{CONVERSATION}/{device}/"), TransferNameError::File),
        (&format!("{CONVERSATION}/{device}/.."), TransferNameError::File),
        (&format!("{CONVERSATION}/{device}/x.vcf"), TransferNameError::File),
        (&format!("{CONVERSATION}/{device}/{COMMIT}_7/.."), TransferNameError::File),
        (&format!("{CONVERSATION}/x?y/{COMMIT}_7"), TransferNameError::Malformed),
        (&"/".repeat(10_000), TransferNameError::Malformed),
    ] {
        assert_eq!(TransferName::parse(name), Err(error), "{name:?}");
    }
    let inner = format!("{CONVERSATION}/a/../../b/{COMMIT}_7");
    assert!(matches!(TransferName::parse(&inner), Ok(TransferName::File(_))), "inner parts are harmless");
}

#[test]
fn recorded_names_are_understood() {
    let (mut files, mut profiles) = (0, 0);
    for connection in DAEMONS.into_iter().flat_map(golden::connections) {
        for frame in connection.frames.iter().filter(|frame| frame.channel == 0) {
            for message in read_control(&frame.data) {
                let ControlMessage::Channel { name, .. } = message else { continue };
                let Ok(ChannelName::DataTransfer { path }) = name.parse() else { continue };
                let read = TransferName::parse(&path).unwrap();
                assert_eq!(read.to_string(), path);
                match read {
                    TransferName::File(_) => files += 1,
                    _ => profiles += 1,
                }
            }
        }
    }
    assert!(files >= 4 && profiles >= 20, "{files} files, {profiles} profiles");
}

proptest! {
    #[test]
    fn any_name_is_read_or_refused(name in "[a-f0-9]{40}/[a-z0-9./]{0,9}/([a-f0-9]{40}_[0-9]{1,3}(\\.[a-z?]{1,8})?|\\PC{0,9})(\\?(start|end|x)=[0-9]{0,4}(&end=[0-9]{1,4})?)?") {
        if let Ok(read) = TransferName::parse(&name) {
            prop_assert_eq!(TransferName::parse(&read.to_string()), Ok(read));
        }
    }

    #[test]
    fn an_id_is_a_single_harmless_name(tid in 1u64..(1 << 53), name: String) {
        if let Ok(id) = FileId::new(COMMIT.parse().unwrap(), &tid.to_string(), &name) {
            prop_assert_eq!(id.as_str().parse::<FileId>(), Ok(id.clone()));
            let components: Vec<_> = std::path::Path::new(id.as_str()).components().collect();
            prop_assert_eq!(components, [std::path::Component::Normal(id.as_str().as_ref())]);
            let request = FileRequest::from(CONVERSATION.parse().unwrap(), DeviceId([1; 32]), id, 0);
            let name = TransferName::File(request);
            prop_assert_eq!(TransferName::parse(&name.to_string()), Ok(name));
        }
    }
}
