"""Prediction of the distribution of performance from moments, with no full evaluation but the clean one."""

from kppstat.prediction.gradients import KppGradients, kpp_gradients
from kppstat.prediction.head import split
from kppstat.prediction.power import power
from kppstat.prediction.predict import predict
from kppstat.prediction.result import Prediction
from kppstat.prediction.smooth import Smooth, gaussian_depth, smooth_accuracy
from kppstat.prediction.sweep import predict_sweep

__all__ = [
    "KppGradients",
    "Prediction",
    "Smooth",
    "gaussian_depth",
    "kpp_gradients",
    "power",
    "predict",
    "predict_sweep",
    "smooth_accuracy",
    "split",
]
