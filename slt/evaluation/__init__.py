"""After translation: what a trained model's sentences are worth, and a page that shows it.

Re-exports the parts that the entry points call: floors, leaks, filmstrips, the report and the two score files.
"""

from slt.drawing.strip import filmstrip
from slt.evaluation.floors import Floor, best_constant, constant_floor
from slt.evaluation.leaks import Leaks, Overlap, leak_report
from slt.evaluation.prediction import Prediction, write_predictions, write_scores
from slt.evaluation.report import write_report

__all__ = [
    "Floor",
    "Leaks",
    "Overlap",
    "Prediction",
    "best_constant",
    "constant_floor",
    "filmstrip",
    "leak_report",
    "write_predictions",
    "write_report",
    "write_scores",
]
