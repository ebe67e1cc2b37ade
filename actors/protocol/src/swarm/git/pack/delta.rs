//! Deltas: an object as copies from its base and new bytes.
//!
//! ```text
//!   size of base, size of result (7 bits a byte, least significant first)
//!   1oooossss offset and size bytes as flagged: copy from the base
//!   0nnnnnnn  n new bytes
//! ```

/// Longest prefix of a delta that holds both sizes, in bytes.
pub(super) const MAX_SIZES_LENGTH: usize = 20;

/// The sizes a delta declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeltaSizes {
    pub(super) base: u64,
    pub(super) result: u64,
}

/// Reads the sizes; also returns the instructions that follow.
pub(super) fn sizes(delta: &[u8]) -> Result<(DeltaSizes, &[u8]), &'static str> {
    let (base, rest) = number(delta)?;
    let (result, rest) = number(rest)?;
    Ok((DeltaSizes { base, result }, rest))
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate() {
        if position >= 8 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(position + 1..).unwrap_or_default()));
        }
    }
    Err("its delta declares no sizes")
}

/// Rebuilds the object; allocates no more than the declared result, which must be at most
/// `max_result` bytes.
pub(super) fn apply(base: &[u8], delta: &[u8], max_result: u64) -> Result<Vec<u8>, &'static str> {
    let (sizes, mut rest) = sizes(delta)?;
    if u64::try_from(base.len()) != Ok(sizes.base) {
        return Err("its delta is for a base of another size");
    }
    let result = usize::try_from(sizes.result).map_err(|_| "its delta declares a huge result")?;
    if sizes.result > max_result {
        return Err("its delta declares a huge result");
    }
    let mut out = Vec::with_capacity(result);
    while let Some((&instruction, tail)) = rest.split_first() {
        let piece = if instruction & 0x80 != 0 {
            let (offset, tail) = flagged(instruction, 4, tail)?;
            let (size, tail) = flagged(instruction >> 4, 3, tail)?;
            rest = tail;
            let size = if size == 0 { 0x1_0000 } else { size };
            base.get(offset..).and_then(|from| from.get(..size)).ok_or("its delta copies beyond the base")?
        } else if instruction == 0 {
            return Err("its delta has an unknown instruction");
        } else {
            let (piece, tail) =
                tail.split_at_checked(usize::from(instruction)).ok_or("its delta is cut off")?;
            rest = tail;
            piece
        };
        if out.len() + piece.len() > result {
            return Err("its delta makes more than it declares");
        }
        out.extend_from_slice(piece);
    }
    if out.len() == result { Ok(out) } else { Err("its delta makes less than it declares") }
}

/// A little-endian number of which only the bytes flagged in `flags` are present.
fn flagged(flags: u8, width: u32, mut bytes: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let mut value = 0;
    for position in 0..width {
        if flags & (1 << position) != 0 {
            let (&byte, tail) = bytes.split_first().ok_or("its delta is cut off")?;
            bytes = tail;
            value |= usize::from(byte) << (8 * position);
        }
    }
    Ok((value, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_and_new_bytes_make_the_result() {
        // Base "hello world" (11); result "world!" (6): copy 5 from 6, insert "!".
        let delta = [11, 6, 0x91, 6, 5, 1, b'!'];
        assert_eq!(apply(b"hello world", &delta, 6).unwrap(), b"world!");
    }

    #[test]
    fn lies_are_refused() {
        let base = b"hello world";
        for (what, delta) in [
            ("another base size", vec![10, 6, 0x91, 6, 5, 1, b'!']),
            ("more than declared", vec![11, 5, 0x91, 6, 5, 1, b'!']),
            ("less than declared", vec![11, 7, 0x91, 6, 5, 1, b'!']),
            ("beyond the base", vec![11, 6, 0x91, 7, 5, 1, b'!']),
            ("cut off", vec![11, 6, 0x91, 6]),
            ("cut off", vec![11, 6, 5, b'!']),
            ("reserved", vec![11, 6, 0]),
            ("no sizes", vec![0xff; 30]),
            ("huge", vec![11, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ] {
            assert!(apply(base, &delta, 1000).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_delta_is_handled(base in prop::collection::vec(any::<u8>(), 0..50),
                                tail in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut delta = vec![base.len() as u8, 40];
            delta.extend(tail);
            if let Ok(result) = apply(&base, &delta, 1000) {
                prop_assert_eq!(result.len(), 40);
            }
        }
    }
}
