"""Estimators of KPP: generators that yield states, and the study that runs them."""

from kppstat.sampling.question import Question as Question
from kppstat.sampling.result import Estimate as Estimate
from kppstat.sampling.result import State as State
from kppstat.sampling.study import Study as Study
from kppstat.sampling.study import estimate as estimate
