//! Deflating objects: what packs and files of single objects hold is a zlib stream each.

use std::cell::RefCell;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

thread_local! {
    /// The state of a compressor takes a third of a megabyte, and messages are small: to make it anew takes
    /// longer than to deflate one.
    static ENCODER: RefCell<ZlibEncoder<Vec<u8>>> =
        RefCell::new(ZlibEncoder::new(Vec::new(), Compression::default()));
}

/// Appends one zlib stream of these parts to `out`.
#[must_use]
pub fn deflate(out: Vec<u8>, parts: &[&[u8]]) -> Vec<u8> {
    ENCODER.with_borrow_mut(|encoder| {
        *encoder.get_mut() = out;
        let written = parts.iter().try_for_each(|part| encoder.write_all(part));
        written.and_then(|()| encoder.reset(Vec::new())).unwrap_or_else(|_| {
            // Writing to a vector cannot fail; if it does, the next stream begins anew.
            *encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            Vec::new()
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::ZlibDecoder;
    use proptest::prelude::*;

    use super::*;

    fn inflate(bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        ZlibDecoder::new(bytes).read_to_end(&mut content).unwrap();
        content
    }

    proptest! {
        #[test]
        fn each_stream_holds_its_own_content_whatever_was_deflated_before(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..5),
        ) {
            for content in contents {
                let (first, second) = content.split_at(content.len() / 3);
                let out = deflate(b"before".to_vec(), &[first, second]);
                prop_assert_eq!(&out[..6], b"before");
                prop_assert_eq!(inflate(&out[6..]), content.clone());
                prop_assert_eq!(&out[6..], deflate(Vec::new(), &[&content]));
            }
        }
    }
}
