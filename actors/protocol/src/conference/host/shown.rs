//! Who hears whom, where pictures are, and how things are told (`spec: conference 2, 3, 6`).

use std::collections::BTreeMap;

use super::{Conference, HOST_STREAM, Listener, Participant, Seat, Voice};
use crate::conference::info::{ConferenceInfo, Entry};
use crate::conference::layout::{Rectangle, Size, arrange};

impl Conference {
    /// Whose sound somebody hears: never the own.
    #[must_use]
    pub fn hears(&self, listener: Listener) -> Vec<Voice> {
        let host = self.attached && !self.host_muted && !self.host_moderator_muted;
        let own = match listener {
            Listener::Host if !self.attached => return Vec::new(),
            Listener::Host => Some(Voice::Host),
            Listener::Seat(seat) => Some(Voice::Seat(seat)),
            Listener::Recording => None,
        };
        let audible = |(seat, it): (&Seat, &Participant)| {
            (!it.moderator_muted && !it.joined.muted).then_some(Voice::Seat(*seat))
        };
        let seats = self.seats.iter().filter_map(audible);
        host.then_some(Voice::Host).into_iter().chain(seats).filter(|voice| Some(*voice) != own).collect()
    }

    /// Where the pictures are, of those who show any.
    #[must_use]
    pub fn tiles(&self) -> Vec<(Voice, Rectangle)> {
        let host =
            self.host_video.filter(|_| self.attached).map(|size| (Voice::Host, size, HOST_STREAM.to_owned()));
        let seats = self.seats.iter().filter_map(|(seat, it)| {
            Some((Voice::Seat(*seat), it.joined.video?.turned(it.turned), it.stream()))
        });
        let shown: Vec<(Voice, Size, String)> = host.into_iter().chain(seats).collect();
        let frames: Vec<Size> = shown.iter().map(|(_, size, _)| *size).collect();
        let active = self.active.as_ref();
        let active = active.and_then(|active| shown.iter().position(|(_, _, stream)| stream == active));
        let places = arrange(self.layout, self.settings.picture, &frames, active);
        shown.into_iter().map(|(voice, ..)| voice).zip(places).collect()
    }

    /// How things are, as a participant is told, or the host's owner is shown; in full.
    #[must_use]
    pub fn info(&self, receiver: Option<Seat>) -> ConferenceInfo {
        self.info_with(&self.tiles().into_iter().collect(), receiver)
    }

    pub(super) fn info_with(
        &self,
        tiles: &BTreeMap<Voice, Rectangle>,
        receiver: Option<Seat>,
    ) -> ConferenceInfo {
        let mut entries = Vec::new();
        if self.attached {
            entries.push(self.host_entry(tiles.get(&Voice::Host).copied()));
        }
        for (seat, participant) in &self.seats {
            let tile = tiles.get(&Voice::Seat(*seat)).copied();
            match &participant.nested {
                // Nothing is told to who told it.
                Some(_) if receiver == Some(*seat) => {}
                Some(nested) => entries.extend(nested_entries(nested, participant, tile)),
                None => entries.push(self.entry(participant, tile)),
            }
        }
        ConferenceInfo { entries, picture: self.settings.picture, version: 1, layout: self.layout }
    }

    fn host_entry(&self, tile: Option<Rectangle>) -> Entry {
        Entry {
            uri: self.own.0.to_hex(),
            device: self.own.1.to_hex(),
            stream: HOST_STREAM.to_owned(),
            active: self.active.as_deref() == Some(HOST_STREAM),
            place: tile.unwrap_or_else(Entry::audio_only),
            video_muted: tile.is_none(),
            local_muted: self.host_muted,
            moderator_muted: self.host_moderator_muted,
            moderator: true,
            hand: self.host_hand,
            voice: self.host_voice,
            recording: self.recording,
        }
    }

    fn entry(&self, participant: &Participant, tile: Option<Rectangle>) -> Entry {
        let stream = participant.stream();
        Entry {
            uri: participant.joined.account.to_hex(),
            device: participant.joined.device.to_hex(),
            active: self.active.as_ref() == Some(&stream),
            stream,
            place: tile.unwrap_or_else(Entry::audio_only),
            video_muted: tile.is_none(),
            local_muted: participant.joined.muted,
            moderator_muted: participant.moderator_muted,
            moderator: self.may_moderate(participant.joined.account),
            hand: participant.hand,
            voice: participant.voice,
            recording: participant.recording,
        }
    }
}

/// The entries of a participant's own conference, in its tile. They are shown, and give no rights.
fn nested_entries(nested: &ConferenceInfo, through: &Participant, tile: Option<Rectangle>) -> Vec<Entry> {
    // Older hosts do not say how large their picture is: it is what comes of them.
    let known = nested.picture.width > 0 && nested.picture.height > 0;
    let picture = if known { nested.picture } else { through.joined.video.unwrap_or_default() };
    let place = |entry: &Entry| match tile {
        Some(tile) if entry.place != Entry::audio_only() => entry.place.rescaled(picture, tile),
        _ => Entry::audio_only(),
    };
    nested.entries.iter().map(|entry| Entry { place: place(entry), active: false, ..entry.clone() }).collect()
}
