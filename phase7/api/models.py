"""A model to work with: loaded by name, from a folder, or taken as it is in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from phase7.experiment.framing import framing_of
from phase7.experiment.profile import Sampling
from phase7.experiment.prompts import PromptFiles, PromptFormat
from phase7.models.facts import Held
from phase7.models.files import ModelFiles, find_model, require_heads, sizes_in
from phase7.models.framing import CLOCK, Framing
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

if TYPE_CHECKING:
    from phase7.engine.decode.loop import Continuations
    from phase7.engine.model.bridge import Model
    from phase7.engine.patch.patching import Patch

#: Types that the engine computes in.
_DTYPES = ("float32", "bfloat16")


class Active(Protocol):
    """A patch that holds at the moment."""

    def generate(self, prompt: str, sampling: Sampling) -> tuple[list[str], list[str], Continuations]:
        """Baseline and patched texts of a prompt, and the tokens behind them."""

    def resting(self) -> contextlib.AbstractContextManager[None]:
        """Leave the enclosed passes unpatched."""


class LoadedModel:
    """A model that is ready to be patched; :func:`load_model` makes one.

    Attributes
    ----------
    files : ModelFiles
        Name, source, size, and the fingerprint by which the store tells it from others.
    prompts : PromptFiles
        How prompts are put to it: format, system message, template arguments and date.
    hf_model : transformers.PreTrainedModel or None
        The model that was handed over; None for one that was loaded by its name.
    """

    def __init__(
        self,
        files: ModelFiles,
        engine: Model,
        prompts: PromptFiles,
        hf_model: Any = None,
        own_bridge: Any = None,
    ) -> None:
        self.prompts, self.hf_model, self._own_bridge = prompts, hf_model, own_bridge
        self._engine, self.files = engine, replace(files, loaded=lambda: self._engine)
        self.active: Active | None = None

    @property
    def name(self) -> str:
        """Its name in results."""
        return self.files.name

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.files.n_layers

    @property
    def n_heads(self) -> int:
        """Query heads of each layer."""
        return self.files.n_heads

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of its files; of configuration, tokenizer and weights where it is in memory."""
        return self.files.fingerprint

    @property
    def tokenizer(self) -> Any:
        """Its transformers tokenizer."""
        return self._engine.tokenizer

    @property
    def bridge(self) -> Any:
        """The `TransformerBridge` to run forward passes on: the one handed over, or the engine's."""
        return self._engine.bridge if self._own_bridge is None else self._own_bridge

    @property
    def device(self) -> str:
        """Where it computes, such as ``"cpu"``."""
        return str(self._engine.device)

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """The type of its numbers."""
        return "float32" if str(self._engine.dtype).endswith("float32") else "bfloat16"

    @property
    def framing(self) -> Framing:
        """What surrounds every prompt; where its template asks for the date, that of today."""
        prompts = self.prompts
        if self.files.reads_clock and not prompts.date:
            prompts = replace(prompts, date=datetime.now().date().isoformat())
        return framing_of(self.files, prompts)

    def engine(self) -> Model:
        """The engine's model, made again where a model in memory has other weights than before.

        Raises
        ------
        UserError
            If they changed while a patch holds.
        """
        if self.hf_model is not None:
            from phase7.engine.model.held import fingerprint_of
            from phase7.engine.model.loading import model_from

            now = fingerprint_of(self.hf_model, self.tokenizer)
            if now != self.fingerprint and self.active is not None:
                raise UserError(
                    expected="the weights that the model had when the patch was made",
                    got="others",
                    where=f"patched {self.name}",
                    remedy="change weights first, then record donors and patch",
                )
            if now != self.fingerprint:
                self.files = replace(self.files, fingerprint=now)
                self._engine = model_from(self.files, self.hf_model, self.tokenizer)
        return self._engine

    def encode(self, prompt: str) -> list[int]:
        """The tokens that the model reads of a prompt, with what surrounds it.

        Raises
        ------
        UserError
            If it is too long, or its chat template cannot be used.
        """
        from phase7.engine.model.tokens import encode

        return list(encode(self._engine, prompt, self.framing))

    def generate(self, prompt: str, sampling: Sampling | Mapping[str, Any] | None = None) -> list[str]:
        """Continuations of a prompt, one for each sample; patched inside :class:`phase7.patched`.

        Parameters
        ----------
        prompt : str
        sampling : Sampling or mapping, optional
            Such as ``{"max_new_tokens": 20, "samples": 4}``. The noise depends on seed, prompt, sample
            and step alone, so that a patched text differs from an unpatched one by the patch.

        Returns
        -------
        list of str
            Without the prompt and special tokens.

        Raises
        ------
        UserError
            If the prompt is too long, or the sampling cannot be used.
        """
        if self.active is not None:
            return self.active.generate(prompt, as_sampling(sampling))[1]
        return self.run(prompt, None, {}, as_sampling(sampling))[0]

    def run(
        self, prompt: str, patch: Patch | None, donors: Mapping[str, Any], sampling: Sampling
    ) -> tuple[list[str], list[str], Continuations]:
        """Baseline and patched texts of a prompt, from one batch, with the tokens behind them."""
        from phase7.engine.decode.loop import generate
        from phase7.engine.model.tokens import decode, encode
        from phase7.run.one_thread import one_thread
        from phase7.run.reading import nothing

        engine = self.engine()
        tokens = encode(engine, prompt, self.framing, n_new_tokens=sampling.max_new_tokens)
        with one_thread(), self.undisturbed():
            got = generate(
                engine, prompt, tokens, [patch or nothing(engine)], donors=donors, sampling=sampling
            )

        def texts(rows: Any) -> list[str]:
            return [decode(engine, [t for t in row.tolist() if t >= 0], after=tokens) for row in rows]

        return texts(got.baseline_tokens), texts(got.patched_tokens[0]), got

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let the hooks of :class:`phase7.patched` rest for a while."""
        with contextlib.nullcontext() if self.active is None else self.active.resting():
            yield

    def __repr__(self) -> str:
        return (
            f"<phase7 model {self.name}: {self.n_layers} layers of {self.n_heads} heads, {self.dtype} on"
            f" {self.device}, from {self.files.source}>"
        )

    def _repr_html_(self) -> str:
        facts = {
            "layers": self.n_layers,
            "heads a layer": self.n_heads,
            "computes in": f"{self.dtype} on {self.device}",
            "prompts": self.framing.format,
            "from": self.files.source,
            "fingerprint": self.fingerprint[:16],
        }
        rows = "".join(f"<tr><th>{k}</th><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
        return f"<table><caption>{escape(self.name)}</caption>{rows}</table>"


def load_model(
    model: Any,
    tokenizer: Any = None,
    *,
    name: str = "",
    device: str = "",
    dtype: str = "",
    store: str | Path | None = None,
    prompt_format: PromptFormat = "auto",
    system: str = "",
    template: Mapping[str, bool | int | float | str] | None = None,
    date: str = "",
    tell: Callable[[str], None] = print,
) -> LoadedModel:
    """Load a model by its name or from a folder, or take one that is in memory as it is.

    Parameters
    ----------
    model : str, Path, transformers.PreTrainedModel or TransformerBridge
        A known name (``phase7 models``), a folder, a hub id ``owner/name``; or a model in memory, whose
        weights then tell its entries in the store from others'. Nothing of it is written.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        Of a transformers model in memory.
    name : str
        What a model in memory is called in results.
    device, dtype : str
        Default: ``cpu`` and ``float32``; a model in memory keeps its own.
    store : str or Path, optional
        A store whose ``models`` are used where there are some; default: the environment's
        ``PHASE7_STORE``, else ``store``. A known model that is not there is kept in the user's cache, or
        where ``PHASE7_MODELS`` or ``PHASE7_STORE`` says.
    prompt_format, system, template, date
        How prompts are put to it, as of :class:`~phase7.experiment.prompts.PromptFiles`.
    tell : callable
        Called with a line that a user should see.

    Raises
    ------
    UserError
        If it cannot be found, loaded or used.
    """
    prompts = PromptFiles(
        format=prompt_format, system=system, template=tuple((template or {}).items()), date=date
    )
    if isinstance(model, str | Path):
        return _from_files(str(model), default_store(store), prompts, device, dtype, tell)
    return _from_memory(model, tokenizer, name, prompts, device, dtype)


def default_store(store: str | Path | None) -> Path:
    """The folder of finished work where none is named."""
    return Path(store or os.environ.get("PHASE7_STORE") or "store")


def as_sampling(sampling: Sampling | Mapping[str, Any] | None) -> Sampling:
    """A record of what may be given as a mapping.

    Raises
    ------
    UserError
        If a key is unknown or a value cannot be used.
    """
    from phase7.experiment.checked import build_record

    if isinstance(sampling, Sampling):
        return sampling
    made: Sampling = build_record(Sampling, dict(sampling or {}), "sampling")
    return made


def _from_files(
    name: str,
    store: Path,
    prompts: PromptFiles,
    device: str,
    dtype: str,
    tell: Callable[[str], None],
) -> LoadedModel:
    from phase7.engine.model.loading import load_model as load

    _require_dtype(dtype or "float32")
    files = find_model(name, store_root=store, tell=tell)
    require_heads(files)
    return LoadedModel(files, load(files, device=device or "cpu", dtype=dtype or "float32"), prompts)


def _from_memory(
    model: Any, tokenizer: Any, name: str, prompts: PromptFiles, device: str, dtype: str
) -> LoadedModel:
    from phase7.engine.model.held import fingerprint_of, unbridged
    from phase7.engine.model.loading import model_from

    is_bridge = hasattr(model, "original_model") and hasattr(model, "blocks")
    hf_model = unbridged(model) if is_bridge else model
    tokenizer = model.tokenizer if is_bridge and tokenizer is None else tokenizer
    if tokenizer is None or not hasattr(hf_model, "state_dict") or not hasattr(hf_model, "config"):
        raise UserError(
            expected="a name, a folder, a TransformerBridge, or a transformers model and its tokenizer",
            got=f"{type(model).__name__}" + ("" if tokenizer is not None else " and no tokenizer"),
            where="load_model",
            remedy="for example load_model('smollm2') or load_model(hf_model, tokenizer)",
        )
    first = next(hf_model.parameters())
    has = {"device": str(first.device), "dtype": str(first.dtype).removeprefix("torch.")}
    for key, wanted in (("device", device), ("dtype", dtype)):
        if wanted and wanted != has[key]:
            raise UserError(
                expected=f"the {key} that the model has ({has[key]})",
                got=wanted,
                where="load_model",
                remedy=f"leave {key} out, or move the model first",
            )
    _require_dtype(has["dtype"])
    config = hf_model.config.get_text_config(decoder=True)
    own_name = name or Path(str(hf_model.config._name_or_path or type(hf_model).__name__)).name
    files = _held_files(
        plain_name(own_name), config, hf_model, tokenizer, fingerprint_of(hf_model, tokenizer)
    )
    require_heads(files)
    engine = model_from(files, hf_model, tokenizer)
    return LoadedModel(files, engine, prompts, hf_model, model if is_bridge else None)


def _held_files(name: str, config: Any, hf_model: Any, tokenizer: Any, fingerprint: str) -> ModelFiles:
    """What files would say of a model that is in memory."""
    n_layers, n_heads = (
        int(getattr(config, key, 0) or 0) for key in ("num_hidden_layers", "num_attention_heads")
    )
    n_bytes = sum(p.numel() * p.element_size() for p in hf_model.parameters())
    template = tokenizer.chat_template
    sources = [*template.values()] if isinstance(template, dict) else [template]
    return ModelFiles(
        name=name,
        fingerprint=fingerprint,
        n_layers=n_layers,
        n_heads=n_heads,
        has_chat_template=any(sources),
        reads_clock=any(CLOCK in (source or "") for source in sources),
        folder=Path("in memory"),
        source="memory",
        revision=None,
        held=Held(tokenizer=tokenizer, sizes=sizes_in(config.to_dict(), n_layers, n_heads, n_bytes)),
    )


def _require_dtype(dtype: str) -> None:
    if dtype not in _DTYPES:
        raise UserError(
            expected=f"one of {', '.join(_DTYPES)}",
            got=dtype,
            where="dtype of the model",
            remedy="load it in one of these, or convert it with .to(torch.float32)",
        )
