"""What a suite found alone and through the gateway, and which of it was lost on the way."""

import json
import pathlib

KNOWN = pathlib.Path(__file__).with_name("known.json")
GOOD = "passed"


def known(suite: str) -> dict[str, str]:
    """Losses that are explained: the check's name, or the beginning of several ending in `*`, and why. What is of `a2a` is of `a2a_to_grpc` too."""
    explained = json.loads(KNOWN.read_text())
    return {**explained.get(suite.partition("_to_")[0], {}), **explained[suite]}


def why(explained: dict[str, str], name: str) -> str | None:
    for pattern, reason in explained.items():
        if name == pattern or pattern.endswith("*") and name.startswith(pattern[:-1]):
            return reason
    return None


def table(suite: str, alone: dict[str, str], through: dict[str, str]) -> int:
    """Prints where the two differ; how many were lost without a reason."""
    explained = known(suite)
    rows, lost = [], 0
    for name in sorted(alone.keys() | through.keys()):
        before, after = alone.get(name, "absent"), through.get(name, "absent")
        if before == after:
            continue
        reason = ""
        if before == GOOD:
            reason = why(explained, name) or "LOST"
            lost += reason == "LOST"
        rows.append((name, before, after, reason))
    for pattern in explained:
        if not any(row[3] and why({pattern: "yes"}, row[0]) for row in rows):
            print(f"known.json explains what is not lost any more, take it out: {pattern}")
    width = max((len(row[0]) for row in rows), default=8)
    print(f"{'scenario':{width}}  {'alone':8}  {'through':8}  ")
    for name, before, after, reason in rows:
        print(f"{name:{width}}  {before:8}  {after:8}  {reason}")
    count = lambda found: sum(result == GOOD for result in found.values())
    print(f"{suite}: {len(alone)} checks; {count(alone)} passed alone, {count(through)} through the gateway; "
          f"{len(rows)} differ, {lost} lost without a reason")
    return lost
