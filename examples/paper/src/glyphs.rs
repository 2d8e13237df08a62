//! Made-up handwriting: classes of random strokes, written anew each time. No digit of any data
//! set is in it; that writing is made of strokes is all it knows.

use std::f32::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Side of an image.
pub(crate) const SIDE: usize = 28;
/// Most strokes of a class, control points of a stroke, samples of a curve.
const STROKES: usize = 3;
const POINTS: usize = 5;
const SAMPLES: usize = 24;

type Point = [f32; 2];

/// Classes of glyphs.
pub(crate) struct Glyphs {
    classes: Vec<Vec<[Point; POINTS]>>,
}

/// Random numbers of the usual distributions.
struct Draws(ChaCha8Rng);

impl Draws {
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    fn normal(&mut self, deviation: f32) -> f32 {
        let x: f32 = StandardNormal.sample(&mut self.0);
        deviation * x
    }
}

impl Glyphs {
    /// So many classes: a function of the seed.
    pub(crate) fn new(classes: usize, seed: u64) -> Self {
        let mut draws = Draws(ChaCha8Rng::seed_from_u64(seed));
        Self { classes: (0..classes).map(|_| strokes(&mut draws)).collect() }
    }

    /// Number of classes.
    pub(crate) const fn len(&self) -> usize {
        self.classes.len()
    }

    /// Writes glyph `index` of a stream into `image`, 0 for paper and 1 for ink; returns its
    /// class.
    pub(crate) fn write(&self, seed: u64, index: u64, image: &mut [f32]) -> usize {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let class = rng.random_range(0..self.classes.len());
        let mut ink = Draws(rng);
        let mut curve = hand(&self.classes[class], &mut ink);
        distort(&mut curve, &mut ink);
        place(&mut curve, &mut ink);
        let pen = ink.between(0.7, 1.3);
        draw(&curve, pen, image);
        class
    }
}

/// The strokes of a class.
fn strokes(draws: &mut Draws) -> Vec<[Point; POINTS]> {
    let count = match draws.between(0.0, 1.0) {
        x if x < 0.4 => 1,
        x if x < 0.8 => 2,
        _ => STROKES,
    };
    let mut strokes: Vec<[Point; POINTS]> = Vec::new();
    for _ in 0..count {
        let free = strokes.is_empty() || draws.between(0.0, 1.0) < 0.25;
        let mut at = if free {
            [draws.between(-1.0, 1.0), draws.between(-1.0, 1.0)]
        } else {
            let other = draws.0.random_range(0..strokes.len());
            let point = draws.0.random_range(0..POINTS);
            strokes[other][point].map(|x| x + draws.normal(0.08))
        };
        let mut heading = draws.between(0.0, TAU);
        let turn = match draws.0.random_range(0..3) {
            0 => Some(draws.between(-0.3, 0.3)),
            1 => Some(draws.between(0.6, 1.7) * if draws.0.random() { 1.0 } else { -1.0 }),
            _ => None,
        };
        let length = draws.between(0.3, 0.8);
        strokes.push(std::array::from_fn(|_| {
            let here = at;
            heading += turn.unwrap_or_else(|| draws.between(-2.0, 2.0));
            at = [at[0] + length * heading.cos(), at[1] + length * heading.sin()];
            here
        }));
    }
    strokes
}

/// A sample of a curve and the length of curve that it stands for.
struct Sample {
    at: Point,
    length: f32,
}

/// The strokes as somebody writes them: no two times the same.
fn hand(strokes: &[[Point; POINTS]], draws: &mut Draws) -> Vec<Sample> {
    let mut samples = Vec::new();
    for stroke in strokes {
        let shift = [draws.normal(0.08), draws.normal(0.08)];
        let points = stroke
            .map(|p| [p[0] + shift[0] + draws.normal(0.1), p[1] + shift[1] + draws.normal(0.1)]);
        let curve: Vec<Point> = (0..SAMPLES).map(|i| on_curve(&points, i)).collect();
        let gap = |a: &Point, b: &Point| (a[0] - b[0]).hypot(a[1] - b[1]) / 2.0;
        for (i, at) in curve.iter().enumerate() {
            let before = i.checked_sub(1).map_or(0.0, |j| gap(at, &curve[j]));
            let after = curve.get(i + 1).map_or(0.0, |next| gap(at, next));
            samples.push(Sample { at: *at, length: before + after });
        }
    }
    samples
}

