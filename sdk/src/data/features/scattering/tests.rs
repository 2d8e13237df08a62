use std::time::Instant;

use serde::Deserialize;

use super::*;
use crate::data::Examples;

/// Values of kymatio 0.3.0 (numpy 1.26.4, scipy 1.12.0, Python 3.11), every `step`th of
/// `kymatio.numpy.Scattering2D(J=scales, shape=(h, w), L=angles, max_order=2, pre_pad=False)(x)
/// .ravel()` in `f64`, printed with 6 digits, `x` as in [`pattern`].
const KYMATIO: &str = include_str!("../testdata/kymatio.json");
/// Relative to the largest value: 1e-6 is the golden values' last digit, the rest is room for
/// the transform's `f32`, whose rounding grows with the logarithm of the plane's size.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    shape: [usize; 3],
    scales: usize,
    angles: usize,
    step: usize,
    largest: f32,
    values: Vec<f32>,
}

/// An image that any language makes exactly: integers below 61, over 64.
fn pattern([channels, height, width]: [usize; 3]) -> Vec<f32> {
    let mut values = Vec::with_capacity(channels * height * width);
    for k in 0..channels {
        for i in 0..height {
            let row = (0..width).map(|j| (i * i + 3 * i * j + 2 * j * j + 5 * j + 17 * k) % 61);
            values.extend(row.map(|value| value as f32 / 64.0));
        }
    }
    values
}

fn features(scattering: &Scattering, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; scattering.shape().iter().product()];
    scattering.compute(input, &mut output);
    output
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

#[test]
fn values_equal_kymatio() {
    let cases: Vec<Golden> = serde_json::from_str(KYMATIO).unwrap();
    assert_eq!(cases.len(), 6);
    for Golden { shape, scales, angles, step, largest, values } in cases {
        let scattering = Scattering::new(shape, scales, angles).unwrap();
        let found = features(&scattering, &pattern(shape));
        assert_eq!(found.len().div_ceil(step), values.len(), "{scattering:?}");
        let pairs = found.iter().step_by(step).zip(&values);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        println!("{scattering:?}: {worst:e}");
        assert!(worst < TOLERANCE, "{scattering:?}: {worst:e}");
    }
}

#[test]
fn shapes_are_those_of_the_literature() {
    let shape = |input, scales| Scattering::new(input, scales, 8).unwrap().shape;
    assert_eq!(shape([1, 28, 28], 2), [81, 7, 7]);
    assert_eq!(shape([3, 32, 32], 2), [243, 8, 8]);
    assert_eq!(shape([3, 32, 32], 3), [651, 4, 4]);
    assert_eq!(shape([1, 30, 21], 2), [81, 7, 5]);
    assert_eq!(shape([2, 2, 2], 1), [18, 1, 1]);
}

#[test]
fn a_constant_has_order_zero_alone() {
    let scattering = Scattering::new([1, 32, 32], 2, 8).unwrap();
    let found = features(&scattering, &[2.0; 32 * 32]);
    let (order_0, rest) = found.split_at(64);
    assert!(order_0.iter().all(|value| (value - 2.0).abs() < 2e-3), "{order_0:?}");
    assert!(rest.iter().all(|value| value.abs() < 1e-5));
}

#[test]
fn a_shift_below_the_square_changes_little() {
    let scattering = Scattering::new([1, 32, 32], 2, 8).unwrap();
    // A bar of 6 x 12 pixels whose upper left corner is at (row, column).
    let bar = |row: usize, column: usize| -> Vec<f32> {
        let inside = |i: usize, j: usize| i.wrapping_sub(row) < 12 && j.wrapping_sub(column) < 6;
        (0..32 * 32).map(|at| f32::from(u8::from(inside(at / 32, at % 32)))).collect()
    };
    let at = |row, column| features(&scattering, &bar(row, column));
    let here = at(6, 6);
    let near = distance(&here, &at(6, 7));
    let far = distance(&here, &at(12, 18));
    assert!(near < 0.3 * far, "{near} near, {far} far");
    // The pixels themselves: one step already changes two columns of the bar.
    let (pixels_near, pixels_far) =
        (distance(&bar(6, 6), &bar(6, 7)), distance(&bar(6, 6), &bar(12, 18)));
    assert!(near / far < pixels_near / pixels_far);
}

#[test]
fn channels_are_transformed_one_by_one() {
    let image = pattern([3, 16, 12]);
    let together = features(&Scattering::new([3, 16, 12], 2, 4).unwrap(), &image);
    let single = Scattering::new([1, 16, 12], 2, 4).unwrap();
    let apart: Vec<f32> =
        image.chunks(16 * 12).flat_map(|channel| features(&single, channel)).collect();
    assert_eq!(together, apart);
}

#[test]
fn examples_are_seen_through_it() {
    let image = pattern([1, 8, 8]);
    let scattering = Scattering::new([1, 8, 8], 2, 8).unwrap();
    let examples =
        Examples::new(vec![1, 8, 8], [image.clone(), image.clone()].concat(), vec![0, 1], 2)
            .unwrap();
    let seen = examples.with_features(&scattering).unwrap();
    assert_eq!(seen.shape(), [81, 2, 2]);
    let once = features(&scattering, &image);
    assert_eq!(seen.inputs(), [once.clone(), once].concat());
}

#[test]
fn the_largest_inputs_have_finite_features() {
    let scattering = Scattering::new([1, 8, 8], 2, 8).unwrap();
    let image = pattern([1, 8, 8]);
    let huge = image.iter().map(|value| value * f32::MAX).collect::<Vec<_>>();
    for (huge, once) in features(&scattering, &huge).iter().zip(features(&scattering, &image)) {
        assert!((huge / f32::MAX - once).abs() < TOLERANCE, "{huge} for {once}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |shape: [usize; 3], scales, angles| {
        let error = Scattering::new(shape, scales, angles).unwrap_err();
        assert_eq!(error, Error::Scattering { shape: shape.to_vec(), scales, angles });
    };
    refused([1, 28, 28], 0, 8);
    refused([1, 28, 28], 2, 0);
    refused([1, 28, 28], 5, 8);
    refused([1, 3, 28], 2, 8);
    refused([1, 28, 3], 2, 8);
    refused([1, 0, 28], 2, 8);
    refused([1, 28, 28], 64, 8);
    refused([1, 28, 28], usize::MAX, 8);
}

#[test]
fn what_cannot_be_addressed_is_refused() {
    let refused = |shape: [usize; 3], scales, angles| {
        let error = Scattering::new(shape, scales, angles).unwrap_err();
        assert_eq!(error, Error::Shape { shape: shape.to_vec() });
    };
    refused([0, 28, 28], 2, 8);
    refused([1, 28, 28], 2, usize::MAX);
    refused([1, 28, 28], 2, 1 << 31);
    refused([usize::MAX, 28, 28], 2, 8);
    refused([1, 1 << 62, 1 << 62], 62, 1);
}

/// Run with `--ignored --nocapture` in a release build.
#[test]
#[ignore = "prints times, proves nothing"]
fn time_of_one_image() {
    for shape in [[1, 28, 28], [3, 32, 32]] {
        let started = Instant::now();
        let scattering = Scattering::new(shape, 2, 8).unwrap();
        let built = started.elapsed();
        let image = pattern(shape);
        let mut output = vec![0.0; scattering.shape().iter().product()];
        let started = Instant::now();
        (0..1_000).for_each(|_| scattering.compute(&image, &mut output));
        println!("{shape:?}: {:?} an image, filters {built:?}", started.elapsed() / 1_000);
    }
}
