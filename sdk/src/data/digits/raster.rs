//! From skeletons to grey pixels.

use rand::Rng;

use super::glyphs::{Point, Stroke};

/// Width and height of a picture in pixels.
pub(super) const SIDE: usize = 28;

/// Pieces between two neighbouring points of a curve.
const PIECES: usize = 6;

/// A fine polyline through the points of a stroke: uniform Catmull-Rom, whose tangent at
/// a point is half the way between its neighbours.
pub(super) fn smooth(stroke: Stroke) -> Vec<Point> {
    let at = |i: usize| stroke[i.min(stroke.len() - 1)];
    let mut line = vec![at(0)];
    for i in 1..stroke.len() {
        let (before, from, to, after) = (at(i.saturating_sub(2)), at(i - 1), at(i), at(i + 1));
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            line.push(std::array::from_fn(|k| {
                catmull_rom([before[k], from[k], to[k], after[k]], t)
            }));
        }
    }
    line
}

/// `p(t) = (2 p1 + (p2 - p0) t + (2 p0 - 5 p1 + 4 p2 - p3) t^2
///          + (3 p1 - p0 - 3 p2 + p3) t^3) / 2`
fn catmull_rom([p0, p1, p2, p3]: [f32; 4], t: f32) -> f32 {
    let linear = p2 - p0;
    let square = 2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3;
    let cube = 3.0 * p1 - p0 - 3.0 * p2 + p3;
    (2.0 * p1 + t * (linear + t * (square + t * cube))) / 2.0
}

/// Ink by pixel, `0.0` paper to `1.0` full, row-major.
pub(super) struct Canvas([f32; SIDE * SIDE]);

impl Canvas {
    pub(super) fn blank() -> Self {
        Self([0.0; SIDE * SIDE])
    }

    /// Draws a line with a round pen of radius `pen` pixels, smooth at its edge.
    pub(super) fn draw(&mut self, line: &[Point], pen: f32) {
        for ends in line.windows(2) {
            self.segment(ends[0], ends[1], pen);
        }
    }

    /// Inks each pixel by how far inside the pen its centre is: full half a pixel
    /// inside, none half a pixel outside.
    fn segment(&mut self, a: Point, b: Point, pen: f32) {
        let reach = pen + 0.5;
        for y in span(a[1], b[1], reach) {
            for x in span(a[0], b[0], reach) {
                let ink = reach - distance([x as f32 + 0.5, y as f32 + 0.5], a, b);
                let pixel = &mut self.0[y * SIDE + x];
                *pixel = pixel.max(ink.clamp(0.0, 1.0));
            }
        }
    }

    /// Wipes a small square, as if something lay on the paper.
    pub(super) fn cover(&mut self, rng: &mut impl Rng) {
        let side = rng.random_range(3..=5);
        let (left, top) = (rng.random_range(5..23 - side), rng.random_range(4..24 - side));
        for y in top..top + side {
            self.0[y * SIDE + left..][..side].fill(0.0);
        }
    }

    /// The picture as a scanner gives it: uneven blackness and grain, in bytes.
    pub(super) fn scan(&self, rng: &mut impl Rng) -> [u8; SIDE * SIDE] {
        let (blackness, grain) = (rng.random_range(0.7..1.0), rng.random_range(0.0..0.16f32));
        self.0.map(|ink| {
            let grey = blackness * ink + rng.random_range(-1.0..1.0f32) * grain;
            (grey.clamp(0.0, 1.0) * 255.0).round() as u8
        })
    }
}

/// Pixels along one axis that a segment from `a` to `b` may touch.
fn span(a: f32, b: f32, reach: f32) -> std::ops::Range<usize> {
    // A float cast to an integer saturates, so what lies left of the picture becomes 0.
    let (from, to) = (a.min(b) - reach, a.max(b) + reach);
    from.floor() as usize..(to.ceil() as usize).min(SIDE)
}

/// Distance from `p` to the segment from `a` to `b`.
fn distance(p: Point, a: Point, b: Point) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length_squared = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
    let along = ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length_squared;
    let t = along.clamp(0.0, 1.0);
    (p[0] - a[0] - t * dx).hypot(p[1] - a[1] - t * dy)
}

#[cfg(test)]
mod tests {
    use super::super::glyphs::STYLES;
    use super::*;

    #[test]
    fn the_distance_to_a_segment_counts_its_ends() {
        assert_eq!(distance([0.0, 3.0], [-1.0, 0.0], [1.0, 0.0]), 3.0);
        assert_eq!(distance([4.0, 4.0], [-1.0, 0.0], [1.0, 0.0]), 5.0);
        assert_eq!(distance([3.0, 4.0], [0.0, 0.0], [0.0, 0.0]), 5.0);
    }

    #[test]
    fn a_line_outside_the_picture_leaves_no_ink() {
        let mut canvas = Canvas::blank();
        for line in [[[-9.0, -9.0], [-5.0, 40.0]], [[50.0, 3.0], [60.0, 9.0]]] {
            canvas.draw(&line, 1.0);
        }
        assert!(canvas.0.iter().all(|&ink| ink == 0.0));
    }

    #[test]
    fn a_level_line_is_as_thick_as_its_pen() {
        let mut canvas = Canvas::blank();
        canvas.draw(&[[2.0, 14.0], [26.0, 14.0]], 1.5);
        let column: f32 = (0..SIDE).map(|y| canvas.0[y * SIDE + 14]).sum();
        assert!((column - 3.0).abs() < 1e-5, "{column}");
    }

    #[test]
    fn a_curve_passes_through_its_points() {
        let stroke = STYLES[5][1][0];
        let line = smooth(stroke);
        for (i, point) in stroke.iter().enumerate() {
            let [x, y] = line[i * PIECES];
            assert!((x - point[0]).abs() < 1e-6 && (y - point[1]).abs() < 1e-6);
        }
    }
}
