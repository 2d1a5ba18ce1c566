"""Keys that any config.json may hold and that change nothing of what a text model computes.

They are what versions of transformers have written, and no more: whatever else stands in a config.json may
change the computation, and is refused until it is known.
"""

from tunix_exp.models.weight_map import ANYTHING, COUNT, FLAG, TEXT, TEXTS, Kind

_FLOAT_TYPES = ("float32", "float16", "bfloat16", "float64", "auto")
_STORED = Kind(
    "one of " + ", ".join(_FLOAT_TYPES),
    lambda value: isinstance(value, str) and value.removeprefix("torch.") in _FLOAT_TYPES,
).or_null()
_EMPTY = Kind("empty", lambda value: value is None or value in ({}, []))
_FALSE = Kind("false", lambda value: value is None or value is False)
# How answers are drawn where nothing else says it; here the eval group says it.
_GENERATION = (
    "bad_words_ids", "begin_suppress_tokens", "cache_implementation", "decoder_start_token_id",
    "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "epsilon_cutoff",
    "encoder_repetition_penalty", "eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "penalty_alpha",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id",
    "suppress_tokens", "temperature", "top_k", "top_p", "typical_p", "use_cache",
)  # fmt: skip
# Who wrote the folder and with what, what is given back beside the logits, and heads that are not there.
_NOTES = (
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
    "_from_model_config", "_name_or_path", "_num_labels", "attn_implementation", "custom_pipelines",
    "finetuning_task", "gradient_checkpointing", "id2label", "initializer_range", "is_decoder", "label2id",
    "loss_type", "model_name", "name_or_path", "num_labels", "output_attentions", "output_hidden_states",
    "output_past", "prefix", "problem_type", "return_dict", "task_specific_params", "tf_legacy_loss",
    "tokenizer_class", "torchscript", "transformers_version", "unsloth_fixed",
    "unsloth_version", "use_bfloat16", "xla_device",
)  # fmt: skip

BOOKKEEPING: dict[str, Kind] = {
    **dict.fromkeys((*_GENERATION, *_NOTES), ANYTHING),
    "model_type": TEXT,
    "architectures": TEXTS.or_null(),
    "tie_word_embeddings": FLAG,
    "dtype": _STORED,
    "torch_dtype": _STORED,
    # Checked as tokens.
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ANYTHING),
    # Each of these would change the computation if it were set.
    "is_encoder_decoder": _FALSE,
    "tie_encoder_decoder": _FALSE,
    "add_cross_attention": FLAG,
    "cross_attention_hidden_size": COUNT.or_null(),
    "chunk_size_feed_forward": Kind("0", lambda value: value in (None, 0) and value is not False),
    "pruned_heads": _EMPTY,
}
