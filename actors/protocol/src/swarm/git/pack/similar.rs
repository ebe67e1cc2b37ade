//! Making deltas: what an object adds to one that is like it.

use std::collections::HashMap;

use bytes::Bytes;

/// Bytes that are looked for in the base at once, at every multiple of this.
const WINDOW: usize = 8;

/// Most bytes that one instruction copies.
const MAX_COPY: usize = 0xffff;

/// Most bytes that one instruction adds.
const MAX_NEW: usize = 0x7f;

/// An object upon which others are stored as deltas.
#[derive(Debug)]
pub struct DeltaBase {
    content: Bytes,
    /// Where the windows begin; of equal ones the first.
    windows: HashMap<[u8; WINDOW], usize>,
}

impl DeltaBase {
    /// Prepares an object; takes about three times its size in memory.
    #[must_use]
    pub fn new(content: Bytes) -> Self {
        let mut windows = HashMap::with_capacity(content.len() / WINDOW);
        for (number, window) in content.chunks_exact(WINDOW).enumerate() {
            if let Ok(window) = window.try_into() {
                windows.entry(window).or_insert(number * WINDOW);
            }
        }
        Self { content, windows }
    }

    /// The delta that makes `target` of this, if it is shorter than `target` by an eighth at least.
    #[must_use]
    pub fn delta_to(&self, target: &[u8]) -> Option<Vec<u8>> {
        let most = target.len() - target.len() / 8;
        let mut delta = Vec::with_capacity(target.len());
        push_number(self.content.len(), &mut delta);
        push_number(target.len(), &mut delta);
        let (mut done, mut position) = (0, 0);
        while let Some(window) = target.get(position..).and_then(|rest| rest.first_chunk::<WINDOW>()) {
            let Some(found) = self.windows.get(window) else {
                position += 1;
                continue;
            };
            let before =
                common(self.content.iter().take(*found).rev(), target.iter().take(position).skip(done).rev());
            let (from, begin) = (found - before, position - before);
            let length = common(self.content.iter().skip(from), target.iter().skip(begin));
            push_new(target.get(done..begin).unwrap_or_default(), &mut delta);
            push_copies(from, length, &mut delta);
            done = begin + length;
            position = done;
            if delta.len() > most {
                return None;
            }
        }
        push_new(target.get(done..).unwrap_or_default(), &mut delta);
        (delta.len() <= most).then_some(delta)
    }
}

/// How many bytes are the same from the beginning on.
fn common<'b>(one: impl Iterator<Item = &'b u8>, other: impl Iterator<Item = &'b u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

fn push_number(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

fn push_new(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(MAX_NEW) {
        out.push(low_byte(piece.len()));
        out.extend_from_slice(piece);
    }
}

fn push_copies(mut from: usize, mut length: usize, out: &mut Vec<u8>) {
    while length > 0 {
        let piece = length.min(MAX_COPY);
        let place = out.len();
        out.push(0x80);
        let offset = (0..4).map(|byte| (1 << byte, from >> (8 * byte)));
        let size = (0..2).map(|byte| (0x10 << byte, piece >> (8 * byte)));
        let mut flags = 0x80_u8;
        for (flag, value) in offset.chain(size) {
            if value & 0xff != 0 {
                flags |= flag;
                out.push(low_byte(value));
            }
        }
        if let Some(instruction) = out.get_mut(place) {
            *instruction = flags;
        }
        from += piece;
        length -= piece;
    }
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::delta::apply;
    use super::*;

    fn made(base: &[u8], target: &[u8]) -> Option<usize> {
        let delta = DeltaBase::new(Bytes::copy_from_slice(base)).delta_to(target)?;
        assert_eq!(apply(base, &delta, u64::MAX).unwrap(), target);
        Some(delta.len())
    }

    #[test]
    fn what_is_the_same_is_copied_wherever_it_is() {
        let base = b"author Somebody <0123456789abcdef> 1700000000 +0000, and the end of it";
        assert!(made(base, base).unwrap() < 10);
        let moved = b"and the end of it, author Somebody <0123456789abcdef> 1700000001 +0000";
        assert!(made(base, moved).unwrap() < 30);
        assert_eq!(made(base, b"nothing of that is in here, not a bit"), None);
        assert_eq!(made(b"", b"new"), None);
        assert_eq!(made(base, b""), None);
    }

    #[test]
    fn long_copies_and_far_ones_are_made_of_pieces() {
        let base: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 3).to_be_bytes()).collect();
        assert!(made(&base, &base).unwrap() < 200);
        assert!(made(&base, &base[1_000_000..1_150_000]).unwrap() < 40);
    }

    proptest! {
        #[test]
        fn a_delta_makes_what_it_was_made_of(
            base in prop::collection::vec(0_u8..4, 0..400),
            cuts in prop::collection::vec((0_usize..400, 0_usize..100, any::<u8>()), 0..8),
        ) {
            let mut target = Vec::new();
            for (from, length, new) in cuts {
                target.extend(base.iter().skip(from).take(length));
                target.push(new);
            }
            made(&base, &target);
        }
    }
}
