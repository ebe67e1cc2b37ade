//! Fuzz bodies of this room, over what real daemons sent and what no recording has.

use super::golden;
use super::lease_tests::lease;
use super::message::{Body, Found, Message, MobileInfo, Version};
use super::mobiles::{decode_list, encode_list};
use super::reader::SwarmReader;
use crate::ids::DeviceId;
use crate::testing::with_mutations;

fn read_all<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Vec<String> {
    let mut reader = SwarmReader::default();
    let mut found = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(message)) => {
                    let again = SwarmReader::default().next(&mut &*message.encode()).unwrap().unwrap();
                    if message.version == Version::Three {
                        assert_eq!(again, message);
                    }
                    found.push(format!("{message:?}"));
                }
                Ok(None) => break,
                Err(error) => {
                    found.push(format!("{error:?}"));
                    return found;
                }
            }
        }
    }
    found
}

fn fuzz_swarm_messages(data: &[u8]) {
    let whole = read_all(std::iter::once(data));
    for segment in [1, 13] {
        assert!(read_all(data.chunks(segment).chain([&[][..]])) == whole, "in pieces of {segment}");
    }
}

fn fuzz_mobile_list(data: &[u8]) {
    let list = decode_list(data);
    assert_eq!(decode_list(&encode_list(&list)), list);
}

fn message(body: Option<Body>) -> Message {
    let info = MobileInfo { device: DeviceId([1; 32]), lease: Some(Box::new(lease())) };
    Message { version: Version::Three, is_mobile: true, self_mobile_info: Some(info), body }
}

#[test]
fn damaged_messages_are_read_alike_or_refused_alike_however_they_are_cut() {
    for set in ["jami-13.11.0", "newest"] {
        for stream in golden::channels(set).into_iter().step_by(3) {
            with_mutations(&stream.concat(), 60, fuzz_swarm_messages);
        }
    }
}

#[test]
fn damaged_messages_of_kinds_that_no_recording_has_are_read_or_refused() {
    let (device, other) = (DeviceId([7; 32]), DeviceId([8; 32]));
    let infos = vec![
        MobileInfo { device, lease: None },
        MobileInfo { device: other, lease: Some(Box::new(lease())) },
    ];
    with_mutations(&encode_list(&infos), 300, fuzz_mobile_list);
    let bodies = [
        None,
        Some(Body::CertificateRequest(vec![device, other])),
        Some(Body::CertificateResponse(vec![vec![1, 2, 3], vec![]])),
        Some(Body::Found(Found { nodes: vec![device], mobile_nodes: vec![other], mobile_infos: infos })),
    ];
    for body in bodies {
        with_mutations(&message(body).encode(), 300, fuzz_swarm_messages);
    }
}
