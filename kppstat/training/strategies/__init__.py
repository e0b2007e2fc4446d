"""The ways of training, one file each. A new strategy is one file, imported here."""

from kppstat.training.strategies import adversarial_rcg as adversarial_rcg
from kppstat.training.strategies import clip as clip
from kppstat.training.strategies import correctnet as correctnet
from kppstat.training.strategies import gaussian as gaussian
from kppstat.training.strategies import kpp as kpp
from kppstat.training.strategies import negative_feedback as negative_feedback
from kppstat.training.strategies import plain as plain
from kppstat.training.strategies import randbet as randbet
from kppstat.training.strategies import rcg as rcg
from kppstat.training.strategies import rcg_controls as rcg_controls
from kppstat.training.strategies.strategy import Scene as Scene
from kppstat.training.strategies.strategy import Step as Step
from kppstat.training.strategies.strategy import Strategy as Strategy
from kppstat.training.strategies.strategy import strategies as strategies
from kppstat.training.strategies.strategy import strategy_named as strategy_named
