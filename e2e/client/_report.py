"""What every Python client driver shares: the flags and the report. One JSON object per line; refusals are data."""

import argparse
import json
import os


def arguments(description: str) -> argparse.ArgumentParser:
    """The flags that every driver has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", default=os.environ.get("VIDIMUS_TOKEN"), help="bearer; default $VIDIMUS_TOKEN")
    parser.add_argument("--steps", help="comma-separated; default: all")
    return parser


def plain(value):
    """Any SDK object as JSON data."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def innermost(error: BaseException) -> BaseException:
    """The one error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> dict:
    """What a refusal said: type and message, plus the protocol code, HTTP status and body where the SDK keeps them."""
    error = innermost(error)
    said = {"type": type(error).__name__, "message": str(error)}
    response = getattr(error, "response", None)
    for name, value in {
        "code": getattr(error, "code", None),
        "data": getattr(error, "data", None),
        "status": getattr(error, "status_code", None) or getattr(response, "status_code", None),
        "body": getattr(error, "body", None),
    }.items():
        if isinstance(value, (str, int, dict, list)):
            said[name] = value
    return said


class Report:
    """Runs the steps asked for and prints what came of each."""

    def __init__(self, steps: str | None):
        self.wanted = steps.split(",") if steps else None

    def wants(self, step: str) -> bool:
        return self.wanted is None or step in self.wanted

    def line(self, step: str, **outcome) -> None:
        print(json.dumps({"step": step, **outcome}), flush=True)

    async def step(self, step: str, action, show=plain):
        """Awaits `action()` if the step is wanted; its result or None."""
        if not self.wants(step):
            return None
        try:
            result = await action()
        except Exception as error:
            self.line(step, ok=False, error=describe(error))
            return None
        self.line(step, ok=True, result=plain(show(result)))
        return result


