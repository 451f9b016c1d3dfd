"""Config files: names, arguments, overrides with types, JSON round trip."""

import pytest
from ml_collections import ConfigDict

from audiojax import config as configs
from audiojax.errors import UsageError

FILE = """
from ml_collections import ConfigDict

def get_config(arg="small"):
    if arg not in ("small", "large"):
        raise ValueError(f"no size {arg}")
    return ConfigDict({
        "size": arg, "seed": 3, "flag": True, "nothing": None, "names": ("a", "b"), "scales": (0.5, 1.0),
        "optim": {"lr": 1e-3, "steps": 10}, "shape": ((1, 2), 3),
    })
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(FILE)
    return str(file)


def test_loads_path_with_argument_and_locks(path):
    assert configs.load_config(path).size == "small"
    loaded = configs.load_config(path + ":large")
    assert loaded.size == "large"
    with pytest.raises((KeyError, AttributeError)):
        loaded.sized = "huge"


def test_loads_installed_name():
    names = configs.installed_configs()
    assert "diffatr/soundworld" in names
    assert configs.load_config("diffatr/soundworld:debug").paper == "diffatr"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optim.lr=3e-4", "optim.lr", 3e-4),
        ("optim.lr=1", "optim.lr", 1.0),
        ("--config.optim.steps=20", "optim.steps", 20),
        ("flag=false", "flag", False),
        ("size=12", "size", "12"),
        ("size='x=y'", "size", "x=y"),
        ("nothing=4", "nothing", 4),
        ("nothing=word", "nothing", "word"),
        ("names=c,d", "names", ("c", "d")),
        ("names=('c',)", "names", ("c",)),
        ("scales=(1, 2.5)", "scales", (1.0, 2.5)),
        ("scales=3", "scales", (3.0,)),
        ("shape=((3, 4), 5)", "shape", ((3, 4), 5)),
    ],
)
def test_override_keeps_the_type(path, override, key, value):
    got = dict(configs.flat_items(configs.load_config(path, [override])))[key]
    assert got == value
    assert type(got) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in got] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1.0", "did you mean 'optim.lr'"),
        ("optm.steps=1", "did you mean 'optim.steps'"),
        ("lr=1.0", "did you mean 'optim.lr'"),
        ("zzzz=1", "top-level keys: flag, names"),
        ("size.more=1", "unknown config key 'size.more'"),
        ("optim=1", "is a section"),
        ("seed=1.5", "takes int"),
        ("seed=abc", "takes int"),
        ("seed=none", "takes int"),
        ("scales=none", "takes float"),
        ("flag=1", "takes bool"),
        ("optim.steps=True", "takes int"),
        ("scales=a,b", "takes float"),
        ("seed", "has no value"),
    ],
)
def test_bad_override_says_what_to_do(path, override, message):
    with pytest.raises(UsageError, match=message):
        configs.load_config(path, [override])


@pytest.mark.parametrize(
    ("spec", "message"),
    [("missing.py", "does not exist"), ("difatr/soundworld", "did you mean 'diffatr/soundworld'"), ("diffatr/../x", "no installed config")],
)
def test_missing_config_names_what_there_is(spec, message):
    with pytest.raises(UsageError, match=message):
        configs.load_config(spec)


def test_error_inside_the_file_is_named(path, tmp_path):
    with pytest.raises(UsageError, match="no size huge"):
        configs.load_config(path + ":huge")
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        configs.load_config(str(broken))
    broken.write_text("x = 1\n")
    with pytest.raises(UsageError, match="defines no get_config"):
        configs.load_config(str(broken))


def test_json_round_trip_is_exact(path):
    loaded = configs.load_config(path, ["optim.lr=0.1"])
    back = configs.config_from_json(configs.config_to_json(loaded))
    assert list(configs.flat_items(back)) == list(configs.flat_items(loaded))
    assert [type(v) for _, v in configs.flat_items(back)] == [type(v) for _, v in configs.flat_items(loaded)]
    assert isinstance(back.shape[0], tuple)
    with pytest.raises((KeyError, AttributeError)):
        back.unknown = 1


def test_every_installed_config_is_plain_data():
    for name in configs.installed_configs():
        loaded = configs.load_config(name)
        assert list(configs.flat_items(configs.config_from_json(configs.config_to_json(loaded)))) == list(configs.flat_items(loaded)), name


def test_json_refuses_objects_and_damage():
    with pytest.raises(UsageError, match="plain data"):
        configs.config_to_json(ConfigDict({"a": {"b": {1, 2}}}))
    with pytest.raises(UsageError, match="damaged"):
        configs.config_from_json('{"a": ')


def test_to_dict_is_plain(path):
    plain = configs.to_dict(configs.load_config(path))
    assert type(plain) is dict
    assert type(plain["optim"]) is dict
    assert plain["names"] == ("a", "b")
