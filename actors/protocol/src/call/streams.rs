//! What a change of media takes: an INFO, an offer, a new ICE session (`spec: calls 7`).
//!
//! ```text
//!   sound muted          INFO                     source changed    offer, new ICE
//!   pictures muted       offer, new ICE           stream added      offer, new ICE
//!   hold                 offer, ICE stays         stream removed    offer, new ICE
//!   resume               offer, new ICE
//! ```

use super::abilities::Abilities;
use super::control::Control;
use crate::sdp::{Codec, Description, LocalStream, MAX_MEDIA, MediaKind};

/// Most streams of a call, removed ones included: as many as a description may have.
pub const MAX_STREAMS: usize = MAX_MEDIA;

/// Where a stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The usual device of its kind.
    Device,
    /// A named one: a screen, a file, another camera.
    Named(String),
}

/// One stream of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Sound or pictures.
    pub kind: MediaKind,
    /// Where ours comes from.
    pub source: Source,
    /// Whether there is one; a removed one keeps its place.
    pub enabled: bool,
    /// Whether ours is muted.
    pub muted: bool,
}

impl Stream {
    /// A stream of the usual device.
    #[must_use]
    pub const fn of(kind: MediaKind) -> Self {
        Self { kind, source: Source::Device, enabled: true, muted: false }
    }
}

/// What the owner wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Mute the stream with this number, or not any more.
    Mute(usize, bool),
    /// Take it from elsewhere.
    Source(usize, Source),
    /// Add one.
    Add(Stream),
    /// Remove one.
    Remove(usize),
    /// Stop all, for a while.
    Hold,
    /// Go on.
    Resume,
}

/// What has to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// All is so already.
    Nothing,
    /// The other side is told.
    Tell(Control),
    /// It is offered.
    Offer {
        /// With a new ICE session.
        new_ice: bool,
    },
    /// It cannot be done with this other side, or there is no such stream.
    Impossible,
}

/// How an offer of the other side is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It changes nothing that the owner has to agree to.
    AtOnce,
    /// It has a new stream: the owner is asked.
    Ask,
}

/// The streams of a call, as this side has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    streams: Vec<Stream>,
    held: bool,
}

