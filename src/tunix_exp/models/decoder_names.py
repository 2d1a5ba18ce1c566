"""The names on the Hugging Face Hub of what decoders with grouped queries and a gated MLP share; no JAX."""

from tunix_exp.models.weight_map import Row, transposed

# The output table stands outside the part that a prefix names.
HEAD = Row("lm_head.weight", "output_embedding/embedding", has_prefix=False)

DECODER = (
    HEAD,
    Row("embed_tokens.weight", "token_embedding/embedding"),
    Row("layers.{layer}.input_layernorm.weight", "blocks/{layer}/attention_norm/scale"),
    Row("layers.{layer}.self_attn.q_proj.weight", "blocks/{layer}/attention/query/kernel", transposed),
    Row("layers.{layer}.self_attn.k_proj.weight", "blocks/{layer}/attention/key/kernel", transposed),
    Row("layers.{layer}.self_attn.v_proj.weight", "blocks/{layer}/attention/value/kernel", transposed),
    Row("layers.{layer}.self_attn.o_proj.weight", "blocks/{layer}/attention/out/kernel", transposed),
    Row("layers.{layer}.mlp.gate_proj.weight", "blocks/{layer}/mlp/gate/kernel", transposed),
    Row("layers.{layer}.mlp.up_proj.weight", "blocks/{layer}/mlp/up/kernel", transposed),
    Row("layers.{layer}.mlp.down_proj.weight", "blocks/{layer}/mlp/down/kernel", transposed),
    Row("norm.weight", "final_norm/scale"),
)
# The same name means another norm where there are two of a block than where there are four.
TWO_NORMS = (Row("layers.{layer}.post_attention_layernorm.weight", "blocks/{layer}/mlp_norm/scale"),)
FOUR_NORMS = (
    Row("layers.{layer}.post_attention_layernorm.weight", "blocks/{layer}/attention_post_norm/scale"),
    Row("layers.{layer}.pre_feedforward_layernorm.weight", "blocks/{layer}/mlp_norm/scale"),
    Row("layers.{layer}.post_feedforward_layernorm.weight", "blocks/{layer}/mlp_post_norm/scale"),
)
QUERY_KEY_NORMS = (
    Row("layers.{layer}.self_attn.q_norm.weight", "blocks/{layer}/attention/query_norm/scale"),
    Row("layers.{layer}.self_attn.k_norm.weight", "blocks/{layer}/attention/key_norm/scale"),
)
PREFIX = "model."
TIED = (HEAD.name, "embed_tokens.weight")
# The rotation's frequencies, which early versions of transformers saved as buffers.
NOT_PARAMETERS = ("layers.{layer}.self_attn.rotary_emb.inv_freq",)
