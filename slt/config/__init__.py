"""All that knows Hydra: the way in, the schema, checks, and parts built from a resolved configuration."""

from pathlib import Path

# In a checkout `conf/` and `experiments/` stand beside the package; a wheel carries them inside it.
_PACKAGE = Path(__file__).resolve().parent.parent
HOME = _PACKAGE.parent if (_PACKAGE.parent / "conf" / "train.yaml").is_file() else _PACKAGE
CONF = HOME / "conf"
