"""A drift report for people, drawn by Evidently.

It shows one window of a version's predictions beside the version's reference rows. The monitor's
verdicts do not come from here. They rest on every row, take milliseconds, and consider chance and
confirmation. A report takes ten seconds and shows on samples *how* a feature moved. It uses the
verdicts' measure and thresholds.

    from pipelines.drift_report import build    for a work order (services/trainer/run_order.py)
    dojo drift report MODEL VERSION START END   by hand
"""

from pipelines.drift_report.publish import DriftReport, EmptyWindowError, NoReferenceError, build

__all__ = ["DriftReport", "EmptyWindowError", "NoReferenceError", "build"]
