"""Speed of DAC beside its rival: all words at once in some denoising steps, or word by word with stored keys and values.

Every side is `papers.dac.write` on stored tokens of the same clips, with random weights, and writes captions of the same number of tokens:
the rival's have no end token, and diffusion denoises all positions whatever they come to say. Guidance runs the denoiser twice a step. What
the captions are worth is another matter: `audiojax evaluate` measures both together.

This module imports no array library.
"""

from collections.abc import Callable, Sequence

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare

STEPS = (4, 8, 34)
SMALL = {"config": "dac/soundworld:debug", "tokens": 8, "clips": 2, "steps": (2,)}


def run(
    *,
    config: str = "dac/soundworld:base",
    tokens: int = 32,
    clips: int = 50,
    steps: Sequence[int] = STEPS,
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of diffusion in each number of steps, without and with guidance, and of the rival, greedy and with 4 beams; items = captions.

    The ratios are those of the first row: diffusion in the first number of steps without guidance over each of the others.

    Args:
      config: of DAC, for its sizes.
      tokens: of a caption.
      clips: in a call, one caption each.
      steps: of diffusion.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: a caption of so many tokens is longer than the config's networks take.
      AudiojaxError: a worker stopped.
    """
    shared = {"config": config, "tokens": tokens, "clips": clips}
    ways = {f"{count} steps{', guided' if w else ''}": {"steps": count, "guidance": w} for count in steps for w in (0.0, 1.0)}
    ways |= {"word by word": {"num_beams": 1}, "4 beams": {"num_beams": 4}}
    return compare(
        f"captioning: {clips} captions of {tokens} tokens, {config}",
        [Side(name, "audiojax.bench.captioning_jax", {**shared, "options": options}) for name, options in ways.items()],
        check=lambda side, facts, ours: None,
        samples=samples,
        attempts=attempts,
        allow_noise=allow_noise,
        report=report,
    )
