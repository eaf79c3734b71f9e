"""What `disrupt train` leaves in MLflow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fast.training.few_faces import NARROW, write_faces
from tests.verbs import train


@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")
def test_a_training_is_on_record_with_its_curves_pictures_and_a_registered_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    faces = write_faces(tmp_path / "faces")
    for out in ("out", "again"):
        words = [str(faces), out, *NARROW, "--steps", "3", "--grid-every", "2", "--register", "my faces"]
        assert train(words) == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("train")
    assert experiment is not None
    record = client.search_runs([experiment.experiment_id])[-1]
    assert record.info.status == "FINISHED"
    for name in ("g_loss", "d_loss", "lr", "pictures_per_s"):
        assert [point.step for point in client.get_metric_history(record.info.run_id, name)] == [1, 2, 3]
    assert {"system": "stargan", "resolved.batch": "4", "resolved.image": "64"}.items() <= record.data.params.items()
    pictures = [file.path for file in client.list_artifacts(record.info.run_id, "pictures")]
    assert pictures == ["pictures/pictures-000002.png", "pictures/pictures-000003.png"]
    versions = client.search_model_versions("name = 'my faces'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    assert {version.run_id for version in versions} >= {record.info.run_id}
    kept = Path(str(next(v for v in versions if v.run_id == record.info.run_id).source).removeprefix("file://"))
    assert (kept / "generator.safetensors").read_bytes() == (tmp_path / "out" / "generator.safetensors").read_bytes()
