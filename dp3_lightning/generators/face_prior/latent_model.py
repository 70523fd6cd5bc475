"""A linear-Gaussian model of what latents look like: pose, expression, look and identity.

Attributes of drawn faces are, to a good part, linear in the whitened latent. So a latent can be
moved to show a wanted pose or expression in closed form, while other attributes, identity above
all, are measured as not changing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from scipy.special import expit

from dp3_lightning.faces.expression import SIGNALS, expression_signals
from dp3_lightning.generators.face_prior.weights import shipped
from dp3_lightning.structures import FloatArray

POSE = ("yaw", "pitch")
EXPRESSION = (
    "mouth_open",
    "mouth_width",
    "corner_lift",
    "lip_up",
    "eye_right",
    "eye_left",
    "brow_right",
    "brow_left",
)
MOTION = POSE + EXPRESSION
LOOK = ("skin_l", "skin_a", "skin_b", "glasses", "forehead", "beard", "lips")
N_IDENTITY = 100
# Log odds of looking like a man (0 lies between the sexes); a child's proportions, in deviations.
MASCULINE, YOUNG = DIRECTIONS = ("masculine", "young")
_RIDGE = 0.12
_LOGISTIC_DECAY = 2e-3
_YOUNG_RIDGE, _JAW_OPENS = 0.04, 0.9
_SURE = 0.02  # unexplained variance of a direction in the latent itself
_DIAGONAL = 0.15  # share of the residuals' covariance that is taken as its diagonal
_FLOOR = 0.03  # variance that every axis has at least


@dataclass
class LatentModel:
    """Attributes as linear functions of the latent, and the spread of people who fit a context.

    Attributes are standardised: 0 is the mean of random people, 1 a standard deviation. Their
    order: :data:`MOTION`, :data:`LOOK`, then principal components of what these do not explain of
    the identity embedding, then :data:`DIRECTIONS`.

    Attributes:
        response: ``(512, n)`` latent to attributes.
        noise: ``(n, n)`` covariance of what the latent does not explain.
        mean: ``(n,)`` in natural units.
        deviation: ``(n,)`` in natural units.
        spread: ``(512, 512)`` covariance of latents about the encoder's guess.
        identity_mean: ``(128,)`` mean embedding.
        identity_axes: ``(100, 128)`` principal axes of embeddings.
        reference: ``(468, 3)`` mean frontal mesh.
        rest: ``(11,)`` expression signals of a face at rest.
    """

    response: FloatArray
    noise: FloatArray
    mean: FloatArray
    deviation: FloatArray
    spread: FloatArray
    identity_mean: FloatArray
    identity_axes: FloatArray
    reference: FloatArray
    rest: FloatArray

    @classmethod
    def load(cls, path: str | Path | None = None) -> LatentModel:
        """Read a model; None takes the shipped one."""
        stored = load_file(shipped("latent_model") if path is None else path)
        return cls(**{name: values.astype(np.float64) for name, values in stored.items()})

    def save(self, path: str | Path) -> None:
        """Write the model, large matrices in half precision."""
        half = {"response", "spread", "noise", "identity_axes"}
        rows = {
            name: np.ascontiguousarray(
                getattr(self, name), np.float16 if name in half else np.float32
            )
            for name in (field.name for field in fields(self))  # not what was derived from them
        }
        save_file(rows, path)

    @property
    def motion(self) -> list[int]:
        """Indices of pose and expression."""
        return list(range(len(MOTION)))

    def index(self, *names: str) -> list[int]:
        """Return the indices of attributes of motion and look.

        Raises:
            ValueError: an unknown name.
        """
        known = {name: at for at, name in enumerate(MOTION + LOOK)}
        known |= {name: len(MOTION + LOOK) + N_IDENTITY + n for n, name in enumerate(DIRECTIONS)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"Expected attributes among {list(known)}, got {unknown}.")
        return [known[name] for name in names]

    @property
    def identity(self) -> list[int]:
        """Indices of the identity components."""
        first = len(MOTION) + len(LOOK)
        return list(range(first, first + N_IDENTITY))

    @cached_property
    def spread_root(self) -> FloatArray:
        """Lower Cholesky factor of :attr:`spread`."""
        root = np.linalg.cholesky(self.spread + 1e-4 * np.eye(len(self.spread)))
        return np.asarray(root, np.float64)

    def predict(self, u: FloatArray) -> FloatArray:
        """Predict standardised attributes ``(..., n)`` of latents ``(..., 512)``."""
        predicted: FloatArray = u @ self.response
        return predicted

    def standardise(self, values: FloatArray, indices: Sequence[int]) -> FloatArray:
        """Map natural values of some attributes to standardised ones."""
        which = list(indices)
        standard: FloatArray = (np.asarray(values) - self.mean[which]) / self.deviation[which]
        return standard

    def gain(
        self,
        driven: Sequence[int],
        kept: Sequence[int] = (),
        driven_noise: float | Sequence[float] = 0.25,
        kept_noise: float = 0.1,
    ) -> FloatArray:
        """Return by how much the latent follows wanted changes of attributes, ``(512, driven)``.

        This is the gain of a Kalman filter: the driven attributes are measurements, and the kept
        ones are measurements of no change.

        Args:
            driven: indices of the attributes to change.
            kept: indices of those to keep.
            driven_noise: how far a wanted change may be missed, of the unexplained variance; one
                number, or one for each driven attribute.
            kept_noise: the same for the kept ones.
        """
        every = (
            [driven_noise] * len(driven) if isinstance(driven_noise, int | float) else driven_noise
        )
        key = (tuple(driven), tuple(kept), tuple(every), kept_noise)
        if key not in self._gains:
            both = [*driven, *kept]
            response = self.response[:, both]
            shares = np.array([*every, *[kept_noise] * len(kept)])
            noise = np.diag(shares * np.diag(self.noise)[both])
            total = response.T @ self.spread @ response + noise
            gain = np.linalg.solve(total, response.T @ self.spread).T[:, : len(driven)]
            self._gains[key] = np.asarray(gain, np.float64)
        return self._gains[key]

    @cached_property
    def _gains(self) -> dict[tuple[object, ...], FloatArray]:
        return {}


def with_direction(
    response: FloatArray,
    noise: FloatArray,
    mean: FloatArray,
    deviation: FloatArray,
    fitted: tuple[FloatArray, float, float],
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Append a direction with its mean and deviation to the other attributes."""
    direction, middle, spread = fitted
    wider = np.zeros((len(noise) + 1, len(noise) + 1))
    wider[:-1, :-1], wider[-1, -1] = noise, _SURE
    return (
        np.column_stack([response, direction]),
        wider,
        np.append(mean, middle),
        np.append(deviation, spread),
    )


