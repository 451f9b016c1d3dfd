"""The launch scripts: help, dry runs, wrong flags, and local.sh with real processes."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = ("demo.sh", "test.sh", "local.sh", "gpu_node.sh", "slurm.sbatch", "tpu_pod.sh")
PLATFORM = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}


def bash(script: str, *words: str, env: dict[str, str] | None = None, timeout: float = 120) -> subprocess.CompletedProcess:
    environment = os.environ | PLATFORM | {"AUDIOJAX_VENV": str(Path(sys.prefix))} | (env or {})
    return subprocess.run(["bash", str(LAUNCH / script), *words], capture_output=True, text=True, env=environment, timeout=timeout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_the_usage_and_every_flag(script):
    done = bash(script, "-h")
    assert done.returncode == 0
    assert script in done.stdout.splitlines()[0]
    assert "--dry-run" in done.stdout
    assert "set -euo" not in done.stdout
    assert "#SBATCH" not in done.stdout


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("demo.sh", ["--dry-run", "--all"], ["run: audiojax demo --all"]),
        ("test.sh", ["--dry-run", "-x"], ["run: ruff check .", "lint-imports", "not slow and not parity -x"]),
        (
            "local.sh",
            ["-n", "2", "--port", "4321", "--dry-run", "--", "env", "train"],
            [
                "[0] AUDIOJAX_COORDINATOR=127.0.0.1:4321 AUDIOJAX_NUM_PROCESSES=2 AUDIOJAX_PROCESS_ID=0 env train",
                "[1] AUDIOJAX_COORDINATOR=127.0.0.1:4321 AUDIOJAX_NUM_PROCESSES=2 AUDIOJAX_PROCESS_ID=1 env train",
            ],
        ),
        ("gpu_node.sh", ["--dry-run", "--", "audiojax", "train"], ["[cuda]", "run: audiojax train"]),
        ("gpu_node.sh", ["--dry-run", "-n", "4", "--", "audiojax"], ["local.sh -n 4 -- audiojax"]),
        ("slurm.sbatch", ["--dry-run", "audiojax", "train"], ["run on every node: srun", "audiojax train"]),
        (
            "tpu_pod.sh",
            ["--name", "pod", "--zone", "z", "--project", "p", "--dry-run", "--", "audiojax", "train", "two words"],
            ["archive --format=tar.gz", "tpu-vm ssh pod --zone=z --worker=all --project=p", "AUDIOJAX_DISTRIBUTED=auto", "audiojax_setup"],
        ),
    ],
)
def test_dry_run_says_what_would_be_done(script, words, expected):
    done = bash(script, *words)
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("local.sh", ["-m", "2"], "unknown flag '-m'"),
        ("local.sh", ["-n", "two", "--", "true"], "whole numbers"),
        ("local.sh", ["-n"], "-n needs a value"),
        ("local.sh", ["-n", "0", "--", "true"], "between 1 and 256"),
        ("local.sh", ["--", "true"], "-n is needed"),
        ("local.sh", ["-n", "2"], "no command"),
        ("local.sh", ["-n", "2", "--", "no-such-program"], "no-such-program: command not found"),
        ("gpu_node.sh", ["--gpus", "2"], "unknown flag '--gpus'"),
        ("gpu_node.sh", [], "no command"),
        ("slurm.sbatch", ["--nodes=2"], "unknown flag '--nodes=2'"),
        ("slurm.sbatch", [], "no command"),
        ("slurm.sbatch", ["true"], "no SLURM job here"),
        ("tpu_pod.sh", ["--zone", "z", "--", "true"], "--name is needed"),
        ("tpu_pod.sh", ["--name", "n", "--", "true"], "--zone is needed"),
        ("tpu_pod.sh", ["--name", "n", "--zone", "z", "--folder", "/etc", "--", "true"], "below the home folder"),
    ],
)
def test_misuse_exits_2_with_one_line(script, words, message):
    done = bash(script, *words, env={"SLURM_JOB_ID": ""})
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, ["0,1", "2,3"]), ("6,2,7", ["6", "2"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"]), ("", [None, None])]
)
def test_local_shares_the_gpus_that_are_visible(tmp_path, visible, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nfor i in 0 1 2 3; do echo GPU $i: made up; done\n")
    tool.chmod(0o755)
    env = {"JAX_PLATFORMS": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    lines = bash("local.sh", "-n", "2", "--dry-run", "--", "env", env=env).stdout.splitlines()
    assert [next((word.split("=")[1] for word in line.split() if word.startswith("CUDA")), None) for line in lines] == expected


def test_local_refuses_more_processes_than_gpus(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho GPU 0: made up\n")
    tool.chmod(0o755)
    done = bash("local.sh", "-n", "2", "--", "true", env={"JAX_PLATFORMS": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 2
    assert "there are 1 GPUs" in done.stderr


def test_local_joins_the_processes_of_jax_distributed():
    """In a shell that srun opened, too: JAX takes its variables for the processes' own and would leave each of them device 0 alone."""
    srun = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    program = (
        "from audiojax.trainer import distributed; import jax, jax.numpy as jnp\n"
        "from jax.experimental import multihost_utils\n"
        "n = distributed.initialize()\n"
        "ranks = multihost_utils.process_allgather(jnp.asarray([jax.process_index()]))\n"
        "print('processes', n, 'ranks', sorted(ranks.ravel().tolist()), jax.config.read('jax_cuda_visible_devices'), flush=True)\n"
        "distributed.shutdown()\n"
    )
    done = bash("local.sh", "-n", "2", "--", sys.executable, "-c", program, env=srun)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0] processes 2 ranks [0, 1] all" in done.stdout
    assert "[1] processes 2 ranks [0, 1] all" in done.stdout


