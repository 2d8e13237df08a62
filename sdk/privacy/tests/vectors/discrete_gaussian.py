#!/usr/bin/env python3
"""Golden draws of exact samplers, from the paper and nothing else.

Algorithms 1 to 3 of Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential
Privacy" (arXiv 2004.00010, section 5), written with Python's integers and fractions, as
an oracle that shares no code with the Rust samplers. Only how bytes become uniform
numbers is by agreement: see the module documentation of `adafed_privacy::exact`.

    python3 discrete_gaussian.py > discrete_gaussian.json
"""

import hashlib
import json
from fractions import Fraction
from math import floor


class Stream:
    """Bytes that both sides can make: SHA-256(label, counter as 8 bytes), counter 0, 1, .."""

    def __init__(self, label):
        self.label, self.counter, self.buffer, self.taken = label.encode(), 0, b"", 0

    def take(self, count):
        while len(self.buffer) < count:
            block = self.label + self.counter.to_bytes(8, "little")
            self.buffer += hashlib.sha256(block).digest()
            self.counter += 1
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        self.taken += count
        return out


def uniform_below(m, stream):
    bits = (m - 1).bit_length()
    while True:
        word = int.from_bytes(stream.take((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if word < m:
            return word


def bernoulli(p, denominator, stream):
    """A coin of probability p, taken over the given multiple of p's denominator."""
    numerator = p * denominator
    assert numerator.denominator == 1
    return uniform_below(denominator, stream) < numerator


def bernoulli_exp(gamma, d, stream):
    """Algorithm 1; d is a multiple of gamma's denominator."""
    if gamma <= 1:
        k = 1
        while bernoulli(gamma / k, d * k, stream):
            k += 1
        return k % 2 == 1
    for _ in range(floor(gamma)):
        if not bernoulli_exp(Fraction(1), 1, stream):
            return False
    return bernoulli_exp(gamma - floor(gamma), d, stream)


def geometric(t, s, stream):
    """Algorithm 2 without the sign: rate s/t."""
    while True:
        u = uniform_below(t, stream)
        if bernoulli_exp(Fraction(u, t), t, stream):
            break
    v = 0
    while bernoulli_exp(Fraction(1), 1, stream):
        v += 1
    return (u + t * v) // s


def discrete_laplace(t, s, stream):
    """Algorithm 2: scale t/s."""
    while True:
        y = geometric(t, s, stream)
        b = bernoulli(Fraction(1, 2), 2, stream)
        if not (b and y == 0):
            return -y if b else y


def discrete_gaussian(sigma, stream):
    """Algorithm 3."""
    t = floor(sigma) + 1
    d = 2 * (sigma.numerator * sigma.denominator * t) ** 2
    while True:
        y = discrete_laplace(t, 1, stream)
        gamma = (abs(y) - sigma**2 / t) ** 2 / (2 * sigma**2)
        if bernoulli_exp(gamma, d, stream):
            return y


def case(law, parameter, count, draw):
    """`parameter` is a fraction, or a float that stands for the fraction it is."""
    label = f"{law} {parameter}"
    stream, value = Stream(label), Fraction(parameter)
    draws = [str(int(draw(value, stream))) for _ in range(count)]
    return {
        "law": law,
        "parameter": parameter if isinstance(parameter, float) else str(parameter),
        "label": label,
        "bytes": stream.taken,
        "draws": draws,
    }


SIGMAS = [
    Fraction(1171, 500),
    2.342,
    Fraction(3),
    Fraction(9),
    Fraction(100),
    Fraction(41293847),
    Fraction(10**22 - 1),
    0.25,
    1e10 + 0.1,
    Fraction(10**30, 7),
]
RATES = [Fraction(1, 8), Fraction(3, 2), Fraction(20), 0.1, Fraction(1, 3 * 10**25)]


def laplace_of(scale, stream):
    return discrete_laplace(scale.numerator, scale.denominator, stream)


def geometric_of(rate, stream):
    return geometric(rate.denominator, rate.numerator, stream)


def cases():
    for sigma in SIGMAS:
        yield case("discrete_gaussian", sigma, 200, discrete_gaussian)
    for scale in RATES:
        yield case("discrete_laplace", 1 / scale, 100, laplace_of)
    for rate in RATES:
        yield case("geometric", rate, 100, geometric_of)
    for x in [Fraction(0), Fraction(1), *RATES]:
        coin = lambda x, stream: bernoulli_exp(x, x.denominator, stream)
        yield case("bernoulli_exp", x, 300, coin)
    for p in [Fraction(0), Fraction(1), Fraction(1, 3), Fraction(65536, 65537), 0.1]:
        coin = lambda p, stream: bernoulli(p, p.denominator, stream)
        yield case("bernoulli", p, 300, coin)
    for m in [1, 3, 256, 257, 2**64 + 1, 2**128 - 1]:
        yield case("uniform_below", Fraction(m), 100, lambda m, s: uniform_below(int(m), s))


def main():
    print("[")
    print(",\n".join(json.dumps(c) for c in cases()))
    print("]")


if __name__ == "__main__":
    main()
