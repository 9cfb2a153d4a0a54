"""What a checkpoint may hold: the engine's classes, its fixed parts, its code.

Rules of the file: nothing here knows an attribute of the engine. A part is fixed when
its class says so (`FIXED`) and a chain of attributes leads to it from the engine; the
chain is its name. A state is only valid for the code that made it, therefore the code
itself is part of the digest.
"""

import collections
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

FIXED = ("Store", "RadioMap", "CellGrid", "Model", "Layers", "VisitRows")
"""Classes whose instances follow from the store and the radio map, and never change."""
CONTAINERS: dict[tuple[str, str], Any] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        collections.defaultdict, collections.deque, collections.OrderedDict, collections.Counter,
        list, dict, set, frozenset, int, float, str, bool,
    )
}  # fmt: skip
_PLAIN = (*CONTAINERS.values(), bytes, bytearray, complex, type(None))
Path = tuple[str | int, ...]


def blank(name: str) -> object:
    """Stand in for "an object of this class without attributes" while writing."""
    raise NotImplementedError(name)


def method(owner: object, name: str) -> object:
    """Stand in for "this method of that object" while writing."""
    raise NotImplementedError(owner, name)


def bound(function: Callable[..., Any], *given: object) -> object:
    """Stand in for "this function with its first arguments" while writing."""
    raise NotImplementedError(function, given)


BLANKS = {(f.__module__, f.__qualname__): f.__qualname__ for f in (blank, method, bound)}
"""What a checkpoint may name besides containers, and the method of `Blanks` that reads it."""


def reduce_object(obj: Any, classes: Mapping[str, type]) -> Any:  # noqa: ANN401 (any object)
    """Return how to write an object: `NotImplemented` leaves it to pickle.

    Parameters
    ----------
    obj : what is to be written
    classes : the engine's classes by name

    Raises
    ------
    TypeError
        The object has no place in a state.
    """
    name = _name(type(obj))
    if name in classes:
        return blank, (name,), obj.__getstate__()
    if isinstance(obj, types.MethodType) and _is_own_method(obj, classes):
        return method, (obj.__self__, obj.__name__)
    if isinstance(obj, functools.partial) and _is_own_method(obj, classes):
        return bound, (obj.func, *obj.args)
    is_marker = any(obj is marker for marker in (blank, method, bound))
    is_factory = isinstance(obj, type) and obj in _PLAIN
    if type(obj) in {*_PLAIN, tuple} or is_marker or is_factory:
        return NotImplemented
    raise TypeError(f"an engine's state cannot hold a {name}")


class Blanks:
    """Makes the engine's objects while reading.

    Parameters
    ----------
    classes : those that may be made, by name
    """

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes

    def blank(self, name: str) -> object:
        """Return an object of a class, without calling its constructor."""
        return object.__new__(self._classes[name])

    def method(self, owner: object, name: str) -> object:
        """Return a method of one of the engine's objects."""
        kind = type(owner)
        if _name(kind) not in self._classes or name.startswith("__"):
            raise TypeError("not a method of the engine's objects")
        function = inspect.getattr_static(kind, name)
        if not isinstance(function, types.FunctionType):
            raise TypeError("not a method of the engine's objects")
        return types.MethodType(function, owner)

    def bound(self, function: object, *given: object) -> object:
        """Return a method with its first arguments given."""
        if not isinstance(function, types.MethodType):
            raise TypeError("not a method of the engine's objects")
        return functools.partial(function, *given)


class Fixed:
    """The parts of an engine that a fresh one has, too.

    Parameters
    ----------
    engine : whose attributes are walked; what lists and dictionaries hold is not

    Attributes
    ----------
    modules : names of the modules that make up the engine
    classes : their classes by name
    roots : the fixed parts, in the order of their paths
    """

    def __init__(self, engine: object) -> None:
        self.modules = _modules_of(type(engine).__module__)
        self.classes = {
            _name(kind): kind
            for module in self.modules
            for kind in vars(sys.modules[module]).values()
            if isinstance(kind, type) and kind.__module__ == module
        }
        self.roots: list[Any] = []
        self._by_path: dict[Path, Any] = {}
        self._path_of: dict[int, Path] = {}
        self._walk(engine)

    def path_of(self, obj: object) -> Path | None:
        """Return the path of a fixed part, or None."""
        return self._path_of.get(id(obj))

    def at(self, path: Path) -> Any:  # noqa: ANN401 (any object of the engine)
        """Return the fixed part at a path; `KeyError` when there is none."""
        return self._by_path[path]

    def _walk(self, engine: object) -> None:
        seen: set[int] = set()
        waiting: collections.deque[tuple[Path, Any, bool]] = collections.deque(
            [((), engine, False)]
        )
        while waiting:
            path, obj, is_fixed = waiting.popleft()
            if type(obj) in _PLAIN or id(obj) in seen:
                continue
            seen.add(id(obj))
            is_tuple = isinstance(obj, tuple)
            is_ours = _name(type(obj)) in self.classes
            if is_ours and not is_fixed and type(obj).__name__ in FIXED:
                self.roots.append(obj)
                is_fixed = True
            # A function that is not the engine's own was given by the caller, as `name_of`.
            is_given = callable(obj) and not is_ours and not _is_own_method(obj, self.classes)
            if (is_fixed and not is_tuple) or is_given:
                self._by_path[path] = obj
                self._path_of[id(obj)] = path
            if is_ours or is_tuple:
                waiting += [((*path, key), value, is_fixed) for key, value in _inside(obj)]


