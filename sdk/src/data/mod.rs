//! Where training examples come from.
//!
//! [`Dataset`] is what the trainer reads: an index in, an example out, so an app may
//! answer from its own store. [`Examples`] is the in-memory one. Five sources fill it:
//! [`load_mnist_like`] reads IDX files, [`load_cifar10`] photographs, [`load_adult`] census
//! records, [`load_sms`] messages, and [`digits`] draws handwriting-like digits, so that
//! everything runs without any download.
//!
//! Pixels are scaled by public constant rules, [`scale_pixel`] and [`scale_colour`], words are
//! numbered by a public hash ([`TextForm`]).
//! Statistics of the private examples (their mean, their deviation) are never computed:
//! normalising by them would leak them outside the privacy account.

mod adult;
mod augmented;
mod cifar;
mod dataset;
mod digits;
mod error;
pub mod features;
mod file;
mod idx;
mod sms;
#[cfg(test)]
mod testing;
mod text;

pub use adult::load_adult;
pub use augmented::{Augmentation, Augmented};
pub use cifar::{load_cifar10, scale_colour};
pub use dataset::{Dataset, Examples, View};
pub use digits::digits;
pub use error::Error;
pub use idx::load_mnist_like;
pub use sms::load_sms;
pub use text::TextForm;

/// Maps a grey byte `0..=255` to -0.33..=3.0: `(x / 255 - 0.1) / 0.3`, so that the mostly
/// blank background of a drawing lies near 0 and its strokes stand out.
///
/// The two numbers are a guess about drawings in general, made without looking at the
/// examples.
#[must_use]
pub fn scale_pixel(byte: u8) -> f32 {
    (f32::from(byte) / 255.0 - 0.1) / 0.3
}

#[cfg(test)]
mod tests {
    use super::scale_pixel;

    #[test]
    fn background_lies_near_zero_and_strokes_stand_out() {
        assert!((scale_pixel(0) + 1.0 / 3.0).abs() < 1e-6);
        assert!((scale_pixel(255) - 3.0).abs() < 1e-6);
    }
}
