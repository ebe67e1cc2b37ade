//! Fuzz bodies of git sessions, over recorded fetches between real daemons.

use super::download::{DownloadError, DownloadOutput, DownloadSession};
use super::golden::recorded;
use super::pack::PackLimits;
use super::pack::resolve::read_small_pack;
use super::packet_line::PacketDecoder;
use super::upload::{UploadOutput, UploadSession};
use crate::ids::{CommitId, ConversationId, DeviceId};
use crate::testing::with_mutations;

fn fuzz_packet_lines(data: &[u8]) {
    let read = |segment: usize| {
        let mut decoder = PacketDecoder::default();
        let mut packets = Vec::new();
        for piece in data.chunks(segment) {
            decoder.receive(piece).ok()?;
            while let Some(packet) = decoder.next_packet().ok()? {
                packets.push(packet);
            }
        }
        Some(packets)
    };
    assert_eq!(read(7), read(usize::MAX));
}

/// Serves whatever `data` asks for.
fn fuzz_upload(data: &[u8]) {
    let mut session = UploadSession::new();
    session.receive(data);
    while let Some(output) = session.poll() {
        match output {
            UploadOutput::NeedAdvertisement => session.advertise(CommitId([1; 20]), &[]),
            UploadOutput::FindCommon(haves) => session.common(&haves),
            UploadOutput::BuildPack { .. } => {
                session.pack_bytes(&[0; 100]);
                session.pack_end();
            }
            UploadOutput::Close(_) => assert_eq!(session.poll(), None),
            UploadOutput::Send(_) | UploadOutput::Finished { .. } | UploadOutput::UpToDate { .. } => {}
        }
    }
}

/// Fetches the head from a server that says `data`.
fn fuzz_download(data: &[u8]) {
    let _ = download(data).map(|pack| fuzz_pack(&pack));
}

fn download(data: &[u8]) -> Result<Vec<u8>, DownloadError> {
    let mut session = DownloadSession::new(ConversationId([1; 20]), DeviceId([2; 32]));
    let mut pack = Vec::new();
    let mut pieces = data.chunks(1000);
    loop {
        while let Some(output) = session.poll()? {
            match output {
                DownloadOutput::Head(head) => session.want(head, &[CommitId([3; 20])]),
                DownloadOutput::Pack(bytes) => pack.extend_from_slice(&bytes),
                DownloadOutput::Send(_) | DownloadOutput::Finished => {}
            }
        }
        match pieces.next() {
            Some(piece) => session.receive(piece)?,
            None => break,
        }
    }
    session.closed()?;
    Ok(pack)
}

/// Scanning, inflating and applying deltas. The checksum at the end is put right, so that damage is
/// looked at and not refused for it.
fn fuzz_pack(data: &[u8]) {
    let _ = read_small_pack(data, PackLimits::SMALL, &mut |_| None);
    if let Some(content) = data.len().checked_sub(20).and_then(|length| data.get(..length)) {
        let pack = [content, &crate::ids::sha1(content)].concat();
        let _ = read_small_pack(&pack, PackLimits::SMALL, &mut |_| None);
    }
}

#[test]
fn damaged_sessions_end_in_order_on_either_side() {
    for recorded in recorded() {
        with_mutations(&recorded.client, 20, fuzz_upload);
        with_mutations(&recorded.client, 20, fuzz_packet_lines);
        let said = &recorded.server[..recorded.server.len().min(20_000)];
        with_mutations(said, 10, fuzz_download);
    }
}

#[test]
fn damaged_packs_are_read_or_refused() {
    let mut packs = 0;
    for recorded in recorded() {
        let Ok(pack) = download(&recorded.server) else { continue };
        if !pack.is_empty() && pack.len() < 10_000 {
            with_mutations(&pack, 60, fuzz_pack);
            packs += 1;
        }
    }
    assert!(packs > 5, "{packs}");
}