def test_local_stops_the_others_when_one_process_fails(tmp_path):
    program = (
        "import os, pathlib, signal, sys, time\n"
        "rank = os.environ['AUDIOJAX_PROCESS_ID']\n"
        "def stop(*_):\n"
        "    pathlib.Path(sys.argv[1], 'saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(sys.argv[1], 'ready' + rank).touch()\n"
        "while not all(pathlib.Path(sys.argv[1], f'ready{r}').exists() for r in '01'): time.sleep(0.02)\n"
        "sys.exit(7) if rank == '1' else time.sleep(100)\n"
    )
    done = bash("local.sh", "-n", "2", "--", sys.executable, "-c", program, str(tmp_path))
    assert done.returncode == 7
    assert (tmp_path / "saved").exists()


def test_local_passes_sigterm_on_and_leaves_no_process(tmp_path):
    words = ["bash", str(LAUNCH / "local.sh"), "-n", "2", "--grace", "5", "--"]
    words += ["bash", "-c", f"touch {tmp_path}/$AUDIOJAX_PROCESS_ID; sleep 300 & echo $! > {tmp_path}/child$AUDIOJAX_PROCESS_ID; wait"]
    job = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | PLATFORM)
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in ("child0", "child1")):
        assert job.poll() is None
        time.sleep(0.05)
    job.terminate()
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 143
    assert "stopping all processes" in errors
    for name in ("child0", "child1"):
        assert has_ended(tmp_path / name)


