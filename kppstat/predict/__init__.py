"""Prediction of the distribution of performance without sampling full evaluations."""

from kppstat.predict.predict import predict
from kppstat.predict.prediction import Prediction

__all__ = ["Prediction", "predict"]
