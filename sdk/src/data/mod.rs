//! Where training examples come from.
//!
//! [`Dataset`] is what the trainer reads: an index in, an example out, so an app may
//! answer from its own store. [`Examples`] is the in-memory one. Two sources fill it:
//! [`load_mnist_like`] reads IDX files, and [`digits`] draws handwriting-like digits, so
//! that everything runs without any download.
//!
//! Pixels are scaled by one public constant rule, [`scale_pixel`]. Statistics of the
//! private examples (their mean, their deviation) are never computed: normalising by
//! them would leak them outside the privacy account.

mod dataset;
mod digits;
mod error;
mod idx;

pub use dataset::{Dataset, Examples};
pub use digits::digits;
pub use error::Error;
pub use idx::load_mnist_like;

/// Maps a grey byte `0..=255` to `-1.0..=1.0`, by constants and not by statistics of
/// the data: `x / 255 * 2 - 1`.
#[must_use]
pub fn scale_pixel(byte: u8) -> f32 {
    f32::from(byte) / 255.0 * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::scale_pixel;

    #[test]
    fn pixels_span_minus_one_to_one() {
        assert_eq!(scale_pixel(0), -1.0);
        assert_eq!(scale_pixel(255), 1.0);
        assert!(scale_pixel(127) < 0.0 && scale_pixel(128) > 0.0);
    }
}
