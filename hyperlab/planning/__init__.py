"""What a study would take on a machine that one does not have: its programs are compiled for it, and none is run.

`planning.plan` makes a plan, in a process of its own for each machine: `programs` notes what the study would compile,
`compiled` compiles it and reads what the compiler says, `bound` and `waste` make sentences of that.
"""

from hyperlab.planning.course import plan
from hyperlab.planning.machines import Machine, parse

__all__ = ["Machine", "parse", "plan"]
