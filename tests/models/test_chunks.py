import pytest

from tunix_exp.models.chunks import chunk_size


@pytest.mark.parametrize(
    ("places", "most", "size"), [(512, 667, 512), (1024, 667, 512), (2048, 131, 128), (7, 3, 3), (5, 0, 1)]
)
def test_chunks_are_of_about_one_size_and_keep_the_limit(places, most, size):
    assert chunk_size(places, most) == size
