"""The stack machine of pickles, without the parts that import and call.

Work is bounded: instructions are counted, keys must be plain, integers are short. A name that `names` does not know becomes
an opaque object; so does whatever is made with it. When the program is broken, reading goes on for the names alone: a file
that hides its payload behind an error is told by its names, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.decode import step

STEPS = 8_000_000
"""Instructions that one pickle may have: some 100,000 tensors, or a list of as many numbers."""


class ForeignNames(WireError):
    """The pickle asks for names that nothing here provides. `names`: all of them, in the order they were met; `top`: the
    one that the whole object is made with ('' where it is a plain container); `broken`: what is wrong besides.
    """

    def __init__(self, names: tuple[str, ...], *, top: str = "", broken: str = "", where: str = "") -> None:
        self.names, self.top, self.broken = names, top, broken
        super().__init__(f"it asks for {', '.join(names)}", where=where)


@dataclass(frozen=True)
class Opaque:
    """A name that is not known, or something made with it."""

    name: str


@dataclass(frozen=True)
class Known:
    """A name that rebuilds something: `make` gets the arguments."""

    name: str
    make: Callable[..., Any]


_MARK = object()
_TEXTS = (str, int, float, bytes, type(None))
_WIDEST_KEY = 1 << 64


class Machine:
    """Runs one pickle. names: 'module.name' -> Known, or a plain value; persistent: what a persistent id stands for."""

    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None) -> None:
        self.names, self.persistent = names, persistent
        self.foreign: dict[str, None] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: memoryview, at: int = 0) -> tuple[Any, int]:
        """(what the pickle makes, where it ends). Raises WireError where it is broken; look at `foreign` in any case."""
        self._stack, self._memo = [], {}
        for _ in range(STEPS):
            code, argument, after = step(data, at)
            if code == ".":
                return self._pop(at), after
            try:
                ACTIONS[code](self, argument)
            except WireError as error:
                self._scan(data, after)
                raise WireError(error.what, offset=at) from None
            at = after
        raise WireError(f"a pickle of more than {STEPS} instructions")

    def _scan(self, data: memoryview, at: int) -> None:
        """Notes the names in the rest of a broken program."""
        texts: list[str] = []
        for _ in range(STEPS):
            try:
                code, argument, at = step(data, at)
            except WireError:
                return
            if code == ".":
                return
            if code in "ci":
                self.resolve(*argument)
            if code == "\x93" and len(texts) > 1:
                self.resolve(texts[-2], texts[-1])
            if isinstance(argument, str):
                texts = [*texts[-1:], argument]

    def resolve(self, module: Any, name: Any) -> Any:
        """What a name stands for; unknown ones are noted."""
        if not isinstance(module, str) or not isinstance(name, str):
            self.foreign["a name that the pickle computes"] = None
            return Opaque("?")
        text = f"{module}.{name}"
        if text in self.names:
            return self.names[text]
        self.foreign[shown(text)] = None
        return Opaque(shown(text))

    def _pop(self, at: int | None = None) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise WireError("the pickle takes from an empty stack", offset=at)
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise WireError("the pickle looks at an empty stack")
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _marked(self) -> list[Any]:
        """Everything down to the last mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise WireError("the pickle looks for a mark that it never set")

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise WireError(f"the pickle recalls number {place}, which it never kept")
        self._push(self._memo[place])

    def _put(self, place: int) -> None:
        self._memo[place] = self._top()

    def _make(self, function: Any, arguments: Any) -> Any:
        """A call, if it is one that rebuilds something."""
        if isinstance(function, Opaque):
            return function
        if not isinstance(function, Known) or not isinstance(arguments, tuple):
            raise WireError("the pickle calls what is no function")
        if any(isinstance(item, Opaque) for item in arguments):
            return next(item for item in arguments if isinstance(item, Opaque))
        try:
            return function.make(*arguments)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            what = error.what if isinstance(error, WireError) else f"{function.name} gets arguments that it cannot have"
            raise WireError(what) from None

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._make(function, arguments))

    def _new_with_keywords(self) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        if keywords and not isinstance(function, Opaque):
            raise WireError("the pickle makes an object with keywords")
        self._push(self._make(function, arguments))

    def _object(self) -> None:
        items = self._marked()
        if not items:
            raise WireError("the pickle makes an object of no class")
        self._push(self._make(items[0], tuple(items[1:])))

    def _instance(self, name: tuple[str, str]) -> None:
        self._push(self._make(self.resolve(*name), tuple(self._marked())))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        fill = getattr(target, "fill", None)
        if fill is not None:
            self._make(Known("BUILD", fill), (state,))
        elif not isinstance(target, (dict, Opaque)) and not hasattr(target, "storage"):
            raise WireError("the pickle gives a state to what has none")

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise WireError("the pickle appends to what is no list")

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, set):
            target.update(map(key_of, items))
        elif not isinstance(target, Opaque):
            raise WireError("the pickle adds to what is no set")

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if len(items) % 2:
            raise WireError("a key without a value")
        if isinstance(target, dict):
            target.update(paired(items))
        elif not isinstance(target, Opaque):
            raise WireError("the pickle sets items of what is no dict")

    def _append_one(self) -> None:
        item = self._pop()
        self._append([item])

    def _set_one(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(self.resolve(module, name))

    def _extension(self, number: int) -> None:
        self._push(self.resolve("copyreg extension", str(number)))

    def _persist(self, identity: Any) -> None:
        if isinstance(identity, tuple) and any(isinstance(item, Opaque) for item in identity):
            self._push(next(item for item in identity if isinstance(item, Opaque)))
            return
        if self.persistent is None:
            raise WireError("a persistent id in a file that has no storages")
        self._push(self.persistent(identity))

    def _dict(self) -> None:
        items = self._marked()
        if len(items) % 2:
            raise WireError("a key without a value")
        self._push(dict(paired(items)))

    def _buffer(self) -> None:
        raise WireError("the pickle's buffers lie outside of it")


def shown(text: str) -> str:
    """A name fit for a terminal: what cannot be printed is escaped, and the end of a long one is left out."""
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text)
    return plain if len(plain) <= 200 else f"{plain[:200]}..."


