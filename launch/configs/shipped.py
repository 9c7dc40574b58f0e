"""The configs that come with genraven, by name."""

from pathlib import Path

from genraven.bounded import read_yaml
from genraven.errors import InputError, suggestion
from genraven.paths import user_path
from launch.configs.upgrade import moved_options

CONFIGS = Path(__file__).parent


def config_names() -> list[str]:
    """Names such as ``model/sit_s.yaml``, sorted."""
    return sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/*.yaml"))


def find_config(name: str) -> str:
    """The path of a config: a file of that name, else the shipped one.

    Raises:
        InputError: neither exists; the nearest name is suggested.
    """
    if user_path(name).is_file():
        return str(user_path(name))
    if (CONFIGS / name).is_file():
        return str(CONFIGS / name)
    hint = suggestion(name, config_names(), "`genraven configs` lists those shipped.", cutoff=0.4)
    raise InputError(f"expected a config file or the name of a shipped one, got {name}: {hint}")


def _whole_config(name: str) -> str:
    """The path of a config; raises InputError on one without options, of which the parser would not say which it is."""
    path = find_config(name)
    try:
        found = read_yaml(Path(path))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a YAML file, got {name}: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InputError(f"expected options such as `trainer: {{max_steps: 9}}` in {name}, got {found}: mend the file.")
    for old, new in moved_options(found).items():
        raise InputError(f"expected current options in {name}, got the former name {old}: write {new} instead.")
    return path


def expand_configs(arguments: list[str]) -> list[str]:
    """Command-line ``arguments`` with the names after -c and --config replaced by paths."""
    expanded: list[str] = []
    families: dict[str, str] = {}
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if i and arguments[i - 1] in ("-c", "--config"):
            _check_family(families, argument)
            argument = _whole_config(argument)
        elif equals and option in ("-c", "--config"):
            _check_family(families, value)
            argument = f"{option}={_whole_config(value)}"
        expanded.append(argument)
    return expanded


def _check_family(families: dict[str, str], name: str) -> None:
    """Notes the family of a shipped model or recipe; raises InputError on a recipe for a model of another.

    A recipe that no model's name begins like is for any.
    """
    kind, _, stem = name.partition("/")
    if name not in config_names() or kind not in ("model", "recipe"):
        return
    family = stem.removesuffix(".yaml").split("_")[0]
    if kind == "recipe" and not any(other.startswith(f"model/{family}_") for other in config_names()):
        return
    families[kind] = family
    model, recipe = families.get("model"), families.get("recipe")
    if kind == "recipe" and model not in (None, recipe):
        raise InputError(f"expected a recipe for {model}, got {name}: use recipe/{model}_fast.yaml.")
