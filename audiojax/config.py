"""Config files: load, override, lock, write to JSON and back.

A config file is Python that defines `get_config(arg)` and returns an `ml_collections.ConfigDict` of plain data. Loading one runs it, as
ml_collections files are meant to be: open only files that you would also execute. A config.json holds data alone and is safe to open.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from audiojax.errors import UsageError

TUPLE = "__tuple__"  # JSON has no tuples: {"__tuple__": [...]}
SCALARS = (bool, int, float, str, type(None))


def installed_configs() -> list[str]:
    """Names such as "diffatr/soundworld" of the config files that come with the package."""
    import audiojax.configs as root

    names = [
        module.name.removeprefix(root.__name__ + ".")
        for module in pkgutil.walk_packages(root.__path__, root.__name__ + ".")
        if not module.ispkg
    ]
    return sorted(name.replace(".", "/") for name in names)


def load_config(spec: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """The locked config of a file or installed name, with overrides applied.

    Args:
      spec: "path/to/file.py" or an installed name such as "diffatr/soundworld"; ":arg" after either is handed to `get_config`.
      overrides: "key.sub=value" strings.

    Raises:
      UsageError: no such file, an error inside it, an unknown key, a value of the wrong type.
    """
    name, _, arg = spec.partition(":")
    get_config = _get_config_of(name)
    takes_argument = bool(inspect.signature(get_config).parameters)
    if arg and not takes_argument:
        raise UsageError(f"config {name}: its get_config takes no argument, so drop ':{arg}'")
    try:
        config = get_config(arg) if arg else get_config()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"config {spec}: get_config failed with {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UsageError(f"config {spec}: get_config returned {type(config).__name__}, not a ConfigDict")
    return apply_overrides(config, overrides).lock()


def apply_overrides(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """`config` itself with each "key.sub=value" set; a value keeps the type of the one it replaces (an int may become a float)."""
    for override in overrides:
        path, equals, text = override.removeprefix("--config.").partition("=")
        if not equals:
            raise UsageError(f"override '{override}' has no value: write key.sub=value")
        *parents, last = path.split(".")
        section: Any = config
        for parent in parents:
            section = section[parent] if isinstance(section, ConfigDict) and parent in section else None
        if not isinstance(section, ConfigDict) or last not in section:
            raise UsageError(f"unknown config key '{path}'{_nearest(path, config)}")
        if isinstance(section[last], ConfigDict):
            raise UsageError(f"config key '{path}' is a section: set one of its keys ({', '.join(section[last].keys())})")
        with section.unlocked(), section.ignore_type():
            section[last] = _parse(path, text, section[last])
    return config


def flat_items(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("a.b.c", value) of every leaf, keys sorted (as ConfigDict keeps them)."""
    for key, value in config.items():
        if isinstance(value, (ConfigDict, dict)):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def config_to_json(config: ConfigDict) -> str:
    """JSON text that `config_from_json` turns into an equal config, tuples included."""
    return json.dumps(_encode(config, ""), indent=2) + "\n"


def config_from_json(text: str) -> ConfigDict:
    """The locked config that `config_to_json` wrote."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"config JSON is damaged: {error}") from error
    if not isinstance(data, dict):
        raise UsageError("config JSON holds no object at its top level")
    return ConfigDict(_decode(data)).lock()


def to_dict(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Plain nested dicts: what builders receive, since modules never see a ConfigDict."""
    return {key: to_dict(value) if isinstance(value, (ConfigDict, dict)) else value for key, value in config.items()}


def _get_config_of(name: str) -> Callable[..., Any]:
    path = Path(name).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"config file {name} does not exist; installed names: {', '.join(installed_configs())}")
        module_spec = importlib.util.spec_from_file_location(f"audiojax_config_{path.stem}", path)
        module = importlib.util.module_from_spec(module_spec)
        try:
            module_spec.loader.exec_module(module)
        except Exception as error:
            raise UsageError(f"config file {name}: {type(error).__name__}: {error}") from error
    else:
        names = installed_configs()
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"installed names: {', '.join(names)}"
            raise UsageError(f"no installed config is called '{name}'; {hint} A file's path ends in .py")
        module = importlib.import_module("audiojax.configs." + name.replace("/", "."))
    if not callable(getattr(module, "get_config", None)):
        raise UsageError(f"config {name} defines no get_config(arg)")
    return module.get_config


def _nearest(path: str, config: ConfigDict) -> str:
    keys = [key for key, _ in flat_items(config)]
    near = difflib.get_close_matches(path, keys, 1, cutoff=0.5)
    if not near:  # the right last word in the wrong section
        near = [key for key in keys if key.split(".")[-1] == path.split(".")[-1]][:1]
    return f"; did you mean '{near[0]}'?" if near else f"; top-level keys: {', '.join(config.keys())}"


def _parse(path: str, text: str, old: Any) -> Any:
    if isinstance(old, str):
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    words = {"true": True, "false": False, "none": None}
    try:
        value = words[text.lower()] if text.lower() in words else ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        if old is None:
            return text
        if not isinstance(old, (tuple, list)):
            raise UsageError(f"config key '{path}' takes {type(old).__name__}, not '{text}'") from None
        value = [word.strip() for word in text.strip("()[]").split(",") if word.strip()]
    return _convert(path, text, value, old)


def _convert(path: str, text: str, value: Any, old: Any) -> Any:
    if old is None:
        return value
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, (tuple, list)):
        values = value if isinstance(value, (tuple, list)) else [value]
        kinds = {type(item) for item in old}
        if len(kinds) == 1:
            values = [_convert(path, str(item), item, old[0]) for item in values]
        return type(old)(values)
    if type(value) is not type(old):
        raise UsageError(f"config key '{path}' takes {type(old).__name__} (now {old!r}), not '{text}'")
    return value


def _encode(value: Any, path: str) -> Any:
    if isinstance(value, (ConfigDict, dict)):
        return {key: _encode(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, tuple):
        return {TUPLE: [_encode(item, path) for item in value]}
    if isinstance(value, list):
        return [_encode(item, path) for item in value]
    if isinstance(value, SCALARS):
        return value
    raise UsageError(f"config key '{path.lstrip('.')}' holds {type(value).__name__}: configs are plain data")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {TUPLE}:
            return tuple(_decode(item) for item in value[TUPLE])
        return {key: _decode(item) for key, item in value.items()}
    return value
