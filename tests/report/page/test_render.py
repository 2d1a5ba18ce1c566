from tests.report.page.make_vega import bundle
from tunix_exp.report.page import render


def test_the_drawing_library_is_what_the_locked_package_bundles():
    assert render.library() == bundle()


def test_no_asset_closes_the_element_that_it_lies_in():
    for name in ("page.js", "tables.js", "predictions.js", "curves.js"):
        assert "</script" not in render.asset(name).lower()
    assert "</style" not in render.asset("page.css").lower()
    assert "</script" not in render.library().lower()
