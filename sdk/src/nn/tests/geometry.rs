//! Gradients of convolutions and pools of any geometry.

use proptest::prelude::*;

use super::checking::assert_true_gradients;
use crate::nn::{Conv1d, Conv2d, Error, Layer, Linear, Loss, Model, ModelBuilder, Value};

/// A model around `middle`; none where `middle` does not fit. The head is frozen, so that
/// the entries to check are those of the layers in question.
fn around(
    input: &[usize],
    middle: impl FnOnce(&mut ModelBuilder, Value) -> Result<Value, Error>,
) -> Option<Model> {
    let mut m = ModelBuilder::new(input).expect("not empty");
    let x = m.tanh(m.input());
    let x = match middle(&mut m, x) {
        Ok(x) => m.flatten(x).expect("small"),
        Err(Error::Shape { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let features = m.shape(x)[0];
    let head = Linear::new(features, 3).trainable(false);
    let y = head.apply(&mut m, "head", x).expect("fits");
    let architecture = m.finish(y, Loss::CrossEntropy).expect("one dimension");
    Some(Model::of(architecture).expect("the middle is trained"))
}

/// Settings of a convolution besides its channels: kernel, stride, padding below the
/// kernel's reach, dilation.
fn geometries() -> impl Strategy<Value = [usize; 4]> {
    (1_usize..5, 1_usize..4, 1_usize..4, 0_usize..7).prop_map(
        |(kernel, stride, dilation, padding)| {
            [kernel, stride, padding.min((kernel - 1) * dilation), dilation]
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn convolution_gradients_are_true(
        [kernel, stride, padding, dilation] in geometries(), groups in 1_usize..4,
        inputs in 1_usize..4, outputs in 1_usize..4, height in 3_usize..9, width in 3_usize..9,
        bias: bool, seed in 0_u64..1000,
    ) {
        let (inputs, outputs) = (inputs * groups, outputs * groups);
        let convolution = Conv2d::new(inputs, outputs, kernel).stride(stride).padding(padding);
        let convolution = convolution.dilation(dilation).groups(groups).bias(bias);
        // The layer before it makes its input gradient count.
        let model = around(&[2, height, width], |m, x| {
            let x = Conv2d::new(2, inputs, 1).apply(m, "before", x)?;
            let x = convolution.apply(m, "convolution", x)?;
            Ok(m.silu(x))
        });
        if let Some(model) = model {
            assert_true_gradients(model, seed);
        }
    }

    #[test]
    fn depthwise_gradients_are_true(
        [kernel, stride, padding, dilation] in geometries(), channels in 1_usize..20,
        multiple in 1_usize..3, height in 3_usize..8, seed in 0_u64..1000,
    ) {
        let convolution = Conv2d::new(channels, channels * multiple, kernel).groups(channels);
        let convolution = convolution.stride(stride).padding(padding).dilation(dilation);
        let model = around(&[2, height, 5], |m, x| {
            let x = Conv2d::new(2, channels, 1).apply(m, "before", x)?;
            let x = convolution.apply(m, "depthwise", x)?;
            Ok(m.tanh(x))
        });
        if let Some(model) = model {
            assert_true_gradients(model, seed);
        }
    }

    #[test]
    fn sequence_convolution_gradients_are_true(
        [kernel, stride, padding, dilation] in geometries(), groups in 1_usize..4,
        length in 3_usize..14, seed in 0_u64..1000,
    ) {
        let convolution = Conv1d::new(2 * groups, 3 * groups, kernel).groups(groups);
        let convolution = convolution.stride(stride).padding(padding).dilation(dilation);
        let model = around(&[2, length], |m, x| {
            let x = Conv1d::new(2, 2 * groups, 1).apply(m, "before", x)?;
            let x = convolution.apply(m, "convolution", x)?;
            Ok(m.silu(x))
        });
        if let Some(model) = model {
            assert_true_gradients(model, seed);
        }
    }

    #[test]
    fn pool_gradients_are_true(
        kernel in 1_usize..5, stride in 1_usize..5, channels in 1_usize..20, average: bool,
        height in 2_usize..9, width in 2_usize..9, sequence: bool, seed in 0_u64..1000,
    ) {
        let model = pooled(kernel, stride, channels, average, [height, width], sequence);
        if let Some(model) = model {
            assert_true_gradients(model, seed);
        }
    }
}

/// A pool over a convolution; none where the kernel does not fit.
fn pooled(
    kernel: usize,
    stride: usize,
    channels: usize,
    average: bool,
    [height, width]: [usize; 2],
    sequence: bool,
) -> Option<Model> {
    match sequence {
        false => around(&[2, height, width], |m, x| {
            let x = Conv2d::new(2, channels, 1).apply(m, "before", x)?;
            if average { m.avg_pool2d(kernel, stride, x) } else { m.max_pool2d(kernel, stride, x) }
        }),
        true => around(&[2, height * width], |m, x| {
            let x = Conv1d::new(2, channels, 1).apply(m, "before", x)?;
            if average { m.avg_pool1d(kernel, stride, x) } else { m.max_pool1d(kernel, stride, x) }
        }),
    }
}

#[test]
fn a_tie_of_two_pixels_is_a_kink_of_the_largest() {
    let model = pooled(3, 1, 7, false, [8, 7], false).expect("the kernel fits");
    assert_true_gradients(model, 774);
}
