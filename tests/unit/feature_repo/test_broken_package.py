"""A package of features that cannot be imported takes its own models out, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import json, sys
import feature_repo
feature_repo.__path__.append(sys.argv[1])
from dojo.core.settings import load_settings
from feature_repo.specs import load
loaded = load(load_settings())
print(json.dumps([sorted(loaded.specs), loaded.faults]))
"""


def test_a_broken_package_of_features_takes_its_models_out_and_names_the_cause(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("fraud_detection", "banner"):
        (models / f"{name}.yaml").write_bytes((Path("models") / f"{name}.yaml").read_bytes())
    spec = (Path("models") / "banner.yaml").read_text()
    spec = spec.replace("name: banner", "name: coupon").replace("banner_v1", "coupon_v1")
    (models / "coupon.yaml").write_text(spec)
    package = tmp_path / "packages" / "coupon"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("SERVICES = VIEWS = [undefined]\n")
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(package.parent)],
        env={**os.environ, "DOJO_MODELS": "all", "DOJO_MODELS_DIR": str(models)},
        stdout=subprocess.PIPE,
        check=True,
    )
    right, faults = json.loads(found.stdout)
    assert right == ["banner", "fraud_detection"]
    assert list(faults) == ["coupon"]
    assert "feature_service: coupon_v1 is not one of" in faults["coupon"]
    assert (
        "feature_repo.coupon cannot be imported: NameError: name 'undefined' is not defined"
        in faults["coupon"]
    )
