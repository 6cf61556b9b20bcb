"""Distances between styles in float64 NumPy, by eigenvalues, written from their papers and sharing no code."""

import numpy as np


def moments(f, weights=None):
    """Mean, covariance of features (h, w, c), of positions with weights (h, w)."""
    flat = np.asarray(f, np.float64).reshape(-1, f.shape[-1])
    p = np.full(len(flat), 1 / len(flat)) if weights is None else weights.ravel() / weights.sum()
    mean = p @ flat
    return mean, (flat - mean).T @ np.diag(p) @ (flat - mean)


def power(a, exponent):
    values, vectors = np.linalg.eigh((a + a.T) / 2)
    return (vectors * np.maximum(values, 0) ** exponent) @ vectors.T


def wasserstein(m, c, s, d):
    """Squared Wasserstein-2 distance of two Gaussians by means and covariances (Dowson and Landau, 1982)."""
    root = power(d, 0.5)
    return np.sum((m - s) ** 2) + np.trace(c) + np.trace(d) - 2 * np.trace(power(root @ c @ root, 0.5))


def style_noise(d):
    """The noise E that `wasserstein` adds to both: E (D + E) = t^2, where t = 2e-3 |D|; by eigenvalues of D."""
    values, vectors = np.linalg.eigh(d)
    t = 2e-3 * np.sqrt(np.sum(values**2)) + 1e-8
    values = np.maximum(values, 0)
    return (vectors * ((np.sqrt(values**2 + 4 * t**2) - values) / 2)) @ vectors.T


def nearest(f, s, centred=True):
    """Mean cosine distances from f to its nearest in s, and back; with one more coordinate, as `nearest` has it."""
    f, s = (x.reshape(-1, x.shape[-1]) for x in (f, s))
    f, s = (x - centred * x.mean(0) for x in (f, s))
    extra = np.sqrt(1e-6 * np.mean(np.sum(s**2, 1)) + 1e-12)
    f, s = (np.c_[x, np.full(len(x), extra)] for x in (f, s))
    costs = np.array([[1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in s] for x in f])
    return costs.min(1).mean(), costs.min(0).mean()


def matched(f, s, query):
    """Mean cosine distance of f to that s which is nearest to the query at its place; see `nearest`."""
    f, s, query = (x.reshape(-1, x.shape[-1]) for x in (f, s, query))

    def lengthen(x, like):
        return np.c_[x, np.full(len(x), np.sqrt(1e-6 * np.mean(np.sum(like**2, 1)) + 1e-12))]

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    centred = s - s.mean(0)
    a, b = lengthen(query - query.mean(0), centred), lengthen(centred, centred)
    places = [np.argmax([cosine(x, y) for y in b]) for x in a]
    f, s = lengthen(f, s), lengthen(s, s)
    return np.mean([1 - cosine(x, s[place]) for x, place in zip(f, places, strict=True)])


def self_similarity(f, p):
    """Mean over columns of the L1 distance of two matrices of cosine distances, each column divided by its sum."""

    def matrix(x):
        x = x.reshape(-1, x.shape[-1])
        x = np.c_[x, np.full(len(x), np.sqrt(1e-6 * np.mean(np.sum(x**2, 1)) + 1e-12))]
        costs = np.array([[1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in x] for a in x])
        return costs / (costs.sum(0) + 1e-5 * len(x))

    return np.abs(matrix(f) - matrix(p)).sum(0).mean()


def sliced(f, s, directions):
    """Mean over unit directions (c, k) of the squared Wasserstein-2 distance of the projections, of equal counts."""
    total = 0
    for direction in (directions / np.linalg.norm(directions, axis=0)).T:
        a, b = (np.sort(x.reshape(-1, x.shape[-1]) @ direction) for x in (f, s))
        total += np.mean((a - b) ** 2)
    return total / directions.shape[1]
