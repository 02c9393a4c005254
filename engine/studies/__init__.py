"""The studies of ``bptt study``: each is one measurement that ends in a table, a JSON file and a picture."""

from engine.studies.study import STUDIES, Column, StudyResult, run_study
from engine.studies.study_files import write_study

__all__ = ["STUDIES", "Column", "StudyResult", "run_study", "write_study"]
