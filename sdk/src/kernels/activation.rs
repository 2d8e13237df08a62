//! Activations, value by value.

use super::math::{normal_cdf, normal_density, sigmoid, tanh};
use super::vectorised;

// Macros and not generic functions: a function handed over as a value may be called, not
// inlined, and then it is compiled for the portable instruction set.

/// `output = f(input)`.
macro_rules! map {
    (|$x:ident| $function:expr, $input:expr, $output:expr) => {
        vectorised!(for (x, y) in $input.iter().zip($output) {
            let $x = *x;
            *y = $function;
        })
    };
}

/// `result *= f(values)`.
macro_rules! scale {
    (|$x:ident| $function:expr, $values:expr, $result:expr) => {
        vectorised!(for (x, y) in $values.iter().zip($result) {
            let $x = *x;
            *y *= $function;
        })
    };
}

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
    pub(crate) fn apply(self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len(), "output of an activation");
        match self {
            // Written so that NaN, for which every comparison is false, stays.
            Self::Relu => map!(|x| if x < 0.0 { 0.0 } else { x }, input, output),
            Self::Tanh => map!(|x| tanh(x), input, output),
            Self::Gelu => map!(|x| x * normal_cdf(x), input, output),
            Self::Silu => map!(|x| x * sigmoid(x), input, output),
            Self::Sigmoid => map!(|x| sigmoid(x), input, output),
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
        result.copy_from_slice(gradient);
        match self {
            Self::Relu => scale!(|x| if x <= 0.0 { 0.0 } else { 1.0 }, input, result),
            Self::Tanh => scale!(|y| 1.0 - y * y, output, result),
            Self::Gelu => scale!(|x| normal_cdf(x) + x * normal_density(x), input, result),
            Self::Silu => scale!(|x| silu_slope(x), input, result),
            Self::Sigmoid => scale!(|y| y * (1.0 - y), output, result),
        }
    }
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s + x * s * (1.0 - s)
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
