//! Pictures made safe and small: decoded within limits, turned as their camera was held, scaled, and written anew, so
//! that nothing of what somebody sent or chose is kept but what is to be seen. Runs on the blocking pool.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use skep_protocol::profile::{MAX_PICTURE, Picture};

/// Longest image file that somebody may choose, in bytes: those of today's cameras have half of that.
pub const MAX_PHOTO: usize = 16 * 1024 * 1024;

/// Longest picture kept, in bytes: in base64, and with a name, it still fits into a contact request.
pub const MAX_KEPT: usize = 45_000;

/// Widest and highest image decoded that the owner chose, in pixels.
const MAX_PHOTO_SIDE: u32 = 12_000;

/// Memory that decoding one may take, in bytes: 40 megapixels of three colours, and what goes with it.
const MAX_PHOTO_MEMORY: u64 = 160 * 1024 * 1024;

/// Widest and highest image decoded that others sent, in pixels.
const MAX_SENT_SIDE: u32 = 4096;

/// Memory that decoding one may take, in bytes: as wide and high as may be, in four colours.
const MAX_SENT_MEMORY: u64 = 64 * 1024 * 1024;

/// Sides in pixels and qualities tried, until one is short enough.
const TRIED: [(u32, u8); 6] = [(512, 88), (512, 75), (384, 75), (256, 75), (128, 70), (64, 60)];

/// Why an image cannot be a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Longer than [`MAX_PHOTO`].
    #[error("the picture has more than {MAX_PHOTO} bytes; make it smaller")]
    TooLong,
    /// Neither PNG nor JPEG.
    #[error("the picture is neither a PNG nor a JPEG image")]
    Kind,
    /// Wider, higher or with more pixels than are decoded.
    #[error("the picture has too many pixels; make it smaller")]
    TooLarge,
    /// Not what it seems to be.
    #[error("the picture cannot be read: {0}")]
    Broken(String),
}

/// How much decoding may take.
#[derive(Clone, Copy)]
struct Bounds {
    side: u32,
    memory: u64,
}

/// A picture of the image file that the owner chose.
///
/// # Errors
/// Why it cannot be one.
pub fn of_owner(file: &[u8]) -> Result<Picture, PictureError> {
    if file.len() > MAX_PHOTO {
        return Err(PictureError::TooLong);
    }
    remake(file, Bounds { side: MAX_PHOTO_SIDE, memory: MAX_PHOTO_MEMORY })
}

/// What is kept of a picture that somebody sent; nothing if it is none.
#[must_use]
pub fn of_others(picture: &Picture) -> Option<Picture> {
    let file = picture.decode().filter(|file| file.len() <= MAX_PICTURE)?;
    let made = remake(&file, Bounds { side: MAX_SENT_SIDE, memory: MAX_SENT_MEMORY });
    made.inspect_err(|error| tracing::debug!(%error, "a profile is kept without its picture")).ok()
}

fn remake(file: &[u8], bounds: Bounds) -> Result<Picture, PictureError> {
    let format = match image::guess_format(file) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        _ => return Err(PictureError::Kind),
    };
    let image = decode(file, format, bounds)?;
    if image.color().has_alpha()
        && let Some(kept) = as_png(&image)
    {
        return Ok(Picture::from_bytes(&kept));
    }
    as_jpeg(&image).map(|kept| Picture::from_bytes(&kept))
}

fn decode(file: &[u8], format: ImageFormat, bounds: Bounds) -> Result<DynamicImage, PictureError> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(bounds.side);
    limits.max_image_height = Some(bounds.side);
    limits.max_alloc = Some(bounds.memory);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(problem)?;
    if decoder.total_bytes() > bounds.memory {
        return Err(PictureError::TooLarge);
    }
    let orientation = decoder.orientation().map_err(problem)?;
    let image = DynamicImage::from_decoder(decoder).map_err(problem)?;
    let mut image = fitted(&image, TRIED[0].0);
    image.apply_orientation(orientation);
    Ok(image)
}

fn problem(error: image::ImageError) -> PictureError {
    match error {
        image::ImageError::Limits(_) => PictureError::TooLarge,
        error => PictureError::Broken(error.to_string()),
    }
}

/// The image, no wider and no higher than that.
fn fitted(image: &DynamicImage, side: u32) -> DynamicImage {
    if image.width() <= side && image.height() <= side { image.clone() } else { image.thumbnail(side, side) }
}

/// With what shines through, if that is short enough.
fn as_png(image: &DynamicImage) -> Option<Vec<u8>> {
    TRIED.iter().map(|(side, _)| *side).take(4).find_map(|side| {
        let mut file = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgba8(fitted(image, side).into_rgba8());
        image.write_to(&mut file, ImageFormat::Png).ok()?;
        Some(file.into_inner()).filter(|file| file.len() <= MAX_KEPT)
    })
}

