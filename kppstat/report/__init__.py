"""The report of an estimate: one self-contained HTML page and its figures."""

from kppstat.report.tensors import NoisyTensor as NoisyTensor
from kppstat.report.tensors import Tensors as Tensors
from kppstat.report.write import check as check
from kppstat.report.write import write as write
