"""Chat templates as Go templates, run by Go's own text/template beside Jinja."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bessemer.targets.ollama.template import Message, TemplateRefused, renderer, turns_of

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
LOOP = "{% for message in messages %}"
CHATML = (
    LOOP + "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}" + LOOP + "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
INSTRUCTIONS = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if message['role'] == 'user' %}[INST] {% if loop.first %}{{ sys }}{% endif %}"
    "{{ message['content'] }} [/INST]{% else %} {{ message['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + LOOP
    + "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)  # fmt: skip
BRACES = LOOP + "{{ '{{' }}{{ message['role'] }}}} {{ message['content'] }}\n{% endfor %}{{ '{{' }}assistant}} "
KNOWN = {"chatml": CHATML, "headers": HEADERS, "turns": TURNS, "braces": BRACES}
TALKS: list[list[Message]] = [
    [("user", "Hi")],
    [("user", "Hi"), ("assistant", "Hello"), ("user", "{{ .Content }}?")],
    [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why\n\nso?")],
]


def talks_of(template: str) -> list[list[Message]]:
    return TALKS[:2] if template == TURNS else TALKS


@pytest.mark.parametrize("name", KNOWN)
def test_turns_are_found_by_what_is_rendered(name: str) -> None:
    render = renderer(KNOWN[name], TOKENS)
    found = turns_of(render, "<s>")
    for talk in talks_of(KNOWN[name]):
        assert found.render(talk) == render(talk).removeprefix("<s>")
    assert (found.system is None) == (name == "turns")


def test_a_system_message_may_stand_inside_the_first_turn() -> None:
    found = turns_of(renderer(INSTRUCTIONS, TOKENS), "<s>")
    assert found.inside
    assert found.system == ("[INST] <<SYS>>\n", "\n<</SYS>>\n\n")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages[-1]['content'] }}", "drops a message"),
        (LOOP + "{{ message['content'] }}{{ message['content'] }}{% endfor %}", "repeats a message"),
        ("{% if %}", "no template that Jinja reads"),
        ("{{ raise_exception('never') }}", "never"),
        (LOOP + "{{ loop.index }}: {{ message['content'] }}\n{% endfor %}", "not rendered turn by turn|begins otherwise"),
        ("{{ ''.__class__.__mro__ }}", "refuses|drops"),
    ],
)
def test_what_cannot_be_said_in_turns_is_refused(template: str, why: str) -> None:
    with pytest.raises(TemplateRefused, match=why):
        turns_of(renderer(template, TOKENS), "<s>")


PROGRAM = """package main
import ("encoding/json"; "os"; "text/template")
type Message struct { Role, Content string }
type Case struct { Template string; Messages []Message }
func main() {
  var cases []Case
  if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
  texts := []string{}
  for _, item := range cases {
    made := new(writer)
    if err := template.Must(template.New("t").Parse(item.Template)).Execute(made, item); err != nil { panic(err) }
    texts = append(texts, made.text)
  }
  json.NewEncoder(os.Stdout).Encode(texts)
}
type writer struct { text string }
func (w *writer) Write(p []byte) (int, error) { w.text += string(p); return len(p), nil }
"""


@pytest.mark.slow
def test_go_renders_the_same(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    templates = {**KNOWN, "instructions": INSTRUCTIONS}
    cases, wanted = [], []
    for template in templates.values():
        render = renderer(template, TOKENS)
        made = turns_of(render, "<s>").go()
        for talk in talks_of(template):
            cases.append({"Template": made, "Messages": [{"Role": role, "Content": text} for role, text in talk]})
            wanted.append(render(talk).removeprefix("<s>"))
    (tmp_path / "main.go").write_text(PROGRAM)
    environment = {**os.environ, "HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    ran = subprocess.run(
        [go, "run", "main.go"], cwd=tmp_path, input=json.dumps(cases), capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == wanted
