"""Peak memory and seconds of loading a checkpoint of Gemma 2B's shape (5 GB, bfloat16, random).

uv run python bench/load.py --make FOLDER     # once: writes the checkpoint, tensor by tensor
uv run python bench/load.py FOLDER            # loads it, generates eight tokens, prints one JSON line
"""

import argparse
import json
import resource
import struct
import sys
import time
from pathlib import Path

SHAPE = {"vocab_size": 256_000, "width": 2048, "mlp_width": 16_384, "num_layers": 18, "head_width": 256}
HEADS, KEY_HEADS = 8, 1


def tensors() -> dict[str, tuple[int, ...]]:
    """Hugging Face names and shapes of Gemma 2B."""
    width, mlp, head = SHAPE["width"], SHAPE["mlp_width"], SHAPE["head_width"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (SHAPE["vocab_size"], width)}
    for layer in range(SHAPE["num_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.post_attention_layernorm.weight": (width,),
            f"{at}.self_attn.q_proj.weight": (HEADS * head, width),
            f"{at}.self_attn.k_proj.weight": (KEY_HEADS * head, width),
            f"{at}.self_attn.v_proj.weight": (KEY_HEADS * head, width),
            f"{at}.self_attn.o_proj.weight": (width, HEADS * head),
            f"{at}.mlp.gate_proj.weight": (mlp, width),
            f"{at}.mlp.up_proj.weight": (mlp, width),
            f"{at}.mlp.down_proj.weight": (width, mlp),
        }
    return shapes | {"model.norm.weight": (width,)}


def make(folder: Path) -> None:
    """A safetensors file written as it is drawn, so that making it needs no memory either."""
    import ml_dtypes
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, shape in tensors().items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in tensors().values():
            for row in range(0, shape[0], 16_384):
                part = (min(16_384, shape[0] - row), *shape[1:])
                values = rng.standard_normal(part, dtype=np.float32) * 0.02
                file.write(values.astype(ml_dtypes.bfloat16).tobytes())
    config = {
        "model_type": "gemma", "vocab_size": 256_000, "hidden_size": 2048, "intermediate_size": 16_384,
        "num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "gelu",
        "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def load(folder: Path) -> dict[str, object]:
    """The measurement."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.composing import composed

    from tunix_exp.config import validate
    from tunix_exp.evaluation.generate import generate
    from tunix_exp.models import weights

    config = validate(composed("model=gemma2b", f"model.weights={folder.resolve()}", "device=cpu"))
    before = peak_bytes()
    start = time.perf_counter()
    dtypes = {"param_dtype": "bfloat16", "compute_dtype": "bfloat16"}
    loaded = weights.load(config.model, config.adapter, **dtypes, seed=0)
    seconds, after = time.perf_counter() - start, peak_bytes()
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    answers = generate(loaded.model, [[2, 5, 9]], max_new_tokens=8, eos_ids=(), pad_id=0, batch_size=1)
    return {
        "bench": "load", "checkpoint_bytes": size, "peak_before_bytes": before, "peak_loaded_bytes": after,
        "ratio": after / size, "seconds": seconds, "new_tokens": len(answers[0].tokens),
        "peak_generated_bytes": peak_bytes(),
    }  # fmt: skip


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.folder)
    else:
        print(json.dumps(load(arguments.folder)))
