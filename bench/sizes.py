"""The shapes of workloads that peers of this folder run: G1 a full fine-tune, G2 LoRA, G3 generation of Gemma
2B on a GPU; T1, T2, T3 the same at toy size; W8 a full fine-tune of SmolLM2 135M, a Llama, on a CPU. Imports
nothing, as peers run it in their own environments.
"""

GEMMA = {
    "G": {"vocab_size": 256_000, "hidden_size": 2048, "intermediate_size": 16_384, "num_hidden_layers": 18,
          "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256},
    "T": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32},
}  # fmt: skip
LLAMA = {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
SHAPES = {
    "W8": {"batch": 4, "tokens": 128, "new": 0},
    "G1": {"batch": 4, "tokens": 2048, "new": 0},
    "G2": {"batch": 4, "tokens": 2048, "new": 0},
    "G3": {"batch": 64, "tokens": 128, "new": 128},
    "T1": {"batch": 2, "tokens": 32, "new": 0},
    "T2": {"batch": 2, "tokens": 32, "new": 0},
    "T3": {"batch": 4, "tokens": 8, "new": 8},
}
SEED = 1234
RANK, ALPHA = 8, 16
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.01
