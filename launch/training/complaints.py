"""A complaint of jsonargparse, which shows how it went through nested types, as one line of what was expected."""

import inspect
import pydoc
import re
from collections.abc import Iterable

from genraven.errors import suggestion
from genraven.methods.method import Method
from launch.configs.registry import classes
from launch.configs.upgrade import moved_option

KEY = re.compile(r'Parser key "(.+)":')
UNKNOWN_OPTION = re.compile(r"(?:unrecognized arguments: |does not accept option ')([^\s'=]+)")
MISSING = re.compile(r"arguments are required: (.+)")
OPTION_OF_CLASS = re.compile(
    r"Problem with given class_path '(.+)':\n(?:Option '(.+)' is not accepted|unrecognized arguments: --([^\s'=]+))"
)
CLASS = re.compile(r"Problem with given class_path '(.+)':\n(?!Not |Expected )(.+)")
KIND = re.compile(
    r"Expected a <class '(?:\w+\.)*(\w+)'>|Expected a typing\.Literal\[(.+)\]|(dot import path) s|subclass of (\w+)"
)
VALUE = re.compile(r"(?:(?:Got|Given) value:|dot import path string:) (.*?)(?:\. Got value: .*)?$", re.MULTILINE)
CALLABLE = r"Type typing\.Callable\[.*\] expects a function or a callable class: "  # such as an optimizer
CLASS_AS_CALLABLE = re.compile(
    rf"^([ -]*){CALLABLE}(.+)\. Got value: (?:Namespace\(class_path=')?([\w.]+).*$", re.MULTILINE
)
OPTION_OF_NOTHING = re.compile(r"NestedArg\(key='([^']+)'")
CLASS_PATH = "dot import path"
CONFIGS_HINT = "`genraven configs` lists configs to take or copy."
NOTHING = ("None", "none", "NULL", "nil")  # as other languages write null
IN_WORDS = {"NoneType": "null", "bool": "true, false", CLASS_PATH: "a class path"}


def one_line(complaint: str, command: str, options: Iterable[str]) -> str:
    """What was expected, what came and what to do.

    Args:
        complaint: the message of jsonargparse's ArgumentError.
        command: such as ``fit``.
        options: of the command, such as ``--trainer.max_steps``.
    """
    like_class = CLASS_AS_CALLABLE.sub(r"\1Problem with given class_path '\3':\n\1\2", complaint)
    place, text = _innermost(re.sub(CALLABLE, "", like_class))
    if found := OPTION_OF_CLASS.search(text):
        path, option = found[1], found[2] or found[3]
        known = list(inspect.signature(pydoc.locate(path)).parameters)  # type: ignore[arg-type]
        if moved := moved_option(".".join([*place, option])):
            return f"expected today's options, got {'.'.join([*place, option])}: it is {moved} now."
        if path.rpartition(".")[2] == "Module" and place:  # of torch: no network is named yet
            return (f"expected a class for {'.'.join(place)} before an option of it, got {'.'.join([*place, option])}: "
                    "name a model before, such as -c model/gpt2_tiny.yaml.")  # fmt: skip
        hint = suggestion(option, known, f"known are {', '.join(known)}.")
        return f"expected an option of {path.rpartition('.')[2]}, got {'.'.join([*place, option])}: {hint}"
    if found := UNKNOWN_OPTION.search(text):
        in_file = not found[1].startswith("-")
        hint = suggestion(found[1], [option.lstrip("-") if in_file else option for option in options],
                          f"`genraven {command} --help` lists them.")  # fmt: skip
        return f"expected an option of {command}, got {found[1]}: {hint}"
    if found := MISSING.search(text):
        missing = (".".join([*place, name.removeprefix(f"{command}.")]) for name in found[1].split(", "))
        example = "give a config, such as -c model/sit_tiny.yaml"
        return f"expected {' and '.join(missing)}, got none: {example}; {CONFIGS_HINT}"
    key = ".".join(place)
    if (found := OPTION_OF_NOTHING.search(text)) and place:
        takers = _takers(found[1]) if place[-1] == "method" else ["CLASS"]
        if not takers:
            return f"expected an option of a method, got {key}.{found[1]}, which none has: see the API page."
        return (f"expected a class for {key} before an option of it, got {key}.{found[1]} alone: write "
                f"--{key} {' or '.join(takers)} before it.")  # fmt: skip
    if found := CLASS.search(text):
        path, reason = found.groups()
        module, _, name = path.rpartition(".")
        hint = suggestion(name, dir(pydoc.locate(module)), "see the config that names it.")
        return f"expected a class that {key} can be, got {path} ({reason}): {hint}"
    found_kinds = KIND.findall(text)
    said = ["".join(groups) for groups in found_kinds]
    kinds = [word.strip("'") for words in said for word in words.split(", ")]  # a Literal has several
    choices = [word.strip("'") for _, words, *_ in found_kinds for word in words.split(", ")]
    values = VALUE.findall(text)
    if not (kinds and values):
        return " ".join(complaint.split())
    *others, last = dict.fromkeys(IN_WORDS.get(kind, kind) for kind in kinds)
    expected = " or ".join(filter(None, (", ".join(others), last)))
    if "NoneType" in kinds and values[-1].strip("'") in NOTHING:
        choices = [values[-1].strip("'")]
        hint = "write null."
    else:
        otherwise = CONFIGS_HINT if CLASS_PATH in kinds else f"see `genraven {command} --help`."
        hint = suggestion(values[-1], choices, otherwise)
    return f"expected {key} to be {expected}, got {values[-1]}: {hint}"


def _takers(option: str) -> list[str]:
    """The methods that have ``option``, or that of which it is an option."""
    methods = {
        cls.__name__: cls for cls in classes().values() if issubclass(cls, Method) and not inspect.isabstract(cls)
    }
    return [name for name, cls in methods.items() if option.partition(".")[0] in inspect.signature(cls).parameters]


def _innermost(complaint: str) -> tuple[list[str], str]:
    """The keys that lead to the first place most deeply nested, and what is said there, without indents."""
    open_keys: list[tuple[int, str]] = []
    place: list[str] = []
    said: list[str] = []
    for line in filter(str.strip, complaint.splitlines()):
        text = line.lstrip(" -")
        indent = len(line) - len(text)
        while open_keys and open_keys[-1][0] >= indent:
            open_keys.pop()
        if key := KEY.fullmatch(text):
            open_keys.append((indent, key[1]))
            continue
        here = [name for _, name in open_keys]
        if len(here) > len(place):
            place, said = here, []
        if here == place:
            said.append(text)
    return place, "\n".join(said)
