"""Selective write-verify: which weights are worth programming with care. Needs PyTorch."""

from kppstat.errors import SettingError

try:
    import torch as _torch
except ImportError:
    remedy = "Install it with pip install 'kppstat[train]'"
    raise SettingError("ranking weights for write-verify needs PyTorch", remedy=remedy) from None

from kppstat.write_verify.choice import METHODS as METHODS
from kppstat.write_verify.choice import select as select
from kppstat.write_verify.result import Selection as Selection
from kppstat.write_verify.slopes import sensitivity as sensitivity
from kppstat.write_verify.swim import curvature as curvature

del _torch
