#!/usr/bin/env python3
"""The solver cvc5 of PyPI's package `cvc5` as a program: SMT-LIB 2.6 on standard input, answers on standard output.

    pip install cvc5==1.4.2
    vidimus policy diff old/ new/ --prove --solver docs/cvc5-smtlib.py

The wheel has the library and no program. Of cvc5's flags it knows `--tlimit-per=MILLISECONDS`; others are taken, and say nothing.
"""

import sys

import cvc5


def commands(lines):
    """Each command of one line or several, whole: as many `(` as `)`, outside of "texts", |names| and ;remarks."""
    text, depth, inside = "", 0, None
    for line in lines:
        text += line
        for char in line:
            if inside:
                if char == inside:
                    inside = None
            elif char in '"|':
                inside = char
            elif char == ";":
                inside = "\n"
            else:
                depth += (char == "(") - (char == ")")
        if depth <= 0 and not inside:
            yield text
            text, depth = "", 0


def fresh():
    solver = cvc5.Solver()
    for flag in sys.argv[1:]:
        if flag.startswith("--tlimit-per="):
            solver.setOption("tlimit-per", flag.partition("=")[2])
    parser = cvc5.InputParser(solver)
    return solver, parser, parser.getSymbolManager()


def main():
    solver, parser, symbols = fresh()
    for text in commands(iter(sys.stdin.readline, "")):
        if text.strip() == "(reset)":
            # The parser remembers the logic of before.
            solver, parser, symbols = fresh()
            continue
        try:
            parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "stdin")
            while not (command := parser.nextCommand()).isNull():
                said = str(command.invoke(solver, symbols))
                if said:
                    print(said.rstrip("\n"), flush=True)
        except RuntimeError as fault:
            line = str(fault).replace('"', "'").replace("\n", " ")
            print(f'(error "{line}")', flush=True)


if __name__ == "__main__":
    main()