impl Streams {
    /// What a call begins with.
    #[must_use]
    pub fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        Self { streams: streams.into_iter().take(MAX_STREAMS).collect(), held: false }
    }

    /// All of them, removed ones included.
    #[must_use]
    pub fn all(&self) -> &[Stream] {
        &self.streams
    }

    /// Whether we hold the call.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether there are pictures.
    #[must_use]
    pub fn has_video(&self) -> bool {
        self.streams.iter().any(|stream| stream.enabled && stream.kind == MediaKind::Video)
    }

    /// As they are described; `codecs` are those for each kind.
    #[must_use]
    pub fn described(&self, audio: &[Codec], video: &[Codec]) -> Vec<LocalStream> {
        let described = |stream: &Stream| LocalStream {
            kind: stream.kind.clone(),
            codecs: if stream.kind == MediaKind::Audio { audio.to_vec() } else { video.to_vec() },
            enabled: stream.enabled,
            muted: stream.muted,
            held: self.held,
        };
        self.streams.iter().map(described).collect()
    }

    /// Makes a change, and says what it takes.
    pub fn change(&mut self, change: Change, peer: &Abilities) -> Takes {
        match change {
            Change::Hold if self.held => Takes::Nothing,
            Change::Hold => {
                self.held = true;
                Takes::Offer { new_ice: !peer.offers_without_ice() }
            }
            Change::Resume if !self.held => Takes::Nothing,
            Change::Resume => {
                self.held = false;
                Takes::Offer { new_ice: true }
            }
            Change::Add(stream) => self.add(stream, peer),
            Change::Mute(index, _) | Change::Source(index, _) | Change::Remove(index) => {
                let stream = self.streams.get_mut(index).filter(|stream| stream.enabled);
                stream.map_or(Takes::Impossible, |stream| stream.change(change))
            }
        }
    }

    fn add(&mut self, stream: Stream, peer: &Abilities) -> Takes {
        let of_kind = self.streams.iter().filter(|it| it.enabled && it.kind == stream.kind).count();
        let in_use = self.streams.iter().filter(|it| it.enabled).count();
        let allowed = peer.several_streams()
            && (of_kind == 0 || peer.more_than_two_streams())
            && (of_kind == 0 || stream.kind != MediaKind::Audio || peer.several_audio())
            && (in_use < 2 || peer.more_than_two_streams());
        if !allowed {
            return Takes::Impossible;
        }
        match self.streams.iter().position(|it| !it.enabled && it.kind == stream.kind) {
            Some(free) => self.streams[free] = stream,
            None if self.streams.len() < MAX_STREAMS => self.streams.push(stream),
            None => return Takes::Impossible,
        }
        Takes::Offer { new_ice: true }
    }

    /// How an offer is to be taken: whether it has streams that are not there yet.
    #[must_use]
    pub fn judge(&self, offer: &Description) -> Taken {
        let known = |index: usize| self.streams.get(index).is_some_and(|stream| stream.enabled);
        let new = |(index, media): (usize, &crate::sdp::Media)| {
            media.is_enabled() && !matches!(media.kind, MediaKind::Other(_)) && !known(index)
        };
        if offer.media.iter().enumerate().any(new) { Taken::Ask } else { Taken::AtOnce }
    }

    /// Takes over what an offer adds and removes; pictures that were added are muted here until the owner
    /// wants otherwise. With `refuse_new` nothing is added.
    pub fn follow(&mut self, offer: &Description, refuse_new: bool) {
        for (index, media) in offer.media.iter().enumerate().take(MAX_STREAMS) {
            if index >= self.streams.len() {
                let stream = Stream { enabled: false, ..Stream::of(media.kind.clone()) };
                self.streams.push(stream);
            }
            let Some(stream) = self.streams.get_mut(index) else { continue };
            let other = matches!(media.kind, MediaKind::Other(_));
            if !media.is_enabled() || other {
                stream.enabled = false;
            } else if !stream.enabled && !refuse_new {
                let muted = media.kind == MediaKind::Video;
                *stream = Stream { muted, ..Stream::of(media.kind.clone()) };
            }
        }
    }
}

