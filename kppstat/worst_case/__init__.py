"""The worst case: weights within a bound that lower the accuracy most. Needs PyTorch."""

from kppstat.errors import SettingError

try:
    import torch as _torch
except ImportError:
    remedy = "Install it with pip install 'kppstat[train]'"
    raise SettingError("the search for the worst case needs PyTorch", remedy=remedy) from None

from kppstat.worst_case.attack import METHODS as METHODS
from kppstat.worst_case.attack import Attack as Attack
from kppstat.worst_case.chance import Probability as Probability
from kppstat.worst_case.chance import probability as probability
from kppstat.worst_case.form import DesignPoint as DesignPoint
from kppstat.worst_case.form import design_point as design_point
from kppstat.worst_case.region import Region as Region
from kppstat.worst_case.result import WorstCase as WorstCase
from kppstat.worst_case.search import weakest as weakest
from kppstat.worst_case.search import worst as worst

del _torch
