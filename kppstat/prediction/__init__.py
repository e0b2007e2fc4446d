"""Prediction of the distribution of performance without sampling full evaluations."""

from kppstat.prediction.predict import predict
from kppstat.prediction.result import Prediction

__all__ = ["Prediction", "predict"]
