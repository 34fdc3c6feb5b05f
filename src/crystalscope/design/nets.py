"""A multilayer perceptron in numpy, for generators of a few tens of rows: no framework is worth its size there."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Network:
    """Layers with tanh between them, trained by Adam (Kingma and Ba, 2015).

    Parameters
    ----------
    sizes
        Inputs, hidden layers, outputs.
    rate
        Step of Adam.
    decay
        Weight decay, against learning rows by heart.
    """

    def __init__(
        self, sizes: tuple[int, ...], *, rng: np.random.Generator, rate: float = 2e-3, decay: float = 1e-3
    ) -> None:
        self._rate, self._decay, self._count = rate, decay, 0
        self._weights: list[Array] = []
        for a, b in itertools.pairwise(sizes):
            self._weights += [rng.normal(0, 1 / np.sqrt(a), (a, b)), np.zeros(b)]
        self._first = [np.zeros_like(w) for w in self._weights]
        self._second = [np.zeros_like(w) for w in self._weights]
        self._seen: list[Array] = []

    def __call__(self, x: Array) -> Array:
        """Outputs (n, b) of (n, a); what passed each layer is kept for `step`."""
        self._seen = [x]
        layers = len(self._weights) // 2
        for i in range(layers):
            x = x @ self._weights[2 * i] + self._weights[2 * i + 1]
            if i < layers - 1:
                x = np.tanh(x)
            self._seen.append(x)
        return x

    def step(self, gradient: Array, *, learn: bool = True) -> Array:
        """One step down a gradient by the outputs of the last call; returns the gradient by its inputs."""
        self._count += learn
        for i in reversed(range(len(self._weights) // 2)):
            weight = self._weights[2 * i]
            parts = (self._seen[i].T @ gradient, gradient.sum(axis=0))
            gradient = gradient @ weight.T
            if i > 0:
                gradient = gradient * (1 - self._seen[i] ** 2)
            if learn:
                for j, part in ((2 * i, parts[0]), (2 * i + 1, parts[1])):
                    self._adam(j, part)
        return gradient

    def _adam(self, j: int, gradient: Array) -> None:
        self._first[j] = 0.9 * self._first[j] + 0.1 * gradient
        self._second[j] = 0.999 * self._second[j] + 0.001 * gradient**2
        first = self._first[j] / (1 - 0.9**self._count)
        second = self._second[j] / (1 - 0.999**self._count)
        self._weights[j] -= self._rate * (first / (np.sqrt(second) + 1e-8) + self._decay * self._weights[j])


def train_vae(
    data: Array, known: NDArray[np.bool_], *, rng: np.random.Generator, latent: int = 4, epochs: int = 400
) -> Network:
    """The decoder of a variational autoencoder (Kingma and Welling, 2014) of rows of standard scores.

    Parameters
    ----------
    data
        (n, d), 0 where not `known`.
    known
        (n, d) what counts in the loss.
    """
    n, d = data.shape
    encoder = Network((d, 24, 2 * latent), rng=rng)
    decoder = Network((latent, 24, d), rng=rng)
    share = known / max(float(known.sum()), 1.0)
    for epoch in range(epochs):
        code = encoder(data)
        mean, log_variance = code[:, :latent], np.clip(code[:, latent:], -6, 3)
        noise = rng.standard_normal((n, latent))
        sd = np.exp(0.5 * log_variance)
        out = decoder(mean + sd * noise)
        # The prior counts little at first: with few rows the code would else say nothing at all.
        weight = 0.1 * min(1.0, 2 * epoch / epochs) / n
        back = decoder.step(2 * d * share * (out - data))
        by_mean = back + weight * mean
        by_log = 0.5 * back * noise * sd + 0.5 * weight * (sd**2 - 1)
        encoder.step(np.hstack([by_mean, by_log]))
    return decoder


def train_gan(
    data: Array, known: NDArray[np.bool_], *, rng: np.random.Generator, latent: int = 4, epochs: int = 600
) -> Network:
    """The generator of a generative adversarial network (Goodfellow et al., 2014) of rows of standard scores."""
    n, d = data.shape
    generator = Network((latent, 24, d), rng=rng)
    critic = Network((d, 24, 1), rng=rng, rate=1e-3)
    for _ in range(epochs):
        fake = generator(rng.standard_normal((n, latent))) * known
        # Noise on both sides keeps the critic from knowing every row.
        for rows, label in ((data, 0.9), (fake, 0.0)):
            said = _logistic(critic(rows + 0.1 * rng.standard_normal((n, d)) * known))
            critic.step((said - label) / n)
        said = _logistic(critic(fake))
        gradient = critic.step((said - 1.0) / n, learn=False)
        generator.step(gradient * known)
    return generator


def _logistic(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