def key_of(value: Any) -> Any:
    """A key whose hash costs little: a plain one, or a flat tuple of them. Raises WireError."""
    parts = value if isinstance(value, tuple) else (value,)
    if any(not isinstance(part, (*_TEXTS, Opaque)) for part in parts):
        raise WireError(f"a key of the kind {type(value).__name__}")
    if any(isinstance(part, int) and abs(part) >= _WIDEST_KEY for part in parts):
        raise WireError("a key of more than 64 bits")
    return value


def paired(items: list[Any]) -> list[tuple[Any, Any]]:
    """Keys and values of a flat list."""
    return [(key_of(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def _drop(machine: Machine, _: Any) -> None:
    if not machine._stack:
        raise WireError("the pickle takes from an empty stack")
    machine._stack.pop()


def _ignored(machine: Machine, _: Any) -> None:
    """PROTO and FRAME say nothing that matters here."""


def _pushes(value: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine._push(value())


ACTIONS: dict[str, Callable[[Machine, Any], Any]] = {
    "\x80": _ignored, "\x95": _ignored,
    "0": _drop, "1": lambda m, _: m._marked(), "2": lambda m, _: m._push(m._top()), "(": _pushes(lambda: _MARK),
    "N": _pushes(lambda: None), "\x88": _pushes(lambda: True), "\x89": _pushes(lambda: False),
    "]": _pushes(list), "}": _pushes(dict), ")": _pushes(tuple), "\x8f": _pushes(set),
    **dict.fromkeys("KMJLIFGSTUVX\x8a\x8b\x8c\x8dBC\x8e", Machine._push),
    "\x96": lambda m, item: m._push(bytes(item)),
    "l": lambda m, _: m._push(m._marked()), "t": lambda m, _: m._push(tuple(m._marked())), "d": lambda m, _: m._dict(),
    "\x85": lambda m, _: m._tuple(1), "\x86": lambda m, _: m._tuple(2), "\x87": lambda m, _: m._tuple(3),
    "\x91": lambda m, _: m._push(frozenset(map(key_of, m._marked()))),
    "a": lambda m, _: m._append_one(), "e": lambda m, _: m._append(m._marked()),
    "s": lambda m, _: m._set_one(), "u": lambda m, _: m._set(m._marked()), "\x90": lambda m, _: m._add(m._marked()),
    "h": Machine._get, "j": Machine._get, "g": Machine._get, "q": Machine._put, "r": Machine._put, "p": Machine._put,
    "\x94": lambda m, _: m._put(len(m._memo)),
    "c": lambda m, name: m._push(m.resolve(*name)), "\x93": lambda m, _: m._stack_global(),
    "R": lambda m, _: m._reduce(), "\x81": lambda m, _: m._reduce(), "\x92": lambda m, _: m._new_with_keywords(),
    "o": lambda m, _: m._object(), "i": Machine._instance, "b": lambda m, _: m._build(),
    "P": Machine._persist, "Q": lambda m, _: m._persist(m._pop()),
    "\x82": Machine._extension, "\x83": Machine._extension, "\x84": Machine._extension,
    "\x97": lambda m, _: m._buffer(), "\x98": lambda m, _: m._top(),
}  # fmt: skip
