"""The toy task as a program, for tests that kill it: python -m tests.trainer.run_toy WORKDIR [options]."""

import argparse
import json
import os
import signal
import time
from functools import partial
from pathlib import Path


class Source:
    """Random access to the toy's examples."""

    def __init__(self, size, delay=0.0):
        self.size, self.delay = size, delay

    def __len__(self):
        return self.size

    def __repr__(self):
        return f"Source({self.size})"

    def __getitem__(self, index):
        from tests.trainer import toy

        time.sleep(self.delay)
        return toy.rows(index)


def add_noise(row, rng):
    return {**row, "x": row["x"] + rng.normal(size=row["x"].shape).astype("float32") * 0.05}


def train_data(start, *, batch, delay=0.0, workers=0, processes=None, process=None):
    """This process's rows of each global batch from step `start` on."""
    import jax

    from audiojax.data.pipeline import batches_of

    return batches_of(
        Source(50, delay),
        add_noise,
        batch_size=batch,
        seed=1,
        start_step=start,
        process_index=jax.process_index() if process is None else process,
        process_count=jax.process_count() if processes is None else processes,
        workers=workers,
    )


def stopping(data, at, number=signal.SIGTERM):
    """Data that ask the run to stop while it gets the batch of step `at`."""

    def from_step(start):
        for step, batch in enumerate(data(start), start + 1):
            if step == at:
                os.kill(os.getpid(), number)
            yield batch

    return from_step


def eval_data(batch, rows=37):
    """This process's rows of the evaluation batches; the last one is padded."""
    import jax
    import numpy as np

    from tests.trainer import toy

    share = batch // jax.process_count()
    for start in range(0, rows, batch):
        ids = np.minimum(np.arange(start, start + batch), rows - 1)
        valid = np.arange(start, start + batch) < rows
        mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
        items = [toy.rows(int(i), seed=9) for i in ids[mine]]
        yield {name: np.stack([item[name] for item in items]) for name in items[0]} | {"valid": valid[mine]}


def break_restore(step, why):
    """From here on this process fails to read the state of one step: it is "damaged", or "stale" on the file server."""
    import errno

    import orbax.checkpoint as ocp

    restore = ocp.StandardCheckpointHandler.restore

    def fail(self, directory, *arguments, **options):
        if Path(directory).parent.name == str(step):
            raise ValueError("bad bytes") if why == "damaged" else OSError(errno.ESTALE, "Stale file handle")
        return restore(self, directory, *arguments, **options)

    ocp.StandardCheckpointHandler.restore = fail


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--parallel", default="pmap")
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--eval-every", type=int, default=20)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--trainable", default=".*")
    parser.add_argument("--stop-at", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=1)
    parser.add_argument("--unreadable", nargs=2, default=None, metavar=("STEP", "WHY"), help="what the last process cannot restore")
    options = parser.parse_args(argv)
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={options.devices}"])
    os.environ["JAX_PLATFORMS"] = "cpu"

    import jax
    import numpy as np

    from audiojax.errors import AudiojaxError
    from audiojax.trainer import distributed
    from audiojax.trainer.loop import fit
    from audiojax.trainer.settings import make_phase
    from tests.trainer import toy

    distributed.initialize()
    if options.unreadable and jax.process_index() == jax.process_count() - 1:
        break_restore(int(options.unreadable[0]), options.unreadable[1])
    groups = toy.GROUPS if options.trainable == ".*" else {"all": {"pattern": ".*", "lr": 1e-3}}
    phase = make_phase(
        "first",
        {"steps": options.steps, "batch_size": options.batch, "groups": groups, "trainable": options.trainable, "ema_decay": 0.9},
        {"parallel": options.parallel, "save_every": options.save_every, "eval_every": options.eval_every, "log_every": options.log_every},
    )
    data = partial(train_data, batch=options.batch, delay=options.delay, workers=options.workers)
    try:
        result = fit(
            toy.TASK,
            phase,
            workdir=options.workdir,
            train_data=stopping(data, options.stop_at) if options.stop_at else data,
            eval_data=partial(eval_data, 16),
            init_batch=toy.batch(2),
        )
    except AudiojaxError as error:
        print(error, flush=True)
        raise SystemExit(error.exit_code) from None
    if jax.process_index() == 0:
        flat = jax.tree_util.tree_leaves_with_path((result.params, result.model_state))
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf.addressable_data(0)) for path, leaf in flat if leaf.is_fully_replicated}
        np.savez(Path(options.workdir) / "result.npz", **arrays)
        (Path(options.workdir) / "result.json").write_text(
            json.dumps({"step": result.step, "choice": result.choice, "metrics": dict(result.metrics)})
        )
    distributed.shutdown()


if __name__ == "__main__":
    main()
