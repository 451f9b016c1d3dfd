"""Shards on Apache Beam: each is one element that some worker decodes and writes to the shared folder."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from audiojax.errors import AudiojaxError, UsageError


def run_on_beam(write: Callable[[Any], None], tasks: Sequence[Any], options: Sequence[str]) -> None:
    """Calls `write` once with every task, on the workers of a pipeline, and returns when all are done.

    Args:
      write: picklable, as the tasks are; may run twice for a task, also at the same time.
      options: words of a Beam command line, such as "--runner=DirectRunner", "--direct_num_workers=2".

    Raises:
      UsageError: apache-beam is not installed.
      AudiojaxError: a task failed, or there is no such runner.
    """
    if find_spec("apache_beam") is None:
        raise UsageError('--beam needs apache-beam: pip install "audiojax[beam]"')
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = pipeline | "Shards" >> beam.Create(tasks) | beam.Reshuffle() | "Write" >> beam.Map(write)
    except Exception as error:  # runners wrap what a worker raises in types of their own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise AudiojaxError(f"the Beam pipeline failed: {first}") from error
