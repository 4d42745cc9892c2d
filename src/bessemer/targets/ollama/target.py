"""GGUF with a Modelfile beside it; the store option places both where a local Ollama finds them, once they are verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import UsageError
from bessemer.targets.base import Artifact, PreparedWeights
from bessemer.targets.gguf.options import GgufOptions
from bessemer.targets.gguf.target import GgufTarget
from bessemer.targets.ollama.modelfile import Modelfile, modelfile_of
from bessemer.weights.stream import Done


class OllamaOptions(GgufOptions):
    """Those of `gguf`, and what stands in a Modelfile."""

    system: str = Field(default="", description="system prompt: a text, or @FILE")
    context: int = Field(default=0, ge=0, description="num_ctx; 0 leaves it to Ollama")
    license: str = Field(default="", description="a text, or @FILE; the source's own where nothing is said")
    store: Path | None = Field(default=None, description="a local Ollama store that the verified model is placed in")
    name: str = Field(default="", description="its name there: [HOST/NAMESPACE/]MODEL[:TAG]")

    @model_validator(mode="after")
    def _named(self) -> OllamaOptions:
        if (self.store is None) != (not self.name):
            raise ValueError("store and name belong together: store=DIR,name=MODEL:TAG")
        return self


@dataclass(frozen=True)
class OllamaPlan:
    """gguf: the payload of the `gguf` target; facts: for the store's config."""

    gguf: PreparedWeights
    modelfile: Modelfile
    options: OllamaOptions
    facts: dict[str, Any]


class OllamaTarget:
    """See `CheckpointTarget`."""

    options = OllamaOptions

    def prepare(self, checkpoint: Checkpoint, options: OllamaOptions) -> PreparedWeights:
        """Raises as the `gguf` target does, and UsageError for a store or a file that cannot be used."""
        if options.store is not None:
            from bessemer.targets.ollama.store import name_of

            name_of(options.name, options.store.expanduser())
        made = GgufTarget().prepare(checkpoint, options)
        modelfile = modelfile_of(
            checkpoint, system=_text(options.system), context=options.context, license_text=_text(options.license)
        )
        facts = {
            "model_family": str(checkpoint.config.get("model_type", "unknown")),
            "model_type": _count(checkpoint.parameters),
            "file_type": made.precision,
        }
        plan = OllamaPlan(made, modelfile, options, facts)
        return PreparedWeights(
            plan, made.precision, made.types, made.nbytes, made.elements, [*made.notes, *modelfile.notes]
        )

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """NAME.gguf and NAME.Modelfile."""
        plan: OllamaPlan = prepared.payload
        made = GgufTarget().write(plan.gguf, out, stem, done)
        beside = out / f"{stem}.Modelfile"
        beside.write_text(plan.modelfile.text(made.path.name), encoding="utf-8")
        return Artifact("ollama", made.path, (made.path, beside))

    def install(self, prepared: PreparedWeights, artifact: Path) -> list[str]:
        """Place a verified model in the store that the options name; returns sentences for the report."""
        from bessemer.targets.ollama.store import install, name_of

        plan: OllamaPlan = prepared.payload
        if plan.options.store is None:
            return []
        store = plan.options.store.expanduser()
        name = name_of(plan.options.name, store)
        install(store, name, artifact, plan.modelfile, plan.facts)
        return [f"Placed in the Ollama store {store} as {name.place.as_posix()}; Ollama itself did not run it."]


def _text(said: str) -> str:
    """A text, or what the file after '@' holds. Raises UsageError."""
    if not said.startswith("@"):
        return said
    try:
        return Path(said[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{said[1:]} cannot be read as text", why=str(error)[:200]) from None


def _count(parameters: int) -> str:
    """Parameters as Ollama shows them: 1.1B, 7.2M, 260.0K."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)


TARGET = OllamaTarget()
