"""Opens the data of runs in a process of several: python -m tests.api.run_open FOLDER SECONDS.

The first process takes its time to build them, and fails at the last ones.
"""

import importlib
import os
import sys
import time
from pathlib import Path


def main(folder, seconds):
    os.environ["JAX_PLATFORMS"] = "cpu"

    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    from audiojax.errors import UsageError
    from audiojax.trainer import distributed

    train = importlib.import_module("audiojax.api.train")  # the package's own `train` is the function

    def open_split(data, split, progress):
        built = Path(folder) / f"{data['domain']}-{split}"
        if jax.process_index() == 0:
            if data["domain"] == "field":
                raise UsageError("cannot be built")
            time.sleep(float(seconds) / 4)
            built.touch()
        if not built.exists():
            raise UsageError("is not built")
        return [{"captions": ["a dog barks"]}]

    train.open_split = open_split
    distributed.initialize()
    for _ in range(2):  # as two runs in the same processes
        train._open_together({"data": {"domain": "studio"}, "tokenizer": {}}, progress=False)
    print("together:", multihost_utils.process_allgather(np.int32(jax.process_index())).tolist())
    try:
        train._open_together({"data": {"domain": "field"}, "tokenizer": {}}, progress=False)
    except UsageError as error:
        print(error)
        distributed.shutdown()
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
