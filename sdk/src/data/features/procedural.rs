//! Images drawn by a rule: dead leaves, from which features of photographs are learned
//! without a photograph.
//!
//! Overlapping shapes whose sizes follow an r^-3 law have the scale invariance, the edges and
//! the spectrum of natural images (Lee, Mumford and Huang 2001, Occlusion Models for Natural
//! Images). Networks learn useful filters from them alone (Baradad and others 2021, arXiv
//! 2106.05963).

use std::f32::consts::{PI, TAU};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::MayGoOn;

/// Side of an image.
pub(super) const SIDE: usize = 32;
/// It is drawn larger and made smaller, so that edges are smooth.
const FACTOR: usize = 2;
const LARGE: usize = SIDE * FACTOR;
/// Radii, before enlargement.
const RADII: (f32, f32) = (1.5, 20.0);

/// A random number generator's usual distributions.
struct Draws(ChaCha8Rng);

impl Draws {
    fn uniform(&mut self) -> f32 {
        self.0.random()
    }

    /// Standard normal (Box and Muller 1958).
    fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }
}

/// Whether there are images of this shape.
pub(super) fn draws([channels, height, width]: [usize; 3]) -> bool {
    [1, 3].contains(&channels) && (1..=SIDE).contains(&height) && (1..=SIDE).contains(&width)
}

/// `count` images `[channels, 32, 32]` of bytes as numbers, one after the other: a function of
/// the seed. None when called off.
pub(super) fn images(
    seed: u64,
    count: usize,
    channels: usize,
    may_go_on: MayGoOn<'_>,
) -> Option<Vec<f32>> {
    let len = channels * SIDE * SIDE;
    let mut images = vec![0.0; count * len];
    images.par_chunks_mut(len).enumerate().try_for_each(|(index, image)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        may_go_on().then(|| draw(&mut Draws(rng), channels, image))
    })?;
    Some(images)
}

/// What the leaves of one image have in common.
struct Palette {
    base: f32,
    contrast: f32,
    saturation: f32,
    tint: Vec<f32>,
}

impl Palette {
    fn new(draws: &mut Draws, channels: usize) -> Self {
        let base = 110.0 + 45.0 * draws.normal();
        let contrast = 30.0 + 35.0 * draws.uniform();
        let saturation = 8.0 + 22.0 * draws.uniform();
        let tint = (0..channels).map(|_| 0.6 * saturation * draws.normal()).collect();
        Self { base, contrast, saturation, tint }
    }

    fn colour(&self, draws: &mut Draws) -> Vec<f32> {
        let light = self.base + self.contrast * draws.normal();
        self.tint.iter().map(|tint| light + tint + self.saturation * draws.normal()).collect()
    }
}

/// An ellipse or a rectangle with shading, and perhaps stripes.
struct Leaf {
    centre: [f32; 2],
    axes: [f32; 2],
    cos: f32,
    sin: f32,
    rectangle: bool,
    colour: Vec<f32>,
    shading: [f32; 2],
    stripes: f32,
    frequency: [f32; 2],
    phase: f32,
}

impl Leaf {
    fn new(draws: &mut Draws, palette: &Palette) -> Self {
        let u = draws.uniform();
        let (least, most) = RADII;
        let radius = FACTOR as f32 / ((1.0 - u) / least.powi(2) + u / most.powi(2)).sqrt();
        let aspect = (0.4 * draws.normal()).exp().sqrt();
        let (sin, cos) = (PI * draws.uniform()).sin_cos();
        let mut place = || LARGE as f32 * (1.2 * draws.uniform() - 0.1);
        let centre = [place(), place()];
        let rectangle = draws.uniform() < 0.4;
        let colour = palette.colour(draws);
        let mut shade = || 0.35 * palette.contrast * draws.normal() / radius;
        let shading = [shade(), shade()];
        let striped = draws.uniform() < 0.4;
        let stripes = if striped { 0.5 * palette.contrast * draws.uniform() } else { 0.0 };
        let frequency = 0.3 + 1.2 * draws.uniform();
        let (phase, direction) = (TAU * draws.uniform(), PI * draws.uniform());
        let frequency = [frequency * direction.cos(), frequency * direction.sin()];
        let axes = [radius * aspect, radius / aspect];
        Self { centre, axes, cos, sin, rectangle, colour, shading, stripes, frequency, phase }
    }

