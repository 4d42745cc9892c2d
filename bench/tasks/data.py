"""The tasks of bench/quantize.py: a real model, samples that calibrate it, other samples that judge it."""

from __future__ import annotations

import csv
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Samples = Array
"""(samples, *shape of one model input, batch axis of 1 included), float32."""


@dataclass(frozen=True)
class Data:
    """What a task reads. labels: one integer per evaluated sample, or boxes for detectors, or None."""

    calibrate: Samples
    evaluate: Samples
    labels: Any = None
    state: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Inputs with their shapes that take what an output of that shape was for the sample before."""


@dataclass(frozen=True)
class Task:
    """metric: 'classes' (top-1, agreement, SNR), 'boxes' (AP), 'speech' (agreement at 0.5) or 'snr'; offset: of class
    numbers in the output; prepared: model is made by tasks/prepare.py, not a file of the folder; pictures: the axis of
    a sample's width, so that variants of it can be made; thin: one in so many of the samples calibrates.
    """

    name: str
    model: str
    load: Callable[[Path], Data]
    metric: str = "classes"
    offset: int = 0
    decode: str = ""
    prepared: str = ""
    pictures: int | None = None
    thin: int = 1
    note: str = ""


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar(folder: Path) -> Data:
    """The first 300 images calibrate, the other 1,700 judge; 0..255, as the model wants them."""
    with np.load(folder / "data/cifar10_test.npz") as held:
        images, labels = held["images"].astype(np.float32)[:, None], held["labels"]
    numbers = np.array([CIFAR.index(label) for label in labels])
    return Data(images[:300], images[300:], numbers[300:])


def imagenet(style: str) -> Callable[[Path], Data]:
    """136 images calibrate, 400 validation images judge: 224 pixels, bilinear; style 'torch' or 'tf'."""

    def load(folder: Path) -> Data:
        with open(folder / "data/imagenet_val/labels.csv", newline="") as file:
            rows = [row for row in csv.reader(file) if row[1].isdigit()]
        held = sorted(p for p in (folder / "data/imagenet_calibration").iterdir() if p.suffix.lower() in PICTURES)
        judged = [folder / "data/imagenet_val" / row[0] for row in rows]
        return Data(_pictures(held, style), _pictures(judged, style), np.array([int(row[1]) for row in rows]))

    return load


PICTURES = (".jpg", ".jpeg", ".png")
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def _pictures(paths: list[Path], style: str) -> Samples:
    return np.stack([_picture(path, style) for path in paths])[:, None]


def _picture(path: Path, style: str) -> Array:
    pixels = pixels_of(path, 224)
    if style == "torch":
        return ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)
    return (pixels - 127.5) / np.float32(127.5)


def pixels_of(path: Path, size: int) -> Array:
    """A picture stretched to size x size, float32 RGB 0..255."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)


