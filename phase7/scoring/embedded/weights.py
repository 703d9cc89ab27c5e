"""The shipped model: its parts, its file and its record.

Every number that changes a score is in `weights.safetensors`, so its SHA-256 identifies the scorer.
`model.json` holds the thresholds, a readable copy of the calibration, and all measured figures. A
missing or unreadable file is an error that names the command that makes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from phase7.scoring.embedded.linear import LinearModel
from phase7.scoring.embedded.network import NetworkParameters
from phase7.scoring.embedded.politeness import PolitenessModel
from phase7.scoring.embedded.sentiment import SentimentModel
from phase7.vocabulary.errors import UserError

Floats = NDArray[np.float64]

FOLDER = Path(__file__).parent
WEIGHTS_NAME = "weights.safetensors"
RECORD_NAME = "model.json"
_REMEDY = "reinstall phase7, or make it with `python -m phase7 train-scorers --data DIR`"
_INTEGER_TYPES = {
    "kernels": np.int8,
    "kernel_bias": np.int32,
    "attention": np.int16,
    "output": np.int16,
}


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """Everything that scoring needs.

    Attributes
    ----------
    emotion_linear : LinearModel
    emotion_network : NetworkParameters
    network_share : float
        Weight of the network's logits in the mean with the linear ones.
    slope, intercept : float64 [28]
        Platt calibration of the mixed logits.
    sentiment : SentimentModel
    politeness : PolitenessModel
    politeness_slope, politeness_intercept : float
        Platt calibration.
    """

    emotion_linear: LinearModel
    emotion_network: NetworkParameters
    network_share: float
    slope: Floats
    intercept: Floats
    sentiment: SentimentModel
    politeness: PolitenessModel
    politeness_slope: float
    politeness_intercept: float


def quantise_linear(model: LinearModel) -> dict[str, NDArray[Any]]:
    """A linear model as int8 weights with one step per output and 8-bit idf."""
    unit = np.maximum(np.abs(model.weights).max(axis=0), 1e-12).astype(np.float64) / 127.0
    idf_unit = float(model.idf.max()) / 255.0
    return {
        "weights": np.rint(model.weights / unit).astype(np.int8),
        "unit": unit,
        "idf": np.rint(model.idf / idf_unit).astype(np.uint8),
        "idf_unit": np.array([idf_unit]),
        "bias": model.bias,
    }


def restore_linear(tensors: Mapping[str, NDArray[Any]]) -> LinearModel:
    """Undo `quantise_linear` up to its rounding."""
    return LinearModel(
        idf=(tensors["idf"] * tensors["idf_unit"][0]).astype(np.float32),
        weights=(tensors["weights"] * tensors["unit"]).astype(np.float32),
        bias=tensors["bias"],
    )


def save_model(model: EmbeddedModel, folder: Path) -> Path:
    """Write `weights.safetensors` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _prefixed("linear", quantise_linear(model.emotion_linear))
    for field in fields(NetworkParameters):
        value = getattr(model.emotion_network, field.name)
        tensors[f"network.{field.name}"] = _narrowed(field.name, value)
    tensors |= _prefixed("polite_words", quantise_linear(model.politeness.words))
    tensors |= {
        "polite.strategies": model.politeness.strategies,
        "polite.positive": model.politeness.positive,
        "polite.negative": model.politeness.negative,
        "polite.calibration": np.array([model.politeness_slope, model.politeness_intercept]),
        "emotion.network_share": np.array([model.network_share]),
        "emotion.slope": model.slope,
        "emotion.intercept": model.intercept,
        "sentiment.coefficients": model.sentiment.coefficients,
        "sentiment.bias": model.sentiment.bias,
    }
    path = folder / WEIGHTS_NAME
    path.write_bytes(save({name: np.ascontiguousarray(v) for name, v in tensors.items()}))
    return path


def load_model(folder: Path = FOLDER) -> tuple[EmbeddedModel, str]:
    """Read the model and its version.

    Returns
    -------
    model : EmbeddedModel
    version : str
        ``1-`` and the first eight hexadecimal digits of the file's SHA-256.

    Raises
    ------
    UserError
        If the file is missing or is not such a file.
    """
    path = folder / WEIGHTS_NAME
    try:
        data = path.read_bytes()
        tensors = load(data)
        model = _assembled(tensors)
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            expected="the embedded scorer's weights",
            got=f"{type(error).__name__}: {error}",
            where=str(path),
            remedy=_REMEDY,
        ) from error
    return model, f"1-{hashlib.sha256(data).hexdigest()[:8]}"


def load_record(folder: Path = FOLDER) -> dict[str, Any]:
    """Read `model.json`: settings, thresholds, calibration and figures.

    Raises
    ------
    UserError
        If the file is missing or is not JSON.
    """
    path = folder / RECORD_NAME
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            expected="the embedded scorer's record",
            got=f"{type(error).__name__}: {error}",
            where=str(path),
            remedy=_REMEDY,
        ) from error
    return record


def _assembled(tensors: Mapping[str, NDArray[Any]]) -> EmbeddedModel:
    network = {
        field.name: _widened(field.name, tensors[f"network.{field.name}"])
        for field in fields(NetworkParameters)
    }
    polite_calibration = tensors["polite.calibration"]
    return EmbeddedModel(
        emotion_linear=restore_linear(_within("linear", tensors)),
        emotion_network=NetworkParameters(**network),
        network_share=float(tensors["emotion.network_share"][0]),
        slope=tensors["emotion.slope"],
        intercept=tensors["emotion.intercept"],
        sentiment=SentimentModel(
            coefficients=tensors["sentiment.coefficients"], bias=tensors["sentiment.bias"]
        ),
        politeness=PolitenessModel(
            words=restore_linear(_within("polite_words", tensors)),
            strategies=tensors["polite.strategies"],
            positive=tensors["polite.positive"],
            negative=tensors["polite.negative"],
        ),
        politeness_slope=float(polite_calibration[0]),
        politeness_intercept=float(polite_calibration[1]),
    )


def _narrowed(name: str, value: Any) -> NDArray[Any]:
    """Whole numbers in the smallest type that holds them; a float as an array of one."""
    if isinstance(value, float):
        return np.array([value])
    return np.asarray(value, dtype=_INTEGER_TYPES.get(name))


def _widened(name: str, value: NDArray[Any]) -> Any:
    if name.endswith("_unit") and value.shape == (1,):
        return float(value[0])
    if name in ("kernels", "kernel_bias"):
        return value.astype(np.float32)
    return value.astype(np.float64) if name in _INTEGER_TYPES else value


def _prefixed(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _within(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in tensors.items() if name.startswith(start)}