def has_ended(file: Path) -> bool:
    """Whether the process whose number the file has ends within ten seconds."""
    stat = Path("/proc", file.read_text().strip(), "stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("code", [3, 0])
def test_local_ends_the_child_that_a_process_left_behind(tmp_path, code):
    command = f"sleep 60 & echo $! > {tmp_path}/child; exit {code}"
    done = bash("local.sh", "-n", "1", "--grace", "20", "--", "bash", "-c", command, timeout=15)
    assert done.returncode == code
    assert has_ended(tmp_path / "child")


# prints all the time; saves on SIGTERM, which takes a while and prints too
SAVES = """
import os, pathlib, signal, sys, time
folder, rank = pathlib.Path(sys.argv[1]), os.environ["AUDIOJAX_PROCESS_ID"]
def save(*_):
    for _ in range(5):
        print("saving", flush=True)
        time.sleep(0.1)
    (folder / f"saved{rank}").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
for _ in range(600):
    print("at work", flush=True)
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("output", "end", "code"), [("terminal", "close", 129), ("pipe", "close", 129), ("terminal", "interrupt", 130)])
def test_local_lets_the_processes_save_when_its_output_or_the_user_ends_it(tmp_path, output, end, code):
    words = ["bash", str(LAUNCH / "local.sh"), "-n", "2", "--grace", "20", "--", sys.executable, "-c", SAVES, str(tmp_path)]
    reader, writer = os.openpty() if output == "terminal" else os.pipe()
    if output == "terminal":  # the first terminal that the leader of a session opens is the one whose end it is told of
        words = ["bash", "-c", f'exec "$@" <>{os.ttyname(writer)} >&0 2>&0', "bash", *words]
    # tests that run in the background, or by nohup, would hand down that these are ignored
    heard = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        job = subprocess.Popen(words, stdout=writer, stderr=writer, start_new_session=True, env=os.environ | PLATFORM)
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
    os.close(writer)
    seen = b""
    while b"[0] at work" not in seen or b"[1] at work" not in seen:
        seen += os.read(reader, 1000)
    if end == "interrupt":
        os.write(reader, b"\x03")  # Ctrl-C
        while b"[0] saving" not in seen or b"[1] saving" not in seen:
            seen += os.read(reader, 1000)
    os.close(reader)
    assert job.wait(timeout=60) == code
    assert {path.name for path in tmp_path.iterdir()} == {"saved0", "saved1"}


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.2])
def test_local_ends_while_it_starts(delay):
    """Processes that die before they have opened their pipes leave nobody waiting for them."""
    words = ["bash", str(LAUNCH / "local.sh"), "-n", "32", "--port", "1", "--grace", "20", "--", "sleep", "5"]
    job = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | PLATFORM)
    time.sleep(delay)
    job.terminate()
    assert job.wait(timeout=15) in (143, -signal.SIGTERM)  # the second before it has set its traps


def test_local_lets_the_child_of_a_shell_save(tmp_path):
    command = ["bash", "-c", '"$@"; true', "bash", sys.executable, "-c", SAVES, str(tmp_path)]
    words = ["bash", str(LAUNCH / "local.sh"), "-n", "1", "--grace", "20", "--", *command]
    job = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | PLATFORM)
    assert job.stdout.readline() == "[0] at work\n"
    job.terminate()
    assert "[0] saving" in job.communicate(timeout=60)[0]
    assert job.returncode == 143
    assert (tmp_path / "saved0").exists()


@pytest.fixture
def bare(tmp_path):
    """A folder with setup_env.sh and a PATH of a few plain tools; returns (folder, environment)."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "basename", "cksum", "head", "grep", "rm", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    (tmp_path / "launch").mkdir()
    shutil.copy(LAUNCH / "setup_env.sh", tmp_path / "launch")
    (tmp_path / "setup.py").write_text("")
    return tmp_path, {"PATH": str(tools)}


def set_up(bare, extra: str = "", **variables: str) -> subprocess.CompletedProcess:
    folder, environment = bare[0], bare[1] | variables
    script = f"source launch/setup_env.sh; audiojax_setup '{extra}'"
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def program(bare, name: str, text: str) -> None:
    path = bare[0] / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


def test_set_up_names_the_remedy_when_no_python_is_supported(bare):
    program(bare, "python3", "exit 1")
    done = set_up(bare)
    assert done.returncode == 1
    assert "no Python 3.11, 3.12 or 3.13 was found" in done.stderr
    assert "AUDIOJAX_PYTHON" in done.stderr


def test_set_up_names_the_package_when_python_cannot_make_environments(bare):
    program(bare, "python3", '[ "$1" = -c ] && exit 0; mkdir .venv 2>/dev/null; exit 1')
    done = set_up(bare)
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (bare[0] / ".venv").exists()


@pytest.mark.parametrize("uv", [False, True])
@pytest.mark.parametrize("supported", [False, True])
def test_set_up_stops_at_once_where_audiojax_python_is_no_python(bare, uv, supported):
    program(bare, "python3", f"exit {0 if supported else 1}")
    if uv:
        program(bare, "uv", "exit 0")
    done = set_up(bare, AUDIOJAX_PYTHON="/no/such/python")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["bash: AUDIOJAX_PYTHON=/no/such/python is not a working Python 3.11, 3.12 or 3.13"]


def test_set_up_takes_the_python_that_is_named(bare, installs):
    (bare[0] / "bin" / "python3").rename(bare[0] / "my python")
    program(bare, "python3", "exit 1")
    done = set_up(bare, AUDIOJAX_PYTHON=str(bare[0] / "my python"))
    assert done.returncode == 0, done.stderr
    assert f"Making {bare[0]}/.venv with {bare[0]}/my python" in done.stderr


@pytest.fixture
def installs(bare):
    """Gives `bare` a python3 that makes environments; returns installs() -> what pip was asked to install in them, in order."""
    inner = f'#!{shutil.which("bash")}\\necho \\"\\$*\\" >> {bare[0]}/calls'
    program(bare, "mkdir", f'exec {shutil.which("mkdir")} "$@"')
    program(
        bare,
        "python3",
        f'[ "$1" = -c ] && exit 0\nmkdir -p "$3/bin"; echo -e "{inner}" > "$3/bin/python"; {shutil.which("chmod")} +x "$3/bin/python"',
    )

    def made() -> list[str]:
        calls = (bare[0] / "calls").read_text().splitlines()
        return [line.split("--editable ")[1] for line in calls if "--editable" in line]

    return made


def test_set_up_installs_once_and_again_when_setup_py_changes(bare, installs):
    folder, _ = bare
    assert set_up(bare).returncode == 0
    assert installs() == [str(folder)]
    assert set_up(bare).returncode == 0
    assert installs() == [str(folder)]
    assert set_up(bare, "test").returncode == 0
    assert installs() == [str(folder), f"{folder}[test]"]
    assert set_up(bare).returncode == 0
    assert len(installs()) == 2
    (folder / "setup.py").write_text("changed")
    assert set_up(bare, "test").returncode == 0
    assert len(installs()) == 3


@pytest.mark.skipif(not shutil.which("flock"), reason="set-ups wait for each other where flock is found")
def test_two_first_set_ups_at_once_make_one_environment(bare, installs):
    folder, environment = bare
    for name in ("flock", "sleep"):
        (folder / "bin" / name).symlink_to(shutil.which(name))
    made = (folder / "bin" / "python3").read_text()
    slow = f'[ "$1" = -c ] || {{ mkdir -p "$3"; echo > {folder}/making; while [ ! -e {folder}/go ]; do sleep 0.05; done; }}'
    (folder / "bin" / "python3").write_text(made.replace("\n", f"\n{slow}\n", 1))
    words = ["bash", "-c", "source launch/setup_env.sh; audiojax_setup ''; flock --wait 10 9 9>>.venv.lock && echo the lock is free"]
    start = functools.partial(
        subprocess.Popen, words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    first = start()
    while not (folder / "making").exists():
        assert first.poll() is None
        time.sleep(0.02)
    second = start()
    try:
        assert second.stderr.readline() == f"Waiting for another set-up of {folder}/.venv to end\n"
    finally:
        (folder / "go").touch()
        outputs = [job.communicate(timeout=60) for job in (first, second)]
    assert [job.returncode for job in (first, second)] == [0, 0], outputs
    assert [printed for printed, _ in outputs] == ["the lock is free\n"] * 2
    assert outputs[1][1] == ""  # nothing was left to do
    assert installs() == [str(folder)]


def copy_of(bare, name: str = "copy"):
    """The same checkout, .venv included, in another folder."""
    shutil.copytree(bare[0], bare[0] / name, ignore=shutil.ignore_patterns("bin", name))
    if (bare[0] / ".venv").exists():
        shutil.copytree(bare[0] / ".venv" / "bin", bare[0] / name / ".venv" / "bin")
    return bare[0] / name, bare[1]


def test_a_copied_checkout_gets_an_environment_of_its_own(bare, installs):
    assert set_up(bare).returncode == 0
    copy = copy_of(bare)
    (copy[0] / ".venv" / "leftover").touch()
    done = set_up(copy)
    assert done.returncode == 0, done.stderr
    assert f"{copy[0]}/.venv was made as {bare[0]}/.venv" in done.stderr
    assert not (copy[0] / ".venv" / "leftover").exists()
    assert (bare[0] / ".venv" / "bin" / "python").exists()
    for again in (copy, bare):
        assert set_up(again).stderr == ""
    assert installs() == [str(bare[0]), str(copy[0])]


def test_an_environment_that_two_checkouts_name_is_the_last_one_s(bare, installs):
    copy, shared = copy_of(bare), {"AUDIOJAX_VENV": str(bare[0] / "shared")}
    for checkout in (bare, copy, copy, bare):
        assert set_up(checkout, **shared).returncode == 0
    assert installs() == [str(bare[0]), str(copy[0]), str(bare[0])]


def test_a_named_environment_that_was_moved_is_not_removed(bare, installs):
    old, new = bare[0] / "old", bare[0] / "new"
    assert set_up(bare, AUDIOJAX_VENV=str(old)).returncode == 0
    (bare[0] / "link").symlink_to(old)
    assert set_up(bare, AUDIOJAX_VENV=str(bare[0] / "link")).stderr == ""  # the same folder by another name
    old.rename(new)
    done = set_up(bare, AUDIOJAX_VENV=str(new))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"bash: {new} was made as {old} and works only there: remove it (rm -r '{new}') and run this again"]
    assert new.exists()
