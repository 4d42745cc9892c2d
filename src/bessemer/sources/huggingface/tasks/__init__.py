"""Tasks by name, and which one an architecture is for."""

from __future__ import annotations

from typing import Any

from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.sources.huggingface.config import Settings
from bessemer.sources.huggingface.tasks import causal, plain, seq2seq
from bessemer.sources.huggingface.tasks.base import Plan, Port, Task

__all__ = ["TASKS", "Plan", "Port", "Task", "chosen"]

STATES = ("last_hidden_state", "pooler_output", "text_embeds", "image_embeds")
PROJECTED = tuple(
    f"{family}{side}ModelWithProjection" for family in ("CLIP", "Siglip", "Clap") for side in ("Text", "Vision", "Audio")
)

TASKS: tuple[Task, ...] = (
    Task("seq2seq", "encoder and decoder in one graph", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", (), seq2seq.whole),
    Task("speech-seq2seq", "speech to text, encoder and decoder in one graph", "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
         (), seq2seq.whole),
    Task("text-generation-with-past", "next tokens, with keys and values of earlier ones",
         "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", (), causal.with_past),
    Task("text-generation", "logits of all tokens, nothing kept", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", (),
         causal.without_past),
    Task("text-classification", "classes of a text", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", ("logits",),
         plain.plain),
    Task("token-classification", "a class for each token", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", ("logits",),
         plain.plain),
    Task("question-answering", "start and end of an answer", "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
         ("start_logits", "end_logits"), plain.plain),
    Task("multiple-choice", "the best of several endings", "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES", ("logits",),
         plain.choices),
    Task("next-sentence-prediction", "whether two texts follow one another",
         "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES", ("logits",), plain.plain),
    Task("fill-mask", "tokens at masked places", "MODEL_FOR_MASKED_LM_MAPPING_NAMES", ("logits",), plain.plain),
    Task("image-classification", "classes of an image", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", ("logits",),
         plain.plain),
    Task("object-detection", "boxes and their classes", "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
         ("logits", "pred_boxes"), plain.plain),
    Task("semantic-segmentation", "a class for each pixel", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", ("logits",),
         plain.plain),
    Task("image-segmentation", "masks and their classes", "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES",
         ("logits", "pred_boxes", "pred_masks"), plain.plain),
    Task("universal-segmentation", "masks and their classes, as queries",
         "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES", ("class_queries_logits", "masks_queries_logits", "logits"),
         plain.plain),
    Task("depth-estimation", "a distance for each pixel", "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES",
         ("predicted_depth",), plain.plain),
    Task("image-to-image", "another image", "MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES", ("reconstruction",), plain.plain),
    Task("zero-shot-image-classification", "images and texts compared",
         "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
         ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"), plain.text_and_image),
    Task("audio-classification", "classes of a sound", "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES", ("logits",),
         plain.plain),
    Task("automatic-speech-recognition", "characters by CTC", "MODEL_FOR_CTC_MAPPING_NAMES", ("logits",), plain.plain),
    Task("audio-frame-classification", "a class for each moment", "MODEL_FOR_AUDIO_FRAME_CLASSIFICATION_MAPPING_NAMES",
         ("logits",), plain.plain),
    Task("audio-xvector", "a vector for a speaker", "MODEL_FOR_AUDIO_XVECTOR_MAPPING_NAMES", ("logits", "embeddings"),
         plain.plain),
    Task("feature-extraction", "last hidden states", "MODEL_MAPPING_NAMES", STATES, plain.plain, classes=PROJECTED),
    *(
        Task(f"{family}-{part}", title, mapping, (), make, offered=False)
        for family, mapping in (
            ("seq2seq", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
            ("speech-seq2seq", "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES"),
        )
        for part, title, make in (
            ("encoder", "states of the source, once per text", seq2seq.encoder),
            ("decoder", "the first token, and keys and values", seq2seq.decoder),
            ("decoder-with-past", "all other tokens", seq2seq.decoder_with_past),
        )
    ),
)  # fmt: skip
"""The first one that knows an architecture is what it is inferred to be for."""


def chosen(settings: Settings, asked: str | None) -> tuple[Task, Any]:
    """The task, and the class of transformers that does it.

    Raises UsageError for a task that the architecture has none of, Declined where none is known at all.
    """
    fitting = [(task, name) for task in TASKS if (name := _class(task, settings))]
    if asked is None:
        found = next(((task, name) for task, name in fitting if task.offered and name == settings.architecture), None)
        found = found or _fallback(settings, fitting)
    else:
        found = next(((task, name) for task, name in fitting if task.name == asked), None)
    if found is not None:
        return found[0], _loaded(found[1])
    if asked is None:
        raise Declined("transformers", [_no_task(settings, fitting)])
    known = ", ".join(task.name for task, _ in fitting) or "none"
    raise UsageError(
        f"There is no task '{asked}' for {settings.architecture or settings.model_type}",
        fix=f"It can be converted for: {known}",
    )


def _class(task: Task, settings: Settings) -> str:
    """The class that does the task; the architecture's own where it is among several."""
    from transformers.models.auto import modeling_auto

    table = getattr(modeling_auto, task.mapping, {})
    said = table.get(settings.model_type) or ()
    names = (said,) if isinstance(said, str) else tuple(said)
    own = settings.architecture
    if own in names or own in task.classes:
        return own
    return names[0] if names else ""


def _fallback(settings: Settings, fitting: list[tuple[Task, str]]) -> tuple[Task, str] | None:
    """Without an architecture, or with one that only pretraining has: hidden states."""
    if settings.architecture and not settings.architecture.endswith(("ForPreTraining", "Model")):
        return None
    return next(((task, name) for task, name in fitting if task.name == "feature-extraction"), None)


def _loaded(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _no_task(settings: Settings, fitting: list[tuple[Task, str]]) -> Blocker:
    others = ", ".join(task.name for task, _ in fitting)
    return Blocker(
        "", settings.architecture or settings.model_type, "no-task", "no task is known for this architecture",
        rewrite=f"--task with one of: {others}" if others else "",
    )  # fmt: skip


def page() -> list[str]:
    """The table of tasks for the docs."""
    lines = [
        "", "## Tasks", "",
        "The first one that has the architecture of `config.json` is taken; `--task NAME` asks for another one.", "",
        "| task | gives | inferred |", "| --- | --- | --- |",
    ]  # fmt: skip
    inferred: set[str] = set()
    for task in TASKS:
        first = task.offered and task.mapping not in inferred
        lines.append(f"| `{task.name}` | {task.title} | {'yes' if first else 'no'} |")
        inferred.add(task.mapping)
    return [*lines, "", "How to use them, and what large models take: [Hugging Face directories](../huggingface.md)."]
