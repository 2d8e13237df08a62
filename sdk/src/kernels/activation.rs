//! Activations, value by value.

use super::math::{normal_cdf, normal_density, sigmoid, tanh};
use super::vectorised;

/// A function applied to each value alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    Tanh,
    Gelu,
    Silu,
    Sigmoid,
}

impl Activation {
    /// `output = f(input)`, value by value.
    // Closures and not the functions' names: a function handed over by name is called
    // through a shim that is compiled for the portable instruction set.
    #[allow(clippy::redundant_closure)]
    pub(crate) fn apply(self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len(), "output of an activation");
        match self {
            // Written so that NaN, for which every comparison is false, stays.
            Self::Relu => map(
                input,
                output,
                #[inline(always)]
                |x| if x < 0.0 { 0.0 } else { x },
            ),
            Self::Tanh => map(
                input,
                output,
                #[inline(always)]
                |x| tanh(x),
            ),
            Self::Gelu => map(
                input,
                output,
                #[inline(always)]
                |x| x * normal_cdf(x),
            ),
            Self::Silu => map(
                input,
                output,
                #[inline(always)]
                |x| x * sigmoid(x),
            ),
            Self::Sigmoid => map(
                input,
                output,
                #[inline(always)]
                |x| sigmoid(x),
            ),
        }
    }

    /// `result = gradient * f'(input)`, value by value, with `output = f(input)`.
    pub(crate) fn gradient(
        self,
        input: &[f32],
        output: &[f32],
        gradient: &[f32],
        result: &mut [f32],
    ) {
        assert!(input.len() == output.len() && input.len() == gradient.len(), "activation");
        assert_eq!(input.len(), result.len(), "gradient of an activation");
        match self {
            Self::Relu => scale(
                input,
                gradient,
                result,
                #[inline(always)]
                |x, g| {
                    if x <= 0.0 { 0.0 } else { g }
                },
            ),
            Self::Tanh => scale(
                output,
                gradient,
                result,
                #[inline(always)]
                |y, g| g * (1.0 - y * y),
            ),
            Self::Gelu => scale(
                input,
                gradient,
                result,
                #[inline(always)]
                |x, g| g * (normal_cdf(x) + x * normal_density(x)),
            ),
            Self::Silu => scale(
                input,
                gradient,
                result,
                #[inline(always)]
                |x, g| {
                    let s = sigmoid(x);
                    g * (s + x * s * (1.0 - s))
                },
            ),
            Self::Sigmoid => scale(
                output,
                gradient,
                result,
                #[inline(always)]
                |y, g| g * (y * (1.0 - y)),
            ),
        }
    }
}

#[inline(always)]
fn map(input: &[f32], output: &mut [f32], function: impl Fn(f32) -> f32) {
    vectorised(
        #[inline(always)]
        || {
            for (x, y) in input.iter().zip(output) {
                *y = function(*x);
            }
        },
    );
}

/// `result = function(value, gradient)`.
#[inline(always)]
fn scale(values: &[f32], gradient: &[f32], result: &mut [f32], function: impl Fn(f32, f32) -> f32) {
    vectorised(
        #[inline(always)]
        || {
            for ((value, gradient), result) in values.iter().zip(gradient).zip(result) {
                *result = function(*value, *gradient);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 5] = [
        Activation::Relu,
        Activation::Tanh,
        Activation::Gelu,
        Activation::Silu,
        Activation::Sigmoid,
    ];

    fn exact(activation: Activation, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2_f64.sqrt())),
            Activation::Silu => x * sigmoid,
            Activation::Sigmoid => sigmoid,
        }
    }

    #[test]
    fn values_and_gradients_agree_with_f64() {
        // Rounding of f32 at |x| <= 8, and of the f64 difference quotient.
        const TOLERANCE: f64 = 2e-6;
        let input: Vec<f32> = (-800..800).map(|index| (index as f32 + 0.5) / 100.0).collect();
        let ones = vec![1.0; input.len()];
        for activation in ALL {
            let (mut output, mut slope) = (ones.clone(), ones.clone());
            activation.apply(&input, &mut output);
            activation.gradient(&input, &output, &ones, &mut slope);
            for (index, x) in input.iter().map(|x| f64::from(*x)).enumerate() {
                let step = 1e-5;
                let quotient =
                    (exact(activation, x + step) - exact(activation, x - step)) / (2.0 * step);
                let value = f64::from(output[index]) - exact(activation, x);
                assert!(value.abs() < TOLERANCE, "{activation:?}({x}) is off by {value:e}");
                let slope = f64::from(slope[index]) - quotient;
                assert!(slope.abs() < TOLERANCE, "{activation:?}'({x}) is off by {slope:e}");
            }
        }
    }

    #[test]
    fn activations_carry_nan() {
        for activation in ALL {
            let mut output = [0.0];
            activation.apply(&[f32::NAN], &mut output);
            assert!(output[0].is_nan(), "{activation:?}");
        }
    }
}