def digest(parts: list[Any]) -> str:
    """Return a digest of some objects and everything in them.

    Parameters
    ----------
    parts : objects of the core; functions count by their names
    """
    state = hashlib.blake2b(digest_size=16)
    for piece in _pieces(parts):
        state.update(piece)
        state.update(b"\x1f")
    return state.hexdigest()


def code_digest(modules: list[str]) -> str:
    """Return a digest of the code and the constants of some modules, and of what runs them."""
    found: list[Any] = [sys.version, np.__version__]
    for module in modules:
        for name, value in sorted(vars(sys.modules[module]).items()):
            if getattr(value, "__module__", None) == module:
                found.append((name, [_code(part) for part in _functions(value)]))
            elif name.isupper() and isinstance(value, int | float | str | tuple | np.ndarray):
                found.append((name, value))
    return digest(found)


def _is_own_method(obj: Any, classes: Mapping[str, type]) -> bool:  # noqa: ANN401 (any object)
    """Tell whether this is a method of one of the engine's objects, with arguments or without."""
    if isinstance(obj, functools.partial):
        return not obj.keywords and _is_own_method(obj.func, classes)
    return isinstance(obj, types.MethodType) and _name(type(obj.__self__)) in classes


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _inside(obj: Any) -> Iterator[tuple[str | int, Any]]:  # noqa: ANN401 (any object)
    """Return the attributes of an object, or the items of a tuple."""
    if isinstance(obj, tuple):
        yield from enumerate(obj)
        return
    slots = [n for k in type(obj).__mro__ for n in getattr(k, "__slots__", ()) if hasattr(obj, n)]
    names = [*getattr(obj, "__dict__", ()), *slots]
    for name in sorted(names):
        yield name, getattr(obj, name)


def _pieces(value: Any) -> Iterator[bytes]:  # noqa: ANN401 (any object)
    """Return the bytes that tell an object from another one."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, set | frozenset):
        yield from sorted(b"".join(_pieces(item)) for item in value)
    elif isinstance(value, dict):
        yield f"dict{len(value)}".encode()
        for key, item in value.items():
            yield from _pieces(key)
            yield from _pieces(item)
    elif isinstance(value, list | tuple):
        yield f"list{len(value)}".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, (*_PLAIN, np.generic)):
        yield repr(value).encode()
    elif callable(value):
        yield getattr(value, "__qualname__", "").encode()
    else:
        yield _name(type(value)).encode()
        for name, item in _inside(value):
            yield str(name).encode()
            yield from _pieces(item)


def _modules_of(first: str) -> list[str]:
    """Return a module and those of its package that it uses, directly or through others."""
    package = first.partition(".")[0] + "."
    found, waiting = {first}, [first]
    while waiting:
        for value in vars(sys.modules[waiting.pop()]).values():
            name = value.__name__ if isinstance(value, types.ModuleType) else ""
            name = name or getattr(value, "__module__", None) or ""
            if name.startswith(package) and name in sys.modules and name not in found:
                found.add(name)
                waiting.append(name)
    return sorted(found)


def _functions(value: Any) -> Iterator[types.FunctionType]:  # noqa: ANN401 (any object)
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, type):
        for _, member in sorted(vars(value).items()):
            plain = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if isinstance(plain, types.FunctionType):
                yield plain


def _code(function: types.FunctionType) -> list[Any]:
    """Return what a function does, as plain values."""

    def plain(code: types.CodeType) -> list[Any]:
        constants = [plain(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
        return [repr((code.co_name, code.co_code, code.co_names)), constants]

    return [plain(function.__code__), function.__defaults__, function.__kwdefaults__]
