//! Which elements there are, and what is to be done about those that are missing.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::OnFailure;

/// Why there is no sound.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SoundError {
    /// GStreamer itself does not work.
    Library(String),
    /// A part of it is not installed.
    Missing {
        /// The element.
        element: &'static str,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// A file cannot be used.
    File(String),
    /// A pipeline cannot be made or started.
    Pipeline(String),
}

impl std::fmt::Display for SoundError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Library(problem) => write!(formatter, "GStreamer cannot be used: {problem}"),
            Self::Missing { element, package } => {
                write!(formatter, "GStreamer has no element {element} here; install the package {package}")
            }
            Self::File(problem) => write!(formatter, "{problem}"),
            Self::Pipeline(problem) => write!(formatter, "the sound cannot be started: {problem}"),
        }
    }
}

impl std::error::Error for SoundError {}

/// Which package of Debian has an element.
fn package_of(element: &str) -> &'static str {
    match element {
        "rtpopuspay" | "rtpopusdepay" | "rtpjitterbuffer" | "autoaudiosrc" | "autoaudiosink" => {
            "gstreamer1.0-plugins-good"
        }
        "opusparse" => "gstreamer1.0-plugins-bad",
        "queue" | "fakesink" | "filesrc" | "filesink" => "libgstreamer1.0-0",
        _ => "gstreamer1.0-plugins-base",
    }
}

/// Starts GStreamer, once, and looks whether elements are there.
pub(super) fn need(elements: &[&'static str]) -> Result<(), SoundError> {
    gst::init().map_err(|error| SoundError::Library(error.to_string()))?;
    let missing = elements.iter().find(|element| gst::ElementFactory::find(element).is_none());
    match missing {
        None => Ok(()),
        Some(element) => Err(SoundError::Missing { element, package: package_of(element) }),
    }
}

/// A pipeline out of its description.
pub(super) fn build(graph: &str) -> Result<gst::Pipeline, SoundError> {
    let broken = |problem: String| SoundError::Pipeline(problem);
    let made = gst::parse::launch(graph).map_err(|error| broken(error.to_string()))?;
    made.downcast().map_err(|_| broken("it is no pipeline".to_owned()))
}

/// An element of a pipeline, by its name in the description.
pub(super) fn element(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element, SoundError> {
    pipeline.by_name(name).ok_or_else(|| SoundError::Pipeline(format!("{name} is not in it")))
}

/// Starts a pipeline; what breaks later is told, and its end, too, if anybody wants it.
pub(super) fn start(
    pipeline: &gst::Pipeline,
    failed: OnFailure,
    ended: Option<std::sync::mpsc::SyncSender<()>>,
) -> Result<(), SoundError> {
    let bus = pipeline.bus().ok_or_else(|| SoundError::Pipeline("it has no bus".to_owned()))?;
    let told = std::sync::atomic::AtomicBool::new(false);
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                if !told.swap(true, std::sync::atomic::Ordering::Relaxed) {
                    let place = error.src().map(|it| it.name().to_string()).unwrap_or_default();
                    failed(format!("the sound broke in {place}: {}", error.error()));
                }
                if let Some(ended) = &ended {
                    let _ = ended.try_send(());
                }
            }
            gst::MessageView::Eos(_) => {
                if let Some(ended) = &ended {
                    let _ = ended.try_send(());
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
    match pipeline.set_state(gst::State::Playing) {
        Ok(_) => Ok(()),
        Err(_) => {
            stop(pipeline);
            Err(SoundError::Pipeline("its devices or files cannot be opened".to_owned()))
        }
    }
}

/// Stops a pipeline now.
pub(super) fn stop(pipeline: &gst::Pipeline) {
    // It cannot fail for elements that exist, and nothing could be done.
    let _ = pipeline.set_state(gst::State::Null);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = need(&["queue", "nosuchelement"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GStreamer has no element nosuchelement here; install the package gstreamer1.0-plugins-base"
        );
        assert!(need(&["queue"]).is_ok());
        assert_eq!(package_of("rtpjitterbuffer"), "gstreamer1.0-plugins-good");
    }

    #[test]
    fn a_graph_that_is_none_is_told() {
        need(&[]).unwrap();
        assert!(matches!(build("queue ! nosuchelement"), Err(SoundError::Pipeline(_))));
    }
}
