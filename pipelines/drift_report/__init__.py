"""A drift report for people: one window of a version's predictions beside the rows that it was judged on, drawn by Evidently.

The monitor's verdicts do not come from here: they rest on every row, are made within milliseconds, and know chance and confirmation. A report takes ten
seconds and shows on samples *how* a feature moved, with the verdicts' own measure and thresholds.

    from pipelines.drift_report import build          a work order's way (services/trainer/run_order.py)
    dojo drift report MODEL VERSION START END         by hand
"""

from pipelines.drift_report.publish import DriftReport, EmptyWindowError, NoReferenceError, build

__all__ = ["DriftReport", "EmptyWindowError", "NoReferenceError", "build"]
