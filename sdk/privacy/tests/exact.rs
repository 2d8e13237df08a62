//! Exact samplers, bit for bit against an independent implementation, and their edges.
//!
//! `vectors/discrete_gaussian.json` was made once by `vectors/discrete_gaussian.py`, which
//! is written from the paper (arXiv 2004.00010) with Python's fractions, and is frozen.

use adafed_privacy::Error;
use adafed_privacy::exact::{
    Bernoulli, BernoulliExp, DiscreteGaussian, DiscreteLaplace, Geometric, Rational, UniformBelow,
    generator,
};
use proptest::prelude::*;
use rand::{CryptoRng, RngCore};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// Bytes in a fixed order: SHA-256(label, counter) for counters 0, 1, .., or a script.
struct Scripted {
    label: String,
    counter: u64,
    bytes: std::collections::VecDeque<u8>,
    taken: usize,
}

impl Scripted {
    fn hashed(label: &str) -> Self {
        Self { label: label.to_owned(), counter: 0, bytes: Default::default(), taken: 0 }
    }

    fn next(&mut self) -> u8 {
        if self.bytes.is_empty() {
            let block = [self.label.as_bytes(), &self.counter.to_le_bytes()].concat();
            self.bytes.extend(digest(&SHA256, &block).as_ref());
            self.counter += 1;
        }
        self.taken += 1;
        self.bytes.pop_front().expect("just filled")
    }
}

impl RngCore for Scripted {
    fn next_u32(&mut self) -> u32 {
        unreachable!("exact samplers read bytes")
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("exact samplers read bytes")
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next());
    }
}

impl CryptoRng for Scripted {}

#[derive(Deserialize)]
struct Case {
    law: String,
    parameter: Parameter,
    label: String,
    bytes: usize,
    draws: Vec<String>,
}

/// A fraction in writing, or an f64 that stands for the fraction it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Parameter {
    Float(f64),
    Fraction(String),
}

type Failure = Box<dyn std::error::Error>;

impl Parameter {
    fn rational(&self) -> Result<Rational, Failure> {
        match self {
            Self::Float(value) => Ok(Rational::try_from(*value)?),
            Self::Fraction(text) => {
                let (p, q) = text.split_once('/').unwrap_or((text, "1"));
                Ok(Rational::new(p.parse()?, q.parse()?)?)
            }
        }
    }

    fn integer(&self) -> Result<u128, Failure> {
        match self {
            Self::Float(_) => Err("a bound is written as an integer".into()),
            Self::Fraction(text) => Ok(text.parse()?),
        }
    }
}

type Draw = Box<dyn Fn(&mut Scripted) -> String>;

fn sampler(case: &Case) -> Result<Draw, Failure> {
    macro_rules! draw {
        ($law:expr) => {{
            let law = $law;
            Ok(Box::new(move |rng: &mut Scripted| i128::from(law.sample(rng)).to_string()))
        }};
        ($law:expr, unsigned) => {{
            let law = $law;
            Ok(Box::new(move |rng: &mut Scripted| law.sample(rng).to_string()))
        }};
    }
    let rational = || case.parameter.rational();
    match case.law.as_str() {
        "discrete_gaussian" => draw!(DiscreteGaussian::new(&rational()?)?),
        "discrete_laplace" => draw!(DiscreteLaplace::new(&rational()?)?),
        "bernoulli" => draw!(Bernoulli::new(rational()?)?),
        "bernoulli_exp" => draw!(BernoulliExp::new(rational()?)),
        "geometric" => draw!(Geometric::new(&rational()?)?, unsigned),
        "uniform_below" => draw!(UniformBelow::new(case.parameter.integer()?)?, unsigned),
        other => Err(format!("no such law: {other}").into()),
    }
}

#[test]
fn draws_and_bytes_read_are_those_of_the_paper() -> Result<(), Failure> {
    let text = include_str!("vectors/discrete_gaussian.json");
    let cases: Vec<Case> = serde_json::from_str(text)?;
    assert_eq!(cases.len(), 38);
    for case in cases {
        let (draw, mut rng) = (sampler(&case)?, Scripted::hashed(&case.label));
        let found: Vec<String> = case.draws.iter().map(|_| draw(&mut rng)).collect();
        assert_eq!(found, case.draws, "{}", case.label);
        assert_eq!(rng.taken, case.bytes, "bytes read by {}", case.label);
    }
    Ok(())
}