/// Sample `i` of a Catmull-Rom curve through the points, its ends clamped.
fn on_curve(points: &[Point; POINTS], i: usize) -> Point {
    let u = (i as f32 + 0.5) / SAMPLES as f32 * (POINTS - 1) as f32;
    let piece = (u as usize).min(POINTS - 2);
    let t = u - piece as f32;
    let weights = [
        -0.5 * t + t * t - 0.5 * t.powi(3),
        1.0 - 2.5 * t * t + 1.5 * t.powi(3),
        0.5 * t + 2.0 * t * t - 1.5 * t.powi(3),
        -0.5 * t * t + 0.5 * t.powi(3),
    ];
    let mut at = [0.0; 2];
    for (k, weight) in weights.iter().enumerate() {
        let point = points[(piece + k).saturating_sub(1).min(POINTS - 1)];
        at = [at[0] + weight * point[0], at[1] + weight * point[1]];
    }
    at
}

/// Stretch, slant, turn, and a slow warp.
fn distort(samples: &mut [Sample], draws: &mut Draws) {
    let (stretch, slant) = (draws.normal(0.15).exp(), draws.normal(0.25));
    let (sin, cos) = draws.normal(0.2).sin_cos();
    let waves: [(f32, f32); 4] =
        std::array::from_fn(|_| (draws.normal(0.12), draws.between(0.0, TAU)));
    let wave = |(size, phase): (f32, f32), at: f32| size * (1.5 * at + phase).sin();
    for Sample { at: [x, y], .. } in samples {
        let wide = *x * stretch + slant * *y;
        let (a, b) = (cos * wide - sin * *y, sin * wide + cos * *y);
        *x = a + wave(waves[0], a) + wave(waves[1], b);
        *y = b + wave(waves[2], a) + wave(waves[3], b);
    }
}

/// To about 18 pixels, around the middle.
fn place(samples: &mut [Sample], draws: &mut Draws) {
    let extent = |axis: usize| {
        let values = || samples.iter().map(|s| s.at[axis]);
        values().fold(f32::MIN, f32::max) - values().fold(f32::MAX, f32::min)
    };
    let size = (18.0 + draws.normal(1.0)) / extent(0).max(extent(1)).max(0.2);
    let total: f32 = samples.iter().map(|s| s.length).sum();
    for axis in 0..2 {
        let weighted: f32 = samples.iter().map(|s| s.at[axis] * s.length).sum();
        let middle = (SIDE - 1) as f32 / 2.0 + draws.normal(0.5);
        let centre = weighted / total;
        samples.iter_mut().for_each(|s| s.at[axis] = (s.at[axis] - centre) * size + middle);
    }
    samples.iter_mut().for_each(|s| s.length *= size);
}

/// Ink of a round pen along the samples.
fn draw(samples: &[Sample], pen: f32, image: &mut [f32]) {
    image.fill(0.0);
    let bell = |distance: f32| (-distance * distance / (2.0 * pen * pen)).exp();
    let peak = 1.9 / (TAU.sqrt() * pen);
    for Sample { at, length } in samples {
        let across: [f32; SIDE] = std::array::from_fn(|x| bell(x as f32 - at[0]));
        for (y, row) in image.chunks_exact_mut(SIDE).enumerate() {
            let ink = peak * length * bell(y as f32 - at[1]);
            row.iter_mut().zip(across).for_each(|(pixel, x)| *pixel += ink * x);
        }
    }
    image.iter_mut().for_each(|pixel| *pixel = pixel.clamp(0.0, 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glyph_depends_on_seed_and_index_alone_and_shows_ink_and_paper() {
        let glyphs = Glyphs::new(20, 1);
        let write = |index| {
            let mut image = vec![0.0; SIDE * SIDE];
            (glyphs.write(3, index, &mut image), image)
        };
        for index in 0..20 {
            let (class, image) = write(index);
            assert!(class < glyphs.len());
            assert_eq!(write(index), (class, image.clone()));
            let ink = image.iter().filter(|x| **x > 0.5).count();
            assert!((10..400).contains(&ink), "{ink}");
            assert!(image[0] < 0.5 && image.iter().all(|x| (0.0..=1.0).contains(x)));
        }
        assert_ne!(write(0).1, write(1).1);
    }
}
