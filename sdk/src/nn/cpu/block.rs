//! Channels lie last, so that a few channels of one pixel are one vector. Loops over blocks
//! of a length that the compiler knows hold them in registers from pixel to pixel.

/// The block of `L` values that begins at `start`.
#[inline(always)]
pub(super) fn block<const L: usize>(values: &[f32], start: usize) -> [f32; L] {
    *values[start..].first_chunk().expect("the length of a block divides the channels")
}

/// As [`block`], to write.
#[inline(always)]
pub(super) fn block_mut<const L: usize>(values: &mut [f32], start: usize) -> &mut [f32; L] {
    values[start..].first_chunk_mut().expect("the length of a block divides the channels")
}

/// Runs an expression with the constant `$length` the longest block that divides `$channels`.
macro_rules! by_block {
    ($length:ident divides $channels:expr => $work:expr) => {
        match $channels {
            channels if channels % 16 == 0 => {
                const $length: usize = 16;
                $work
            }
            channels if channels % 8 == 0 => {
                const $length: usize = 8;
                $work
            }
            channels if channels % 4 == 0 => {
                const $length: usize = 4;
                $work
            }
            _ => {
                const $length: usize = 1;
                $work
            }
        }
    };
}
pub(super) use by_block;
