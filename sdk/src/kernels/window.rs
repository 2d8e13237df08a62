//! Geometry of a square window that moves over an image.

/// A window over `[channels, height, width]` that stops at `out_height` by `out_width`
/// positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Window {
    /// Values of one image.
    pub(crate) fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Positions of the window.
    pub(crate) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Values under the window at one position, over all channels.
    pub(crate) fn patch_len(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }
}

/// Windows of every stride and padding that fit small images.
#[cfg(test)]
pub(super) fn any_window() -> impl proptest::strategy::Strategy<Value = Window> {
    use proptest::prelude::*;
    (1_usize..4, 1_usize..12, 1_usize..12, 1_usize..5, 1_usize..4, 0_usize..4).prop_filter_map(
        "the window fits the image",
        |(channels, height, width, kernel, stride, padding)| {
            let padding = padding.min(kernel - 1);
            let out =
                |length: usize| Some((length + 2 * padding).checked_sub(kernel)? / stride + 1);
            let (out_height, out_width) = (out(height)?, out(width)?);
            Some(Window { channels, height, width, kernel, stride, padding, out_height, out_width })
        },
    )
}
