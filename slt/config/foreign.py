"""What files that others made may name: only parts of models and readers of data are called by such names.

A `_target_` on the command line, in conf/ or in a recipe is its user's own and may be anything. One that stands in a
checkpoint, an export or a corpus may come from anybody, and `os.system` is a name like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LIBRARIES = ("slt", "torch.nn", "timm", "transformers")  # whose modules of networks may be built
# What else a configuration of ours builds; no other function is called, for some write files or import by name.
FACTORIES = {
    "slt.models.backbones.images.load_dinov2_backbone",
    "slt.synthetic.writing.corpus_folder",
    "slt.models.tokenizer.load_causal_tokenizer",
    "slt.models.tokenizer.load_tokenizer",
    "slt.models.tokenizer.train_tokenizer",
    "slt.evaluation.rewards.Reward",
    "slt.training.mska.Published",
}
# By these a configuration names this user's folders, which are no secret to them.
FOLDERS = re.compile(r"\$\{oc\.env:(?:HOME|SLT_HOME)\}/")
# Keys of a transformers configuration that make it fetch or run the code of others.
CODE = ("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal", "custom_pipelines")


def refuse_code(node: Any, where: str, trust: Sequence[str] = ()) -> None:
    """Raises ValueError for values that would call, fetch or look up more than what a model is built of.

    `where` is file and key, for messages; `trust` names packages, whatever they define may be called, or whole names.
    """
    for path, key, value in leaves(node, where):
        if key == "_target_" and not _known(value, trust):
            package = str(value).partition(".")[0]
            raise ValueError(
                f"{path}: {value} is refused, nothing of it was run: of what a file names, only networks of "
                f"{', '.join(LIBRARIES)} and the suite's readers are built. If you know who made it, or it is your "
                f"own: trust=[{package}] (beside resume: name the class itself, as in KEY._target_={value})"
            )
        if key in CODE and value is not None:
            raise ValueError(f"{path}: {str(value)[:80]} is refused: it has transformers run code of others; remove it")
        if isinstance(value, str) and "${" in FOLDERS.sub("", value):
            raise ValueError(f"{path}: {value[:80]} is refused: an interpolation, where plain values are expected")


def refuse_depth(node: Any, where: str, tensors: int) -> None:
    """Raises ValueError for a number of layers above that of the tensors beside it: each layer has some."""
    for path, key, value in leaves(node, where):
        if ("layers" in str(key) or key == "depth") and isinstance(value, int) and value > tensors:
            raise ValueError(f"{path}={value}: far larger than the {tensors} tensors of weights beside it")


def leaves(node: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, key and value of everything below a node that is no mapping or list."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in items:
        yield from leaves(value, f"{path}.{key}")
        if key in (*CODE, "_target_") or not isinstance(value, Mapping | list | tuple):
            yield f"{path}.{key}", key, value


def _known(target: Any, trust: Sequence[str]) -> bool:
    """Whether a name may be called; of any other not even its module is imported."""
    from torch import nn  # here: an exported folder needs no torch

    from slt.config.checks import locate
    from slt.corpora.clips import Clips

    if target in trust:
        return True
    named = [name for name in (*LIBRARIES, *trust) if isinstance(target, str) and f"{target}.".startswith(f"{name}.")]
    if not named:
        return False
    try:
        made = locate(target)
    except ValueError:
        if set(named) & {*trust}:
            raise  # which says that there is no such class
        return False
    home = f"{getattr(made, '__module__', None)}."  # where it is defined: a module's imports are names in it too
    if any(home.startswith(f"{name}.") for name in trust):
        return True
    if isinstance(made, type) and issubclass(made, nn.Module):
        return any(home.startswith(f"{name}.") for name in LIBRARIES)
    if isinstance(made, type) and home.startswith(("slt.corpora.", "slt.streams.")):
        return issubclass(made, Clips) or hasattr(made, "from_regions") or hasattr(made, "fingerprint")
    if isinstance(made, type) and home.startswith("slt.training.") and hasattr(made, "measures"):
        return True  # an objective
    return f"{home}{getattr(made, '__qualname__', '')}" in FACTORIES
