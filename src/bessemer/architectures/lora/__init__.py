"""LoRA adapters (Hu et al. 2021): PEFT's, MLX's and GGUF's spellings of `W + scale * B A`, and merging them into weights.

PEFT's is the hub form of an adapter's Checkpoint: tensors 'base_model.model.<module>.lora_A.weight' [rank, inputs] and
'.lora_B.weight' [outputs, rank], with adapter_config.json in `Checkpoint.adapter`.
"""

from __future__ import annotations

from bessemer.architectures.lora.gguf import from_gguf_adapter, to_gguf_adapter
from bessemer.architectures.lora.merge import merged
from bessemer.architectures.lora.pairs import for_base, recognised

__all__ = ["for_base", "from_gguf_adapter", "merged", "recognised", "to_gguf_adapter"]