CLIPS = 12
"""Recordings per word that the transformer's tasks reads at most."""
WORDS = ("_silence_", "_unknown_", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def speech(folder: Path) -> Data:
    """One second at 16 kHz, -1..1; every third recording of a word calibrates, the others judge."""
    held, judged, labels = [], [], []
    for word in sorted(p for p in (folder / "data/speech_commands_v0.01_sample").iterdir() if p.is_dir()):
        number = WORDS.index(word.name) if word.name in WORDS else 1
        for place, path in enumerate(sorted(word.glob("*.wav"))[:CLIPS]):
            if place % 3 == 0:
                held.append(_second(path))
            else:
                judged.append(_second(path))
                labels.append(number)
    return Data(np.stack(held)[:, None], np.stack(judged)[:, None], np.array(labels))


def sound(path: Path) -> Array:
    """Mono 16-bit samples of a WAV file, -1..1."""
    with wave.open(str(path)) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return raw.reshape(-1, file.getnchannels())[:, 0].astype(np.float32) / 32768


def _second(path: Path) -> Array:
    clip = sound(path)[:16000]
    return np.pad(clip, (0, 16000 - clip.size))


def coco(folder: Path, split: str) -> list[tuple[Path, Array]]:
    """Pictures of a split with their boxes: (class, centre x, centre y, width, height), all relative."""
    base = folder / "data/coco128_yolo"
    found = []
    for path in sorted((base / "images" / split).glob("*.jpg")):
        text = base / "object_detection/labels" / split / f"{path.stem}.txt"
        boxes = np.loadtxt(text, ndmin=2) if text.exists() and text.stat().st_size else np.zeros((0, 5))
        found.append((path, boxes))
    return found


def wake_words(folder: Path) -> Data:
    """Person or not: a person's box (class 0) of at least 0.5 % of the picture, as the task was published."""
    held = np.stack([pixels_of(path, 96) / 255 for path, _ in coco(folder, "train2017")])[:, None]
    judged = coco(folder, "val2017")
    labels = [int(bool(((boxes[:, 0] == 0) & (boxes[:, 3] * boxes[:, 4] > 0.005)).any())) for _, boxes in judged]
    return Data(held, np.stack([pixels_of(path, 96) / 255 for path, _ in judged])[:, None], np.array(labels))


def letterboxed(size: int) -> Callable[[Path], Data]:
    """BGR 0..255, long side to `size`, the rest 114 (YOLOX); labels: boxes in pixels of the input."""

    def load(folder: Path) -> Data:
        held = [_letterbox(path, size)[0] for path, _ in coco(folder, "train2017")]
        judged = [(*_letterbox(path, size), boxes) for path, boxes in coco(folder, "val2017")]
        labels = [_corners(boxes, width, height) for _, width, height, boxes in judged]
        return Data(np.stack(held)[:, None], np.stack([item[0] for item in judged])[:, None], labels)

    return load


def _letterbox(path: Path, size: int) -> tuple[Array, int, int]:
    from PIL import Image

    with Image.open(path) as image:
        share = min(size / image.width, size / image.height)
        width, height = int(image.width * share), int(image.height * share)
        small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    canvas = np.full((size, size, 3), 114, np.float32)
    canvas[:height, :width] = np.asarray(small, np.float32)[:, :, ::-1]
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)), width, height


def stretched(size: int) -> Callable[[Path], Data]:
    """BGR 0..1, stretched to size x size (FastestDet); labels: boxes in pixels of the input."""

    def load(folder: Path) -> Data:
        held = [_bgr(path, size) for path, _ in coco(folder, "train2017")]
        judged = coco(folder, "val2017")
        labels = [_corners(boxes, size, size) for _, boxes in judged]
        return Data(np.stack(held)[:, None], np.stack([_bgr(path, size) for path, _ in judged])[:, None], labels)

    return load


def _bgr(path: Path, size: int) -> Array:
    return np.ascontiguousarray(pixels_of(path, size)[:, :, ::-1].transpose(2, 0, 1)) / np.float32(255)


def _corners(boxes: Array, width: int, height: int) -> Array:
    """(class, x1, y1, x2, y2) in pixels."""
    centre, half = boxes[:, 1:3], boxes[:, 3:5] / 2
    scale = np.array([width, height])
    return np.concatenate([boxes[:, :1], (centre - half) * scale, (centre + half) * scale], 1)


def machine(folder: Path) -> Data:
    """Log-mel spectrograms, 5 frames of 128 bands: the normal clip calibrates, the anomalous one judges."""
    held, judged = (_frames(folder / f"data/toyadmos/{kind}_id_01_00000000.wav") for kind in ("normal", "anomaly"))
    return Data(held[::2][:300, None], judged[:300, None])


def _frames(path: Path) -> Array:
    """20 log10 of the square root of mel power (window 1024, hop 512, 128 Slaney-style bands), 5 frames joined."""
    signal = np.pad(sound(path), 512, mode="reflect")
    starts = np.arange(0, signal.size - 1024, 512)
    pieces = np.stack([signal[start : start + 1024] for start in starts]) * np.hanning(1025)[:-1]
    power = np.abs(np.fft.rfft(pieces)) ** 2
    logs = 10 * np.log10(np.maximum(power @ _mel(128, 1024, 16000).T, 1e-12))
    return np.stack([logs[place : place + 5].reshape(-1) for place in range(len(logs) - 4)]).astype(np.float32)


