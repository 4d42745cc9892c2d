"""Peak memory of converting a causal language model with random weights in bfloat16, the whole tree of processes.

    python bench/huggingface_memory.py --work FOLDER [--layers 22] [--to onnx]

With 22 layers the model has 1.1 G parameters, 2.05 GiB in three files. FOLDER needs four times that; it is emptied at the
end. Resident sets are added up, pages that two processes share count twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from measure import measure

MAKE = """
import sys, torch, transformers
torch.set_default_dtype(torch.bfloat16)
settings = transformers.LlamaConfig(
    vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=int(sys.argv[2]), num_attention_heads=32,
    num_key_value_heads=4, max_position_embeddings=2048, dtype="bfloat16")
model = transformers.LlamaForCausalLM(settings)
model.save_pretrained(sys.argv[1], max_shard_size="800MB")
print(sum(parameter.numel() for parameter in model.parameters()))
"""


def main() -> None:
    """Make, convert, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--layers", default="22")
    parser.add_argument("--to", default="onnx")
    asked = parser.parse_args()
    model, out = asked.work / "language-model", asked.work / "out"
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    make = [sys.executable, "-c", MAKE, str(model), asked.layers]
    made = subprocess.run(make, env=env, check=True, capture_output=True, text=True)
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    command = [sys.executable, "-m", "bessemer.cli", "convert", str(model), "--to", asked.to, "--out", str(out)]
    found = measure(command, limit=590, env={"HF_HUB_OFFLINE": "1"})
    print(f"{made.stdout.strip()} parameters, {size / 2**20:.0f} MiB in bfloat16, target {asked.to}")
    peak = f"peak {found.peak / 2**20:.0f} MiB, {found.peak / size:.2f} times its size"
    print(f"exit {found.code}, {found.seconds:.0f} s, {peak}")
    print(found.out[-1500:] if found.code else "")
    shutil.rmtree(model)
    shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
