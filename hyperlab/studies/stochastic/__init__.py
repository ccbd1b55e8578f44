"""The study of several answers, from a config to its page: arms, candidates, what they are worth, results, figures."""

from hyperlab.studies.stochastic.arms import ARMS, LEARNERS, CandidateArm, Cell, Learner

__all__ = ["ARMS", "LEARNERS", "CandidateArm", "Cell", "Learner"]
