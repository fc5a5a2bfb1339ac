"""The results of a run for people: the table of steps, metrics.csv, metrics.json and report.html."""

from rvos_ensemble.ensemble.report.frame import scores_frame
from rvos_ensemble.ensemble.report.page.page import refresh, write_page
from rvos_ensemble.ensemble.report.table import describe, explanations, summary, table_text, write_metrics

__all__ = [
    "describe",
    "explanations",
    "refresh",
    "scores_frame",
    "summary",
    "table_text",
    "write_metrics",
    "write_page",
]
