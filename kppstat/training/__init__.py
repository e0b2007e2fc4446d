"""Training under device variation: the graph itself is trained in PyTorch and written back into its ONNX file."""

from kppstat.errors import SettingError

try:
    import torch as _torch
except ImportError:
    raise SettingError("training needs PyTorch", remedy="Install it with pip install 'kppstat[train]'") from None

from kppstat.training.judgement import Judgement as Judgement
from kppstat.training.judgement import compared as compared
from kppstat.training.judgement import judge as judge
from kppstat.training.optimal_censoring import Censoring as Censoring
from kppstat.training.optimal_censoring import censoring as censoring
from kppstat.training.plan import Plan as Plan
from kppstat.training.result import Epoch as Epoch
from kppstat.training.result import Training as Training
from kppstat.training.session import Session as Session
from kppstat.training.session import train as train
from kppstat.training.strategies import Strategy as Strategy
from kppstat.training.strategies import strategies as strategies
from kppstat.training.strategies import strategy_named as strategy_named

del _torch