def _mel(bands: int, window: int, rate: int) -> Array:
    """Triangular filters, linear below 1 kHz and logarithmic above (Slaney 1998), each of unit area."""
    step, bend = 200 / 3, np.log(6.4) / 27
    top = 15 + np.log(rate / 2 / 1000) / bend
    marks = np.linspace(0, top, bands + 2)
    hertz = np.where(marks < 15, marks * step, 1000 * np.exp(bend * (marks - 15)))
    bins = np.fft.rfftfreq(window, 1 / rate)
    rising = (bins - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    falling = (hertz[2:, None] - bins) / np.diff(hertz)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (hertz[2:] - hertz[:-2]))[:, None]


def small_pictures(folder: Path) -> Data:
    """CIFAR-10 as torch wants it."""
    data = cifar(folder)

    def ready(images: Samples) -> Samples:
        return np.ascontiguousarray(((images / 255 - MEAN) / STD).transpose(0, 1, 4, 2, 3), np.float32)

    return Data(ready(data.calibrate), ready(data.evaluate), data.labels)


def keywords(folder: Path) -> Data:
    """The 1,000 samples of MLPerf Tiny's keyword spotting (kws01), whose files hold 49 x 10 MFCC in the reference
    model's int8: every fourth calibrates, the others judge."""
    base = folder / "data/mlperf_tiny_kws01"
    with open(next(base.glob("*.csv")), newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    whole = np.stack([np.fromfile(base / name, np.int8) for name, *_ in rows]).astype(np.float32)
    samples = ((whole - 83) * np.float32(0.5847029089927673)).reshape(-1, 1, 49, 10, 1)
    labels = np.array([int(row[2]) for row in rows])
    judges = np.arange(len(rows)) % 4 != 0
    return Data(samples[~judges], samples[judges], labels[judges])


def voice(folder: Path) -> Data:
    """Frames of 512 samples with the 64 before them: the first half of a minute calibrates, the second judges."""
    signal = np.pad(sound(folder / "audio/silero_vad/test.wav"), (64, 0))
    frames = np.stack([signal[start : start + 576] for start in range(0, signal.size - 575, 512)])[:, None]
    half = len(frames) // 2
    return Data(frames[:half], frames[half:], state={"state": (2, 1, 128)})


def variants(samples: Samples, need: int, width: int) -> Samples:
    """At least `need` samples: the pictures, mirrored, and both shifted by a sixteenth to either side."""
    mirrored = np.flip(samples, width)
    step = max(1, samples.shape[width] // 16)
    made = [samples, mirrored]
    for shift in (step, -step):
        made += [_shifted(item, shift, width) for item in (samples, mirrored)]
    return np.concatenate(made[: -(-need // len(samples))])


def _shifted(samples: Samples, shift: int, width: int) -> Samples:
    places = np.clip(np.arange(samples.shape[width]) + shift, 0, samples.shape[width] - 1)
    return samples.take(places, width)


TASKS = (
    Task("MLPerf Tiny ResNet", "mcu_models/mlperf_tiny/pretrainedResnet.tflite", cifar, pictures=-2),
    Task("ResNet-20", "resnet20.onnx", small_pictures, prepared="resnet20", pictures=-1),
    Task("MobileNetV2", "imagenet_classifiers/mobilenet_v2_torchvision_fp32.onnx", imagenet("torch"), pictures=-1),
    Task("SqueezeNet 1.1", "imagenet_classifiers/squeezenet1.1_fp32_webnn.onnx", imagenet("torch"), pictures=-1),
    Task(
        "MobileNetV1-0.25", "imagenet_classifiers/mobilenet_v1_0.25_224_1_default_1.tflite", imagenet("tf"), offset=1,
        pictures=-2,
    ),
    Task("keyword spotting", "keywords.tflite", keywords, prepared="keywords"),
    Task("KWT-1 transformer", "audio/kwt_transformer/kwt1_non_stream_float.tflite", speech),
    Task("visual wake words", "mcu_models/mlperf_tiny/vww_96_float.tflite", wake_words, pictures=-2),
    Task("YOLOX-nano", "detection/yolox_nano.onnx", letterboxed(416), "boxes", decode="yolox"),
    Task("FastestDet", "detection/FastestDet.onnx", stretched(352), "boxes", decode="fastestdet"),
    Task("Silero VAD", "silero.onnx", voice, "speech", prepared="silero", thin=3),
    Task("anomaly autoencoder", "mcu_models/mlperf_tiny/model_ToyCar.tflite", machine, "snr"),
)  # fmt: skip
