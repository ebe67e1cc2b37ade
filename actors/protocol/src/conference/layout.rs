//! Where each picture is in the composed one (`spec: conference 2.2`).
//!
//! ```text
//!   grid              one big with small      one big
//!   ┌────┬────┐       ┌─┬──┬──┬──┬─┐          ┌─────────┐
//!   │    │    │       │ └──┴──┴──┘ │          │         │
//!   ├──┬─┴─┬──┤       │   active   │          │ active  │
//!   │  │   │  │       │            │          │         │
//!   └──┴───┴──┘       └────────────┘          └─────────┘
//! ```

/// Largest side of a picture, in pixels; what is said to be larger is taken for this.
pub const MAX_SIDE: u32 = 16_384;

/// Small tiles that fit side by side, at least.
const MIN_SMALL: u32 = 6;

/// By how much a lone tile is smaller than the picture, in pixels.
const LONE_MARGIN: u32 = 16;

/// How pictures are arranged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// All alike.
    #[default]
    Grid,
    /// The active one big, the others small above it.
    OneBigWithSmall,
    /// The active one only.
    OneBig,
}

impl Layout {
    /// The number in messages.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Grid => 0,
            Self::OneBigWithSmall => 1,
            Self::OneBig => 2,
        }
    }

    /// The layout with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Grid, Self::OneBigWithSmall, Self::OneBig]
            .into_iter()
            .find(|it| i64::from(it.number()) == number)
    }
}

/// Width and height, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    /// Both, within what is believed.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width: width.min(MAX_SIDE), height: height.min(MAX_SIDE) }
    }

    /// After turning by so many degrees.
    #[must_use]
    pub const fn turned(self, degrees: i16) -> Self {
        if degrees.rem_euclid(180) == 90 { Self { width: self.height, height: self.width } } else { self }
    }

    /// The largest of this shape that fits into `room`, at least a pixel wide and high.
    fn fitted(self, room: Self) -> Self {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let (room_width, room_height) = (u64::from(room.width), u64::from(room.height));
        if width == 0 || height == 0 || room_width == 0 || room_height == 0 {
            return Self::default();
        }
        let scaled =
            |length: u64, by: u64, of: u64| u32::try_from((length * by + of / 2) / of).unwrap_or(0).max(1);
        if width * room_height > height * room_width {
            Self { width: room.width, height: scaled(height, room_width, width) }
        } else {
            Self { width: scaled(width, room_height, height), height: room.height }
        }
    }
}

/// A place in a picture, in pixels. Without width and height nothing is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rectangle {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// Its size.
    pub size: Size,
}

impl Rectangle {
    /// Whether there is anything of it.
    #[must_use]
    pub const fn is_visible(self) -> bool {
        self.size.width > 0 && self.size.height > 0
    }

    /// What of it is within a picture of this size; nothing if it begins outside.
    #[must_use]
    pub fn within(self, picture: Size) -> Self {
        let left = |at: u32, of: u32, length: u32| length.min(of.saturating_sub(at));
        let width = left(self.x, picture.width, self.size.width);
        let height = left(self.y, picture.height, self.size.height);
        let within = Self { size: Size { width, height }, ..self };
        if within.is_visible() { within } else { Self::default() }
    }

    /// The same place in a picture that is shown, whole, in `tile` of another one.
    #[must_use]
    pub fn rescaled(self, picture: Size, tile: Self) -> Self {
        if picture.width == 0 || picture.height == 0 {
            return Self::default();
        }
        let scale = |length: u32, to: u32, of: u32| {
            u32::try_from(u64::from(length) * u64::from(to) / u64::from(of)).unwrap_or(0)
        };
        let inside = self.within(picture);
        let scaled = Self {
            x: tile.x.saturating_add(scale(inside.x, tile.size.width, picture.width)),
            y: tile.y.saturating_add(scale(inside.y, tile.size.height, picture.height)),
            size: Size {
                width: scale(inside.size.width, tile.size.width, picture.width),
                height: scale(inside.size.height, tile.size.height, picture.height),
            },
        };
        if scaled.is_visible() { scaled } else { Self::default() }
    }
}

/// The places of pictures of these sizes; `active` is the place of the big one in the list. Without one all
/// are alike.
#[must_use]
pub fn arrange(layout: Layout, picture: Size, frames: &[Size], active: Option<usize>) -> Vec<Rectangle> {
    let active = active.filter(|active| *active < frames.len());
    match (layout, active) {
        (Layout::Grid, _) | (_, None) => grid(picture, frames),
        (Layout::OneBigWithSmall, Some(active)) => big_with_small(picture, frames, active),
        (Layout::OneBig, Some(active)) => {
            let place = |(at, frame): (usize, &Size)| {
                if at == active {
                    centred(*frame, Rectangle { size: picture, ..Rectangle::default() })
                } else {
                    Rectangle::default()
                }
            };
            frames.iter().enumerate().map(place).collect()
        }
    }
}

/// A frame in the middle of a cell.
fn centred(frame: Size, cell: Rectangle) -> Rectangle {
    let size = frame.fitted(cell.size);
    Rectangle {
        x: cell.x + (cell.size.width - size.width.min(cell.size.width)) / 2,
        y: cell.y + (cell.size.height - size.height.min(cell.size.height)) / 2,
        size,
    }
}

fn count(frames: &[Size]) -> u32 {
    u32::try_from(frames.len()).unwrap_or(u32::MAX)
}

