"""What is expected of an instance from its coordinates along a few directions: learnt in the run, promises nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kppstat.stats.staged import LOGISTIC

__all__ = ["Quadratic", "Surrogate", "fitted_quadratic"]

#: Penalties on the slopes, in instances, among which held-out instances choose.
_PENALTIES = (3.0, 30.0, 300.0, 3000.0)
_FOLDS = 5
#: Instances below this share of what is expected have a spread of their own: failing ones vary more.
_LOW = 0.3
#: Squared residuals count up to this many variances.
_OUTLIER = 12.0
#: Parts of the law about what is expected, in spreads: how far lower, how wide; their shares before anything is known,
#: which count as so many instances, and how often they are improved.
_LOWER = np.array([0.0, 0.0, 0.0, 0.0, 3.0, 6.0, 12.0])
_WIDER = np.array([0.5, 1.0, 2.0, 5.0, 1.5, 3.0, 6.0])
_SHARES = np.array([0.1, 0.8, 0.08, 0.005, 0.01, 0.004, 0.001])
_BELIEF, _ROUNDS = 100, 60


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``slope . t + t . curve . t / 2`` of coordinates `t`."""

    slope: np.ndarray
    curve: np.ndarray

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return its values, shape (n,), at coordinates of shape (n, m)."""
        return np.asarray(places @ self.slope + 0.5 * np.einsum("ni,ni->n", places @ self.curve, places))


def fitted_quadratic(places: np.ndarray, gradients: np.ndarray, steady: float = 5.0) -> Quadratic:
    """Return the quadratic whose gradient ``slope + curve . t`` fits gradients met at a few places.

    Parameters
    ----------
    places, gradients : ndarray, shape (n, m)
        Coordinates of instances, and the gradients there along the same directions.
    steady : float
        Instances that pull the curve to 0.
    """
    middle = places.mean(0)
    t = places - middle
    curve = np.linalg.solve(t.T @ t + steady * np.eye(t.shape[1]), t.T @ (gradients - gradients.mean(0)))
    curve = (curve + curve.T) / 2
    return Quadratic(gradients.mean(0) - curve @ middle, curve)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Expected performance of instances, and how far they scatter about it.

    Attributes
    ----------
    correlation : float
        With the performance of held-out instances, as far as their noise lets tell.
    """

    guess: Quadratic | None
    centre: float
    shift: np.ndarray
    scale: np.ndarray
    slopes: np.ndarray
    spreads: tuple[float, float]
    edges: tuple[float, float]
    shares: np.ndarray
    correlation: float

    @classmethod
    def fit(
        cls,
        places: np.ndarray,
        values: np.ndarray,
        variances: np.ndarray,
        guess: Quadratic | None = None,
        least: float = 0.0,
    ) -> Surrogate:
        """Learn from instances whose performance is known up to noise.

        Parameters
        ----------
        places : ndarray, shape (n, m)
            Coordinates.
        values, variances : ndarray, shape (n,)
            Unbiased estimates of their performance, and the variances of these.
        guess : Quadratic, optional
            A function of the coordinates that is worth a feature of its own.
        least : float
            The least spread to expect about what is expected.
        """
        raw = _features(places, guess)
        shift, scale = raw.mean(0), np.maximum(raw.std(0), 1e-9)
        x = (raw - shift) / scale
        spread = max(float(np.var(values) - variances.mean()), 0.05 * float(np.var(values)), 1e-12)
        weight = spread / (spread + variances)
        fold = np.arange(len(values)) % _FOLDS
        held = np.zeros((len(_PENALTIES), len(values)))
        for part in range(_FOLDS):
            test = fold == part
            if test.any() and not test.all():
                for k, penalty in enumerate(_PENALTIES):
                    centre, slopes = _ridge(x[~test], values[~test], weight[~test], penalty)
                    held[k, test] = centre + x[test] @ slopes
        errors = ((held - values) ** 2 * weight).sum(1)
        best = int(errors.argmin())
        flat = float(np.average(values, weights=weight))
        centre, slopes = _ridge(x, values, weight, _PENALTIES[best])
        if errors[best] >= ((values - flat) ** 2 * weight).sum():
            slopes, held[best] = np.zeros_like(slopes), flat  # useless, and better left alone
        residuals, expected = values - held[best], centre + x @ slopes
        edge = float(np.quantile(expected, _LOW))
        low = expected <= edge
        overall = _spread(residuals, variances)
        lows = _spread(residuals[low], variances[low]) if low.sum() >= 20 else overall
        rest = _spread(residuals[~low], variances[~low]) if (~low).sum() >= 20 else overall
        true = max(float(np.average((values - flat) ** 2, weights=weight) - np.average(variances, weights=weight)), 0)
        told = float(np.cov(held[best], values, aweights=weight)[0, 1]) if slopes.any() else 0.0
        norm = float(np.sqrt(np.cov(held[best], aweights=weight) * true)) if slopes.any() else 0.0
        correlation = min(max(told / norm, 0.0), 1.0) if norm > 0 else 0.0
        middle = float(np.median(expected[~low])) if (~low).any() else edge
        lowest = float(np.median(expected[low]))
        spreads = max(lows, overall / 2, least), max(rest, overall / 4, least)
        found = cls(guess, centre, shift, scale, slopes, spreads, (lowest, middle), _SHARES, correlation)
        each = found.spread(expected)
        return replace(found, shares=_shares(residuals / each, variances / each**2))

    def law(self, location: np.ndarray) -> np.ndarray:
        """Return the laws about what is expected, as `kppstat.stats.staged` takes them, shape (3, parts, n)."""
        spread = self.spread(location)
        each = location - _LOWER[:, None] * spread, _WIDER[:, None] * spread / LOGISTIC
        return np.stack([np.broadcast_to(self.shares[:, None], each[0].shape), *each])

    def drawn(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a performance drawn from the law at each place, shape (n,)."""
        law = self.law(self.location(places))
        part = rng.choice(law.shape[1], size=law.shape[2], p=self.shares)
        _, location, scale = law[:, part, np.arange(law.shape[2])]
        return np.asarray(location + scale * rng.logistic(size=len(location)))

    def location(self, places: np.ndarray) -> np.ndarray:
        """Return what is expected at these coordinates, shape (n,)."""
        x = (_features(places, self.guess) - self.shift) / self.scale
        return np.asarray(self.centre + x @ self.slopes)

    def spread(self, location: np.ndarray) -> np.ndarray:
        """Return the standard deviation about what is expected."""
        if self.edges[0] >= self.edges[1]:
            return np.full(location.shape, self.spreads[1])
        return np.asarray(np.interp(location, self.edges, self.spreads))


def _features(places: np.ndarray, guess: Quadratic | None) -> np.ndarray:
    t = np.asarray(places, np.float64)
    columns = [t, t**2 - 1]
    if guess is not None:
        columns.insert(0, guess(t)[:, None])
    return np.concatenate(columns, axis=1)


def _ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Return intercept and slopes by weighted least squares with a penalty on the slopes."""
    total = weight.sum()
    mean_x, mean_y = weight @ x / total, float(weight @ y / total)
    c = x - mean_x
    slopes = np.linalg.solve((c * weight[:, None]).T @ c + penalty * np.eye(x.shape[1]), c.T @ (weight * (y - mean_y)))
    return mean_y - float(mean_x @ slopes), slopes


def _spread(residuals: np.ndarray, variances: np.ndarray) -> float:
    """Return the spread that noise does not explain: the likeliest under a normal law whose outliers are drawn in."""
    total = float(np.sqrt(np.mean(residuals**2))) + 1e-12
    best, most = total, -np.inf
    for spread in total * np.geomspace(0.1, 2.0, 40):
        variance = spread**2 + variances
        fit = -float((np.log(variance) + np.minimum(residuals**2 / variance, _OUTLIER)).sum())
        if fit > most:
            best, most = float(spread), fit
    return best


def _shares(residuals: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return the shares of the parts of the law of residuals with known noise, both in spreads, by EM."""
    total = _WIDER[:, None] ** 2 + variances
    fits = np.exp(-((residuals + _LOWER[:, None]) ** 2) / (2 * total)) / np.sqrt(total) + 1e-300
    shares = _SHARES
    for _ in range(_ROUNDS):
        parts = shares[:, None] * fits
        shares = (parts / parts.sum(0)).sum(1) + _BELIEF * _SHARES
        shares = shares / shares.sum()
    return shares
