import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.test_hf import write
from tests.models.toys import toy_config, toy_model
from tunix_exp.errors import UserError
from tunix_exp.hub.snapshot import Snapshot
from tunix_exp.models import weights
from tunix_exp.models.digest import weight_hash
from tunix_exp.references import Hub

DTYPES = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def load(reference, seed=0):
    return weights.load(toy_config(weights=str(reference)), **DTYPES, seed=seed)


def test_random_weights_are_those_of_the_seed():
    loaded = load("random")
    assert weight_hash(nnx.state(loaded.model)) == weight_hash(nnx.state(toy_model()))
    assert (loaded.revision, loaded.files, loaded.stored_dtypes) == (None, {}, ())


def test_a_folder_gives_the_model_and_what_was_read(tmp_path):
    loaded = load(write(tmp_path))
    assert loaded.revision is None
    assert sorted(loaded.files) == ["config.json", "model.safetensors"]
    assert loaded.stored_dtypes == ("F32",)
    one = jnp.ones((1, 3), jnp.int32)
    assert np.isfinite(loaded.model.logits(loaded.model.hidden(one, one, one)[0])).all()


def test_a_hub_reference_is_resolved_to_its_commit(tmp_path, monkeypatch):
    asked = []

    def resolve(reference):
        asked.append(reference)
        return Snapshot("c" * 40, write(tmp_path))

    monkeypatch.setattr(weights.snapshot, "resolve", resolve)
    loaded = load("hub:org/name@main")
    assert asked == [Hub("org/name", "main", None, None)]
    assert loaded.revision == "c" * 40
    assert len(loaded.files) == 2


def test_bundled_weights_are_refused():
    with pytest.raises(UserError, match="no weights are bundled, so bundled:bytes names none"):
        load("bundled:bytes")