fn grid(picture: Size, frames: &[Size]) -> Vec<Rectangle> {
    if let [only] = frames {
        let size = Size {
            width: picture.width.saturating_sub(LONE_MARGIN),
            height: picture.height.saturating_sub(LONE_MARGIN),
        };
        return vec![centred(*only, Rectangle { x: LONE_MARGIN / 2, y: LONE_MARGIN / 2, size })];
    }
    let all = count(frames);
    let side = (1..).find(|side: &u32| side.saturating_mul(*side) >= all).unwrap_or(1);
    let size = Size { width: picture.width / side, height: picture.height / side };
    let place = |(at, frame): (u32, &Size)| {
        let (row, column) = (at / side, at % side);
        let in_row = side.min(all - row * side);
        let before = (side - in_row) * size.width / 2;
        centred(*frame, Rectangle { x: before + column * size.width, y: row * size.height, size })
    };
    (0..).zip(frames).map(place).collect()
}

fn big_with_small(picture: Size, frames: &[Size], active: usize) -> Vec<Rectangle> {
    let across = count(frames).max(MIN_SMALL);
    let size = Size { width: picture.width / across, height: picture.height / across };
    let before = picture.width.saturating_sub(size.width * (count(frames) - 1)) / 2;
    let big = Rectangle {
        x: 0,
        y: size.height,
        size: Size { width: picture.width, height: picture.height - size.height },
    };
    let mut column = 0;
    let place = |(at, frame): (usize, &Size)| {
        if at == active {
            return centred(*frame, big);
        }
        column += 1;
        centred(*frame, Rectangle { x: before + (column - 1) * size.width, y: 0, size })
    };
    frames.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Size = Size { width: 1280, height: 720 };
    const WIDE: Size = Size { width: 640, height: 360 };

    fn places(layout: Layout, count: usize, active: Option<usize>) -> Vec<(u32, u32, u32, u32)> {
        let all = arrange(layout, PICTURE, &vec![WIDE; count], active);
        all.iter().map(|it| (it.x, it.y, it.size.width, it.size.height)).collect()
    }

    #[test]
    fn a_grid_has_as_many_columns_as_rows_and_its_last_row_in_the_middle() {
        assert!(places(Layout::Grid, 0, None).is_empty());
        // The room is 1264 by 704, of another shape than the frame.
        assert_eq!(places(Layout::Grid, 1, None), [(14, 8, 1252, 704)]);
        assert_eq!(places(Layout::Grid, 2, None), [(0, 0, 640, 360), (640, 0, 640, 360)]);
        assert_eq!(
            places(Layout::Grid, 3, None),
            [(0, 0, 640, 360), (640, 0, 640, 360), (320, 360, 640, 360)]
        );
        assert_eq!(places(Layout::Grid, 4, None)[3], (640, 360, 640, 360));
        let five = places(Layout::Grid, 5, None);
        assert_eq!(five[..3], [(0, 0, 426, 240), (426, 0, 426, 240), (852, 0, 426, 240)]);
        assert_eq!(five[3..], [(213, 240, 426, 240), (639, 240, 426, 240)]);
        assert_eq!(places(Layout::Grid, 7, None)[6], (426, 480, 426, 240));
    }

    #[test]
    fn the_active_one_is_big_below_the_small_ones() {
        let three = places(Layout::OneBigWithSmall, 3, Some(1));
        // Six small ones would fit: 213 by 120 each, two of them in the middle.
        assert_eq!(three, [(427, 0, 213, 120), (106, 120, 1067, 600), (640, 0, 213, 120)]);
        let eight = places(Layout::OneBigWithSmall, 8, Some(0));
        assert_eq!(eight[0], (80, 90, 1120, 630));
        assert_eq!(eight[1], (80, 0, 160, 90));
    }

    #[test]
    fn one_big_hides_the_others_and_without_an_active_one_there_is_a_grid() {
        assert_eq!(places(Layout::OneBig, 3, Some(2)), [(0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1280, 720)]);
        for layout in [Layout::OneBig, Layout::OneBigWithSmall] {
            assert_eq!(places(layout, 3, None), places(Layout::Grid, 3, None));
            assert_eq!(places(layout, 3, Some(3)), places(Layout::Grid, 3, None));
        }
    }

    #[test]
    fn pictures_keep_their_shape_and_turned_ones_change_it() {
        let tall = WIDE.turned(90);
        assert_eq!(tall, Size { width: 360, height: 640 });
        assert_eq!((WIDE.turned(180), WIDE.turned(-90), WIDE.turned(45)), (WIDE, tall, WIDE));
        let places = arrange(Layout::Grid, PICTURE, &[WIDE, tall], None);
        assert_eq!(places[1], Rectangle { x: 858, y: 0, size: Size { width: 203, height: 360 } });
        let nothing = arrange(Layout::Grid, PICTURE, &[WIDE, Size::default()], None);
        assert!(!nothing[1].is_visible());
    }

    #[test]
    fn places_stay_within_the_picture_whatever_the_numbers() {
        for layout in [Layout::Grid, Layout::OneBigWithSmall, Layout::OneBig] {
            for many in [1, 2, 6, 7, 50, 1000] {
                for frame in [Size::new(1, u32::MAX), Size::new(u32::MAX, 1), WIDE] {
                    for place in arrange(layout, PICTURE, &vec![frame; many], Some(0)) {
                        assert_eq!(place.within(PICTURE).size, place.size, "{layout:?} {many} {frame:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_picture_within_a_picture_is_scaled_into_its_tile() {
        let tile = Rectangle { x: 640, y: 360, size: WIDE };
        let half = Rectangle { x: 640, y: 0, size: Size { width: 640, height: 720 } };
        let expected = Rectangle { x: 960, y: 360, size: Size { width: 320, height: 360 } };
        assert_eq!(half.rescaled(PICTURE, tile), expected);
        assert!(!half.rescaled(Size::default(), tile).is_visible());
        let outside = Rectangle { x: 2000, y: 0, size: WIDE };
        assert!(!outside.rescaled(PICTURE, tile).is_visible());
    }
}
