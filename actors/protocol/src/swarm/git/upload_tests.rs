use super::*;

const REQUEST: &[u8] = b"002egit-upload-pack /conversation\0host=device\0";

fn id(byte: u8) -> CommitId {
    CommitId([byte; 20])
}

fn line(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    packet_line::encode(text.as_bytes(), &mut out);
    out
}

/// Everything the session says to `bytes`, knowing the commits in `known`.
fn play(session: &mut UploadSession, bytes: &[u8], known: &[CommitId]) -> (String, Vec<UploadOutput>) {
    session.receive(bytes);
    let mut text = String::new();
    let mut events = Vec::new();
    while let Some(output) = session.poll() {
        match output {
            UploadOutput::Send(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            UploadOutput::NeedAdvertisement => {
                let main = Reference { name: "refs/heads/main".to_owned(), target: id(9) };
                session.advertise(id(9), &[main]);
            }
            UploadOutput::FindCommon(haves) => {
                let common: Vec<_> = haves.into_iter().filter(|have| known.contains(have)).collect();
                session.common(&common);
            }
            UploadOutput::BuildPack { .. } => {
                events.push(output);
                session.pack_bytes(b"pack");
                session.pack_end();
            }
            other => events.push(other),
        }
    }
    (text, events)
}

#[test]
fn version_1_is_answered_with_a_line_that_ends_in_nul_and_other_versions_are_ignored() {
    for (parameters, expected) in
        [("\0version=1\0", "000eversion 1\x00006a"), ("\0version=2\0", "006a"), ("", "006a")]
    {
        let request = line(&format!("git-upload-pack /c\0host=d\0{parameters}"));
        let (text, _) = play(&mut UploadSession::new(), &request, &[]);
        assert!(text.starts_with(expected), "{parameters:?} {text:?}");
    }
}

#[test]
fn several_sessions_run_on_one_channel() {
    let mut session = UploadSession::new();
    for _ in 0..3 {
        let (text, events) = play(&mut session, &[REQUEST, b"0000"].concat(), &[]);
        assert!(text.ends_with("refs/heads/main\n0000"));
        assert_eq!(events, [UploadOutput::UpToDate { head: id(9) }]);
        let rest = [REQUEST, &line(&format!("want {} \n", id(9))), b"00000009done\n0000"].concat();
        let (text, events) = play(&mut session, &rest, &[]);
        assert!(text.ends_with("0008NAK\n0009\x01pack0000"), "{text:?}");
        assert_eq!(
            events,
            [
                UploadOutput::BuildPack { want: id(9), common: Vec::new() },
                UploadOutput::Finished { want: id(9) }
            ]
        );
        assert!(session.is_idle());
    }
}

#[test]
fn a_client_that_begins_anew_in_the_middle_of_a_session_is_served_from_the_start() {
    let wants = line(&format!("want {} \n", id(9)));
    let haves = [&wants[..], b"0000", &line(&format!("have {}\n", id(1)))].concat();
    for middle in [&b""[..], &wants, &haves] {
        let mut session = UploadSession::new();
        play(&mut session, &[REQUEST, middle].concat(), &[]);
        let (text, events) = play(&mut session, REQUEST, &[id(1)]);
        assert!(text.ends_with("refs/heads/main\n0000"), "after {middle:?}: {text:?}");
        assert_eq!(events, []);
        let rest = [&wants[..], b"00000009done\n0000"].concat();
        let (text, events) = play(&mut session, &rest, &[id(1)]);
        assert!(text.ends_with("0008NAK\n0009\x01pack0000"), "what was said before is forgotten: {text:?}");
        let pack = UploadOutput::BuildPack { want: id(9), common: Vec::new() };
        assert_eq!(events, [pack, UploadOutput::Finished { want: id(9) }]);
    }
}

#[test]
fn only_commits_that_exist_here_are_acknowledged() {
    let start = [REQUEST, &line(&format!("want {}\n", id(9))), b"0000"].concat();
    let mut session = UploadSession::new();
    play(&mut session, &start, &[]);
    let (text, _) = play(&mut session, &[&line(&format!("have {}\n", id(1))), &b"0000"[..]].concat(), &[]);
    assert_eq!(text, "0008NAK\n");
    let haves = [line(&format!("have {}\n", id(2))), line(&format!("have {}\n", id(3)))].concat();
    let (text, _) = play(&mut session, &[&haves, &b"0000"[..]].concat(), &[id(3)]);
    assert_eq!(text, format!("003aACK {} continue\n0008NAK\n", id(3)));
    let (text, events) = play(&mut session, b"0009done\n", &[]);
    assert!(text.starts_with(&format!("0031ACK {}\n", id(3))));
    assert_eq!(events[0], UploadOutput::BuildPack { want: id(9), common: vec![id(3)] });
}

#[test]
fn the_last_want_counts_and_unknown_lines_are_ignored() {
    let mut bytes = REQUEST.to_vec();
    for text in [format!("want {}\n", id(1)), "deepen 1\n".to_owned(), format!("want {}\n", id(2))] {
        bytes.extend(line(&text));
    }
    bytes.extend_from_slice(b"0000000cfilter\n\n0009done\n");
    let (_, events) = play(&mut UploadSession::new(), &bytes, &[]);
    assert_eq!(events[0], UploadOutput::BuildPack { want: id(2), common: Vec::new() });
}

#[test]
fn bad_input_closes_the_channel_once() {
    let malformed_want = [REQUEST, &line("want xyz\n")].concat();
    for (bytes, reason) in [
        (&b"zzzz"[..], UploadClose::PacketLine(PacketLineError::Length("zzzz".to_owned()))),
        (b"0018git-receive-pack /c\0", UploadClose::UnknownService),
        (&malformed_want, UploadClose::MalformedWant),
    ] {
        let mut session = UploadSession::new();
        let (_, events) = play(&mut session, bytes, &[]);
        assert_eq!(events, [UploadOutput::Close(reason)]);
        session.fail();
        session.receive(bytes);
        assert_eq!(session.poll(), None);
    }
}

#[test]
fn haves_are_bounded() {
    let mut session = UploadSession::new();
    play(&mut session, &[REQUEST, &line(&format!("want {}\n", id(9))), b"0000"].concat(), &[]);
    let batch = line(&format!("have {}\n", id(1))).repeat(1024);
    let mut closed = false;
    for _ in 0..=MAX_HAVES / 1024 {
        let (_, events) = play(&mut session, &[&batch[..], b"0000"].concat(), &[id(1)]);
        closed |= events == [UploadOutput::Close(UploadClose::TooManyHaves)];
    }
    assert!(closed);
}

#[test]
fn long_packs_are_cut_into_full_packets() {
    let mut session = UploadSession::new();
    session.receive(&[REQUEST, &line(&format!("want {}\n", id(9))), b"00000009done\n"].concat());
    let mut sizes = Vec::new();
    while let Some(output) = session.poll() {
        match output {
            UploadOutput::NeedAdvertisement => session.advertise(id(9), &[]),
            UploadOutput::BuildPack { .. } => {
                sizes.clear();
                for _ in 0..100 {
                    session.pack_bytes(&[7; 1000]);
                }
                session.pack_end();
            }
            UploadOutput::Send(bytes) => sizes.push(bytes.len()),
            _ => {}
        }
    }
    assert_eq!(sizes, [65_520, 100_000 - 65_515 + 5, 4]);
}