    /// What it adds to its colour at a pixel; none outside of it.
    fn at(&self, x: usize, y: usize) -> Option<f32> {
        let (dx, dy) = (x as f32 - self.centre[0], y as f32 - self.centre[1]);
        let a = (self.cos * dx + self.sin * dy) / self.axes[0];
        let b = (self.cos * dy - self.sin * dx) / self.axes[1];
        let inside =
            if self.rectangle { a.abs() < 0.9 && b.abs() < 0.9 } else { a * a + b * b < 1.0 };
        let wave = self.frequency[0] * dx + self.frequency[1] * dy + self.phase;
        let shade = self.shading[0] * dx + self.shading[1] * dy;
        inside.then(|| shade + self.stripes * wave.sin())
    }

    /// Rows or columns that it may cover.
    fn span(&self, axis: usize) -> std::ops::Range<usize> {
        let reach = 1.5 * self.axes[0].max(self.axes[1]);
        let edge = |at: f32| at.clamp(0.0, LARGE as f32) as usize;
        edge(self.centre[axis] - reach)..edge(self.centre[axis] + reach + 1.0)
    }

    fn paint(&self, image: &mut [f32]) {
        for (y, x) in self.span(1).flat_map(|y| self.span(0).map(move |x| (y, x))) {
            let Some(shade) = self.at(x, y) else { continue };
            let planes = image.chunks_exact_mut(LARGE * LARGE).zip(&self.colour);
            planes.for_each(|(plane, colour)| plane[y * LARGE + x] = colour + shade);
        }
    }
}

fn draw(draws: &mut Draws, channels: usize, output: &mut [f32]) {
    let palette = Palette::new(draws, channels);
    let plane = |tint: &f32| std::iter::repeat_n(palette.base + tint, LARGE * LARGE);
    let mut image: Vec<f32> = palette.tint.iter().flat_map(plane).collect();
    let leaves = 120 + (180.0 * draws.uniform()) as usize;
    (0..leaves).for_each(|_| Leaf::new(draws, &palette).paint(&mut image));
    let blur = 0.18 * draws.uniform();
    let planes = image.chunks_exact(LARGE * LARGE).zip(output.chunks_exact_mut(SIDE * SIDE));
    for (large, small) in planes {
        let reduced = reduce(large);
        for (at, pixel) in small.iter_mut().enumerate() {
            let value = blurred(&reduced, at / SIDE, at % SIDE, blur) + 2.0 * draws.normal();
            *pixel = value.clamp(0.0, 255.0).round();
        }
    }
}

/// The mean of every square of `FACTOR` pixels.
fn reduce(large: &[f32]) -> Vec<f32> {
    let mean = |at: usize| {
        let corner = at / SIDE * FACTOR * LARGE + at % SIDE * FACTOR;
        let rows = (0..FACTOR).flat_map(|row| &large[corner + row * LARGE..][..FACTOR]);
        rows.sum::<f32>() / (FACTOR * FACTOR) as f32
    };
    (0..SIDE * SIDE).map(mean).collect()
}

/// The mean of a pixel and its neighbours, which weigh `weight` each, `weight^2` at corners.
fn blurred(image: &[f32], row: usize, column: usize, weight: f32) -> f32 {
    let near = |at: usize| at.saturating_sub(1)..(at + 2).min(SIDE);
    let (mut sum, mut weights) = (0.0, 0.0);
    for (y, x) in near(row).flat_map(|y| near(column).map(move |x| (y, x))) {
        let w = if y == row { 1.0 } else { weight } * if x == column { 1.0 } else { weight };
        sum += w * image[y * SIDE + x];
        weights += w;
    }
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::super::ALWAYS;
    use super::*;

    #[test]
    fn an_image_depends_on_seed_and_index_alone_and_is_of_bytes() {
        let (few, more) = (images(3, 2, 3, ALWAYS).unwrap(), images(3, 5, 3, ALWAYS).unwrap());
        assert_eq!(few, more[..few.len()]);
        assert_ne!(images(4, 2, 3, ALWAYS).unwrap(), few);
        assert!(more.iter().all(|x| (0.0..=255.0).contains(x) && x.fract() == 0.0));
    }

    #[test]
    fn neighbours_are_alike_and_images_have_contrast() {
        let images = images(1, 40, 1, ALWAYS).unwrap();
        let mean = images.iter().sum::<f32>() / images.len() as f32;
        let power = |f: &dyn Fn(usize) -> f32| (0..images.len() - 1).map(f).sum::<f32>();
        let spread = power(&|i| (images[i] - mean).powi(2));
        let step = power(&|i| {
            if i % SIDE == SIDE - 1 { 0.0 } else { (images[i + 1] - images[i]).powi(2) }
        });
        assert!(step < 0.5 * spread, "{step} {spread}");
        assert!(spread / images.len() as f32 > 400.0);
    }
}
