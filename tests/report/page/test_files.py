import hashlib

from tests.report.page.run_folder import write_folder
from tunix_exp.report.page.files import files


def test_every_file_that_is_final_has_its_hash_and_the_others_are_in_the_manifest(tmp_path):
    run = write_folder(tmp_path)
    for name in ("training_log.txt", "checkpoints/4/a", "checkpoints/4/b", "tensorboard/events", "odd.bin"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    found = {one.name: one for one in files(run)}
    assert found["metrics.jsonl"].sha256 == hashlib.sha256((run / "metrics.jsonl").read_bytes()).hexdigest()
    without = {name for name, one in found.items() if not one.sha256}
    assert without == {
        "run_manifest.json",
        "SHA256SUMS",
        "report.html",
        "training_log.txt",
        "checkpoints/",
        "tensorboard/",
    }
    assert found["odd.bin"].holds == "not made by this version"
    assert next(iter(found)) == "run_manifest.json"
    assert [found[name].holds != "" for name in (".hydra/defaults.json", ".hydra/overrides.yaml")] == [
        True,
        False,
    ]
