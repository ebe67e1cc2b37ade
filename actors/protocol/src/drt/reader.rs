//! Messages out of the bytes of a `swarm://` channel (`spec: drt 3`).

use super::message::{Message, MessageError};
use crate::link::objects::ObjectReader;

/// Longest message read, in bytes: a reply of certificates of 256 KiB, and a lease beside it.
pub const MAX_MESSAGE: usize = 320 * 1024;

/// Takes messages out of bytes that are cut anywhere.
#[derive(Debug)]
pub struct SwarmReader {
    objects: ObjectReader,
}

impl Default for SwarmReader {
    fn default() -> Self {
        Self { objects: ObjectReader::new(MAX_MESSAGE) }
    }
}

impl SwarmReader {
    /// The next message, taken from the front of `input`. `None` means that all of `input` is used up
    /// and more is needed.
    ///
    /// # Errors
    /// When what came is no message: close the channel.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, MessageError> {
        self.objects.next(input)?.map(|value| Message::from_value(&value)).transpose()
    }
}
