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


def nearest(f, s):
    """The larger of the two means of squared differences, over channels too, from the nearest position of the other."""
    costs = np.array([[np.mean((x - y) ** 2) for y in s.reshape(-1, s.shape[-1])] for x in f.reshape(-1, f.shape[-1])])
    return max(costs.min(1).mean(), costs.min(0).mean())


def sliced(f, s, directions):
    """Mean over unit directions (c, k) of the squared Wasserstein-2 distance of the projections, of equal counts."""
    total = 0
    for direction in (directions / np.linalg.norm(directions, axis=0)).T:
        a, b = (np.sort(x.reshape(-1, x.shape[-1]) @ direction) for x in (f, s))
        total += np.mean((a - b) ** 2)
    return total / directions.shape[1]
