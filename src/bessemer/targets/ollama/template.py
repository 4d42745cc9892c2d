"""A chat template of Hugging Face (Jinja) as one of Ollama (Go's text/template), found by what it renders.

Conversations of marked messages are rendered; what stands between the marks are the pieces of a turn. The pieces are proven:
put together for further conversations they must give what Jinja gives, or there is no template (a `reason` says why).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Message = tuple[str, str]
"""Role and content."""
Render = Callable[[Sequence[Message]], str]
"""A conversation up to where the assistant goes on. Raises TemplateRefused where the template does."""

SYSTEM, FIRST, ANSWER, SECOND = "Xsystem1X", "Xuser1X", "Xassistant1X", "Xuser2X"


class TemplateRefused(ValueError):
    """A template that cannot be rendered, or cannot be said in turns; the text says why."""


@dataclass(frozen=True)
class Turns:
    """Pieces of text around the messages.

    opening: in front of everything where no system message is given (a default system prompt); user: before a user's
    message, answer: after it, where the assistant goes on; begin: in front of what the assistant said, end: after it;
    system: around a system message, None where the template takes none; inside: the system message stands inside the first
    user's turn.
    """

    opening: str
    user: str
    answer: str
    begin: str
    end: str
    system: tuple[str, str] | None
    inside: bool

    def render(self, messages: Sequence[Message]) -> str:
        """What the Go template gives."""
        first_is_system = bool(messages) and messages[0][0] == "system"
        text = "" if first_is_system else self.opening
        for place, (role, content) in enumerate(messages):
            if role == "system":
                before, after = self.system or ("", "")
                text += before + content + after
            elif role == "user":
                skipped = self.inside and first_is_system and place == 1
                text += ("" if skipped else self.user) + content + self.answer
            else:
                text += self.begin + content + self.end
        return text

    def go(self) -> str:
        """The same as a Go template."""
        user = _literal(self.user)
        if self.inside:
            user = f'{{{{ if not (and (eq $i 1) (eq (index $.Messages 0).Role "system")) }}}}{user}{{{{ end }}}}'
        branches = f'{{{{ if eq .Role "user" }}}}{user}{{{{ .Content }}}}{_literal(self.answer)}'
        if self.system is not None:
            before, after = map(_literal, self.system)
            branches += f'{{{{ else if eq .Role "system" }}}}{before}{{{{ .Content }}}}{after}'
        said = f"{_literal(self.begin)}{{{{ .Content }}}}{_literal(self.end)}"
        branches += f'{{{{ else if eq .Role "assistant" }}}}{said}{{{{ end }}}}'
        opening = ""
        if self.opening:
            opening = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{_literal(self.opening)}{{{{ end }}}}'
        return f"{opening}{{{{ range $i, $_ := .Messages }}}}{branches}{{{{ end }}}}"


def _literal(text: str) -> str:
    """Text that Go must not take for an action."""
    return text.replace("{{", '{{ "{{" }}')


def renderer(template: str, tokens: dict[str, str]) -> Render:
    """A Jinja chat template as transformers renders it, sandboxed. tokens: 'bos_token', 'eos_token', ... as text."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> str:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(raise_exception=raise_exception, strftime_now=lambda form: "")
    try:
        compiled = environment.from_string(template)
    except TemplateError as error:
        raise TemplateRefused(f"it is no template that Jinja reads: {str(error)[:200]}") from None

    def render(messages: Sequence[Message]) -> str:
        held = [{"role": role, "content": content} for role, content in messages]
        try:
            return compiled.render(messages=held, add_generation_prompt=True, tools=None, documents=None, **tokens)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateRefused(f"it refuses a conversation: {str(error)[:200]}") from None

    return render


def turns_of(render: Render, bos: str) -> Turns:
    """The pieces of a template, proven on other conversations. bos: text that the runtime adds by itself.

    Raises TemplateRefused where messages are not rendered turn by turn.
    """
    plain = _parts(_without(render([("user", FIRST)]), bos), FIRST)
    longer = [("user", FIRST), ("assistant", ANSWER), ("user", SECOND)]
    _, answer, between, last = _parts(_without(render(longer), bos), FIRST, ANSWER, SECOND)
    user = _common_end(plain[0], between)
    system, inside = _system(render, bos, user)
    found = Turns(
        opening=plain[0].removesuffix(user), user=user, answer=last, begin=answer.removeprefix(last),
        end=between.removesuffix(user), system=system, inside=inside,
    )  # fmt: skip
    if plain[1] != last or not answer.startswith(last):
        raise TemplateRefused("an answer that is asked for begins otherwise than one that was given")
    _prove(found, render, bos)
    return found


def _system(render: Render, bos: str, user: str) -> tuple[tuple[str, str] | None, bool]:
    try:
        text = _without(render([("system", SYSTEM), ("user", FIRST)]), bos)
        before, after, _ = _parts(text, SYSTEM, FIRST)
    except TemplateRefused:
        return None, False
    if user and after.endswith(user):
        return (before, after.removesuffix(user)), False
    return (before, after), True


def _prove(found: Turns, render: Render, bos: str) -> None:
    asked, more = ("user", "Why?"), ("user", "And\nthen {{ x }}?")
    talk = [asked, ("assistant", "Because."), more, ("assistant", "No."), asked]
    trials = [talk[:1], talk[:3], talk]
    trials += [[("system", "Be brief."), *trial] for trial in trials] if found.system is not None else []
    for trial in trials:
        if found.render(trial) != _without(render(trial), bos):
            raise TemplateRefused(f"a conversation of {len(trial)} messages is not rendered turn by turn")


def _without(text: str, bos: str) -> str:
    return text.removeprefix(bos) if bos else text


def _parts(text: str, *marks: str) -> list[str]:
    """What stands around the marks, in their order. Raises TemplateRefused where one is missing, or stands twice."""
    found = []
    for mark in marks:
        before, seen, text = text.partition(mark)
        if not seen or mark in text:
            raise TemplateRefused(f"it {'repeats' if seen else 'drops'} a message")
        found.append(before)
    return [*found, text]


def _common_end(a: str, b: str) -> str:
    """The longest text that both end in."""
    count = 0
    while count < min(len(a), len(b)) and a[-1 - count] == b[-1 - count]:
        count += 1
    return a[len(a) - count :]