impl Stream {
    fn change(&mut self, change: Change) -> Takes {
        match change {
            Change::Mute(_, muted) if self.muted == muted => Takes::Nothing,
            Change::Mute(_, muted) => {
                self.muted = muted;
                if self.kind == MediaKind::Audio {
                    Takes::Tell(Control::Muted(muted))
                } else {
                    Takes::Offer { new_ice: true }
                }
            }
            Change::Source(_, source) if self.source == source => Takes::Nothing,
            Change::Source(_, source) => {
                self.source = source;
                Takes::Offer { new_ice: true }
            }
            Change::Remove(_) => {
                self.enabled = false;
                Takes::Offer { new_ice: true }
            }
            _ => Takes::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::stream::SipMessage;

    fn peer(version: &str) -> Abilities {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nUser-Agent: Jami Daemon {version} (x)\r\n\r\n");
        let mut abilities = Abilities::default();
        abilities.learn(&SipMessage::in_datagram(&Bytes::from(text)).unwrap().unwrap());
        abilities
    }

    fn both() -> Streams {
        Streams::new([Stream::of(MediaKind::Audio), Stream::of(MediaKind::Video)])
    }

    const NEW_ICE: Takes = Takes::Offer { new_ice: true };

    #[test]
    fn muted_sound_is_told_and_muted_pictures_are_offered_with_new_ice() {
        let (mut streams, peer) = (both(), peer("17.0.0"));
        assert_eq!(streams.change(Change::Mute(0, true), &peer), Takes::Tell(Control::Muted(true)));
        assert_eq!(streams.change(Change::Mute(0, true), &peer), Takes::Nothing);
        assert_eq!(streams.change(Change::Mute(1, true), &peer), NEW_ICE);
        assert_eq!(streams.change(Change::Mute(7, true), &peer), Takes::Impossible);
        let described = streams.described(&Codec::USUAL_AUDIO, &Codec::USUAL_VIDEO);
        assert_eq!(described[1].direction(), crate::sdp::Direction::Receive);
    }

    #[test]
    fn hold_keeps_ice_unless_the_other_side_is_too_old_and_resume_makes_it_anew() {
        let mut streams = both();
        assert_eq!(streams.change(Change::Hold, &peer("17.0.0")), Takes::Offer { new_ice: false });
        assert_eq!(streams.change(Change::Hold, &peer("17.0.0")), Takes::Nothing);
        assert_eq!(streams.change(Change::Resume, &peer("17.0.0")), NEW_ICE);
        assert_eq!(streams.change(Change::Hold, &peer("11.0.1")), NEW_ICE);
    }

    #[test]
    fn a_removed_stream_keeps_its_place_and_the_next_of_its_kind_takes_it() {
        let (mut streams, peer) = (both(), peer("17.0.0"));
        assert_eq!(streams.change(Change::Add(Stream::of(MediaKind::Video)), &peer), NEW_ICE);
        assert_eq!(streams.change(Change::Remove(1), &peer), NEW_ICE);
        assert_eq!((streams.all().len(), streams.all()[1].enabled), (3, false));
        assert_eq!(streams.change(Change::Remove(1), &peer), Takes::Impossible);
        let screen = Stream { source: Source::Named("screen".into()), ..Stream::of(MediaKind::Video) };
        assert_eq!(streams.change(Change::Add(screen.clone()), &peer), NEW_ICE);
        assert_eq!((streams.all().len(), &streams.all()[1]), (3, &screen));
    }

    #[test]
    fn streams_are_added_only_where_the_other_side_can_take_them() {
        let add =
            |version: &str, kind: MediaKind| both().change(Change::Add(Stream::of(kind)), &peer(version));
        assert_eq!(add("17.0.0", MediaKind::Audio), NEW_ICE);
        assert_eq!(add("13.7.0", MediaKind::Audio), Takes::Impossible);
        assert_eq!(add("13.7.0", MediaKind::Video), NEW_ICE);
        assert_eq!(add("13.2.0", MediaKind::Video), Takes::Impossible);
        let mut alone = Streams::new([Stream::of(MediaKind::Audio)]);
        let video = || Change::Add(Stream::of(MediaKind::Video));
        assert_eq!(alone.change(video(), &peer("10.0.1")), Takes::Impossible);
        assert_eq!(alone.change(video(), &Abilities::default()), Takes::Impossible);
        assert_eq!(alone.change(video(), &peer("10.0.2")), NEW_ICE);
        for _ in 0..100 {
            alone.change(video(), &peer("17.0.0"));
        }
        assert_eq!(alone.all().len(), MAX_STREAMS);
    }

    #[test]
    fn a_stream_that_the_other_side_adds_is_asked_for_and_begins_muted() {
        let offer = |text: &str| Description::read(format!("v=0\r\n{text}").as_bytes()).unwrap();
        let audio = "m=audio 1 RTP/SAVP 104\r\n";
        let mut streams = Streams::new([Stream::of(MediaKind::Audio)]);
        assert_eq!(streams.judge(&offer(audio)), Taken::AtOnce);
        let more = offer(&format!("{audio}m=video 1 RTP/SAVP 96\r\nm=text 1 RTP/SAVP 9\r\n"));
        assert_eq!(streams.judge(&more), Taken::Ask);
        let mut refusing = streams.clone();
        refusing.follow(&more, true);
        assert!(!refusing.has_video() && refusing.all().len() == 3);
        streams.follow(&more, false);
        assert!(streams.all()[1].muted && streams.has_video() && !streams.all()[2].enabled);
        assert_eq!(streams.judge(&more), Taken::AtOnce);
        let fewer = offer(&format!("{audio}m=video 0 RTP/SAVP 96\r\n"));
        assert_eq!(streams.judge(&fewer), Taken::AtOnce);
        streams.follow(&fewer, false);
        assert!(!streams.has_video());
    }
}
