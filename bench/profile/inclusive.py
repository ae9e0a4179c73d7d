"""Instructions per request of chosen functions, with what they call, from a callgrind profile.

    inclusive.py PROFILE FUNCTION...       a FUNCTION is a part of a name; the first is called once per request

Inclusive counts of functions that call themselves would be counted double; none of the steps of a call does.
"""

import re
import sys
from collections import defaultdict


def read(path: str):
    """Own instructions by function; per edge the calls and the instructions inside."""
    names: dict[str, str] = {}
    own, calls = defaultdict(int), defaultdict(lambda: [0, 0])

    def name(text: str) -> str:
        number, _, given = text.partition(" ")
        if given:
            names[number] = given
        return names.get(number, text)

    here, callee, inside = "", "", 0
    with open(path) as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("fn="):
                here = name(line[3:])
            elif line.startswith("cfn="):
                callee = name(line[4:])
            elif line.startswith("calls="):
                inside = int(line[6:].split()[0])
            elif re.match(r"[+\-*0-9]", line):
                count = int(line.split()[-1]) if " " in line else 0
                if inside:
                    edge = calls[(here, callee)]
                    edge[0] += inside
                    edge[1] += count
                    inside = 0
                else:
                    own[here] += count
    return own, calls


def main() -> None:
    path, *wanted = sys.argv[1:]
    own, calls = read(path)
    total = sum(own.values())
    into = defaultdict(lambda: [0, 0])
    for (caller, callee), (count, instructions) in calls.items():
        if caller != callee:
            into[callee][0] += count
            into[callee][1] += instructions
    match = lambda part: [(name, *into[name]) for name in into if part in name]
    requests = max(count for _, count, _ in match(wanted[0]))
    print(f"{requests} requests, {total / requests:,.0f} instructions each")
    for part in wanted:
        for name, count, instructions in sorted(match(part), key=lambda found: -found[2])[:3]:
            print(f"{instructions / requests:10,.0f}  {100 * instructions / total:5.1f} %  {count / requests:7.2f} calls  {name[:110]}")


main()
