"""The layout of a local Ollama store: blobs by their hash, and one manifest per model that lists them.

    STORE/blobs/sha256-<hex>                              the model, its template, parameters, ...
    STORE/manifests/<host>/<namespace>/<model>/<tag>      JSON: a config and layers, each {mediaType, digest, size}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.targets.ollama.modelfile import Modelfile

PIECE = 1 << 20
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.ollama.image."
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Name:
    """A model's whole name: where its manifest lies."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def place(self) -> Path:
        """Relative to `manifests`."""
        return Path(self.host, self.namespace, self.model, self.tag)


def name_of(text: str, store: Path) -> Name:
    """[[HOST/]NAMESPACE/]MODEL[:TAG]; a host that is not said is the one that the store's other models have.

    Raises UsageError for text that names no model, or a store without models where no host is said.
    """
    path, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", "latest")
    parts = path.split("/")
    if not 1 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in [*parts, tag]):
        raise UsageError(f"'{text}' names no Ollama model", fix="Write MODEL, MODEL:TAG or HOST/NAMESPACE/MODEL:TAG")
    if len(parts) == 3:
        return Name(parts[0], parts[1], parts[2], tag)
    known = store / "manifests"
    hosts = sorted(item.name for item in known.iterdir() if item.is_dir()) if known.is_dir() else []
    if len(hosts) != 1:
        held = f"it has models of {len(hosts)} hosts" if hosts else "it has no models yet"
        raise UsageError(
            f"The store {store} does not say which host '{text}' belongs to", why=held,
            fix="Write the whole name: HOST/NAMESPACE/MODEL:TAG (`ollama show` and the folders under manifests have it)",
        )  # fmt: skip
    return Name(hosts[0], parts[0] if len(parts) == 2 else "library", parts[-1], tag)


def install(store: Path, name: Name, model: Path, modelfile: Modelfile, facts: dict[str, Any]) -> list[Path]:
    """Copy the model and its settings into the store; the manifest comes last, so that a stopped run shows no model.

    facts: 'model_family', 'model_type', 'file_type' as `ollama show` prints them. Returns the files of the store.
    Raises UsageError where the store cannot be written.
    """
    texts = [
        ("template", modelfile.template), ("system", modelfile.system), ("license", modelfile.license),
        ("params", json.dumps(modelfile.parameters) if modelfile.parameters else ""),
    ]  # fmt: skip
    try:
        (store / "blobs").mkdir(parents=True, exist_ok=True)
        layers = [_file_blob(store, model, LAYER + "model")]
        layers += [_text_blob(store, text, LAYER + kind) for kind, text in texts if text]
        config = _text_blob(store, json.dumps(_config(layers, facts)), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        place = store / "manifests" / name.place
        place.parent.mkdir(parents=True, exist_ok=True)
        _placed(json.dumps(manifest).encode(), place)
    except OSError as error:
        raise UsageError(f"The Ollama store {store} cannot be written", why=str(error)) from None
    return [place, *(_blob(store, layer["digest"]) for layer in [config, *layers])]


def _config(layers: Sequence[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_format": "gguf", **facts, "model_families": [facts["model_family"]], "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }  # fmt: skip


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs" / digest.replace(":", "-")


def _text_blob(store: Path, text: str, kind: str) -> dict[str, Any]:
    data = text.encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _placed(data, _blob(store, digest))
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _file_blob(store: Path, path: Path, kind: str) -> dict[str, Any]:
    """A copy under its hash."""
    held = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            held.update(piece)
    digest = f"sha256:{held.hexdigest()}"
    place = _blob(store, digest)
    if not place.exists():
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        shutil.copyfile(path, beside)
        os.replace(beside, place)
    return {"mediaType": kind, "digest": digest, "size": path.stat().st_size}


def _placed(data: bytes, place: Path) -> None:
    """Written beside, then moved."""
    handle, beside = tempfile.mkstemp(dir=place.parent, prefix=".")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(beside, place)
