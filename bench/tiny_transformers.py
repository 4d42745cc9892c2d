"""Small random models of many transformers architectures, saved as Hugging Face directories. Nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BERT = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": 64,
}  # fmt: skip
LLAMA = {**BERT, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
BART = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "max_position_embeddings": 64,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
WAV = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "conv_dim": (32, 32, 32), "conv_stride": (4, 4, 4), "conv_kernel": (8, 8, 8), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 32,
}  # fmt: skip
T5 = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
WHISPER = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "num_mel_bins": 16,
    "max_source_positions": 30, "max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
CLIP_TEXT = {**BERT, "eos_token_id": 98, "bos_token_id": 0, "pad_token_id": 1}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
STAGES = {"depths": [1, 1], "embed_dim": 16, "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 2}
RESNET_BACKBONE = {"model_type": "resnet", **RESNET, "out_features": ["stage1", "stage2"]}


@dataclass(frozen=True)
class Tiny:
    """kind: class of transformers; config: class of its settings; settings: how small; tasks: what it is converted for,
    '' being the one that is inferred."""

    kind: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("",)


MODELS: dict[str, Tiny] = {
    "bert": Tiny("BertForSequenceClassification", "BertConfig", BERT),
    "bert-base": Tiny("BertModel", "BertConfig", BERT),
    "bert-tokens": Tiny("BertForTokenClassification", "BertConfig", BERT),
    "bert-answers": Tiny("BertForQuestionAnswering", "BertConfig", BERT),
    "bert-mask": Tiny("BertForMaskedLM", "BertConfig", BERT, ("", "feature-extraction")),
    "bert-choices": Tiny("BertForMultipleChoice", "BertConfig", BERT),
    "roberta": Tiny("RobertaForSequenceClassification", "RobertaConfig", {**BERT, "type_vocab_size": 1, "pad_token_id": 1}),
    "distilbert": Tiny("DistilBertForQuestionAnswering", "DistilBertConfig", {
        "vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37, "max_position_embeddings": 64}),
    "electra": Tiny("ElectraForTokenClassification", "ElectraConfig", {**BERT, "embedding_size": 16}),
    "albert": Tiny("AlbertForMaskedLM", "AlbertConfig", {**BERT, "embedding_size": 16}),
    "mpnet": Tiny("MPNetModel", "MPNetConfig", BERT),
    "deberta": Tiny("DebertaForSequenceClassification", "DebertaConfig", {
        **BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 32}),
    "deberta-v2": Tiny("DebertaV2ForSequenceClassification", "DebertaV2Config", {
        **BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "share_att_key": True}),
    "modernbert": Tiny("ModernBertForMaskedLM", "ModernBertConfig", {
        **BERT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
        "local_attention": 8}),
    "xlm-roberta": Tiny("XLMRobertaForMaskedLM", "XLMRobertaConfig", {**BERT, "type_vocab_size": 1}),
    "gpt2": Tiny("GPT2LMHeadModel", "GPT2Config", {
        "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2},
        ("", "text-generation")),
    "gpt2-classes": Tiny("GPT2ForSequenceClassification", "GPT2Config", {
        "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2}),
    "llama": Tiny("LlamaForCausalLM", "LlamaConfig", LLAMA, ("", "text-generation")),
    "mistral": Tiny("MistralForCausalLM", "MistralConfig", {**LLAMA, "sliding_window": 6, "head_dim": 8}),
    "qwen2": Tiny("Qwen2ForCausalLM", "Qwen2Config", LLAMA),
    "qwen3": Tiny("Qwen3ForCausalLM", "Qwen3Config", {**LLAMA, "head_dim": 8}),
    "gemma": Tiny("GemmaForCausalLM", "GemmaConfig", {**LLAMA, "head_dim": 8}),
    "gemma2": Tiny("Gemma2ForCausalLM", "Gemma2Config", {**LLAMA, "head_dim": 8, "sliding_window": 6}),
    "gemma3": Tiny("Gemma3ForCausalLM", "Gemma3TextConfig", {**LLAMA, "head_dim": 8, "sliding_window": 6}),
    "phi": Tiny("PhiForCausalLM", "PhiConfig", {**LLAMA, "num_key_value_heads": 4}),
    "phi3": Tiny("Phi3ForCausalLM", "Phi3Config", LLAMA),
    "opt": Tiny("OPTForCausalLM", "OPTConfig", {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 37,
        "word_embed_proj_dim": 32, "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "gpt-neox": Tiny("GPTNeoXForCausalLM", "GPTNeoXConfig", {**BERT, "bos_token_id": 1, "eos_token_id": 2}),
    "bloom": Tiny("BloomForCausalLM", "BloomConfig", {
        "vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 3}),
    "mamba": Tiny("MambaForCausalLM", "MambaConfig", {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2}, ("", "text-generation")),
    "mixtral": Tiny("MixtralForCausalLM", "MixtralConfig", {
        **LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "t5": Tiny("T5ForConditionalGeneration", "T5Config", T5,
               ("", "seq2seq-encoder", "seq2seq-decoder", "seq2seq-decoder-with-past")),
    "bart": Tiny("BartForConditionalGeneration", "BartConfig", BART,
                 ("", "seq2seq-encoder", "seq2seq-decoder", "seq2seq-decoder-with-past")),
    "marian": Tiny("MarianMTModel", "MarianConfig", BART, ("", "seq2seq-decoder-with-past")),
    "whisper": Tiny("WhisperForConditionalGeneration", "WhisperConfig", WHISPER,
                    ("", "speech-seq2seq-encoder", "speech-seq2seq-decoder", "speech-seq2seq-decoder-with-past")),
    "wav2vec2": Tiny("Wav2Vec2ForCTC", "Wav2Vec2Config", WAV),
    "hubert": Tiny("HubertForSequenceClassification", "HubertConfig", WAV),
    "ast": Tiny("ASTForAudioClassification", "ASTConfig", {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37, "max_length": 24,
        "num_mel_bins": 16, "patch_size": 4, "frequency_stride": 4, "time_stride": 4}),
    "vit": Tiny("ViTForImageClassification", "ViTConfig", VIT, ("", "feature-extraction")),
    "deit": Tiny("DeiTForImageClassification", "DeiTConfig", VIT),
    "beit": Tiny("BeitForImageClassification", "BeitConfig", {**VIT, "use_relative_position_bias": True}),
    "dinov2": Tiny("Dinov2Model", "Dinov2Config", VIT),
    "resnet": Tiny("ResNetForImageClassification", "ResNetConfig", RESNET),
    "convnext": Tiny("ConvNextForImageClassification", "ConvNextConfig", {"hidden_sizes": [8, 16], "depths": [1, 1],
                                                                         "num_stages": 2}),
    "swin": Tiny("SwinForImageClassification", "SwinConfig", STAGES),
    "mobilenet-v2": Tiny("MobileNetV2ForImageClassification", "MobileNetV2Config", {"image_size": 32,
                                                                                     "depth_multiplier": 0.25}),
    "efficientnet": Tiny("EfficientNetForImageClassification", "EfficientNetConfig", {
        "image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}),
    "segformer": Tiny("SegformerForSemanticSegmentation", "SegformerConfig", {
        "hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "sr_ratios": [2, 1],
        "num_attention_heads": [1, 2], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
        "decoder_hidden_size": 16}),
    "dpt": Tiny("DPTForDepthEstimation", "DPTConfig", {
        **VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 16, "is_hybrid": False, "patch_size": 16, "image_size": 64}),
    "detr": Tiny("DetrForObjectDetection", "DetrConfig", {
        "use_timm_backbone": False, "backbone_config": RESNET_BACKBONE, "d_model": 32, "encoder_layers": 2,
        "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 37,
        "decoder_ffn_dim": 37, "num_queries": 5, "backbone": None}),
    "yolos": Tiny("YolosForObjectDetection", "YolosConfig", {**VIT, "num_detection_tokens": 5, "image_size": [32, 48]}),
    "clip": Tiny("CLIPModel", "CLIPConfig", {"text_config": CLIP_TEXT, "vision_config": VIT, "projection_dim": 16}),
    "clip-text": Tiny("CLIPTextModelWithProjection", "CLIPTextConfig", {**CLIP_TEXT, "projection_dim": 16}),
    "clip-vision": Tiny("CLIPVisionModelWithProjection", "CLIPVisionConfig", {**VIT, "projection_dim": 16}),
    "siglip-vision": Tiny("SiglipVisionModel", "SiglipVisionConfig", VIT),
}  # fmt: skip


def make(name: str, folder: Path, **saving: Any) -> Path:
    """Save a model with seeded weights, large enough that its answers are no small change of nothing."""
    import torch
    import transformers

    tiny = MODELS[name]
    config = getattr(transformers, tiny.config)(**tiny.settings)
    torch.manual_seed(0)
    model = getattr(transformers, tiny.kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                gain = 1.2 if parameter.ndim < 4 else 1.7
                parameter.normal_(0, gain / max(parameter[0].numel(), 1) ** 0.5)
    _settle(model)
    place = folder / name
    model.save_pretrained(place, **saving)
    return place


def _settle(model: Any) -> None:
    """Batch normalisations get the statistics of noise: deep ones would answer nothing with those of none."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms or model.main_input_name != "pixel_values":
        return
    for module in norms:
        module.momentum = 1.0
        module.train()
    with torch.no_grad():
        model(pixel_values=torch.randn(2, 3, 64, 64))
    model.eval()