fn as_jpeg(image: &DynamicImage) -> Result<Vec<u8>, PictureError> {
    let opaque = DynamicImage::ImageRgb8(on_white(image));
    for (side, quality) in TRIED {
        let mut file = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut file, quality);
        fitted(&opaque, side).write_with_encoder(encoder).map_err(problem)?;
        if file.len() <= MAX_KEPT {
            return Ok(file);
        }
    }
    Err(PictureError::TooLarge)
}

/// Whatever shines through, as if on paper.
fn on_white(image: &DynamicImage) -> image::RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let image = image.to_rgba8();
    image::RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0;
        let mixed = |colour: u8| {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
        };
        image::Rgb([red, green, blue].map(mixed))
    })
}

#[cfg(test)]
mod tests {
    use skep_protocol::profile::PictureKind;

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let image = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([x, y, x ^ y].map(|it| u8::try_from(it % 256).unwrap()))
        });
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    fn size(picture: &Picture) -> (u32, u32) {
        let image = image::load_from_memory(&picture.decode().unwrap()).unwrap();
        (image.width(), image.height())
    }

    /// The beginning of a PNG image of a size, in one colour of a bit.
    fn announcing(width: u32, height: u32) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([1, 0, 0, 0, 0]);
        file.extend(13_u32.to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&header);
        file.extend(&header);
        file.extend(sum.sum().to_be_bytes());
        file
    }

    #[test]
    fn a_photo_is_scaled_and_made_short_enough_for_a_request() {
        let picture = of_owner(&png(3000, 1500)).unwrap();
        assert_eq!(picture.kind(), Some(PictureKind::Jpeg));
        assert!(picture.decode().unwrap().len() <= MAX_KEPT);
        let (width, height) = size(&picture);
        assert!(width <= 512 && width == 2 * height, "{width} {height}");
        assert_eq!(size(&of_owner(&png(30, 40)).unwrap()), (30, 40), "a small one is not blown up");
    }

    #[test]
    fn what_shines_through_is_kept_where_there_is_room() {
        let image = image::RgbaImage::from_pixel(600, 600, image::Rgba([200, 0, 0, 128]));
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, ImageFormat::Png).unwrap();
        let picture = of_owner(file.get_ref()).unwrap();
        assert_eq!((picture.kind(), size(&picture)), (Some(PictureKind::Png), (512, 512)));
    }

    #[test]
    fn the_camera_is_turned_and_what_it_noted_is_dropped() {
        let mut jpeg = Vec::new();
        let image = image::RgbImage::from_pixel(40, 20, image::Rgb([9, 9, 9]));
        JpegEncoder::new(&mut jpeg).encode_image(&image).unwrap();
        // Orientation 6 of Exif: to be turned by a quarter; and words that nobody else is to read.
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        exif.extend(b"at home");
        let mut turned = jpeg[..2].to_vec();
        turned.extend([0xff, 0xe1]);
        turned.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
        turned.extend(&exif);
        turned.extend(&jpeg[2..]);
        let picture = of_owner(&turned).unwrap();
        assert_eq!(size(&picture), (20, 40));
        let kept = picture.decode().unwrap();
        assert!(!kept.windows(4).any(|bytes| bytes == b"Exif" || bytes == b"home"));
    }

    #[test]
    fn a_picture_that_unpacks_to_very_much_is_refused_before_it_is_unpacked() {
        for (width, height) in [(100_000, 100_000), (1, 20_000), (u32::MAX, u32::MAX)] {
            let bomb = announcing(width, height);
            assert!(of_owner(&bomb).is_err());
            assert_eq!(of_others(&Picture::from_bytes(&bomb)), None);
        }
        assert_eq!(of_owner(&vec![0; MAX_PHOTO + 1]), Err(PictureError::TooLong));
        let (wide, high) = (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE);
        assert!(of_owner(&announcing(wide, high)).is_err(), "it ends after its header");
    }

    #[test]
    fn what_is_no_picture_is_refused_and_nothing_of_it_kept() {
        assert_eq!(of_owner(b"GIF89a"), Err(PictureError::Kind));
        assert_eq!(of_owner(b""), Err(PictureError::Kind));
        let whole = png(64, 64);
        assert!(matches!(of_owner(&whole[..whole.len() / 2]), Err(PictureError::Broken(_))));
        let mut changed = whole.clone();
        changed[60] ^= 0xff;
        for wrong in [&changed[..], &whole[..40], b"\xff\xd8\xff\xe0", b"<svg/>"] {
            assert_eq!(of_others(&Picture::from_bytes(wrong)), None);
        }
        assert_eq!(of_others(&Picture::from_base64("iVBORw0KGgo%%%").unwrap()), None);
        assert!(of_others(&Picture::from_bytes(&whole)).is_some());
    }
}
