"""Commands: what people and policies ask for. `observe` lists them, and the chain of `decide` obeys them.

To add one: a module here with a `Command`, and its line in `commands_of`.
"""

from headgate.api.spec import Spec
from headgate.api.status import Status
from headgate.core.commands.serve import Serve
from headgate.core.model import Command, Observation


def commands_of(deployment: str, spec: Spec) -> tuple[Command, ...]:
    """All that is asked for of the ModelDeployment of this name; the first one counts most."""
    return (Serve.from_spec(deployment, spec),)


def obey(o: Observation, status: Status, now: float) -> Status | None:
    """The status after the first command for which there is something to do; None: there is nothing to do."""
    answers = (command.obey(o, status, now) for command in o.commands)
    return next((answer for answer in answers if answer is not None), None)
