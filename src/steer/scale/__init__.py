"""Past one machine: the executors that are not this process alone."""

from steer.config import Settings
from steer.engine.executor import Executor, Local, Source


def executor(source: Source, settings: Settings) -> Executor:
    """What `engine`, `workers` and `ray` ask for. Raises ImportError that names what is not installed."""
    if settings.workers is None:
        return engine(source, settings)
    from steer.scale.ray import Workers

    return Workers(source, settings)


def engine(source: Source, settings: Settings) -> Executor:
    """What draws in one process."""
    if settings.engine == "local":
        return Local(source.load(), settings.generate.lanes)
    from steer.scale.vllm import Vllm

    return Vllm(source, lanes=settings.generate.lanes, options=settings.vllm)
