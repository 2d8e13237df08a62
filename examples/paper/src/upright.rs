//! Writing made upright: each image is sheared until its ink has no slant.

use adafed::data::features::{Features, MayGoOn};

use crate::glyphs::SIDE;

/// Shears `[1, 28, 28]` images, 0 for paper and 1 for ink, before other features.
pub(crate) struct Upright(pub(crate) Box<dyn Features>);

/// What `scale_pixel` made of paper and ink, and back.
const PAPER: f32 = 0.1;
const INK: f32 = 0.3;

impl Features for Upright {
    fn input_shape(&self) -> &[usize] {
        self.0.input_shape()
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// Together: one at a time, the network would be laid out anew for each.
    fn compute_while(&self, inputs: &[f32], outputs: &mut [f32], _: MayGoOn<'_>) -> bool {
        self.compute(inputs, outputs);
        true
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let mut upright = vec![0.0; inputs.len()];
        let images = inputs.chunks_exact(SIDE * SIDE).zip(upright.chunks_exact_mut(SIDE * SIDE));
        images.for_each(|(image, upright)| shear(image, upright));
        self.0.compute(&upright, outputs);
    }
}

/// The image as `scale_pixel` scales it, from ink.
pub(crate) fn scaled(ink: &mut [f32]) {
    ink.iter_mut().for_each(|x| *x = (*x - PAPER) / INK);
}

/// Writes the sheared image, as ink.
fn shear(image: &[f32], upright: &mut [f32]) {
    let ink: Vec<f32> = image.iter().map(|x| (x * INK + PAPER).max(0.0)).collect();
    let middle = (SIDE - 1) as f32 / 2.0;
    let place = |at: usize| ((at / SIDE) as f32, (at % SIDE) as f32);
    let total: f32 = ink.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    let moment = |of: &dyn Fn(f32, f32) -> f32| -> f32 {
        ink.iter().enumerate().map(|(at, p)| p * of(place(at).0, place(at).1)).sum()
    };
    let (cy, cx) = (moment(&|y, _| y) / total, moment(&|_, x| x) / total);
    let covariance = moment(&|y, x| (y - cy) * (x - cx));
    let spread = moment(&|y, _| (y - cy) * (y - cy)) + 1e-3 * total;
    let slant = (covariance / spread).clamp(-1.0, 1.0);
    for (at, pixel) in upright.iter_mut().enumerate() {
        let (y, x) = place(at);
        *pixel = between(&ink, y - middle + cy, x - middle + cx + slant * (y - middle));
    }
}

/// The image between its pixels, bilinear, 0 outside.
fn between(image: &[f32], y: f32, x: f32) -> f32 {
    let (top, left) = (y.floor(), x.floor());
    let (down, right) = (y - top, x - left);
    let pixel = |row: f32, column: f32| {
        let inside = |v: f32| (0.0..SIDE as f32).contains(&v);
        if inside(row) && inside(column) {
            image[row as usize * SIDE + column as usize]
        } else {
            0.0
        }
    };
    (1.0 - down) * ((1.0 - right) * pixel(top, left) + right * pixel(top, left + 1.0))
        + down * ((1.0 - right) * pixel(top + 1.0, left) + right * pixel(top + 1.0, left + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slanted_stroke_is_upright_in_the_middle() {
        let mut image = vec![0.0; SIDE * SIDE];
        (4..24).for_each(|y| image[y * SIDE + 5 + y / 2] = 1.0);
        scaled(&mut image);
        let mut upright = vec![0.0; SIDE * SIDE];
        shear(&image, &mut upright);
        let columns: Vec<f32> =
            (0..SIDE).map(|x| (0..SIDE).map(|y| upright[y * SIDE + x]).sum()).collect();
        let middle: f32 = columns[12..16].iter().sum();
        assert!(middle > 0.95 * columns.iter().sum::<f32>(), "{columns:?}");
    }
}
