"""Run instances: programmed weights in, scores of inputs out."""

from kppstat.engine.engine import Engine as Engine
from kppstat.engine.evaluator import Evaluator as Evaluator
from kppstat.engine.plan import Plan as Plan
from kppstat.engine.task import Evaluation as Evaluation
from kppstat.engine.task import Move as Move
from kppstat.engine.task import Task as Task
