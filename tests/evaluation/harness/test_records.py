import json
from datetime import date

import numpy as np

from tunix_exp.evaluation.harness.records import plain


def test_whatever_a_document_holds_becomes_strict_json():
    value = {
        1: (np.int64(3), np.float32(0.5), np.array([[1, 2]])), "set": {"b", "a"},
        "day": date(2026, 1, 2), "nan": float("nan"), "nothing": None, "yes": np.True_,
    }  # fmt: skip
    found = plain(value)
    assert found == {
        "1": [3, 0.5, [[1, 2]]], "set": ["a", "b"],
        "day": "2026-01-02", "nan": "nan", "nothing": None, "yes": True,
    }  # fmt: skip
    json.dumps(found, allow_nan=False)