def fit_response(
    latents: FloatArray, scale: FloatArray, attributes: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit standardised attributes as linear functions of whitened latents, by ridge regression.

    Args:
        latents: ``(N, 512)`` whitened.
        scale: ``(512,)`` deviation of the styles along each axis: wide axes count more.
        attributes: ``(N, n)`` standardised.

    Returns:
        ``(512, n)``; the covariance ``(n, n)`` of the errors and the share of variance explained
        ``(n,)`` on the last tenth, which a first fit does not see.
    """
    weights = scale / np.sqrt(np.mean((latents * scale) ** 2))
    x = latents * weights
    n_train = len(x) - len(x) // 10

    def fit(rows: slice) -> FloatArray:
        gram = x[rows].T @ x[rows] / len(x[rows])
        cross = x[rows].T @ attributes[rows] / len(x[rows])
        solution: FloatArray = np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), cross)
        return solution

    held = attributes[n_train:] - x[n_train:] @ fit(slice(0, n_train))
    explained = 1 - held.var(0) / attributes[n_train:].var(0)
    return fit(slice(None)) * weights[:, None], np.cov(held.T), explained


def fit_masculine(latents: FloatArray, look: FloatArray) -> tuple[FloatArray, float, float]:
    """Fit the direction from women to men, by logistic regression without any label of people.

    Those with a dark chin and pale lips stand for men, those with red lips and a bare chin for
    women; the direction between them orders everybody else, too.

    Args:
        latents: ``(N, 512)`` whitened.
        look: ``(N, 7)`` standardised, see :data:`LOOK`.

    Returns:
        The direction ``(512,)``, scaled so that people along it have a deviation of 1; mean and
        deviation of the log odds.

    Raises:
        ValueError: fewer than 5 of either.
    """
    beard, lips = look[:, LOOK.index("beard")], look[:, LOOK.index("lips")]
    men, women = (beard < -1) & (lips < 0), (lips > 1) & (beard > 0)
    if min(men.sum(), women.sum()) < 5:
        raise ValueError(
            f"Expected 5 faces of men and of women, got {men.sum()} and {women.sum()}: draw more "
            "faces with `dp3 data synth-faces`."
        )
    x = np.concatenate([latents[men], latents[women]])
    y = np.concatenate([np.ones(int(men.sum())), np.zeros(int(women.sum()))])

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        odds = x @ values[:-1] + values[-1]
        error = expit(odds) - y
        weights = np.append(values[:-1], 0.0)
        total = float(
            np.mean(np.logaddexp(0, odds) - y * odds) + _LOGISTIC_DECAY * weights @ weights
        )
        slope = np.append(x.T @ error, error.sum()) / len(x) + 2 * _LOGISTIC_DECAY * weights
        return float(total), slope

    start = np.zeros(latents.shape[1] + 1)
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B").x
    odds = latents @ fitted[:-1]
    deviation = float(odds.std())
    return fitted[:-1] / deviation, float(odds.mean() + fitted[-1]), deviation


def fit_young(latents: FloatArray, frontal: FloatArray) -> tuple[FloatArray, float, float]:
    """Fit the direction from adults to children: noses and jaws grow more than eyes do.

    Args:
        latents: ``(N, 512)`` whitened.
        frontal: ``(N, 468, 3)`` frontal meshes, outer eyes 1 apart.

    Returns:
        The direction ``(512,)``, scaled so that people along it have a deviation of 1; mean 0 and
        deviation 1.
    """
    signals = expression_signals(frontal)
    jaw = signals[:, SIGNALS.index("jaw")] - _JAW_OPENS * signals[:, SIGNALS.index("mouth_open")]
    nose = frontal[:, 2, 1] - frontal[:, 168, 1]
    small = -((jaw - jaw.mean()) / jaw.std() + (nose - nose.mean()) / nose.std())
    gram = latents.T @ latents + _YOUNG_RIDGE * len(latents) * np.eye(latents.shape[1])
    direction = np.linalg.solve(gram, latents.T @ small)
    return direction / float((latents @ direction).std()), 0.0, 1.0


def shrunk_covariance(residuals: FloatArray) -> FloatArray:
    """Estimate the covariance of latents about a guess, ``(512, 512)``, from ``(N, 512)``."""
    full = np.cov(residuals.T)
    diagonal = np.diag(np.diag(full))
    shrunk: FloatArray = (1 - _DIAGONAL) * full + _DIAGONAL * diagonal + _FLOOR * np.eye(len(full))
    return shrunk