#[test]
fn draws_beyond_six_deviations_are_possible() {
    // sigma 3: t = 4, and Y = 20 = 4 * 5 has gamma = (9 * 0 + 80 - 9)^2 / 288 = 17.5.
    const TRUE: [u8; 2] = [0, 1];
    let proposal = [&[0, 3][..], &TRUE.repeat(5), &[1], &[1]].concat();
    let accepted = [&TRUE.repeat(17)[..], &[255, 0]].concat();
    let script = [proposal, accepted].concat();
    let mut rng = Scripted::hashed("far");
    rng.bytes.extend(&script);
    let law = DiscreteGaussian::new(&Rational::new(3, 1).unwrap()).unwrap();
    assert_eq!(law.sample(&mut rng), 20);
    assert_eq!(rng.taken, script.len());
}

#[test]
fn parameters_out_of_range_are_refused() {
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Parameter { .. }));
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE] {
        assert!(refused(Rational::try_from(value).map(drop)), "{value}");
    }
    assert!(refused(Rational::new(1, 0).map(drop)) && refused(UniformBelow::new(0).map(drop)));
    assert!(refused(Bernoulli::new(Rational::new(4, 3).unwrap()).map(drop)));
    for value in [0.0, -0.0, f64::exp2(100.0).next_up(), f64::MAX] {
        let value = Rational::try_from(value).unwrap();
        assert!(refused(DiscreteGaussian::new(&value).map(drop)));
        assert!(refused(DiscreteLaplace::new(&value).map(drop)));
    }
    for rate in [0.0, f64::from_bits(1), f64::exp2(-100.0).next_down()] {
        assert!(refused(Geometric::new(&Rational::try_from(rate).unwrap()).map(drop)));
    }
}

#[test]
fn parameters_at_the_edges_are_taken() {
    let (mut rng, largest) = (generator().unwrap(), f64::exp2(100.0));
    let gaussian = |sigma: f64| DiscreteGaussian::new(&Rational::try_from(sigma).unwrap()).unwrap();
    assert!((0..9).any(|_| gaussian(largest).sample(&mut rng).unsigned_abs() > 1 << 95));
    assert_eq!(gaussian(f64::from_bits(1)).sample(&mut rng), 0);
    assert_eq!(gaussian(1e-3).sample(&mut rng), 0);
    assert!(BernoulliExp::new(Rational::new(0, 1).unwrap()).sample(&mut rng));
    assert!(!BernoulliExp::new(Rational::try_from(f64::MAX).unwrap()).sample(&mut rng));
    let rate = Rational::try_from(1.0 / largest).unwrap();
    assert!((0..9).any(|_| Geometric::new(&rate).unwrap().sample(&mut rng) > 1 << 95));
    assert_eq!(Geometric::new(&Rational::new(u128::MAX, 1).unwrap()).unwrap().sample(&mut rng), 0);
}

#[test]
fn an_f64_is_the_fraction_it_is() {
    let is = |value: f64, p, q| assert_eq!(Rational::try_from(value), Rational::new(p, q));
    is(0.25, 1, 4);
    is(-0.0, 0, 7);
    is(1e22, 10_u128.pow(22), 1);
    is(2.342, 5_273_715_163_650_851, 1 << 51);
    assert_ne!(Rational::try_from(2.342), Rational::new(1171, 500));
}

#[test]
fn generators_differ() {
    let first = |mut rng: Box<dyn CryptoRng>| rng.next_u64();
    assert_ne!(first(Box::new(generator().unwrap())), first(Box::new(generator().unwrap())));
}

proptest! {
    /// Terms that are not lowest, and so large that every path is taken, change nothing.
    #[test]
    fn draws_depend_on_the_value_of_the_fraction_only(
        p in 1_u128..1 << 60, q in 1_u128..1 << 40, common in 1_u128..1 << 27, seed: u64,
    ) {
        let draws = |p, q| {
            let law = DiscreteGaussian::new(&Rational::new(p, q).unwrap()).unwrap();
            let mut rng = Scripted::hashed(&seed.to_string());
            [(); 20].map(|()| law.sample(&mut rng))
        };
        prop_assert_eq!(draws(p, q), draws(p * common, q * common));
    }
}
