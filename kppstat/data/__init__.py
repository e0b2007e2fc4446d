"""Evaluation data: read from files, folders or functions, checked against the model."""

from kppstat.data.dataset import Dataset as Dataset
from kppstat.data.fit import from_arrays as from_arrays
from kppstat.data.source import load as load
