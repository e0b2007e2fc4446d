"""Reports: self-contained HTML pages and their figures."""

from kppstat.report.files import check as check
from kppstat.report.tensors import NoisyTensor as NoisyTensor
from kppstat.report.tensors import Tensors as Tensors
from kppstat.report.worst import write_worst as write_worst
from kppstat.report.write import write as write
